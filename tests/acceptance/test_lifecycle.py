"""An `AuditLog` from its making to its end."""

import logging
import threading
import time
from pathlib import Path

import pytest

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog, ClosedError, WriterUnavailable, sender
from hansard.local_writer import LocalWriter
from support import count_entries, query, wait_until


@pytest.mark.usefixtures("writer")
def test_a_log_is_open_within_its_block_and_closed_behind_it(directory: Path) -> None:
    with AuditLog(directory) as log:
        assert log.is_open
        log.record("task.created")
    assert not log.is_open
    assert count_entries(directory) == 1, "the block's end waits for the writer"


@pytest.mark.usefixtures("writer")
def test_close_is_idempotent_and_delivers_what_waits(directory: Path) -> None:
    log = AuditLog(directory)
    for _ in range(5_000):
        log.record("task.created")
    assert log.close() == 0
    assert log.close() == 0
    assert count_entries(directory) == 5_000
    assert list((directory / "spool").iterdir()) == []


def test_a_log_that_recorded_nothing_closes_at_once_and_leaves_nothing(directory: Path) -> None:
    log = AuditLog(directory)
    assert log.flush() is True
    assert log.close() == 0
    assert list((directory / "spool").iterdir()) == []


@pytest.mark.parametrize("used", [True, False])
def test_record_after_close_raises(directory: Path, used: bool) -> None:
    log = AuditLog(directory)
    if used:
        log.record("task.created")
    log.close(0)
    with pytest.raises(ClosedError, match="closed"):
        log.record("task.created")
    with pytest.raises(ClosedError):
        log.record("task.created", sync=True)
    with pytest.raises(ClosedError):
        log.record_many([{"event_type": "task.created"}])


@pytest.mark.usefixtures("writer")
def test_flush_leaves_the_log_usable(directory: Path) -> None:
    with AuditLog(directory) as log:
        for round_ in range(1, 4):
            log.record("task.created")
            assert log.flush() is True
            assert count_entries(directory) == round_


def test_flush_without_best_effort_raises(directory: Path) -> None:
    with AuditLog(directory, best_effort=False) as log:
        log.record("task.created")
        with pytest.raises(WriterUnavailable, match="hansard serve"):
            log.flush(0.1)


@pytest.mark.usefixtures("writer")
def test_drain_waits_for_what_others_record_meanwhile(directory: Path) -> None:
    with AuditLog(directory) as log:
        thread = threading.Thread(target=lambda: [log.record("task.created") for _ in range(5_000)])
        thread.start()
        log.drain(10)
        thread.join()
        assert log.drain(10) is True
        assert log.statistics()["waiting"] == 0
        assert count_entries(directory) == 5_000


def test_the_figures_add_up_at_every_moment(directory: Path, mortal_writer: MortalWriter) -> None:
    mortal_writer.start()
    snapshots = []
    with AuditLog(directory, on_full="drop", queue_maxsize=50) as log:
        done = threading.Event()

        def record() -> None:
            for i in range(20_000):
                log.record("task.created", {"i": i})
            done.set()

        threads = [threading.Thread(target=record) for _ in range(2)]
        for thread in threads:
            thread.start()
        while not done.is_set():
            snapshots.append(log.statistics())
        for thread in threads:
            thread.join()
        assert log.flush(10)
        snapshots.append(log.statistics())
    for figures in snapshots:
        known = figures["appended"] + figures["dead_lettered"] + figures["waiting"]
        assert figures["submitted"] == known + sum(figures["dropped"].values())
    last = snapshots[-1]
    assert last["submitted"] == 40_000
    events = query(directory, "SELECT count(*) FROM entries WHERE event_type = 'task.created'")
    assert events == [(last["appended"],)]
    lost = query(
        directory,
        "SELECT coalesce(sum(payload ->> 'count'), 0) FROM entries"
        " WHERE event_type = 'hansard.lost'",
    )
    assert lost == [(sum(last["dropped"].values()),)], "the log itself says how many were dropped"


def test_an_unserved_log_is_complained_of_once(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "UNSERVED_WARNING_S", 0.2)
    monkeypatch.setattr(LocalWriter, "silence_s", 0.1)

    def unserved() -> list[logging.LogRecord]:
        return [each for each in caplog.records if "no writer has answered" in each.message]

    with caplog.at_level(logging.WARNING, "hansard"), AuditLog(directory) as log:
        log.record("task.created")
        complaint = wait_until(unserved, "the log is complained of")[0]
        assert complaint.levelno == logging.WARNING
        assert "hansard serve" in complaint.message
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() - begin > 0.5, "it might have complained again")
        assert len(unserved()) == 1


def test_the_repr_says_how_things_stand(directory: Path, mortal_writer: MortalWriter) -> None:
    log = AuditLog(directory)
    log.record("task.created")
    assert repr(log) == f"<AuditLog {str(directory)!r} unserved, 0 committed, 1 waiting>"
    mortal_writer.start()
    assert log.flush(10)
    assert repr(log) == f"<AuditLog {str(directory)!r} served, 1 committed, 0 waiting>"
    log.close()
    assert repr(log) == f"<AuditLog {str(directory)!r} closed, 1 committed, 0 waiting>"


def test_two_logs_of_one_process_are_two_producers(directory: Path, tmp_path: Path) -> None:
    with AuditLog(directory) as one, AuditLog(directory) as two, AuditLog(tmp_path / "b") as other:
        keys = [each.record("task.created").key for each in (one, two, other)]
    assert len(set(keys)) == 3


def test_many_logs_made_and_closed_leave_no_descriptors_open(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()

    def use_one() -> None:
        with AuditLog(directory) as log:
            assert log.record("task.created", sync=True).status == "committed"

    def count_descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    use_one()
    before = count_descriptors()
    for _ in range(20):
        use_one()
    assert count_descriptors() <= before + 2


@pytest.mark.parametrize("end", ["raise SystemExit(3)", "raise ValueError", "os._exit(3)", "pass"])
def test_whatever_way_a_process_ends_its_events_are_entered(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, end: str
) -> None:
    mortal_writer.start()
    program = f"""
import os, sys
from hansard import AuditLog
log = AuditLog(sys.argv[1])
for _ in range(500):
    log.record("task.created")
{end}
"""
    run_script(program, directory).communicate(timeout=20)
    wait_until(lambda: count_entries(directory) == 500, "all are entered")


def test_a_process_whose_logs_writer_hangs_ends_within_the_close_timeout(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    mortal_writer.start()
    mortal_writer.freeze()
    program = """
import sys
from hansard import AuditLog
log = AuditLog(sys.argv[1], close_timeout=0.5)
log.record("task.created")
"""
    begin = time.monotonic()
    assert run_script(program, directory).wait(20) == 0
    assert time.monotonic() - begin < 3
    mortal_writer.thaw()
    wait_until(lambda: count_entries(directory) == 1, "the event that it left is entered")
