"""The counters that `statistics()` and `hansard stats` show: each moves when its cause comes up."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import wire
from stepped import Log, Worker, write_lock_taken

SHARED = (
    "submitted", "appended", "dead_lettered", "orphaned", "append_failures", "waiting",
    "queue_depth", "spool_bytes", "resent", "duplicates_dropped", "send_failures",
    "writer_restarts",
)  # fmt: skip


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Served by a writer that enters events of registered tasks only."""
    log = Log(directory, enforce_tasks=True).start_writer()
    yield log
    log.close()


def figures_of(worker: Worker) -> dict[str, Any]:
    """What `AuditLog.statistics` would show."""
    return worker.producer.statistics() | worker.transmission.statistics()


def assert_it_adds_up(figures: dict[str, Any]) -> None:
    kept = figures["appended"] + figures["dead_lettered"] + figures["waiting"]
    assert figures["submitted"] == kept + sum(figures["dropped"].values())
    assert 0 <= figures["orphaned"] <= figures["dead_lettered"]
    assert 0 <= figures["queue_depth"] <= figures["waiting"]


def test_all_counters_are_zero_at_first(log: Log) -> None:
    for figures in (figures_of(log.worker()), log.statistics()):
        assert {name: figures[name] for name in SHARED} == dict.fromkeys(SHARED, 0)
        assert sum(figures["dropped"].values()) == 0


def test_what_was_sent_and_is_not_committed_waits_but_is_no_queue(log: Log) -> None:
    worker = log.worker()
    worker.record(1)
    log.settle()
    worker.record(3)
    assert [figures_of(worker)[name] for name in ("waiting", "queue_depth")] == [3, 3]
    with write_lock_taken(log.directory):
        for _ in range(5):  # a question that nobody hurries is asked a little later
            log.turn()
        for figures in (figures_of(worker), log.statistics()):
            assert (figures["waiting"], figures["queue_depth"]) == (3, 0)
    log.settle()
    for figures in (figures_of(worker), log.statistics()):
        assert (figures["waiting"], figures["queue_depth"]) == (0, 0)


