"""The oldest entries go: said and signed first, then in pieces, whatever comes between them."""

import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import wire
from hansard.reader import LogReader
from hansard.settings import MIB
from hansard_writer import full_text, pruning
from hansard_writer.disk import Disk
from hansard_writer.proof.merkle_hash_tree import audit_path, consistency_proof
from hansard_writer.proof.stored_tree import READ_ROW, StoredTree
from hansard_writer.pruning import PRUNED
from hansard_writer.sealing import Sealer
from hansard_writer.writer import PRUNE_INTERVAL_S
from stepped import EPOCH_NS, Killed, Log, encode, write_lock_taken

LATER = EPOCH_NS + 10**18  # than all that is recorded here
IDLE_S = 1.0
TURNS_MAX = 500
SEAL = Sealer.seal


@pytest.fixture(autouse=True)
def unsigned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints are taken when a test says so: `sign`."""
    monkeypatch.setattr(Sealer, "seal", lambda *_: False)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PIECE_ENTRIES_MAX", 10)


@pytest.fixture
def make_log(directory: Path) -> Iterator[Any]:
    made: list[Log] = []

    def make(**settings: Any) -> Log:
        made.append(Log(directory, **settings).start_writer())
        return made[-1]

    yield make
    for log in made:
        log.close()


def record(log: Log, count: int, **changed: Any) -> None:
    worker = log.workers[0] if log.workers else log.worker()
    worker.record(count, **changed)
    log.settle()


def prune(last: int, **changed: Any) -> wire.Prune:
    return wire.Prune(last, LATER, "ann", "old", None)._replace(**changed)


def ask(log: Log, request: wire.Prune) -> tuple[int, int]:
    """Up to where entries go, and how far that is."""
    return wire.prune_state_of(log.ask(request))[:2]


def held_up_by(log: Log) -> str:
    return wire.prune_state_of(log.ask(prune(1))).held_up_by


def sign(log: Log) -> None:
    """A checkpoint covers all that there is."""
    SEAL(log.writer._sealer, log.now)


def finish(log: Log) -> None:
    """Let the time pass in which nothing else is to be done."""
    sign(log)
    for _ in range(TURNS_MAX):
        if not log.writer._pruning.has_work:
            return
        log.pass_time(IDLE_S)
        log.step()
    raise AssertionError(f"{TURNS_MAX} turns in vain: {log.statistics()}")


def pruned_to(log: Log) -> int:
    rows = log.query("SELECT value FROM meta WHERE key = 'pruned_to'")
    return int(rows[0][0]) if rows else 0


def seqs(log: Log) -> list[int]:
    return [row[0] for row in log.query("SELECT seq FROM entries ORDER BY seq")]


def tree_of(log: Log) -> StoredTree:
    def fetch(level: int, idx: int) -> bytes | None:
        rows = log.query(READ_ROW, level, idx)
        return bytes(rows[0][0]) if rows else None

    return StoredTree(fetch)


def indexed_ids(log: Log, word: str) -> list[int]:
    rows = log.query("SELECT rowid FROM full_text WHERE full_text MATCH ? ORDER BY rowid", word)
    return [row[0] for row in rows]


def indexed_words(log: Log) -> list[str]:
    """All words that some segment of the index still has, entries or not."""
    connection = apsw.Connection(":memory:")
    connection.execute("ATTACH ? AS log", (str(log.directory / "log.db"),))
    connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab(log, full_text, instance)")
    words = [row[0] for row in connection.execute("SELECT DISTINCT term FROM words")]
    connection.close()
    return words


# --- said, signed, done ---


def test_the_log_says_who_and_what_and_why_before_anything_is_gone(log: Log) -> None:
    record(log, 30)
    before = 1_700_000_001_123_456_000
    asked = prune(20, before=before, archive="2023.gz")
    assert ask(log, asked) == (20, 0)
    assert log.entries(PRUNED) == [
        {
            "by": "ann",
            "reason": "old",
            "first": 1,
            "last": 20,
            "before": "2023-11-14T22:13:21.123456Z",
            "archive": "2023.gz",
        }
    ]
    assert log.query("SELECT level, producer, actor FROM entries WHERE seq = 31") == [
        ("warning", 0, "hansard")
    ]
    assert len(seqs(log)) == 31


def test_nothing_is_deleted_before_a_checkpoint_covers_the_entry_that_says_so(log: Log) -> None:
    record(log, 30)
    sign(log)
    ask(log, prune(20))
    for _ in range(20):
        log.pass_time(IDLE_S)
        assert log.step() <= PRUNE_INTERVAL_S, "it looks again"
    assert len(seqs(log)) == 31
    assert held_up_by(log) == "no checkpoint covers entry 31 yet"
    finish(log)
    assert held_up_by(log) == ""
    assert seqs(log) == list(range(21, 32))


def test_it_is_signed_at_once_and_begins_at_once(
    make_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sealer, "seal", SEAL)
    log = make_log(checkpoint_interval=3_600)
    record(log, 30)
    ask(log, prune(20))
    assert log.query("SELECT max(size) FROM checkpoints") == [(31,)]
    assert pruned_to(log) == 10


def test_it_goes_in_pieces_each_one_transaction(log: Log) -> None:
    record(log, 30)
    ask(log, prune(25))
    sign(log)
    for gone in (10, 20, 25):
        log.pass_time(IDLE_S)
        log.step()
        assert pruned_to(log) == gone
        assert seqs(log) == list(range(gone + 1, 32))
        assert (log.statistics()["pruned_to"], log.statistics()["to_be_pruned"]) == (
            gone,
            25 - gone,
        )
    assert log.query("SELECT * FROM meta WHERE key = 'unlocked'") == []


def test_a_large_payload_is_a_piece_of_its_own(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "PIECE_BYTES_MAX", 1_000)
    worker = log.worker()
    for size in (10, 10, 2_000, 990, 990):
        worker.producer.append(encode({"x": "x" * size}))
    log.settle()
    ask(log, prune(5))
    sign(log)
    ends = [pruned_to(log)]
    while log.writer._pruning.left:
        log.pass_time(IDLE_S)
        log.step()
        ends.append(pruned_to(log))
    assert ends == [0, 2, 3, 4, 5]


def test_beside_recording_it_takes_its_time_and_nothing_waits_for_it(log: Log) -> None:
    record(log, 100)
    ask(log, prune(60))
    sign(log)
    pieces_at = []
    worker = log.workers[0]
    for _ in range(100):
        before = pruned_to(log)
        worker.record(5)
        log.turn()
        if pruned_to(log) > before:
            pieces_at.append(log.now)
    assert pruned_to(log) == 60
    assert min(b - a for a, b in pairwise(pieces_at)) >= PRUNE_INTERVAL_S
    log.settle()
    assert log.entered("w") == list(range(61, 601))


def test_asked_again_it_says_how_far_it_is_and_enters_nothing_more(log: Log) -> None:
    record(log, 30)
    ask(log, prune(20))
    assert ask(log, prune(20)) == ask(log, prune(3)) == (20, 0)
    finish(log)
    assert ask(log, prune(20)) == (20, 20)
    assert len(log.entries(PRUNED)) == 1


def test_a_later_one_goes_further_and_takes_the_earlier_ones_entry_along(log: Log) -> None:
    record(log, 30)
    ask(log, prune(20))
    log.pass_time(IDLE_S)
    record(log, 10)
    ask(log, prune(40))
    finish(log)
    assert seqs(log) == [41, 42]
    assert [each["last"] for each in log.entries(PRUNED)] == [40]


def test_all_entries_but_the_one_that_says_so_may_go(log: Log) -> None:
    record(log, 16)
    ask(log, prune(16))
    finish(log)
    assert seqs(log) == [17]
    log.restart_writer()
    record(log, 1)
    assert seqs(log) == [17, 18]


def test_a_mark_that_no_entry_speaks_of_deletes_nothing(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever can write to the file must not have the writer do it."""
    record(log, 30)
    log.stop_writer()
    other = apsw.Connection(str(log.directory / "log.db"))
    other.execute("INSERT INTO meta VALUES('prune_to', 20)")
    other.close()
    log.start_writer()
    finish(log)
    assert len(seqs(log)) == 30
    assert "no entry says so" in caplog.text
    ask(log, prune(10))
    finish(log)
    assert seqs(log)[0] == 11, "what is asked for is done as ever"


