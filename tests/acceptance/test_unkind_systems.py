"""What a client does when its system fails it: descriptors, threads, disks, handlers, time."""

import errno
import logging
import os
import threading
from pathlib import Path

import pytest
import zmq

import hansard_writer
from hansard import AuditLog, ClosedError, InvalidEvent, connection
from support import assert_log_is_sound, count_entries, wait_until


def test_a_logging_handler_that_records_does_not_deadlock_with_a_warning(directory: Path) -> None:
    """One thread logs and holds the handler; another warns and holds the producer."""
    log = AuditLog(directory, queue_maxsize=1, on_full="drop")

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            log.record("logged", {"message": record.getMessage()})

    handler = Recording()
    logging.getLogger().addHandler(handler)
    try:
        threads = [
            threading.Thread(target=lambda: [log.record("a") for _ in range(500)], daemon=True),
            threading.Thread(
                target=lambda: [logging.getLogger("app").warning("w") for _ in range(500)],
                daemon=True,
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        logging.getLogger().removeHandler(handler)
        log.close()


def test_a_fault_of_the_system_does_not_end_the_sender_and_is_counted(
    directory: Path,
    writer: hansard_writer.RunningWriter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    faults = iter(range(3))
    socket = connection._socket

    def sometimes(*arguments: object) -> object:
        if next(faults, None) is not None:
            raise zmq.ZMQError(errno.EMFILE)
        return socket(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "_socket", sometimes)
    with AuditLog(directory) as log:
        waiting = [log.record("before.faults") for _ in range(50)]
        assert log.record("after.faults", sync=True, timeout=20).id == len(waiting) + 1
        assert log.statistics()["send_failures"] == 3
    errors = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert errors, "a fault is said as an error, once a minute"


def test_a_thread_that_cannot_be_started_is_tried_again_and_leaks_nothing(
    directory: Path, writer: hansard_writer.RunningWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with AuditLog(directory) as log:
        log.record("first")
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with AuditLog(directory) as other:
            before = len(list(Path("/proc/self/fd").iterdir()))
            for _ in range(50):
                other.record("unsent")
                other.flush(0)
            others = 20  # its spool, and what the first log's thread opens meanwhile
            assert len(list(Path("/proc/self/fd").iterdir())) < before + others
            monkeypatch.undo()
            other.record("sent")
            assert other.flush(20)
        assert log.flush(20)
    assert count_entries(directory) == 52


def test_drain_keeps_its_time_when_only_drops_are_left(directory: Path) -> None:
    log = AuditLog(directory, queue_maxsize=1, on_full="drop")
    log.record("kept")
    log._producer.accounts.drop("full", 1, 5)
    log._producer.acked = log._producer.seq
    assert not log.drain(0.2)
    log._producer.acked = 0
    log.close()


def test_a_caller_who_waits_for_room_is_told_that_the_log_was_closed(directory: Path) -> None:
    log = AuditLog(directory, queue_maxsize=1, ack_timeout=60)
    log.record("fills.the.queue")
    told: list[BaseException] = []

    def record() -> None:
        try:
            log.record("waits")
        except ClosedError as error:
            told.append(error)

    caller = threading.Thread(target=record)
    caller.start()
    wait_until(lambda: log._producer._blocked, "the caller waits for room")
    log.close(0)
    caller.join(20)
    assert len(told) == 1


def test_a_disk_that_became_read_only_does_not_reach_the_caller_of_close(
    directory: Path, writer: hansard_writer.RunningWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(directory)
    log.record("a", sync=True)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert log.close() == 0


@pytest.mark.parametrize("timeout", [float("nan"), "x"])
def test_a_timeout_that_is_none_is_refused_before_anything_is_recorded(
    directory: Path, timeout: object
) -> None:
    with AuditLog(directory) as log:
        with pytest.raises(InvalidEvent, match="timeout is"):
            log.record("a", sync=True, timeout=timeout)  # type: ignore[arg-type]
        with pytest.raises(InvalidEvent, match="timeout is"):
            log.flush(timeout)  # type: ignore[arg-type]
        assert log.statistics()["submitted"] == 0


def test_more_at_once_than_would_ever_fit_is_refused_before_anything_is_recorded(
    directory: Path, writer: hansard_writer.RunningWriter
) -> None:
    """All or none: event by event, a writer that ends in between would leave a part."""
    events = [{"event_type": "a", "payload": {"n": n}} for n in range(400)]
    with AuditLog(directory, queue_maxsize=399) as log:
        with pytest.raises(InvalidEvent, match="400 events never fit into a queue_maxsize of 399"):
            log.record_many(events)
        assert log.statistics()["submitted"] == 0
        entries = log.record_many(events[:399])
        assert {entry.status for entry in entries} == {"queued"}
        assert log.flush(20)
    assert count_entries(directory) == 399
    assert_log_is_sound(directory)


def test_a_log_that_is_opened_to_a_group_later_lets_the_group_read(directory: Path) -> None:
    with hansard_writer.running(directory):
        pass
    assert (directory / "log.db").stat().st_mode & 0o777 == 0o600
    import grp

    group = grp.getgrgid(os.getegid()).gr_name
    with hansard_writer.running(directory, group=group):
        assert (directory / "log.db").stat().st_mode & 0o777 == 0o640
    with hansard_writer.running(directory):
        assert (directory / "log.db").stat().st_mode & 0o777 == 0o600
        assert directory.stat().st_mode & 0o7777 == 0o700


def test_a_worker_that_had_no_room_for_a_spool_gets_one_when_there_is(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard.producer.SPOOL_AGAIN_S", 0.01)
    directory.mkdir()
    in_the_way = directory / "spool"
    in_the_way.touch()
    with AuditLog(directory) as log:
        log.record("kept.in.memory")
        assert not log.statistics()["spooled"]
        in_the_way.unlink()
        in_the_way.mkdir()
        wait_until(lambda: log.statistics()["spooled"], "there is a spool")
        with hansard_writer.running(directory):
            assert log.record("kept.in.the.spool", sync=True, timeout=20).id == 2
    assert_log_is_sound(directory)
