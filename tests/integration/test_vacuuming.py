"""Free pages go back to the file system, in pieces, and nothing of the log with them."""

import os
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest

from hansard import directory as layout
from hansard import wire
from hansard.errors import AuditLogError
from hansard.reader import LogReader
from hansard.settings import MIB
from hansard_writer import laying_out, vacuuming, wiping
from hansard_writer.disk import Disk
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.laying_out import lay_out_anew
from hansard_writer.lock import DirectoryTaken
from hansard_writer.vacuuming import Room, room
from stepped import EPOCH_NS, Killed, Log, encode, write_lock_taken
from support import held_lock

LATER = EPOCH_NS + 10**18  # than all that is recorded here
ENTRIES = 600
KEPT = 150
TURNS_MAX = 500


def payload(number: int, secret: str = "") -> dict[str, Any]:
    """Of many sizes, so that pages are split and joined."""
    return {"n": number, "secret": secret, "text": "x" * Random(number).randint(0, 3_000)}


def record(log: Log, count: int = ENTRIES, secrets: dict[int, str] | None = None) -> None:
    worker = log.worker("w")
    for number in range(1, count + 1):
        worker.producer.append(encode(payload(number, (secrets or {}).get(number, ""))))
        if number % ENTRIES == 0:  # or its spool would be full
            log.settle()
    log.settle()


def prune(log: Log, last: int = ENTRIES - KEPT) -> None:
    log.ask(wire.Prune(last, LATER, "ann", None, None))
    for _ in range(TURNS_MAX):
        if not log.writer._pruning.has_work:
            return
        log.pass_time(2)
        log.step()
    raise AssertionError(f"{TURNS_MAX} turns in vain: {log.statistics()}")


def found(log: Log) -> Room:
    return room(log.query if log.store is None else log.store.handle.rows)


def piece(log: Log, pages: int = 1 << 40) -> wire.Vacuumed:
    return wire.vacuumed_of(log.ask(wire.Vacuum(pages)))


def give_back(log: Log) -> int:
    """All of it; how many pages."""
    freed = 0
    while found(log).free:
        done = piece(log)
        assert not done.held_up_by
        assert 0 < done.freed <= vacuuming.PIECE_PAGES_MAX + 1, "with a pointer map"
        freed += done.freed
    assert piece(log, 0) == (0, 0, log.store.size if log.store else 0, "")
    return freed


def pages_on_disk(log: Log) -> int:
    return (log.directory / "log.db").stat().st_size // PAGE_BYTES


def laid_out(log: Log) -> Log:
    """So that it can give back while it is served."""
    log.stop_writer()
    (log.directory / "writer.lock").touch()
    assert lay_out_anew(log.directory).is_in_pieces
    return log.start_writer()


@pytest.fixture
def pruned(log: Log) -> Log:
    """It has more free pages than others."""
    record(laid_out(log))
    prune(log)
    assert found(log).free > 200
    piece(log, 0)
    assert pages_on_disk(log) == found(log).pages
    return log


def test_the_file_becomes_as_small_as_the_log_and_nothing_of_it_changes(pruned: Log) -> None:
    before, entries = found(pruned), pruned.query("SELECT * FROM entries")
    with LogReader(pruned.directory) as reader:
        events = list(reader.events())
        assert give_back(pruned) >= before.free
        assert list(reader.events()) == events
    assert found(pruned).free == 0
    assert pages_on_disk(pruned) == found(pruned).pages < before.pages - before.free + 5
    assert (pruned.directory / "log.db-wal").stat().st_size == 0
    assert pruned.query("SELECT * FROM entries") == entries
    assert pruned.query("PRAGMA integrity_check") == [("ok",)]
    pruned.restart_writer()
    pruned.workers[0].record(5)
    pruned.settle()
    assert pruned.query("SELECT max(seq) FROM entries") == [(ENTRIES + 6,)]


