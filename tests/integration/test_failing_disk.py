"""A disk that fails in each way that SQLite knows, under each kind of transaction."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import wire
from hansard.settings import MIB
from hansard_writer.handle import READ_TRIES_MAX
from hansard_writer.retries import FALTERS_MAX, StoreFull
from hansard_writer.unusable import LogUnusable
from hooked_vfs import HookedVfs
from stepped import Log, encode, write_lock_taken

RESERVE = 1 * MIB


def fails(name: str, times: int = 1_000_000) -> Callable[[str], None]:
    """A hook that raises, so many times."""
    left = [times]

    def fail(_name: str) -> None:
        if left[0]:
            left[0] -= 1
            raise apsw.exception_for(getattr(apsw, f"SQLITE_{name}"))

    return fail


@pytest.fixture
def log(directory: Path, hooked_vfs: HookedVfs) -> Iterator[Log]:
    log = Log(directory, reserve_bytes=RESERVE)
    log.vfs = hooked_vfs.name
    yield log.start_writer()
    hooked_vfs.on_write = hooked_vfs.on_wal_write = hooked_vfs.on_sync = None
    log.close()


def turn(log: Log, seconds: float) -> None:
    until = log.now + seconds
    while log.now < until:
        log.turn()
        log.pass_time(0.05)


# --- what may pass ---


@pytest.mark.parametrize("name", ["IOERR_WRITE", "IOERR_NOMEM", "NOMEM", "PROTOCOL"])
def test_what_passes_is_tried_again_and_counted_by_kind(
    log: Log, hooked_vfs: HookedVfs, name: str
) -> None:
    worker = log.worker()
    worker.record(5)
    log.turn()
    hooked_vfs.on_wal_write = fails(name, 3)
    log.settle()
    log.assert_all_is_in()
    assert log.statistics()["store_errors"] == {f"SQLITE_{name}": 3}
    assert log.statistics()["held_up_by"] == ""
    assert worker.transmission.resent == 0


def test_what_does_not_pass_ends_the_writer_after_so_many_tries(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    worker = log.worker()
    worker.record(5)
    log.turn()
    hooked_vfs.on_wal_write = fails("IOERR_WRITE")
    with pytest.raises(apsw.IOError):
        turn(log, 60)
    assert log.statistics()["store_errors"] == {"SQLITE_IOERR_WRITE": FALTERS_MAX}
    assert log.statistics()["held_up_by"] == "log.db could not be used (SQLITE_IOERR_WRITE)"
    hooked_vfs.on_wal_write = None
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_checkpoint_that_fails_again_and_again_ends_the_writer_too(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    log.worker().record(5)
    log.settle()
    hooked_vfs.on_write = fails("IOERR_WRITE")
    with pytest.raises(apsw.IOError):
        turn(log, 20 * FALTERS_MAX)
    assert log.statistics()["store_errors"] == {"SQLITE_IOERR_WRITE": FALTERS_MAX}


def test_a_read_that_fails_is_done_again_at_once(log: Log) -> None:
    assert log.store is not None
    tries = []

    def read() -> str:
        tries.append(1)
        if len(tries) < READ_TRIES_MAX:
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        return "read"

    assert log.store.handle.read(read) == "read"
    tries[:] = [1] * -READ_TRIES_MAX
    with pytest.raises(apsw.IOError):
        log.store.handle.read(lambda: [fails("IOERR_READ")("")])
    assert log.store.handle.errors == {"SQLITE_IOERR_READ": 2 * (READ_TRIES_MAX - 1)}
    with pytest.raises(apsw.CorruptError):
        log.store.handle.read(lambda: [fails("CORRUPT")("")])


# --- a sync that failed ---


@pytest.mark.parametrize("name", ["IOERR_FSYNC", "IOERR_DIR_FSYNC"])
def test_after_a_sync_that_failed_the_handle_is_never_synced_again(
    log: Log, hooked_vfs: HookedVfs, name: str
) -> None:
    """Not by another try, not by a rollback, not by the close of the last connection."""
    worker = log.worker()
    worker.record(5)
    log.settle()  # what a close would move into the database
    worker.record(5)
    hooked_vfs.syncs.clear()
    hooked_vfs.on_sync = fails(name, 1)
    with pytest.raises(apsw.IOError):
        turn(log, 1)
    assert log.store is not None
    log.store.close()
    assert hooked_vfs.syncs == []
    log.store = None
    log.adopter.close()
    log.disconnect()
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


def test_the_same_in_a_checkpoint(log: Log, hooked_vfs: HookedVfs) -> None:
    log.worker().record(5)
    log.settle()
    hooked_vfs.syncs.clear()
    hooked_vfs.on_sync = fails("IOERR_FSYNC", 1)
    with pytest.raises(apsw.IOError):
        turn(log, 5)
    assert log.store is not None
    log.store.close()
    assert hooked_vfs.syncs == []
    log.store = None
    log.adopter.close()
    log.start_writer()
    log.assert_all_is_in()


def test_the_same_at_the_start(log: Log, hooked_vfs: HookedVfs) -> None:
    log.worker().record(5)
    log.settle()
    log.kill_writer()
    hooked_vfs.syncs.clear()
    hooked_vfs.on_sync = fails("IOERR_FSYNC", 1)
    with pytest.raises(LogUnusable, match="the disk did not keep what was written"):
        log.start_writer()
    assert hooked_vfs.syncs == []
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


def test_what_a_killed_writer_left_is_written_again_before_the_epoch_is_committed(
    log: Log, hooked_vfs: HookedVfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.worker().record(5)
    log.settle()
    log.kill_writer()
    left = (log.directory / "log.db-wal").stat().st_size
    assert left > 0
    seen = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        seen.append((name, list(hooked_vfs.syncs), write_lock_is_held(log)))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    hooked_vfs.syncs.clear()
    log.start_writer()
    assert seen == [("log.db-wal", [], True), (log.directory.name, [], True)]
    assert hooked_vfs.syncs[0] == "log.db-wal", "the epoch's own commit"


def write_lock_is_held(log: Log) -> bool:
    other = apsw.Connection(str(log.directory / "log.db"))
    try:
        other.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        return True
    finally:
        other.close()
    return False


@pytest.mark.parametrize("number", [5, 30])
def test_what_cannot_be_written_again_is_not_served(
    log: Log, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    log.worker().record(5)
    log.settle()
    log.kill_writer()
    before = (log.directory / "log.db-wal").read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(LogUnusable, match=rf"written once more \({os.strerror(number)}\)"):
            log.start_writer()
    assert (log.directory / "log.db-wal").read_bytes() == before
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


# --- a full disk ---


class Full:
    """A disk that has room for nothing, or with the room that a released reserve gives."""

    def __init__(self, log: Log, vfs: HookedVfs) -> None:
        self._reserve = log.directory / "reserve"
        self._vfs = vfs

    def fill(self, *, but_the_reserve: bool = False) -> None:
        def write(_name: str) -> None:
            if not but_the_reserve or self._reserve.exists():
                raise apsw.exception_for(apsw.SQLITE_FULL)

        self._vfs.on_write = self._vfs.on_wal_write = write

    def empty(self) -> None:
        self._vfs.on_write = self._vfs.on_wal_write = None


@pytest.fixture
def disk(log: Log, hooked_vfs: HookedVfs) -> Full:
    log.step()
    assert log.statistics()["reserve_bytes"] == RESERVE
    return Full(log, hooked_vfs)


def assert_suspends(log: Log) -> None:
    turn(log, 3)
    figures = log.statistics()
    assert figures["suspended"]
    assert figures["reserve_bytes"] == 0
    assert figures["store_errors"]["SQLITE_FULL"] > 0


def assert_goes_on(log: Log) -> None:
    turn(log, 3)
    figures = log.statistics()
    assert not figures["suspended"]
    assert figures["reserve_bytes"] == RESERVE
    log.settle()
    log.assert_all_is_in()


def test_a_full_disk_at_a_commit_suspends_with_the_batch_kept(log: Log, disk: Full) -> None:
    worker = log.worker()
    log.turn()
    disk.fill()
    worker.record(5)
    while "SQLITE_FULL" not in log.statistics()["store_errors"]:
        log.turn()
    assert log.statistics()["suspended"], "at once"
    assert_suspends(log)
    assert log.statistics()["uncommitted"] == 5
    worker.record(5)
    turn(log, 2)
    assert log.statistics()["uncommitted"] == 5, "nothing more is taken in"
    assert worker.transmission.suspended.endswith("is full: make room on it")
    disk.empty()
    assert_goes_on(log)
    worker.record()
    log.settle()
    assert worker.transmission.suspended == ""
    assert worker.transmission.resent == 0


def test_the_batch_in_hand_is_committed_with_the_room_of_the_reserve(log: Log, disk: Full) -> None:
    worker = log.worker()
    log.turn()
    disk.fill(but_the_reserve=True)
    worker.record(5)
    while log.entered("w") != [1, 2, 3, 4, 5]:
        log.turn()
        log.pass_time(0.05)
    assert not (log.directory / "reserve").exists()
    disk.empty()
    assert_goes_on(log)


def test_a_suspended_writer_sleeps(log: Log, disk: Full) -> None:
    worker = log.worker()
    log.turn()
    disk.fill()
    worker.record(5)
    assert_suspends(log)
    worker.record(5)
    steps, until = 0, log.now + 60
    while log.now < until:
        log.pass_time(max(log.step(), 0.001))
        steps += 1
    assert steps < 200
    disk.empty()
    assert_goes_on(log)


def test_a_full_disk_in_a_checkpoint(log: Log, disk: Full, hooked_vfs: HookedVfs) -> None:
    log.worker().record(5)
    log.settle()
    disk.fill()
    hooked_vfs.on_wal_write = None
    assert_suspends(log)
    disk.empty()
    assert_goes_on(log)
    turn(log, 20)
    assert log.statistics()["wal_bytes"] == 0


def test_a_full_disk_under_full_text(log: Log, disk: Full) -> None:
    worker = log.worker()
    for _ in range(3):
        worker.producer.append(encode({"stderr": "text"}, event_type="env.operation"))
    store = log.store
    assert store is not None
    store._connection.set_exec_trace(full_at("INSERT INTO full_text"))
    while not log.statistics()["suspended"]:
        turn(log, 0.1)
    assert log.statistics()["full_text_tail"] == 3
    store._connection.set_exec_trace(None)
    assert_goes_on(log)
    assert log.statistics()["full_text_tail"] == 0


def full_at(beginning: str) -> Any:
    def trace(_connection: apsw.Connection, statement: str, _bindings: Any) -> bool:
        if statement.startswith(beginning):
            raise apsw.FullError("database or disk is full")
        return True

    return trace


def test_a_full_disk_under_a_call_refuses_it_and_nothing_of_it_is_there(
    directory: Path, hooked_vfs: HookedVfs
) -> None:
    def fill_table(connection: Any, _params: Any) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS mine(x)")
        try:
            connection.execute("INSERT INTO mine VALUES(zeroblob(1000000))")
        except Exception:  # noqa: BLE001 - whatever the operation makes of it
            return

    log = Log(directory, reserve_bytes=RESERVE)
    log.vfs, log.operations = hooked_vfs.name, {"fill": fill_table}
    log.start_writer()
    log.step()
    assert log.store is not None
    pages = log.store._connection.execute("PRAGMA page_count").get
    log.store._connection.execute(f"PRAGMA max_page_count = {pages + 20}").fetchall()
    deadline = log.clock_ns() + 10**12
    call = wire.Call(b"c" * wire.CALL_ID_BYTES, "fill", b"\xc0", deadline)
    status, reason = log.ask(call)  # type: ignore[arg-type]
    assert status == "rejected"
    assert reason.startswith("the disk that holds log.db is full: nothing of it was kept")
    assert log.query("SELECT count(*) FROM sqlite_schema WHERE name = 'mine'") == [(0,)]
    turn(log, 1)
    assert "SQLITE_FULL" in log.statistics()["store_errors"]
    log.worker().record(3)
    turn(log, 3)
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_a_full_disk_under_an_adoption_loses_nothing_of_the_dead(log: Log, disk: Full) -> None:
    worker = log.worker("dead")
    worker.record(700)
    worker.kill()
    disk.fill()
    assert_suspends(log)
    assert log.orphans()
    disk.empty()
    assert_goes_on(log)
    assert not log.orphans()


def test_a_full_disk_at_the_start_is_said(log: Log, disk: Full, hooked_vfs: HookedVfs) -> None:
    log.worker().record(5)
    log.settle()
    log.kill_writer()
    disk.fill()
    with pytest.raises(StoreFull, match="the disk that holds"):
        log.start_writer()
    disk.empty()
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_full_disk_under_a_replay_is_said_and_changes_nothing(log: Log, disk: Full) -> None:
    worker = log.worker()
    log.turn()
    disk.fill()
    worker.record(2)
    turn(log, 1)
    with pytest.raises(wire.WireError, match="intake is suspended: the disk of"):
        replay(log)
    disk.empty()
    assert_goes_on(log)


# --- somebody else's lock ---


def test_a_foreign_lock_is_waited_for_and_figures_say_so(log: Log) -> None:
    worker = log.worker()
    log.turn()
    with write_lock_taken(log.directory):
        worker.record(5)
        turn(log, 30)
        figures = log.statistics()
        assert figures["held_up_by"] == "another program holds the write lock of log.db"
        assert figures["store_errors"]["SQLITE_BUSY"] > 2 * FALTERS_MAX
        assert figures["uncommitted"] == 5
        assert not figures["suspended"]
    log.settle()
    log.assert_all_is_in()
    assert log.statistics()["held_up_by"] == ""


# --- faults of what was to be written ---


def replay(log: Log) -> list[int]:
    """How many events `dlq replay` enters, and how many are refused again."""
    return log.ask(wire.Replay(0, None, None, dry_run=False))[:2]


def foreign(log: Log, statement: str) -> None:
    other = apsw.Connection(str(log.directory / "log.db"))
    other.execute(statement)
    other.close()


def spoiled(log: Log, number: int, **changed: Any) -> bytes:
    numbers = log.recorded.setdefault("w", [])
    numbers.append(number)
    return encode({"w": "w", "n": number}, **changed)


def test_an_event_that_a_foreign_index_refuses_is_a_dead_letter_and_the_rest_is_in(
    log: Log,
) -> None:
    foreign(log, "CREATE UNIQUE INDEX mine ON entries(actor) WHERE actor IS NOT NULL")
    worker = log.worker()
    worker.record(3, actor=None)
    for _ in range(3):  # the first is entered, the others are its doubles
        worker.producer.append(encode({"w": "twice"}, actor="agent:7"))
    worker.record(3, actor=None)
    log.settle()
    log.assert_all_is_in()
    assert log.entered("twice") == [None]
    assert log.dead_letters() == [(5, 1, "invalid"), (6, 1, "invalid")]
    (detail,) = set(log.query("SELECT detail FROM dead_letters"))
    assert "UNIQUE" in detail[0]
    assert replay(log) == [0, 2], "refused again"
    foreign(log, "DROP INDEX mine")
    assert replay(log) == [2, 0]
    assert log.entered("twice") == [None] * 3


def test_what_a_foreign_trigger_aborts_takes_those_along_that_it_was_recorded_with(
    log: Log,
) -> None:
    foreign(
        log,
        "CREATE TRIGGER mine BEFORE INSERT ON entries WHEN new.level = 'critical'"
        " BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END",
    )
    worker = log.worker()
    worker.record(2)
    worker.record_together(encode({}), encode({}, level="critical"), encode({}))
    worker.record(2)
    log.settle()
    log.assert_all_is_in()
    assert log.dead_letters() == [(3, 3, "invalid")], "whatever the text says"


def test_a_trigger_that_undoes_everything_ends_the_writer_with_its_words(log: Log) -> None:
    foreign(
        log,
        "CREATE TRIGGER mine BEFORE INSERT ON entries WHEN new.level = 'critical'"
        " BEGIN SELECT RAISE(ROLLBACK, 'not in my log'); END",
    )
    log.worker().producer.append(encode({}, level="critical"))
    with pytest.raises(apsw.ConstraintError, match="not in my log"):
        turn(log, 1)
    foreign(log, "DROP TRIGGER mine")
    log.restart_writer()
    log.settle()


def test_a_seq_that_another_program_has_taken_ends_the_writer_and_spoils_no_event(
    log: Log,
) -> None:
    worker = log.worker()
    worker.record(2)
    log.settle()
    foreign(
        log,
        "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, payload)"
        f" VALUES(3, 0, 1, 1, 'x', 'info', '{json.dumps({'w': 'foreign'})}')",
    )
    worker.record(2)
    with pytest.raises(LogUnusable, match="up to 3 and a Merkle tree of 2"):
        turn(log, 1)
    with pytest.raises(LogUnusable, match="up to 3 and a Merkle tree of 2"):
        log.restart_writer()
    foreign(log, "INSERT INTO meta VALUES('unlocked', 'prune')")
    foreign(log, "DELETE FROM entries WHERE seq = 3")
    foreign(log, "DELETE FROM meta WHERE key = 'unlocked'")
    log.start_writer()
    log.settle()
    assert log.entered("w") == [1, 2, 3, 4]
    assert log.dead_letters() == []
