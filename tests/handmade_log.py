"""A log's database made by hand with the writer's own schema, and what a reader asks of it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import apsw

from hansard.reader import LogReader
from hansard_writer import schema

SECOND = 1_000_000_000
BEGIN = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z


class Log:
    """A log's database, written as the writer would."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.connection = apsw.Connection(str(directory / "log.db"))
        self.execute("PRAGMA journal_mode = wal")
        for migration in schema.MIGRATIONS:
            for statement in migration:
                self.execute(statement)
        self.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        self.execute(f"PRAGMA user_version = {schema.VERSION}")
        self.execute(
            "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc,"
            " dropped) VALUES(1, x'abcd', 'host-a', 7, 0, 0, 0, 0)"
        )
        self.size = 0

    def execute(self, statement: str, *arguments: object) -> list[Any]:
        return self.connection.execute(statement, arguments).fetchall()

    def add(self, event_type: str = "a.b", **columns: Any) -> int:
        self.size += 1
        row = {
            "seq": self.size,
            "producer": 1,
            "producer_seq": self.size,
            "created_at": BEGIN + self.size * SECOND,
            "event_type": event_type,
            "level": "info",
        } | columns
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self.execute(f"INSERT INTO entries({names}) VALUES({marks})", *row.values())
        return self.size

    def add_operation(self, workflow_id: str = "wf", node_id: str = "n", **facts: Any) -> int:
        """An operation as the client records it; what is no fact of it is a column."""
        columns = {name: facts.pop(name) for name in ("created_at", "task_id") if name in facts}
        payload = {
            "workflow_id": workflow_id,
            "node_id": node_id,
            "version_id": None,
            "operation": "run",
            "status": "success",
            "stdout": "",
            "stderr": "",
            "exit_code": 0,
            "duration_ms": 1.5,
            "metadata": {},
        } | facts
        level = "error" if payload["status"] == "failed" else "info"
        text = json.dumps(payload)
        return self.add("env.operation", payload=text, level=level, **columns)

    def add_refusal(self, agent_id: str, **facts: Any) -> int:
        """A refusal as the client records it."""
        payload = {
            "action": {"kind": "shell"},
            "decision": {"decision": "refuse", "rule_id": "R1", "reason": "no"},
            "rule_id": "R1",
            "reason": "no",
            "agent_id": agent_id,
            "timestamp": "2026-01-01T00:00:00Z",
        } | facts
        text = json.dumps(payload)
        return self.add("governance.refusal", payload=text, level="warning", actor=agent_id)

    def add_dead_letter(self, reason: str, frame: bytes, producer: int | None = 1) -> None:
        self.execute(
            "INSERT INTO dead_letters(received_at, producer, producer_seq, count, reason, detail,"
            " frame) VALUES(?, ?, ?, 3, ?, 'why', ?)",
            BEGIN + 1_000,
            producer,
            None if producer is None else 9,
            reason,
            frame,
        )

    def can_truncate_wal(self) -> bool:
        """Whether no reader's transaction stands in the way."""
        try:
            self.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.BusyError:
            return False
        return True

    def close(self) -> None:
        self.connection.close()


def ids(events: Iterable[Any]) -> list[int]:
    return [event.id for event in events]


def statements_of(
    reader: LogReader, ask: Callable[[], object]
) -> list[tuple[str, tuple[Any, ...]]]:
    """What was asked of the database meanwhile."""
    asked: list[tuple[str, tuple[Any, ...]]] = []
    connection = reader._connection
    rows = connection.rows

    def note(sql: str, *arguments: object) -> list[Any]:
        asked.append((sql, arguments))
        return rows(sql, *arguments)

    connection.rows = reader._rows = note  # type: ignore[method-assign]
    try:
        ask()
    finally:
        connection.rows = reader._rows = rows  # type: ignore[method-assign]
    return asked


def plan_of(log: Log, statement: tuple[str, tuple[Any, ...]]) -> str:
    """How SQLite reaches the entries."""
    sql, arguments = statement
    return "; ".join(row[3] for row in log.execute("EXPLAIN QUERY PLAN " + sql, *arguments))