def test_it_goes_on_beside_what_is_recorded(pruned: Log) -> None:
    worker = pruned.workers[0]
    while found(pruned).free > 20:
        worker.record(1)
        pruned.turn()
        assert not piece(pruned, 10).held_up_by
    pruned.settle()
    assert pruned.query("PRAGMA integrity_check") == [("ok",)]
    assert pruned.entered("w") == list(range(1, len(pruned.recorded["w"]) + 1))


def test_a_log_without_free_pages_gives_nothing_back(log: Log) -> None:
    record(laid_out(log), 50)
    give_back(log)
    assert piece(log)[:2] == (0, 0)


def test_a_piece_that_takes_too_long_is_cut(pruned: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vacuuming, "PIECE_S", -1.0)
    assert piece(pruned).freed == vacuuming.PAGES_AT_ONCE


@pytest.mark.parametrize("at", ["PRAGMA incremental_vacuum", "COMMIT"])
def test_a_writer_killed_within_a_piece_has_given_nothing_of_it_back(
    pruned: Log, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    piece(pruned)
    before = found(pruned)
    seen = 0

    def die(_cursor: Any, statement: str, _bindings: Any) -> bool:
        nonlocal seen
        seen += statement.startswith(at)
        if seen == (3 if at.startswith("PRAGMA") else 1):
            raise Killed
        return True

    assert pruned.store is not None
    pruned.store.connection.set_exec_trace(die)
    with pytest.raises(Killed):
        piece(pruned)
    pruned.restart_writer()
    assert found(pruned) == before
    assert pruned.query("PRAGMA integrity_check") == [("ok",)]
    give_back(pruned)


def test_a_writer_killed_behind_a_piece_leaves_a_wal_that_is_taken(pruned: Log) -> None:
    """Its database is larger than the WAL says: it is looked through, and found whole."""
    piece(pruned)
    before = found(pruned)
    pruned.kill_writer()
    assert pages_on_disk(pruned) > before.pages
    pruned.start_writer()
    assert found(pruned) == before
    give_back(pruned)


def test_a_reader_in_the_way_is_named_and_waited_for(pruned: Log) -> None:
    with LogReader(pruned.directory) as reader, reader._connection.snapshot():
        assert reader.count() == KEPT + 1
        while found(pruned).free:
            piece(pruned)
        assert "a read transaction keeps" in piece(pruned, 0).held_up_by
        assert pages_on_disk(pruned) > found(pruned).pages
        assert reader.count() == KEPT + 1
    assert piece(pruned, 0).held_up_by == ""
    assert pages_on_disk(pruned) == found(pruned).pages


def test_while_a_reader_makes_the_wal_grow_it_waits(directory: Path) -> None:
    log = laid_out(Log(directory, wal_bytes_target=MIB).start_writer())
    record(log, 2_000)
    prune(log, 1_500)
    piece(log, 0)
    with LogReader(log.directory) as reader, reader._connection.snapshot():
        reader.count()
        for _ in range(20):
            last = piece(log)
        assert "a read transaction keeps" in last.held_up_by
        assert last.freed == 0
        assert log.statistics()["wal_bytes"] < 2 * MIB
    give_back(log)
    log.close()


def test_another_programs_lock_is_waited_for_by_asking_again(pruned: Log) -> None:
    with write_lock_taken(pruned.directory), pytest.raises(wire.WireError, match="try again"):
        piece(pruned)
    pruned.pass_time(1)
    assert piece(pruned).freed


def test_a_writer_that_takes_nothing_in_for_want_of_room_makes_some(
    pruned: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "suspended", property(lambda _: True))
    give_back(pruned)
    assert pages_on_disk(pruned) == found(pruned).pages


def test_what_is_redacted_is_gone_however_its_pages_were_moved(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages move between two pieces of wiping, with all that is in them, to where it was."""
    monkeypatch.setattr(wiping, "PIECE_PAGES_MAX", 40)
    hidden = {number: f"q{Random(number).getrandbits(96):024x}" for number in range(200, 601, 2)}
    record(laid_out(log), secrets=hidden)
    log.ask(wire.Redact([[200, 400]], None, None, "a password", "ann", 0, 0, dry_run=False))
    prune(log, 190)
    pieces = 0
    for ranges in ([[401, 600]], [[200, 600]]):
        asked = wire.Redact(ranges, None, None, "a password", "ann", 0, 0, dry_run=False)
        while not (done := wire.redacted_of(log.ask(asked))).is_last:
            asked = asked._replace(after_seq=done.last_seq, after_letter=done.last_letter)
    while not (wiped := wire.wiped_of(log.ask(wire.Wipe()))).is_done:
        assert not wiped.held_up_by
        pieces += 1
        if pieces > 2:
            piece(log, 20)
    assert pieces > 4, "nothing was moved meanwhile"
    give_back(log)
    log.stop_writer()
    for path in log.directory.rglob("*"):
        if path.is_file() and path.suffix != ".spool":
            data = path.read_bytes()
            assert not [each for each in hidden.values() if each.encode() in data]
    log.start_writer()
    assert log.query("PRAGMA integrity_check") == [("ok",)]


# --- a log as it was made, which has given nothing back yet ---


@pytest.fixture
def old(pruned: Log) -> Log:
    """Laid out as logs are made, and nobody serves it."""
    pruned.stop_writer()
    connection = apsw.Connection(str(pruned.directory / "log.db"))
    size = pages_on_disk(pruned)
    for statement in (
        "PRAGMA auto_vacuum = NONE",
        "VACUUM",
        "CREATE TABLE mine(x)",
        f"INSERT INTO mine VALUES(zeroblob({size * PAGE_BYTES // 2}))",
        "DROP TABLE mine",
    ):
        connection.execute(statement).fetchall()
    connection.close()
    (pruned.directory / "writer.lock").touch()
    found_now = found(pruned)
    assert (found_now.is_in_pieces, found_now.free > 100) == (False, True)
    return pruned


def test_while_it_is_served_it_is_refused_with_what_to_do(old: Log) -> None:
    old.start_writer()
    with pytest.raises(wire.WireError, match="stop its writer, and then run"):
        piece(old)


def test_it_is_laid_out_anew_and_gives_space_back_from_then_on(old: Log) -> None:
    entries, used = old.query("SELECT * FROM entries"), found(old).used_bytes
    written: list[int] = []
    after = lay_out_anew(old.directory, written.append)
    assert (after.free, after.is_in_pieces) == (0, True)
    assert abs(after.bytes - used) < 10 * PAGE_BYTES
    assert pages_on_disk(old) == after.pages
    assert not (old.directory / "log.db-wal").exists()
    assert old.query("SELECT * FROM entries") == entries
    assert layout.a_writer_lives(old.directory) is False
    old.start_writer()
    prune(old, ENTRIES)
    assert give_back(old) > 50


def test_without_room_for_it_twice_nothing_is_touched(
    old: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (old.directory / "log.db").read_bytes()
    monkeypatch.setattr(laying_out, "_free_bytes", lambda _: 16 * MIB)
    with pytest.raises(AuditLogError, match=r"17 MB are free .*, and \d\d MB are needed"):
        lay_out_anew(old.directory)
    assert (old.directory / "log.db").read_bytes() == before


def test_a_disk_that_fills_up_meanwhile_leaves_it_as_it_was(
    old: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = old.query("SELECT * FROM entries")

    def fill(_written: int) -> None:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(laying_out, "STEPS_PER_LOOK", 10)
    with pytest.raises(AuditLogError, match="make room; nothing was changed"):
        lay_out_anew(old.directory, fill)
    assert found(old).is_in_pieces is False
    assert old.query("SELECT * FROM entries") == entries
    assert "SQLITE_TMPDIR" not in os.environ
    old.start_writer()


def test_beside_a_writer_it_is_not_begun(old: Log) -> None:
    with held_lock(old.directory), pytest.raises(DirectoryTaken):
        lay_out_anew(old.directory)
