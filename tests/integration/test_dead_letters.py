"""Dead letters with a way back: what a replay enters, and what it leaves."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import msgpack
import pytest

from frames import Chain, event, fields, parts
from hansard import wire
from hansard_writer.reconsidering import DROPPED, REPLAYED
from hansard_writer.retries import RETRY_S, StoreFull
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
    monkeypatch.setattr("hansard_writer.dead_letters.LETTERS_PER_PIECE_MAX", 2)
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
    log.pass_time(RETRY_S)
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


# --- registrations that return ---


def old_registration(log: Log, task_id: str = "T1") -> None:
    """A letter of a release that knew no tasks: it refused what registers one."""
    assert log.store is not None
    chain = Chain(task_id.ljust(wire.PRODUCER_ID_BYTES).encode())
    log.link.requests.append(([b"c", b""], wire.pack_request(chain.hello())))
    log.step()
    log.link.frames.append(parts(chain.frame(event(level="loud"))))
    log.turn()
    log.turn()
    packed = msgpack.packb(
        fields("{}", kind=wire.KIND_TASK, event_type=wire.TASK_REGISTERED, task_id=task_id)
    )
    log.store.connection.execute(
        "UPDATE dead_letters SET frame = ? WHERE id = (SELECT max(id) FROM dead_letters)", (packed,)
    )


@pytest.mark.parametrize("registration", ["before", "behind"])
def test_orphans_that_come_in_with_a_registration_are_counted_with_it(
    log: Log, registration: str
) -> None:
    if registration == "before":
        old_registration(log)
    orphan(log, 2)
    if registration == "behind":
        old_registration(log)
    assert replay(log) == (3, 0, 0, 3, True)
    (said,) = log.entries(REPLAYED)
    assert said == {"reason": None, "entered": 3, "refused": 0, "letters": [1, 2, 3]}
    assert sorted(log.entered("T1")) == [1, 2]
    figures = log.statistics()
    assert (figures["dead_lettered"], figures["orphaned"], figures["dead_letters"]) == (0, 0, 0)


def test_orphans_that_were_not_asked_for_come_in_with_their_registration(log: Log) -> None:
    orphan(log, 2)
    old_registration(log)
    dry = EVERYTHING._replace(reason="invalid", dry_run=True)
    assert replay(log, dry) == (3, 0, 0, 3, True)
    assert replay(log, dry._replace(dry_run=False)) == (3, 0, 0, 3, True)
    (said,) = log.entries(REPLAYED)
    assert (said["entered"], said["letters"]) == (3, [1, 2, 3])


def test_a_task_whose_registration_was_rolled_back_is_not_known(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_registration(log)
    assert log.store is not None

    def fail(*_: object) -> None:
        raise apsw.FullError

    with monkeypatch.context() as patch:
        patch.setattr(log.store.letters, "return_orphans", fail)
        with pytest.raises(wire.WireError, match="is full"):
            replay(log)
    orphan(log, 1)
    assert log.entered("T1") == []
    assert log.dead_letters()[-1] == (1, 1, "orphan")


# --- pieces and sweeps ---


def test_a_piece_has_a_bound_in_bytes_and_takes_one_letter_at_least(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.dead_letters.BYTES_PER_PIECE_MAX", 100)
    log.worker("T1").record(3, task_id="T1", actor="a" * 90)
    log.settle()
    know(log, "T1")
    assert replay(log) == (1, 0, 0, 1, False)
    assert replay(log, EVERYTHING._replace(after_id=1)) == (1, 0, 0, 2, False)
    assert replay(log, EVERYTHING._replace(after_id=2)) == (1, 0, 0, 3, True)


def test_a_sweep_tries_a_letter_that_it_cannot_enter_once_and_not_at_each_start(
    directory: Path,
) -> None:
    """One that is refused for good, and one that waits for a second task."""
    log = Log(directory, enforce_tasks=True).start_writer()
    worker = log.worker()
    worker.record_together(*(encode({"n": n}, task_id=f"T{n}") for n in (1, 2)))
    orphan(log, 1, "T1")
    know(log, "T1")
    assert log.store is not None
    log.store.connection.execute("UPDATE dead_letters SET frame = x'c1' WHERE id = 2")
    for _ in range(3):
        log.restart_writer()
        log.turn()
    assert log.query("SELECT id, attempts, reason, task_id FROM dead_letters") == [
        (1, 1, "orphan", "T2"),
        (2, 1, "undecodable", None),
    ]
    assert log.statistics()["orphaned"] == 2
    log.close()


# --- given up ---

ALL = wire.DropLetters(0, None, None, entered=False, dry_run=False)


def drop(log: Log, request: wire.DropLetters = ALL) -> wire.LettersDropped:
    return wire.letters_dropped_of(log.ask(request))


def accounts(log: Log) -> tuple[int, ...]:
    figures = log.statistics()
    names = ("submitted", "appended", "dead_lettered", "orphaned", "waiting", "dead_letters")
    return tuple(figures[name] for name in names)


def test_what_is_dropped_is_gone_and_an_entry_says_whose_it_was(log: Log) -> None:
    orphan(log, 3)
    orphan(log, 1, "T2")
    hashes = [
        row[0].hex()
        for row in log.query("SELECT producer_hash FROM producers WHERE id > 0 ORDER BY id")
    ]
    assert drop(log, ALL._replace(ids=[1, 2, 4])) == (3, 3, 4, True)
    assert log.query("SELECT id FROM dead_letters") == [(3,)]
    assert log.entries(DROPPED) == [
        {
            "reason": None,
            "letters": [1, 2, 4],
            "events": 3,
            "producers": {hashes[0]: [[1, 2]], hashes[1]: [[1, 1]]},
        }
    ]
    assert log.query("SELECT level FROM entries") == [("warning",)]


def test_events_that_were_given_up_stay_counted_as_dead_lettered(log: Log) -> None:
    orphan(log, 3)
    assert accounts(log) == (3, 0, 3, 3, 0, 3)
    drop(log, ALL._replace(ids=[2]))
    assert accounts(log) == (3, 0, 3, 2, 0, 2)
    know(log, "T1")
    replay(log)
    assert accounts(log) == (3, 2, 1, 0, 0, 0)
    figures = log.workers[0].producer.statistics()
    assert figures["submitted"] == figures["appended"] + figures["dead_lettered"]


def test_a_worker_hears_that_its_orphans_wait_no_more(log: Log) -> None:
    orphan(log, 3)
    drop(log)
    worker = log.workers[0]
    worker.record(1)
    log.settle()
    figures = worker.producer.statistics()
    assert (figures["orphaned"], figures["dead_lettered"], figures["appended"]) == (0, 3, 1)


def test_a_dropped_orphan_does_not_come_back(log: Log) -> None:
    orphan(log, 2)
    drop(log, ALL._replace(ids=[1]))
    log.worker("registers").register("T1")
    log.settle()
    assert log.entered("T1") == [2]
    assert replay(log) == (0, 0, 0, 0, True)
    log.restart_writer()
    log.settle()
    assert log.entered("T1") == [2]
    assert accounts(log)[1:4] == (2, 1, 0)


def test_a_lookup_of_what_was_dropped_says_rejected(log: Log) -> None:
    orphan(log, 2)
    (producer_hash,) = log.query("SELECT producer_hash FROM producers WHERE id > 0")[0]
    asked = wire.Lookup(producer_hash, 1)
    assert log.ask(asked)[0] == "orphaned"
    drop(log, ALL._replace(ids=[1]))
    assert log.ask(asked)[0] == "rejected"
    log.restart_writer()
    assert log.ask(asked)[0] == "rejected"


def test_a_drop_may_be_of_one_reason_and_goes_on_in_pieces(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.dead_letters.LETTERS_PER_PIECE_MAX", 2)
    orphan(log, 3)
    log.link.frames.append([b"no header", b"no body"])
    log.turn()
    log.turn()
    orphans = ALL._replace(reason="orphan")
    assert drop(log, orphans) == (2, 2, 2, False)
    assert drop(log, orphans._replace(after_id=2)) == (1, 1, 3, True)
    assert drop(log, orphans) == (0, 0, 0, True)
    assert drop(log) == (1, 0, 4, True), "nobody's letter, and no event with it"
    said = log.entries(DROPPED)
    assert [each["letters"] for each in said] == [[1, 2], [3], [4]]
    assert said[-1] == {"reason": None, "letters": [4], "events": 0, "producers": {}}


def test_a_dry_run_of_a_drop_tells_what_would_go_and_changes_nothing(log: Log) -> None:
    orphan(log, 2)
    assert drop(log, ALL._replace(dry_run=True)) == (2, 2, 2, True)
    assert log.entries(DROPPED) == []
    assert accounts(log) == (2, 0, 2, 2, 0, 2)


def test_dropped_letters_make_room_for_new_ones(directory: Path) -> None:
    log = Log(directory, enforce_tasks=True, dead_letters_max=2).start_writer()
    orphan(log, 3)
    assert log.statistics()["dead_letters_not_kept"] == 1
    drop(log)
    orphan(log, 1, "T2")
    assert log.query("SELECT task_id FROM dead_letters") == [("T2",)]
    log.restart_writer()
    assert log.statistics()["dead_letters"] == 1
    log.close()


def test_the_rows_of_letters_that_were_entered_can_be_dropped_and_cost_no_event(log: Log) -> None:
    orphan(log, 2)
    orphan(log, 1, "T2")
    know(log, "T1")
    replay(log)
    before = accounts(log)
    assert drop(log, ALL._replace(entered=True)) == (2, 0, 2, True)
    assert log.query("SELECT id FROM dead_letters") == [(3,)]
    assert log.entries(DROPPED) == [
        {"reason": None, "letters": [1, 2], "events": 0, "producers": {}}
    ]
    assert accounts(log) == before
    assert log.entered("T1") == [1, 2]


def test_a_drop_that_fails_changes_nothing(log: Log) -> None:
    orphan(log, 2)
    with write_lock_taken(log.directory), pytest.raises(wire.WireError, match="try again"):
        drop(log)
    assert accounts(log) == (2, 0, 2, 2, 0, 2)
    log.pass_time(RETRY_S)
    assert drop(log) == (2, 2, 2, True)
    dropper = log.worker("dropper", queue_maxsize=1)
    dropper.record(3)
    log.settle()
    assert log.query("SELECT producer_seq FROM entries WHERE producer = 0 ORDER BY seq") == [
        (1,),
        (2,),
    ]


def test_letters_cannot_be_dropped_by_a_malformed_request(log: Log) -> None:
    for arguments in (
        [],
        [0, None, None, False],
        [0, 7, None, False, False],
        [0, None, "x", False, False],
        [-1, None, None, False, False],
        [0, None, None, 1, False],
        [0, None, None, False, None],
    ):
        with pytest.raises(wire.WireError):
            wire.drop_letters_of(arguments)