def test_triggers_that_somebody_left_unlocked_are_locked_again(log: Log) -> None:
    record(log, 30)
    other = apsw.Connection(str(log.directory / "log.db"))
    other.execute("INSERT OR REPLACE INTO meta VALUES('unlocked', 'redact')")
    ask(log, prune(10))
    finish(log)
    assert seqs(log)[0] == 11
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        other.execute("UPDATE entries SET payload = NULL, salt = NULL")
    other.close()


def test_more_than_the_log_has_is_refused(log: Log) -> None:
    record(log, 3)
    with pytest.raises(wire.WireError, match="last of a prune is 4: the log ends with 3"):
        ask(log, prune(4))
    assert log.entries(PRUNED) == []


# --- whatever comes between ---


def test_a_writer_killed_between_two_pieces_goes_on_when_it_starts_again(log: Log) -> None:
    record(log, 50)
    ask(log, prune(45))
    sign(log)
    while log.writer._pruning.left:
        log.pass_time(IDLE_S)
        log.step()
        gone = pruned_to(log)
        log.restart_writer()
        assert pruned_to(log) == gone
        log.workers[0].record(1)
        log.settle()
    assert seqs(log)[0] == 46
    assert log.query("PRAGMA integrity_check") == [("ok",)]
    assert log.entered("w") == list(range(46, log.workers[0].producer.seq + 1))


