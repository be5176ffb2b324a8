"""Dead letters with a way back: what a replay enters, and what it leaves."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import msgpack
import pytest

from frames import Chain, event, parts
from hansard import wire
from hansard_writer.store import REPLAYED, StoreFull
from stepped import Log, encode, write_lock_taken

EVERYTHING = wire.Replay(0, None, None, dry_run=False)


def replay(log: Log, request: wire.Replay = EVERYTHING) -> wire.Replayed:
    return wire.replayed_of(log.ask(request))


def orphan(log: Log, events: int = 1, task_id: str = "T1") -> None:
    """Events of a task that nobody has registered are in the log's dead letters."""
    log.worker(task_id).record(events, task_id=task_id)
    log.settle()


def know(log: Log, task_id: str) -> None:
    """A task is registered behind the writer's back, so that nothing returns by itself."""
    assert log.store is not None
    log.store._connection.execute("INSERT INTO tasks VALUES(?, 1, NULL)", (task_id,))


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Served by a writer that enters events of registered tasks only."""
    log = Log(directory, enforce_tasks=True).start_writer()
    yield log
    log.close()


def test_a_replay_enters_orphans_whose_task_is_registered_and_says_so(log: Log) -> None:
    orphan(log, 3)
    know(log, "T1")
    assert replay(log) == (3, 0, 0, 3, True)
    assert log.entered("T1") == [1, 2, 3]
    assert log.entries(REPLAYED) == [
        {"reason": None, "entered": 3, "refused": 0, "letters": [1, 2, 3]}
    ]
    figures = log.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["orphaned"]) == (3, 0, 0)


def test_a_replay_that_is_repeated_enters_nothing_twice(log: Log) -> None:
    orphan(log, 2)
    know(log, "T1")
    replay(log)
    assert replay(log) == (0, 0, 0, 0, True)
    assert log.entered("T1") == [1, 2]
    assert len(log.entries(REPLAYED)) == 1


def test_what_is_refused_again_stays_and_its_attempts_are_counted(log: Log) -> None:
    orphan(log, 2)
    for _ in range(3):
        assert replay(log) == (0, 2, 0, 2, True)
    assert (
        log.query("SELECT attempts, reason, replayed_as FROM dead_letters")
        == [(3, "orphan", None)] * 2
    )
    assert log.entries(REPLAYED) == []


def test_a_dry_run_tells_what_would_happen_and_changes_nothing(log: Log) -> None:
    orphan(log, 2)
    orphan(log, 1, "T2")
    know(log, "T1")
    assert replay(log, EVERYTHING._replace(dry_run=True)) == (2, 1, 0, 3, True)
    assert log.query("SELECT count(*) FROM entries") == [(0,)]
    assert log.query("SELECT sum(attempts) FROM dead_letters") == [(0,)]
    assert log.statistics()["dead_letters"] == 3
    assert replay(log) == (2, 1, 0, 3, True)


def test_a_replay_may_be_of_one_reason_or_of_some_letters(log: Log) -> None:
    orphan(log, 3)
    know(log, "T1")
    assert replay(log, EVERYTHING._replace(reason="invalid")).entered == 0
    assert replay(log, EVERYTHING._replace(ids=[2])) == (1, 0, 0, 2, True)
    assert log.entered("T1") == [2]
    assert replay(log, EVERYTHING._replace(reason="orphan")).entered == 2
    assert sorted(log.entered("T1")) == [1, 2, 3]


def test_a_replay_goes_on_behind_the_piece_before(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.dead_letters.LETTERS_PER_REPLAY_MAX", 2)
    monkeypatch.setattr("hansard_writer.store.LETTERS_PER_REPLAY_MAX", 2)
    orphan(log, 3)
    know(log, "T1")
    assert replay(log) == (2, 0, 0, 2, False)
    assert replay(log, EVERYTHING._replace(after_id=2)) == (1, 0, 0, 3, True)


def test_a_letter_of_nobody_cannot_be_entered(log: Log) -> None:
    log.link.frames.append([b"no header", b"no body"])
    log.turn()
    assert replay(log) == (0, 0, 1, 1, True)


def test_an_invalid_event_is_refused_again_for_the_same_reason(log: Log) -> None:
    chain = Chain()
    log.link.requests.append(([b"c", b""], wire.pack_request(chain.hello())))
    log.step()
    log.link.frames.append(parts(chain.frame(event(level="loud"), event(task_id=None))))
    log.turn()
    assert replay(log) == (0, 1, 0, 1, True)
    assert log.dead_letters() == [(1, 1, "invalid")]


def test_a_letter_that_only_sqlite_calls_malformed_is_refused_again(log: Log) -> None:
    chain = Chain()
    log.link.requests.append(([b"c", b""], wire.pack_request(chain.hello())))
    log.step()
    bad = msgpack.packb([0, 1, "a", "info", None, None, "{'json5': 1}"])
    log.link.frames.append(parts(chain.frame(bad, event(task_id=None))))
    log.turn()
    log.turn()
    assert log.dead_letters() == [(1, 1, "invalid")]
    assert replay(log) == (0, 1, 0, 1, True)
    assert log.query("SELECT count(*) FROM entries") == [(1,)]


def test_what_was_read_before_a_replay_is_committed_before_it(log: Log) -> None:
    orphan(log, 1)
    know(log, "T1")
    worker = log.worker("other")
    log.turn()
    worker.record(2)
    worker.send()
    assert replay(log).entered == 1
    assert [row[0] for row in log.query("SELECT event_type FROM entries ORDER BY seq")] == [
        "step.done",
        "step.done",
        "step.done",
        REPLAYED,
    ]
    log.settle()
    assert log.entered("other") == [1, 2]


def test_while_another_program_holds_the_write_lock_a_replay_asks_to_be_repeated(log: Log) -> None:
    orphan(log, 1)
    know(log, "T1")
    with write_lock_taken(log.directory), pytest.raises(wire.WireError, match="try again"):
        replay(log)
    assert replay(log).entered == 1


def test_a_replay_says_what_holds_up_the_commit_before_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log.store is not None
    worker = log.worker()
    log.turn()
    log.turn()
    worker.record()
    worker.send()

    def write(*_: object) -> None:
        raise StoreFull("the disk that holds log.db is full")

    monkeypatch.setattr(log.store, "write", write)
    with pytest.raises(wire.WireError, match=r"log\.db is full: try again"):
        replay(log)


def test_a_kill_in_the_middle_of_a_replay_undoes_all_of_it(log: Log) -> None:
    orphan(log, 3)
    know(log, "T1")
    assert log.store is not None

    def die(_cursor: object, statement: str, bindings: object) -> bool:
        if statement.startswith("UPDATE dead_letters SET replayed_as") and bindings[1] == 3:  # type: ignore[index]
            raise KeyboardInterrupt
        return True

    log.store._connection.set_exec_trace(die)
    with pytest.raises(KeyboardInterrupt):
        replay(log)
    log.restart_writer()
    log.turn()
    assert log.entered("T1") == [1, 2, 3]  # the sweep at the start did it
    log.settle()
    assert log.statistics()["orphaned"] == 0


def test_own_entries_go_on_without_holes_behind_a_replay(log: Log) -> None:
    orphan(log, 1)
    know(log, "T1")
    replay(log)
    dropper = log.worker("dropper", queue_maxsize=1)
    dropper.record(3)
    log.settle()
    assert log.query("SELECT producer_seq FROM entries WHERE producer = 0 ORDER BY seq") == [
        (1,),
        (2,),
    ]


def test_a_run_that_was_refused_is_entered_as_a_run(log: Log) -> None:
    worker = log.worker()
    worker.record_together(*(encode({"w": "w", "n": n}, task_id="T1") for n in (1, 2, 3)))
    log.settle()
    know(log, "T1")
    assert replay(log) == (3, 0, 0, 1, True)
    assert log.entered("w") == [1, 2, 3]
    assert log.query(
        "SELECT first_producer_seq, count, first_seq FROM runs WHERE producer > 0"
    ) == [(1, 3, 1)]


def test_a_dead_letter_cannot_be_replayed_by_a_malformed_request(log: Log) -> None:
    for arguments in ([], [0], [0, 7, None, False], [0, None, "x", False], [-1, None, None, False]):
        with pytest.raises(wire.WireError):
            wire.replay_of(arguments)


def test_a_reader_beside_a_replay_sees_all_of_it_or_nothing(log: Log) -> None:
    orphan(log, 2)
    know(log, "T1")
    database = str(log.directory / "log.db")
    reader = apsw.Connection(database, flags=apsw.SQLITE_OPEN_READONLY)
    counts = (
        "SELECT (SELECT count(*) FROM entries WHERE task_id = 'T1'),"
        " (SELECT count(*) FROM dead_letters WHERE replayed_as IS NOT NULL)"
    )
    before = reader.execute(counts).get
    replay(log)
    assert (before, reader.execute(counts).get) == ((0, 0), (2, 2))
    reader.close()
