"""Readers beside a writer: as many as you like, in constant memory, in nobody's way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hansard
from hansard.reader import LogReader
from hansard_writer import RunningWriter
from many_entries import fill, lines_and_memory

ROWS = 50_000
FEW = 2_000
RSS_GROWTH_MAX = 8 << 20


@pytest.fixture
def long_log(directory: Path) -> Path:
    """A stopped log of many entries."""
    fill(directory, ROWS, "env.operation", {"workflow_id": "wf", "stderr": "x" * 100})
    return directory


def test_a_query_for_all_takes_no_more_memory_than_one_for_a_few(long_log: Path) -> None:
    for conditions in (["--event-type", "env.operation"], ["--workflow-id", "wf"]):
        few, bytes_for_few = lines_and_memory("query", long_log, *conditions, "--limit", FEW)
        every, bytes_for_all = lines_and_memory("query", long_log, *conditions, "--limit", 0)
        assert (few, every) == (FEW, ROWS - 1)
        assert bytes_for_all - bytes_for_few < RSS_GROWTH_MAX, conditions


def test_readers_of_many_threads_read_in_all_ways_while_others_record(
    directory: Path, writer: RunningWriter
) -> None:
    with hansard.AuditLog(directory) as log:
        log.record("first", sync=True)
        stop = threading.Event()

        def read() -> None:
            with LogReader(directory) as reader:
                while not stop.is_set():
                    known = reader.count()
                    assert len(list(reader.events())) >= known
                    operations = reader.count_operations(workflow_id="wf")
                    assert len(list(reader.operations(workflow_id="wf"))) >= operations
                    assert len(list(reader.search("broken"))) >= operations

        with ThreadPoolExecutor(4) as pool:
            reading = [pool.submit(read) for _ in range(4)]
            for number in range(300):
                payload = {"workflow_id": "wf", "status": "failed", "stderr": f"broken {number}"}
                log.record("env.operation", payload, sync=number % 50 == 0)
            assert log.flush(30)
            stop.set()
            for each in reading:
                each.result(60)
    with LogReader(directory) as reader:
        assert len(list(reader.search("broken"))) == 300
