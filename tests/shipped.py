"""What is in a log and what of it is in PostgreSQL, in one form, to be held against each other."""

from pathlib import Path
from typing import Any

import psycopg

from support import query

COLUMNS = (
    "seq", "producer_hash", "producer_seq", "created_at", "event_type", "level", "actor", "task_id",
    "payload", "salt", "payload_hash", "host", "pid", "started_at",
)  # fmt: skip
_WHAT = ", ".join(f"{'p' if name in COLUMNS[-3:] else 'e'}.{name}" for name in COLUMNS).replace(
    "e.producer_hash", "p.producer_hash"
)


def in_log(directory: Path, last: int | None = None) -> list[tuple[Any, ...]]:
    """The entries of a log, up to one."""
    return query(
        directory,
        f"SELECT {_WHAT} FROM entries AS e JOIN producers AS p ON p.id = e.producer"
        " WHERE e.seq <= coalesce(?, e.seq) ORDER BY e.seq",
        (last,),
    )


def in_postgresql(url: str, origin: str) -> list[tuple[Any, ...]]:
    """The entries that a database has of a log."""
    return rows(
        url,
        f"SELECT {_WHAT} FROM hansard.entries AS e JOIN hansard.producers AS p ON p.id = e.producer"
        " WHERE e.origin = (SELECT id FROM hansard.origins WHERE origin = %s) ORDER BY e.seq",
        origin,
    )


def rows(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement returns, if anything, by a connection of the test's own."""
    with psycopg.connect(url, autocommit=True) as connection:
        done = connection.execute(statement, values or None)
        return done.fetchall() if done.description else []
