"""A log of many entries, and what a command takes that goes through them all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw

import hansard
from hansard_writer import running


def fill(directory: Path, entries: int, event_type: str, payload: dict[str, Any]) -> None:
    """A log with so many entries, all but the first alike, put in by SQL; nobody serves it."""
    with running(directory), hansard.AuditLog(directory) as log:
        log.record("first", sync=True)
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute(
        "WITH RECURSIVE numbers(value) AS"
        " (SELECT 2 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?3)"
        " INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, payload)"
        " SELECT value, 0, value, value, ?1, 'info', ?2 FROM numbers",
        (event_type, json.dumps(payload), entries),
    )
    connection.close()


def lines_and_memory(name: str, directory: Path, *arguments: object) -> tuple[int, int]:
    """How many lines a command prints into a pipe, and the bytes of memory that it has at most."""
    command = [sys.executable, "-m", "hansard_writer", name, "--dir", str(directory)]
    with subprocess.Popen([*command, *map(str, arguments)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = sum(1 for _ in process.stdout)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return lines, usage.ru_maxrss * 1024
