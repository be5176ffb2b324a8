"""The write-behind service: recording is not writing, and nothing is lost between the two."""

import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson
import pytest

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog
from hansard.reader import LogReader
from stepped import write_lock_taken
from support import assert_log_is_sound, count_entries, query, wait_until

SAYS_HOW_IT_RECORDS = """
import sys
from hansard import AuditLog

with AuditLog(sys.argv[1]) as log:
    print([log.record("task.created").status for _ in range(3)], log.settings.queue_maxsize)
"""


def senders() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "hansard-sender"]


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize(("variable", "status"), [(None, "queued"), ("true", "committed")])
def test_whether_record_waits_is_a_setting_of_the_environment(
    directory: Path, run_script: Script, variable: str | None, status: str
) -> None:
    environment = os.environ | ({} if variable is None else {"HANSARD_SYNC": variable})
    said, complaints = run_script(SAYS_HOW_IT_RECORDS, directory, env=environment).communicate()
    assert complaints == ""
    assert said == f"{[status] * 3} None\n"


def test_how_many_may_wait_is_a_setting_of_the_environment(
    directory: Path, run_script: Script
) -> None:
    environment = os.environ | {"HANSARD_QUEUE_MAXSIZE": "2", "HANSARD_ON_FULL": "drop"}
    said, _ = run_script(SAYS_HOW_IT_RECORDS, directory, env=environment).communicate()
    assert said == "['queued', 'queued', 'dropped'] 2\n"


@pytest.mark.usefixtures("writer")
def test_record_returns_in_the_time_of_a_memcpy_while_nothing_can_be_written(
    directory: Path,
) -> None:
    took_us = []
    with AuditLog(directory, close_timeout=30) as log:
        assert log.record("task.created", sync=True).id == 1
        with write_lock_taken(directory):
            for n in range(5_000):
                begin = time.perf_counter_ns()
                entry = log.record("task.done", {"n": n})
                took_us.append((time.perf_counter_ns() - begin) / 1_000)
                assert (entry.id, entry.status) == (-1, "queued")
            assert count_entries(directory) == 1
            assert log.flush(0.1) is False
        assert log.flush(30) is True
    assert count_entries(directory) == 5_001
    assert statistics.median(took_us) < 100
    assert sorted(took_us)[-50] < 100_000, "all but the unluckiest within 100 ms, on any machine"


