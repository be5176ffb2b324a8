"""Old logs of other systems, as their users bring them: small databases, made by hand."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

TASK_AUDITS = """
    CREATE TABLE task_audits(audit_id INTEGER PRIMARY KEY AUTOINCREMENT, task_id TEXT,
        repo_id TEXT, level TEXT, event_type TEXT, payload TEXT, created_at TEXT,
        source_event_ts TEXT, supervisor_processed_at TEXT)
"""
ENV_OPERATIONS = """
    CREATE TABLE env_operations(id INTEGER PRIMARY KEY, workflow_id VARCHAR(255),
        node_id VARCHAR(255), version_id VARCHAR(255), operation VARCHAR(50), status VARCHAR(20),
        stdout TEXT, stderr TEXT, exit_code INTEGER, duration_ms REAL, metadata JSON,
        created_at TIMESTAMP)
"""
SIGNED_EVENTS = """
    CREATE TABLE signed_events(id TEXT PRIMARY KEY, agent_id TEXT, event_type TEXT,
        payload_hash BLOB, signature BLOB, attest_level TEXT, timestamp TEXT, prev_hash BLOB,
        sequence INTEGER UNIQUE) WITHOUT ROWID
"""


def make(path: Path, schema: str, rows: Iterable[Sequence[Any]] = ()) -> Path:
    """A database with one table."""
    with_rows(path, [(schema, ()), *_inserts(schema, rows)])
    return path


def with_rows(path: Path, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
    """Run statements on it, in one transaction."""
    connection = apsw.Connection(str(path))
    with connection:
        for statement, bindings in statements:
            connection.execute(statement, tuple(bindings))
    connection.close()


def audit(number: int, **columns: Any) -> tuple[Any, ...]:
    """A row of `TASK_AUDITS`, as P1 wrote it."""
    row = {
        "audit_id": number,
        "task_id": f"T{number % 5}",
        "repo_id": "r1",
        "level": "INFO",
        "event_type": "task.write_file",
        "payload": json.dumps({"repo_id": "r1", "operation": "write_file", "n": number}),
        "created_at": f"2024-01-01 12:00:{number % 60:02d}",
        "source_event_ts": None,
        "supervisor_processed_at": None,
    }
    return tuple((row | columns).values())


def audits(path: Path, numbers: Iterable[int]) -> Path:
    """A database of P1's with these rows."""
    return make(path, TASK_AUDITS, map(audit, numbers))


def add_audits(path: Path, *rows: tuple[Any, ...]) -> None:
    """More rows in it."""
    with_rows(path, _inserts(TASK_AUDITS, rows))


def _inserts(schema: str, rows: Iterable[Sequence[Any]]) -> Iterable[tuple[str, Sequence[Any]]]:
    table = schema.split("CREATE TABLE ")[1].split("(", maxsplit=1)[0]
    for row in rows:
        yield f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row