@pytest.mark.parametrize(
    "at", ["INSERT OR REPLACE INTO meta VALUES('unlocked'", "DELETE FROM entries", "COMMIT"]
)
def test_a_writer_killed_within_a_piece_has_deleted_nothing_of_it(
    log: Log, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    monkeypatch.setattr(pruning, "PIECE_ENTRIES_MAX", 20)
    record(log, 40)
    ask(log, prune(40))
    sign(log)

    def die(_cursor: Any, statement: str, _bindings: Any) -> bool:
        if statement.startswith(at):
            raise Killed
        return True

    assert log.store is not None
    log.store.connection.set_exec_trace(die)
    log.pass_time(IDLE_S)
    with pytest.raises(Killed):
        log.step()
    log.restart_writer()
    assert seqs(log) == list(range(1, 42))
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        log.store.connection.execute("DELETE FROM entries")
    finish(log)
    assert seqs(log) == [41]


def test_other_programs_lock_is_waited_for(log: Log) -> None:
    record(log, 20)
    ask(log, prune(20))
    sign(log)
    with write_lock_taken(log.directory):
        log.pass_time(IDLE_S)
        log.step()
        assert pruned_to(log) == 0
        assert held_up_by(log) == "another program holds the write lock of log.db"
    finish(log)
    assert seqs(log) == [21]


def test_a_reader_that_keeps_the_wal_makes_it_wait_and_not_the_wal_grow(make_log: Any) -> None:
    log = make_log(wal_bytes_target=MIB)
    worker = log.worker()
    for _ in range(400):
        worker.producer.append(encode({"x": "x" * 4_000}))
    log.settle()
    log.pass_time(2 * IDLE_S)
    log.step()  # which empties the WAL
    ask(log, prune(400))
    sign(log)
    with LogReader(log.directory) as reader, reader._connection.snapshot():
        assert reader.count() == 401
        for _ in range(60):
            log.pass_time(PRUNE_INTERVAL_S)
            log.step()
        assert 0 < pruned_to(log) < 400
        assert log.statistics()["wal_bytes"] < 2 * MIB
        assert held_up_by(log).startswith("the WAL is too large")
    finish(log)
    assert seqs(log) == [401]


def test_a_writer_that_takes_nothing_in_deletes_nothing_either(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file does not shrink, so that no room would come of it."""
    record(log, 20)
    ask(log, prune(15))
    sign(log)
    monkeypatch.setattr(Disk, "suspended", property(lambda _: True))
    log.pass_time(IDLE_S)
    log.step()
    assert pruned_to(log) == 0
    assert ask(log, prune(15)) == (15, 0)
    assert held_up_by(log).startswith("intake is suspended")
    with pytest.raises(wire.WireError, match="intake is suspended"):
        ask(log, prune(16))
    monkeypatch.setattr(Disk, "suspended", property(lambda _: False))
    finish(log)
    assert seqs(log)[0] == 16


# --- what stays ---


def test_the_tree_keeps_all_that_the_rest_needs(log: Log) -> None:
    record(log, 700)
    whole = tree_of(log)
    ask(log, prune(530))
    assert log.store is not None
    size, kept = log.store.size, 530
    roots = {at: whole.root(at) for at in range(kept, size + 1)}
    path = audit_path(kept, size, whole.node)
    proof = consistency_proof(kept, size, whole.node)
    rows_before = log.query("SELECT count(*) FROM tree")[0][0]
    finish(log)
    pruned = tree_of(log)
    assert {at: pruned.root(at) for at in range(kept, size + 1)} == roots
    assert audit_path(kept, size, pruned.node) == path
    assert consistency_proof(kept, size, pruned.node) == proof
    assert log.query("SELECT count(*) FROM tree")[0][0] < rows_before - 30
    log.restart_writer()
    record(log, 100)
    assert tree_of(log).root(size) == roots[size]


def test_a_lookup_of_what_was_pruned_still_says_committed_with_its_id(log: Log) -> None:
    record(log, 30)
    ask(log, prune(20))
    finish(log)
    key = log.workers[0].producer.hash
    assert log.ask(wire.Lookup(key, 7)) == ["committed", 7, "", 0]
    assert log.ask(wire.Lookup(key, 21))[:3] == ["committed", 21, "step.done"]


def test_an_old_spool_of_what_was_pruned_does_not_bring_it_back(log: Log, tmp_path: Path) -> None:
    """A copy of the spool from before, as a restored disk has it."""
    worker = log.worker("old")
    worker.record(12)
    assert worker.spool is not None
    copy = tmp_path / "copy"
    copy.write_bytes(worker.spool.read_bytes())
    name = worker.spool.name
    log.settle()
    worker.record(8)
    log.settle()
    worker.producer.close()
    log.workers.remove(worker)
    ask(log, prune(15))
    finish(log)
    assert seqs(log)[0] == 16
    (log.spools / f"again-{name}").write_bytes(copy.read_bytes())
    log.settle()
    assert log.entered("old") == [16, 17, 18, 19, 20]
    assert log.statistics()["spools_adopted"] == 1


def test_a_twins_newer_events_under_pruned_numbers_are_entered_all_the_same(log: Log) -> None:
    first, second = log.twins()
    first.record(10, created_at=EPOCH_NS)
    log.settle()
    ask(log, prune(10, before=EPOCH_NS + 1))
    finish(log)
    second.record(4, created_at=EPOCH_NS + 1)
    log.settle()
    assert log.entered("second") == [1, 2, 3, 4]


def test_a_twins_older_events_under_pruned_numbers_count_as_those(log: Log) -> None:
    first, second = log.twins()
    first.record(10, created_at=EPOCH_NS)
    log.settle()
    ask(log, prune(10, before=EPOCH_NS + 1))
    finish(log)
    log.restart_writer()
    second.record(4, created_at=EPOCH_NS)
    log.settle()
    assert log.entered("second") == []


def test_accounts_letters_and_tasks_are_as_they_were(make_log: Any) -> None:
    log = make_log(enforce_tasks=True)
    worker = log.worker()
    worker.register("T1", title="t")
    worker.record(20, task_id="T1")
    worker.record(3, task_id="T2")
    log.settle()
    before = log.statistics()
    letters, tasks = log.dead_letters(), log.query("SELECT * FROM tasks")
    ask(log, prune(21))
    finish(log)
    after = log.statistics()
    names = ("submitted", "appended", "dead_lettered", "orphaned", "dead_letters")
    assert [after[name] for name in names] == [before[name] for name in names]
    assert after["entries"] == before["entries"] + 1
    assert log.dead_letters() == letters
    assert log.query("SELECT * FROM tasks") == tasks
    log.restart_writer()
    worker.record(1, task_id="T1")
    worker.register("T2")
    log.settle()
    ask(log, prune(log.store.size))
    finish(log)
    with LogReader(log.directory) as reader:
        letters = list(reader.dead_letters(returned=True))
    assert [(each.event_type, each.replayed_as is None) for each in letters] == [(None, False)] * 3
    assert log.statistics()["orphaned"] == 0


# --- readers ---


def test_a_pruned_log_reads_as_one_that_begins_later(log: Log) -> None:
    worker = log.worker()
    for number in range(300):
        worker.producer.append(
            encode(
                {"workflow_id": f"wf{number % 2}", "status": "failed", "stderr": "boom"},
                event_type="env.operation",
                task_id=f"T{number % 3}",
            )
        )
    log.settle()
    ask(log, prune(150))
    finish(log)
    with LogReader(log.directory) as reader:
        assert reader.get(150) is None
        assert reader.get(151) is not None
        assert [event.id for event in reader.events()] == list(range(151, 302))
        assert [event.id for event in reader.events(newest_first=True, limit=2)] == [301, 300]
        assert next(reader.events(after_id=7)).id == 151
        assert reader.count("env.operation") == 150
        assert reader.count_by_type() == {"env.operation": 150, PRUNED: 1}
        assert [each.id for each in reader.by_task("T0", limit=1)] == [151]
        assert len(list(reader.failed_operations("wf1"))) == 75
        assert [event.id for event in reader.search("boom", limit=2)] == [151, 152]
        assert next(reader.follow(after_id=0)).id == 151
    views = ("events", "task_audits", "env_operations", "signed_events")
    counts = [log.query(f"SELECT count(*) FROM {view}")[0][0] for view in views]
    assert counts == [151, 150, 150, 151]


def test_a_reader_that_follows_meanwhile_misses_nothing_that_stays(log: Log) -> None:
    record(log, 250)
    ask(log, prune(240))
    sign(log)
    with LogReader(log.directory) as reader:
        following = reader.follow(after_id=0, interval=0)
        seen = [next(following).id for _ in range(30)]
        finish(log)
        record(log, 5)
        while seen[-1] < 256:
            seen.append(next(following).id)
    assert seen[-16:] == list(range(241, 257))
    assert seen == sorted(set(seen))


# --- full text ---


def record_texts(log: Log, first: int, last: int) -> None:
    worker = log.workers[0] if log.workers else log.worker()
    for number in range(first, last + 1):
        text = f"common only{number}"
        worker.producer.append(
            encode({"status": "failed", "stderr": text}, event_type="env.operation")
        )
    log.settle()


def catch_up(log: Log) -> None:
    while log.writer._full_text.tail:
        log.pass_time(IDLE_S)
        log.step()


def test_what_is_pruned_leaves_the_index_and_no_word_of_it(log: Log) -> None:
    record_texts(log, 1, 40)
    catch_up(log)
    ask(log, prune(30))
    finish(log)
    catch_up(log)
    assert indexed_ids(log, "common") == list(range(31, 41))
    words = indexed_words(log)
    assert "only31" in words
    assert "only30" not in words
    blocks = log.query("SELECT block FROM full_text_data")
    assert not any(b"only1" in block or b"only29" in block for (block,) in blocks)
    assert log.query("SELECT value FROM meta WHERE key = 'full_text_traces'") == [(0,)]


def test_words_are_purged_after_a_kill_too(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_text, "PURGE_PAGES", 1)
    for first in range(1, 400, 20):
        record_texts(log, first, first + 19)
        catch_up(log)
    ask(log, prune(390))
    sign(log)
    purges = 0
    while log.writer._pruning.has_work:
        log.pass_time(IDLE_S)
        log.step()
        if not log.writer._pruning.left:
            purges += 1
            log.restart_writer()
    assert purges > 1
    catch_up(log)
    assert "only391" in indexed_words(log)
    assert "only390" not in indexed_words(log)
    log.query("SELECT 1")
    assert log.store is not None
    log.store.connection.execute("INSERT INTO full_text(full_text) VALUES('integrity-check')")


def test_an_index_that_lags_behind_the_prune_goes_on_from_there(log: Log) -> None:
    """Entries that go before their text was looked at are not in the index, and never will be."""
    record_texts(log, 1, 40)
    ask(log, prune(30))
    sign(log)
    while log.writer._pruning.left:
        log.pass_time(PRUNE_INTERVAL_S)
        log.writer._prune(log.now)  # before full text has its turn
    assert log.query("SELECT indexed_to FROM full_text_state") == [(30,)]
    assert log.statistics()["full_text_tail"] == 11, "what is gone is not looked for"
    with LogReader(log.directory) as reader:
        assert [event.id for event in reader.search("common")] == list(range(31, 41))
    catch_up(log)
    assert indexed_ids(log, "common") == list(range(31, 41))


def test_other_event_types_make_the_index_anew_from_what_is_left(log: Log, make_log: Any) -> None:
    record_texts(log, 1, 40)
    catch_up(log)
    ask(log, prune(30))
    finish(log)
    log.close()
    again = make_log(fts_event_types=("env.operation",))
    assert again.query("SELECT indexed_to FROM full_text_state") == [(30,)]
    catch_up(again)
    assert indexed_ids(again, "common") == list(range(31, 41))


def test_an_index_that_is_damaged_is_made_anew_and_the_prune_goes_on(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record_texts(log, 1, 40)
    catch_up(log)
    assert log.store is not None
    log.store.connection.execute(
        "UPDATE full_text_data SET block = CAST(replace(hex(block), '0', 'x') AS BLOB)"
    )
    log.restart_writer()
    ask(log, prune(30))
    with caplog.at_level(logging.ERROR):
        finish(log)
    assert "the index is damaged, and is made anew" in caplog.text
    catch_up(log)
    assert seqs(log) == list(range(31, 42))
    assert indexed_ids(log, "common") == list(range(31, 41))