def test_created_at_is_when_it_was_recorded_not_when_it_was_written(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    with AuditLog(directory) as log:
        before = time.time_ns()
        entries = [log.record("task.created", {"n": n}) for n in range(100)]
        after = time.time_ns()
        mortal_writer.start()  # takes much longer than recording did
        started = time.time_ns()
        assert log.flush(30)
    rows = query(directory, "SELECT created_at FROM entries ORDER BY seq")
    assert [row[0] for row in rows] == [entry.created_at for entry in entries]
    assert before <= rows[0][0] <= rows[-1][0] <= after < started


def test_a_full_queue_blocks_until_there_is_room_and_nothing_is_dropped(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    mortal_writer.freeze()
    with AuditLog(directory, queue_maxsize=100, ack_timeout=30, close_timeout=10) as log:
        for n in range(100):
            log.record("step.done", {"n": n})
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(log.record, "step.done", {"n": 100})
            wait_until(lambda: log._producer._blocked, "the call waits for room")
            assert not late.done()
            mortal_writer.thaw()
            assert late.result(30).status == "queued"
        assert log.flush(30)
        assert log.statistics()["dropped"] == {}
    rows = query(directory, "SELECT payload ->> 'n' FROM entries ORDER BY seq")
    assert [row[0] for row in rows] == list(range(101))


@pytest.mark.usefixtures("writer", "restless_threads")
@pytest.mark.parametrize("threads", [1, 8])
def test_entries_are_in_the_order_of_record(directory: Path, threads: int) -> None:
    def record(thread: int) -> None:
        for n in range(2_000 // threads):
            log.record("step.done", {"thread": thread, "n": n})

    with AuditLog(directory, queue_maxsize=500, ack_timeout=30) as log:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(record, range(threads)))
        assert log.flush(30)
    for thread in range(threads):
        rows = query(
            directory,
            "SELECT payload ->> 'n' FROM entries WHERE payload ->> 'thread' = ? ORDER BY seq",
            (thread,),
        )
        assert [row[0] for row in rows] == list(range(2_000 // threads))
    assert_log_is_sound(directory)


@pytest.mark.usefixtures("writer")
def test_flush_and_close_may_come_from_any_thread_and_twice(directory: Path) -> None:
    log = AuditLog(directory)
    for _ in range(500):
        log.record("task.created")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: log.flush(30), range(16)))
        assert list(pool.map(lambda _: log.close(), range(16))) == [0] * 16
    assert log.flush() is True
    assert log.close() == 0
    assert count_entries(directory) == 500


@pytest.mark.usefixtures("writer")
def test_an_event_that_cannot_be_written_does_not_stop_those_after_it(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_json = orjson.Fragment(b"{no json}")  # taken as it is: the writer finds out
    with AuditLog(directory) as log:
        log.record("step.done", {"n": 1})
        log.record("step.done", no_json)
        log.record("step.done", {"n": 2})
        refused = log.record("step.done", no_json, sync=True)
        last = log.record("step.done", {"n": 3}, sync=True)
    assert (refused.id, refused.status) == (None, "rejected")
    assert (last.id, last.status) == (3, "committed")
    assert "the writer refused a 'step.done' event" in caplog.text
    rows = query(directory, "SELECT payload ->> 'n' FROM entries ORDER BY seq")
    assert rows == [(1,), (2,), (3,)]
    assert query(directory, "SELECT count(*) FROM dead_letters") == [(2,)]


@pytest.mark.usefixtures("writer")
def test_counting_by_type_and_reading_are_safe_while_entries_are_written(directory: Path) -> None:
    stop = threading.Event()

    def record() -> int:
        n = 0
        while not stop.is_set():
            log.record("even.event" if n % 2 == 0 else "odd.event", {"n": n})
            n += 1
        return n

    def read() -> list[int]:
        counts = []
        with LogReader(directory) as reader:
            while not stop.is_set():
                counts.append(reader.count("even.event"))
                ids = [event.id for event in reader.events(limit=100, newest_first=False)]
                assert ids == list(range(1, len(ids) + 1))
        return counts

    with AuditLog(directory, close_timeout=30) as log:
        log.record("even.event", sync=True)
        with ThreadPoolExecutor(3) as pool:
            writing, *reading = pool.submit(record), pool.submit(read), pool.submit(read)
            threading.Event().wait(1)  # of each doing its work
            stop.set()
            recorded = writing.result()
            for counts in (each.result() for each in reading):
                assert counts == sorted(counts)
                assert counts[-1] > 0
        assert log.flush(30)
        with LogReader(directory) as reader:
            assert reader.count_by_type() == {
                "even.event": 1 + (recorded + 1) // 2,
                "odd.event": recorded // 2,
            }


def test_the_thread_starts_with_the_first_event_and_ends_at_close(directory: Path) -> None:
    already = senders()
    log = AuditLog(directory)
    assert senders() == already
    log.record("task.created")
    (sender,) = (each for each in senders() if each not in already)
    log.close()
    assert not sender.is_alive()


def test_entries_survive_reopening(directory: Path, mortal_writer: MortalWriter) -> None:
    for round_ in range(1, 4):
        mortal_writer.start()
        with AuditLog(directory) as log:
            log.record("task.created", {"round": round_})
        assert mortal_writer.end() == 0
    rows = query(directory, "SELECT seq, payload ->> 'round' FROM entries ORDER BY seq")
    assert rows == [(1, 1), (2, 2), (3, 3)]
