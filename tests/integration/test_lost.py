"""What is lost is entered as lost: once, with who, how much, when and why."""

import shutil
from pathlib import Path

import pytest

from hansard_writer.intake import LOST
from stepped import EPOCH_NS, Log, Worker, encode

LARGE = {"text": "x" * 500_000}  # four of these fill the spool


def copy_of(log: Log, to: Path) -> Path:
    """The database as a backup has it. The writer is not running."""
    assert log.store is None
    to.mkdir()
    for path in log.directory.glob("log.db*"):
        shutil.copy(path, to)
    return to


def put_back(log: Log, copy: Path) -> None:
    for path in log.directory.glob("log.db*"):
        path.unlink()
    for path in copy.iterdir():
        shutil.copy(path, log.directory)
    log.accepted = {"accept_rollback": True}


def fill(worker: Worker) -> int:
    """Record large events until one is dropped; how many were kept."""
    kept = 0
    while worker.producer.append(encode(LARGE)) > 0:
        kept += 1
    return kept


# --- a log that went back in time ---


def test_a_log_restored_to_an_earlier_state_says_what_is_missing_once(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    log.stop_writer()
    backup = copy_of(log, tmp_path / "backup")
    log.start_writer()
    worker.record(4)
    log.settle()
    log.stop_writer()
    put_back(log, backup)
    log.start_writer()
    worker.record(2)
    log.settle()
    assert "1 entry hansard.lost: see hansard query" in caplog.text
    for _ in range(3):
        log.restart_writer()
        worker.record(1)
        log.settle()
    assert sum("hansard.lost" in each for each in caplog.messages) == 1
    (lost,) = log.entries(LOST)
    assert lost["producer"] == worker.producer.hash.hex()
    assert lost["reason"] == "the log went back in time"
    assert (lost["first_producer_seq"], lost["last_producer_seq"], lost["count"]) == (4, 7, 4)
    assert log.entered("w") == [1, 2, 3, 8, 9, 10, 11, 12]
    log.recorded["w"] = [1, 2, 3, 8, 9, 10, 11, 12]
    log.assert_all_is_in()


def test_a_restored_log_enters_what_was_not_committed_when_it_was_replaced(
    log: Log, tmp_path: Path
) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    log.stop_writer()
    backup = copy_of(log, tmp_path / "backup")
    log.start_writer()
    worker.record(2)
    log.settle()
    log.stop_writer()
    put_back(log, backup)
    worker.record(2)
    log.start_writer()
    log.settle()
    assert log.entered("w") == [1, 2, 3, 6, 7]


def test_a_dead_producers_spool_tells_a_restored_log_what_it_lacks(
    log: Log, tmp_path: Path
) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    log.stop_writer()
    backup = copy_of(log, tmp_path / "backup")
    log.start_writer()
    worker.record(4)
    log.settle()
    log.stop_writer()
    worker.record(2)
    worker.kill()
    put_back(log, backup)
    log.start_writer()
    log.settle()
    (lost,) = log.entries(LOST)
    assert (lost["first_producer_seq"], lost["last_producer_seq"]) == (4, 7)
    assert log.entered("w") == [1, 2, 3, 8, 9]


def test_a_log_that_does_not_know_a_producer_that_has_met_it_says_so(
    log: Log, tmp_path: Path
) -> None:
    """The copy is from before the producer's first event."""
    log.stop_writer()
    backup = copy_of(log, tmp_path / "backup")
    log.start_writer()
    worker = log.worker()
    worker.record(5)
    log.settle()
    log.stop_writer()
    put_back(log, backup)
    log.start_writer()
    worker.record(1)
    log.settle()
    (lost,) = log.entries(LOST)
    assert (lost["first_producer_seq"], lost["last_producer_seq"]) == (1, 5)
    assert log.entered("w") == [6]
    assert worker.producer.statistics()["appended"] == 6


def test_a_producer_of_another_log_never_enters_it(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    log.stop_writer()
    worker.record(2)
    old_spool = worker.spool
    for path in log.files():
        path.unlink()
    log.start_writer()
    worker.record(4)  # the worker cannot know yet: these are the old log's, too
    for _ in range(10):
        log.turn()
    worker.record(2)
    for _ in range(100):
        log.turn()
    assert log.entered("w") == [10, 11]
    assert old_spool is not None
    assert old_spool.exists()
    assert worker.producer.statistics()["dropped"] == {"set_aside": 6}
    assert log.writer.figures()["spools_of_other_logs"] == 1


def test_drops_are_told_once_though_another_log_comes_in_between(log: Log, tmp_path: Path) -> None:
    """To the log that was there when they fell: its spool keeps them, with what waits."""
    worker = log.worker(queue_maxsize=2)
    worker.record(2)
    log.settle()
    log.stop_writer()
    worker.record(5)
    log.put_aside(tmp_path / "old")
    log.start_writer()
    for _ in range(10):
        log.turn()
    worker.record()
    for _ in range(100):
        log.turn()
    assert log.entered("w") == [5]
    assert log.entries(LOST) == []
    log.stop_writer()
    log.put_back(tmp_path / "old")
    log.start_writer()
    log.settle()
    log.disconnect()
    for _ in range(200):
        log.turn()
    assert log.entered("w") == [1, 2, 3, 4]
    assert [each["count"] for each in log.entries(LOST)] == [3]


# --- events that were dropped ---


def test_drops_are_entered_as_lost_exactly_once(log: Log) -> None:
    worker = log.worker()
    worker.record()
    log.settle()
    kept = fill(worker)
    for _ in range(4):
        worker.producer.append(encode(LARGE))
    log.settle()
    worker.record(3)
    log.settle()
    (lost,) = log.entries(LOST)
    assert lost["count"] == 5
    assert lost["reason"] == "the queue stayed full"
    assert lost["producer"] == worker.producer.hash.hex()
    assert EPOCH_NS < lost["first_at"] <= lost["last_at"]
    assert log.query("SELECT dropped FROM producers WHERE dropped > 0") == [(5,)]
    assert log.query("SELECT count(*) FROM entries") == [(1 + kept + 1 + 3,)]
    assert not worker.producer.has_work


def test_drops_of_several_times_add_up(log: Log) -> None:
    worker = log.worker()
    for _ in range(3):
        fill(worker)
        log.settle()
    lost = log.entries(LOST)
    assert [each["count"] for each in lost] == [1, 1, 1]
    assert lost[0]["last_at"] < lost[1]["first_at"] <= lost[1]["last_at"] < lost[2]["first_at"]


def test_drops_are_reported_once_when_their_frames_are_resent(log: Log) -> None:
    worker = log.worker()
    fill(worker)
    log.turn()
    worker.send()
    log.link.frames.extend(list(log.link.frames) * 2)
    log.step()
    log.restart_writer()
    log.settle()
    log.disconnect()
    worker.record()
    log.settle()
    assert [each["count"] for each in log.entries(LOST)] == [1]


def test_drops_are_reported_when_there_is_no_event_left_to_carry_them(log: Log) -> None:
    worker = log.worker(queue_maxsize=2)
    log.turn()
    worker.record(2)
    worker.send()
    worker.record(1)
    log.settle()
    assert [each["count"] for each in log.entries(LOST)] == [1]
    log.assert_all_is_in()


def test_a_producer_that_only_dropped_is_known_to_have_done_so(log: Log) -> None:
    """A frame without events carries it; nothing else of the producer is committed."""
    worker = log.worker(queue_maxsize=1)
    worker.record(3)
    log.settle()
    assert [each["count"] for each in log.entries(LOST)] == [2]
    log.assert_all_is_in()


@pytest.mark.parametrize("sent_before", [False, True])
def test_drops_in_the_spool_of_a_dead_producer_are_reported_once(
    log: Log, sent_before: bool
) -> None:
    worker = log.worker()
    log.turn()
    kept = fill(worker)
    if sent_before:
        worker.send()
        log.step()
        log.pass_time(1)
        log.step()
    worker.kill()
    log.settle()
    log.restart_writer()
    log.settle()
    assert [each["count"] for each in log.entries(LOST)] == [1]
    assert log.query("SELECT count(*) FROM entries") == [(kept + 1,)]


def test_drops_alone_are_found_in_the_spool_of_a_dead_producer(log: Log) -> None:
    """All its events are committed and freed; the count in its spool's header is not."""
    worker = log.worker(queue_maxsize=2)
    log.turn()
    worker.record(2)
    worker.send()
    worker.record(1)
    log.step()
    log.pass_time(0.01)
    log.step()
    worker.hear()
    assert worker.producer.waiting == 0
    assert log.entries(LOST) == []
    worker.kill()
    log.settle()
    assert [each["count"] for each in log.entries(LOST)] == [1]
    log.assert_all_is_in()


def test_what_is_lost_is_in_the_log_between_the_entries_of_others(log: Log) -> None:
    """The writer's own entries have numbers of their own producer, without holes."""
    worker = log.worker(queue_maxsize=2)
    other = log.worker("other")
    for _ in range(4):
        worker.record(3)
        other.record(2)
        log.settle()
        log.restart_writer()
    log.settle()
    log.assert_all_is_in()
    numbers = log.query("SELECT producer_seq FROM entries WHERE producer = 0 ORDER BY seq")
    assert numbers == [(1,), (2,), (3,), (4,)]
