"""Where tasks are enforced: an event of an unknown task waits, and is entered when it is known."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from hansard import wire
from hansard_writer.store import REPLAYED
from stepped import Log, Worker, encode


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Served by a writer that enters events of registered tasks only."""
    log = Log(directory, enforce_tasks=True).start_writer()
    yield log
    log.close()


def tasks_of(log: Log) -> list[str]:
    """The task of each entry, in the log's order; but for registrations."""
    rows = log.query(
        "SELECT task_id FROM entries WHERE event_type = 'step.done' ORDER BY seq",
    )
    return [row[0] for row in rows]


def numbers_of(log: Log) -> list[tuple[int, int]]:
    """Producer's number and time of each event, in the log's order."""
    return log.query(
        "SELECT producer_seq, created_at FROM entries WHERE event_type = 'step.done' ORDER BY seq"
    )


def accounts(worker: Worker) -> tuple[int, int, int, int]:
    """What a worker knows: submitted, appended, dead-lettered, orphaned."""
    figures = worker.producer.statistics()
    lost = sum(figures["dropped"].values())
    assert figures["submitted"] == (
        figures["appended"] + figures["dead_lettered"] + figures["waiting"] + lost
    )
    names = ("submitted", "appended", "dead_lettered", "orphaned")
    submitted, appended, dead_lettered, orphaned = (figures[name] for name in names)
    return submitted, appended, dead_lettered, orphaned


def lookup(log: Log, worker: Worker, number: int) -> str:
    reply = wire.LookupReply(*log.ask(wire.Lookup(worker.producer.hash, number)))
    return reply.status


def test_an_event_of_a_registered_task_is_entered(log: Log) -> None:
    worker = log.worker()
    worker.register("T1", title="Refactor")
    worker.record(task_id="T1")
    log.settle()
    assert tasks_of(log) == ["T1"]
    assert log.dead_letters() == []
    assert log.query("SELECT task_id, attributes FROM tasks") == [("T1", '{"title":"Refactor"}')]


def test_an_event_without_a_task_is_entered(log: Log) -> None:
    log.worker().record()
    log.settle()
    assert tasks_of(log) == [None]


def test_a_registration_is_itself_an_entry(log: Log) -> None:
    log.worker().register("T1", title="Refactor")
    log.settle()
    assert log.query("SELECT event_type, task_id, payload FROM entries") == [
        (wire.TASK_REGISTERED, "T1", '{"title":"Refactor"}')
    ]


def test_an_event_of_an_unregistered_task_is_an_orphan_and_the_rest_is_entered(log: Log) -> None:
    worker = log.worker()
    worker.record(2)
    number = worker.record(task_id="T9")
    worker.record(2)
    ticket = worker.ticket(number)
    log.settle()
    assert (ticket.status, ticket.id) == ("orphaned", None)
    assert log.dead_letters() == [(3, 1, "orphan")]
    assert [number for number, _ in numbers_of(log)] == [1, 2, 4, 5]
    assert lookup(log, worker, 3) == "orphaned"
    assert log.query("SELECT task_id, detail FROM dead_letters") == [
        ("T9", "task 'T9' is not registered")
    ]


def test_orphans_are_entered_in_order_and_with_their_own_times_when_their_task_is_registered(
    log: Log,
) -> None:
    first, second = log.worker("first"), log.worker("second")
    for _ in range(3):
        first.record(task_id="T1")
        second.record(task_id="T1")
        second.record(task_id="T2")
        log.settle()
    recorded = log.query("SELECT count(*) FROM dead_letters WHERE reason = 'orphan'")
    assert recorded == [(9,)]
    log.pass_time(3_600)
    log.worker("third").register("T1")
    log.settle()
    assert tasks_of(log) == ["T1"] * 6
    rows = log.query(
        "SELECT producer, producer_seq, created_at FROM entries"
        " WHERE event_type = 'step.done' ORDER BY seq"
    )
    assert [row[2] for row in rows] == sorted(row[2] for row in rows)
    assert [row[1] for row in rows] == [1, 1, 2, 3, 3, 5]
    assert lookup(log, first, 2) == "committed"
    assert lookup(log, second, 2) == "orphaned"


def test_orphans_return_in_the_transaction_that_registers_their_task(log: Log) -> None:
    worker = log.worker()
    worker.record(5, task_id="T1")
    log.settle()
    commits = log.statistics()["commits"]
    worker.register("T1")
    log.settle()
    assert log.statistics()["commits"] == commits + 1
    assert len(tasks_of(log)) == 5


