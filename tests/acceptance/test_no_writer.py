"""Without a writer: nothing waits, nothing raises, and what was recorded is entered later."""

import statistics
import time
from pathlib import Path

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog
from support import assert_log_is_sound, count_entries, query, wait_until

EVENTS = 1_000

RECORDS_AND_ENDS = f"""
import sys
from hansard import AuditLog

log = AuditLog(sys.argv[1])
for i in range({EVENTS}):
    log.record("task.created", {{"i": i}})
"""


def test_record_returns_in_microseconds(directory: Path) -> None:
    took_us = []
    with AuditLog(directory) as log:
        for i in range(5_000):
            begin = time.perf_counter_ns()
            entry = log.record("task.created", {"i": i})
            took_us.append((time.perf_counter_ns() - begin) / 1_000)
            assert (entry.id, entry.status) == (-1, "queued")
    assert statistics.median(took_us) < 100


def test_the_process_ends_at_once_and_its_events_are_entered_when_a_writer_starts(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    begin = time.monotonic()
    _, complaints = run_script(RECORDS_AND_ENDS, directory).communicate(timeout=20)
    assert time.monotonic() - begin < 2
    assert f"{EVENTS:,} events undelivered" in complaints
    assert "Traceback" not in complaints

    mortal_writer.start()
    wait_until(lambda: count_entries(directory) == EVENTS, "the dead process's events are entered")
    wait_until(lambda: not list((directory / "spool").iterdir()), "its spool is removed")
    payloads = query(directory, "SELECT payload ->> 'i' FROM entries ORDER BY seq")
    assert [row[0] for row in payloads] == list(range(EVENTS))
    assert_log_is_sound(directory)


def test_a_killed_process_leaves_its_events_to_the_next_writer(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    program = RECORDS_AND_ENDS + "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    process = run_script(program, directory)
    assert process.wait(20) == -9
    mortal_writer.start()
    wait_until(
        lambda: count_entries(directory) == EVENTS, "the killed process's events are entered"
    )
    assert_log_is_sound(directory)


def test_events_recorded_before_the_writer_starts_reach_it_while_their_process_lives(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    with AuditLog(directory) as log:
        log.record("task.created")
        mortal_writer.start()
        assert log.flush(10)
        assert log.statistics()["appended"] == 1
        assert log.record("task.done", sync=True).id == 2


def test_a_sync_record_is_of_unknown_outcome_until_lookup_settles_it(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    with AuditLog(directory, ack_timeout=0.3) as log:
        begin = time.monotonic()
        entry = log.record("task.created", {"n": 7}, sync=True)
        assert 0.3 <= time.monotonic() - begin < 1
        assert (entry.id, entry.status) == (-1, "unknown")
        assert entry.key is not None
        assert log.lookup(entry.key).status == "queued"

        mortal_writer.start()
        found = wait_until(
            lambda: (it := log.lookup(entry.key)).status == "committed" and it, "it is committed"
        )
    row = query(directory, "SELECT seq, created_at FROM entries WHERE payload ->> 'n' = 7")
    assert row == [(found.id, entry.created_at)]
    assert (found.event_type, found.created_at) == (entry.event_type, entry.created_at)


def test_flush_says_that_it_did_not_succeed(directory: Path) -> None:
    with AuditLog(directory) as log:
        log.record("task.created")
        begin = time.monotonic()
        assert log.flush(0.2) is False
        assert 0.2 <= time.monotonic() - begin < 1
        assert log.drain(0.2) is False
        assert log.is_open


def test_close_does_not_wait_for_a_writer_that_is_not_there(directory: Path) -> None:
    log = AuditLog(directory)
    for _ in range(3):
        log.record("task.created")
    begin = time.monotonic()
    assert log.close() == 3
    assert time.monotonic() - begin < 1
