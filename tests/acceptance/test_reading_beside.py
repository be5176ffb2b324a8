"""Readers beside a writer: as many as you like, in constant memory, in nobody's way."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest

import hansard
from hansard.reader import LogReader
from hansard_writer import RunningWriter, running

ROWS = 50_000
RSS_GROWTH_MAX = 8 << 20


@pytest.fixture
def long_log(directory: Path) -> Path:
    """A stopped log of many entries, put in by SQL."""
    with running(directory), hansard.AuditLog(directory) as log:
        log.record("first", sync=True)
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute(
        "WITH RECURSIVE numbers(value) AS"
        " (SELECT 2 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?2)"
        " INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, payload)"
        " SELECT value, 0, value, value, 'env.operation', 'info', ?1 FROM numbers",
        (json.dumps({"workflow_id": "wf", "stderr": "x" * 100}), ROWS),
    )
    connection.close()
    return directory


def rss_max_bytes(directory: Path, *arguments: str) -> int:
    """Of ``hansard query`` with these arguments, which must print all its rows."""
    command = [sys.executable, "-m", "hansard_writer", "query", "--dir", str(directory)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    limit = int(arguments[arguments.index("--limit") + 1])
    assert lines == (limit or ROWS - 1)
    return usage.ru_maxrss * 1024


def test_a_query_for_all_takes_no_more_memory_than_one_for_a_few(long_log: Path) -> None:
    for conditions in (["--event-type", "env.operation"], ["--workflow-id", "wf"]):
        few = rss_max_bytes(long_log, *conditions, "--limit", "2000")
        every = rss_max_bytes(long_log, *conditions, "--limit", "0")
        assert every - few < RSS_GROWTH_MAX, conditions


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