def test_the_writer_counts_what_it_has_not_read(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    worker.send()
    log.link.frames.clear()  # but the question behind them arrives
    log.step()
    assert [log.statistics()[name] for name in ("submitted", "waiting", "queue_depth")] == [5, 5, 5]


def test_the_bytes_that_wait_are_counted_and_freed(log: Log) -> None:
    worker = greeted(log)
    worker.record(3)
    with write_lock_taken(log.directory):
        log.turn()
        held = figures_of(worker)["spool_bytes"]
        assert 3 * 50 < held < 3 * 500
        assert log.statistics()["spool_bytes"] == held
    log.settle()
    assert (figures_of(worker)["spool_bytes"], log.statistics()["spool_bytes"]) == (0, 0)


def test_what_is_sent_again_and_what_was_there_already_are_counted(log: Log) -> None:
    worker = greeted(log)
    worker.record(5)
    worker.send()
    log.link.frames.extend(list(log.link.frames))
    log.turn()
    log.settle()
    assert figures_of(worker)["duplicates_dropped"] == 5
    assert log.statistics()["duplicates_dropped"] == 5
    worker.record(4)
    worker.send()
    log.link.frames.clear()  # lost: the writer sees the gap by what comes next
    worker.record(1)
    log.settle()
    assert figures_of(worker)["resent"] == 5
    worker.record(1)
    log.settle()  # how it is doing comes with the next question
    assert log.statistics()["resent"] == 5


def test_a_request_that_is_refused_is_a_send_failure(log: Log) -> None:
    worker = greeted(log)
    worker.record(1)
    envelope = [worker._address, worker._request.to_bytes(4, "big"), b""]
    log.link.replies.append((envelope, wire.pack_error("not today")))
    worker.hear()
    log.settle()
    worker.record(1)
    log.settle()
    assert figures_of(worker)["send_failures"] == 1
    assert log.statistics()["send_failures"] == 1
    log.assert_all_is_in()


def test_each_start_of_a_writer_is_counted(log: Log) -> None:
    worker = greeted(log)
    for restarts in (1, 2):
        log.restart_writer()
        worker.record(1)
        log.settle()
        assert figures_of(worker)["writer_restarts"] == restarts
        assert log.statistics()["writer_restarts"] == restarts


def test_what_is_dropped_is_counted_by_cause(log: Log) -> None:
    worker = log.worker(queue_maxsize=2)
    for _ in range(5):
        worker.record()
    assert figures_of(worker)["dropped"] == {"full": 3}
    assert_it_adds_up(figures_of(worker))
    log.settle()
    assert log.statistics()["dropped"] == {"by_producers": 3, "log_went_back": 0}


def test_a_return_moves_an_orphan_to_the_appended_and_the_failure_stays_counted(log: Log) -> None:
    worker = log.worker()
    worker.record(3, task_id="T1")
    log.settle()
    names = ("appended", "dead_lettered", "orphaned", "append_failures")
    for figures in (figures_of(worker), log.statistics()):
        assert [figures[name] for name in names] == [0, 3, 3, 3]
    worker.register("T1")
    log.settle()
    for figures in (figures_of(worker), log.statistics()):
        assert [figures[name] for name in names] == [4, 0, 0, 3]


def test_a_letter_that_finds_no_room_is_counted_and_said_as_an_error_and_the_log_goes_on(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(directory, enforce_tasks=True, dead_letters_max=2).start_writer()
    worker = log.worker()
    worker.record(5, task_id="T9")
    worker.record(1)
    with caplog.at_level(logging.ERROR, "hansard.writer"):
        log.settle()
        worker.record(2, task_id="T9")
        worker.record(1)
        log.settle()
    assert log.statistics()["dead_letters_not_kept"] == 5
    assert len(log.dead_letters()) == 2
    assert figures_of(worker)["append_failures"] == 7
    assert log.query("SELECT count(*) FROM entries") == [(2,)]
    (complaint,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "dead_letters_max" in complaint.getMessage()
    assert_it_adds_up(figures_of(worker))
    log.restart_writer()
    assert log.statistics()["dead_letters_not_kept"] == 5
    log.close()


def test_both_sides_add_up_after_every_turn(log: Log) -> None:
    worker, other = log.worker("w", queue_maxsize=20), log.worker("other")
    for step in range(40):
        worker.record(9)
        other.record(2, task_id=f"T{step // 10}")
        if step % 10 == 9:
            other.register(f"T{step // 10}")
        if step % 13 == 12:
            log.restart_writer()
        if step % 3:
            log.turn()
        for figures in (figures_of(worker), figures_of(other), log.statistics()):
            assert_it_adds_up(figures)
    log.settle()
    log.turn()
    both = [figures_of(worker), figures_of(other)]
    seen = log.statistics()
    for name in ("submitted", "appended", "dead_lettered", "orphaned", "append_failures"):
        assert seen[name] == sum(figures[name] for figures in both), name


def greeted(log: Log) -> Worker:
    """A worker that may send."""
    worker = log.worker()
    worker.send()
    log.step()
    worker.hear()
    return worker


def test_the_start_of_this_run_is_told_and_is_another_after_a_restart(log: Log) -> None:
    assert log.statistics()["started_at"] == "2023-11-14T22:30:00Z"
    log.pass_time(90)
    assert log.statistics()["started_at"] == "2023-11-14T22:30:00Z"
    log.kill_writer()
    log.start_writer()
    assert log.statistics()["started_at"] == "2023-11-14T22:31:30Z"


def test_what_is_entered_is_counted_by_type_and_level_and_what_is_refused_by_reason(
    log: Log,
) -> None:
    worker = greeted(log)
    worker.record(3)
    worker.record(2, event_type="step.failed", level="error")
    worker.record(4, task_id="T9")
    log.settle()
    seen = log.statistics()
    assert seen["entered_by_type"] == {"step.done": 3, "step.failed": 2}
    assert seen["entered_by_level"] == {"info": 3, "error": 2}
    assert seen["refused_by_reason"] == {wire.ORPHAN: 4}
    assert seen["event_bytes"] > 9 * 40
    worker.register("T9")
    log.settle()
    assert sum(log.statistics()["entered_by_type"].values()) == log.statistics()["entries"] == 10


def test_a_batch_that_could_not_be_committed_is_counted_when_it_is(log: Log) -> None:
    worker = greeted(log)
    worker.record(3)
    with write_lock_taken(log.directory):
        for _ in range(5):
            log.turn()
        assert log.statistics()["entered_by_type"] == {}
        assert observed(log, "commit_seconds") == 0
    log.settle()
    assert log.statistics()["entered_by_type"] == {"step.done": 3}
    assert observed(log, "commit_seconds") == observed(log, "commit_events") == 1
    assert log.statistics()["commit_events"]["sum"] == 3


def test_an_acknowledgement_is_measured_from_the_first_question_on(log: Log) -> None:
    clock = iter(range(1_000))
    log.writer._acks._clock = lambda: float(next(clock))
    worker = greeted(log)
    worker.record(1)
    with write_lock_taken(log.directory):
        for _ in range(
            100
        ):  # the writer can only say that it is not yet committed, again and again
            log.turn()
    log.settle()
    assert observed(log, "ack_seconds") == 1
    assert log.statistics()["ack_seconds"]["sum"] == 1.0, "the clock was read twice"


def observed(log: Log, name: str) -> int:
    """How many values a histogram has."""
    return sum(log.statistics()[name]["counts"])