def test_an_orphan_whose_task_comes_in_the_same_batch_is_entered_and_nobody_is_warned(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    worker = log.worker()
    number = worker.record(task_id="T1")
    worker.record(task_id="T1")
    worker.register("T1")
    ticket = worker.ticket(number)
    with caplog.at_level(logging.WARNING, "hansard"):
        log.settle()
    assert (ticket.status, ticket.id) == ("committed", 2)
    assert caplog.messages == []
    assert accounts(worker) == (3, 3, 0, 0)


def test_an_orphan_that_nobody_waits_for_is_warned_of_by_task_and_type(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    worker = log.worker()
    with caplog.at_level(logging.WARNING, "hansard"):
        worker.record(3, task_id="T9", event_type="task.done")
        log.settle()
    (message,) = caplog.messages
    assert "T9" in message
    assert "task.done" in message


def test_a_worker_knows_what_became_of_its_events(log: Log) -> None:
    worker = log.worker()
    worker.record(4)
    worker.record(3, task_id="T1")
    log.settle()
    assert accounts(worker) == (7, 4, 3, 3)
    worker.register("T1")
    log.settle()
    assert accounts(worker) == (8, 8, 0, 0)
    assert worker.producer.statistics()["append_failures"] == 3


def test_the_writer_counts_the_same(log: Log) -> None:
    worker = log.worker()
    worker.record(4)
    worker.record(3, task_id="T1")
    log.settle()
    figures = log.statistics()
    names = ("submitted", "appended", "dead_lettered", "orphaned", "waiting", "dead_letters")
    assert [figures[name] for name in names] == [7, 4, 3, 3, 0, 3]
    worker.register("T1")
    log.settle()
    figures = log.statistics()
    assert [figures[name] for name in names] == [8, 8, 0, 0, 0, 0]
    assert figures["append_failures"] == 3


def test_a_returned_orphan_stays_in_the_list_of_dead_letters_without_its_bytes(log: Log) -> None:
    worker = log.worker()
    worker.record(task_id="T1")
    log.settle()
    worker.register("T1")
    log.settle()
    assert log.query("SELECT reason, replayed_as, frame FROM dead_letters") == [("orphan", 2, b"")]


def test_a_task_that_is_registered_again_keeps_its_time_and_takes_the_newest_attributes(
    log: Log,
) -> None:
    worker = log.worker()
    worker.register("T1", title="old")
    log.settle()
    before = log.query("SELECT created_at FROM tasks")
    worker.register("T1", title="new")
    worker.register("T1")
    log.settle()
    assert log.query("SELECT attributes FROM tasks") == [('{"title":"new"}',)]
    assert log.query("SELECT created_at FROM tasks") == before
    assert log.query("SELECT count(*) FROM entries") == [(3,)]


def test_tasks_are_known_to_the_next_writer(log: Log) -> None:
    worker = log.worker()
    worker.register("T1")
    log.settle()
    log.restart_writer()
    worker.record(task_id="T1")
    log.settle()
    assert tasks_of(log) == ["T1"]


def test_where_tasks_are_not_enforced_every_event_is_entered(directory: Path) -> None:
    log = Log(directory).start_writer()
    worker = log.worker()
    worker.record(task_id="T9")
    worker.register("T1")
    log.settle()
    assert tasks_of(log) == ["T9"]
    assert log.query("SELECT task_id FROM tasks") == [("T1",)]
    log.close()


def test_orphans_are_swept_in_at_the_start_of_a_writer_that_does_not_enforce_tasks(
    log: Log,
) -> None:
    worker = log.worker()
    worker.record(3, task_id="T1")
    log.settle()
    log.stop_writer()
    log.settings = type(log.settings)(disk_warn=0, disk_suspend=0)
    log.start_writer()
    log.turn()
    assert tasks_of(log) == ["T1"] * 3
    assert log.entries(REPLAYED) == [
        {"reason": "orphan", "entered": 3, "refused": 0, "letters": [1, 2, 3]}
    ]


def test_the_sweep_at_a_start_goes_by_pieces_and_leaves_orphans_whose_task_is_unknown(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = log.worker()
    worker.record(5, task_id="T1")
    worker.record(2, task_id="T2")
    log.settle()
    log.stop_writer()
    connection = apsw.Connection(str(log.directory / "log.db"))  # behind the writer's back
    connection.execute("INSERT INTO tasks VALUES('T1', 1, NULL)")
    connection.close()
    monkeypatch.setattr("hansard_writer.dead_letters.LETTERS_PER_REPLAY_MAX", 2)
    monkeypatch.setattr("hansard_writer.store.LETTERS_PER_REPLAY_MAX", 2)
    log.start_writer()
    assert [log.step() == 0 for _ in range(3)] == [True, True, False], "piece by piece, at once"
    assert tasks_of(log) == ["T1"] * 5
    assert log.query("SELECT task_id FROM dead_letters WHERE replayed_as IS NULL") == [
        ("T2",),
        ("T2",),
    ]
    log.settle()
    assert log.query("SELECT watermark FROM producers WHERE id = 0") == [(3,)]


def test_the_sweep_at_a_start_goes_on_under_load(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.worker("dead").record(6, task_id="T1")
    log.settle()
    log.stop_writer()
    log.settings = dataclasses.replace(log.settings, enforce_tasks=False, batch_events_max=1)
    monkeypatch.setattr("hansard_writer.dead_letters.LETTERS_PER_REPLAY_MAX", 2)
    monkeypatch.setattr("hansard_writer.store.LETTERS_PER_REPLAY_MAX", 2)
    log.start_writer()
    worker = log.worker()
    log.turn()
    worker.record(20)
    worker.send()
    for _ in range(5):
        worker.record()
        worker.send()
        log.step()
    assert len(log.link.frames) > 0, "there was more to read all the time"
    assert sorted(log.entered("dead")) == [1, 2, 3, 4, 5, 6]


def test_a_kill_at_any_moment_loses_no_orphan_and_doubles_none(log: Log) -> None:
    worker = log.worker()
    for step in range(12):
        worker.record(2, task_id="T1")
        worker.record()
        if step == 8:
            worker.register("T1")
        if step % 3 == 1:
            log.turn()
        log.restart_writer()
        log.turn()
    log.settle()
    assert sorted(log.entered("w")) == log.recorded["w"]
    assert accounts(worker) == (37, 37, 0, 0)


def test_the_spool_of_a_dead_worker_has_its_orphans_kept_too(log: Log) -> None:
    worker = log.worker()
    worker.record(2, task_id="T1")
    worker.kill()
    log.settle()
    assert [letter[2] for letter in log.dead_letters()] == ["orphan"] * 2
    log.worker("other").register("T1")
    log.settle()
    assert log.entered("w") == [1, 2]


def test_what_is_recorded_together_waits_together_for_the_task_of_one(log: Log) -> None:
    worker = log.worker()
    worker.register("T1")
    worker.record_together(
        encode({"n": 1}, task_id="T1"), encode({"n": 2}, task_id="T2"), encode({"n": 3})
    )
    worker.record()
    log.settle()
    assert log.dead_letters() == [(2, 3, "orphan")]
    assert accounts(worker) == (5, 2, 3, 3)
    worker.register("T2")
    log.settle()
    assert accounts(worker) == (6, 6, 0, 0)
    assert tasks_of(log) == [None, "T1", "T2", None]


def test_what_waits_for_two_tasks_is_entered_with_the_second(log: Log) -> None:
    worker = log.worker()
    worker.record_together(encode({"n": 1}, task_id="T1"), encode({"n": 2}, task_id="T2"))
    log.settle()
    worker.register("T1")
    log.settle()
    assert tasks_of(log) == []
    assert accounts(worker) == (3, 1, 2, 2)
    worker.register("T2")
    log.settle()
    assert tasks_of(log) == ["T1", "T2"]
    assert accounts(worker) == (4, 4, 0, 0)


def test_an_orphan_beyond_the_limit_of_dead_letters_is_counted_as_refused(directory: Path) -> None:
    log = Log(directory, enforce_tasks=True, dead_letters_max=1).start_writer()
    worker = log.worker()
    worker.record(3, task_id="T1")
    log.settle()
    assert accounts(worker) == (3, 0, 3, 1)
    worker.register("T1")
    log.settle()
    assert accounts(worker) == (4, 2, 2, 0)
    assert log.query("SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(2,)]
    log.close()


def test_a_full_store_leaves_orphans_and_batch_as_they_were(log: Log) -> None:
    worker = log.worker()
    worker.record(3, task_id="T1")
    log.settle()
    assert log.store is not None
    blocked = [True]

    def fail(_cursor: object, statement: str, _bindings: object) -> bool:
        if blocked[0] and statement.startswith("UPDATE dead_letters"):
            raise apsw.FullError("SQLITE_FULL")
        return True

    log.store._connection.set_exec_trace(fail)
    worker.register("T1")
    log.turn()
    log.turn()
    assert log.query("SELECT count(*) FROM entries") == [(0,)]
    blocked[0] = False
    log.pass_time(1)
    log.settle()
    assert log.entered("w") == [1, 2, 3]
    assert accounts(worker) == (4, 4, 0, 0)
