"""The SQLite file that most in-process peers write: its table, and how it is read back.

The same columns, check and two main indexes as the log's `entries`, without a proof. Written with
the stdlib's `sqlite3` in the workers' processes; read back with apsw, in this one.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from bench.peers.peer import Served, in_files
from bench.peers.stored import Stored, from_row

BUSY_TIMEOUT_S: Final = 5.0  # as `sqlite3.connect` has it unless told otherwise
INSERT: Final = (
    "INSERT INTO entries(producer, producer_seq, created_at, event_type, level, actor, task_id,"
    " payload) VALUES(?,?,?,?,?,?,?,?)"
)

_SCHEMA: Final = (
    "PRAGMA journal_mode = WAL",
    """
    CREATE TABLE entries(
        seq INTEGER PRIMARY KEY,
        producer INTEGER NOT NULL,
        producer_seq INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        event_type TEXT NOT NULL,
        level TEXT NOT NULL,
        actor TEXT,
        task_id TEXT,
        payload TEXT CHECK (
            payload IS NULL OR (json_valid(payload) AND json_type(payload) = 'object')
        )
    ) STRICT
    """,
    "CREATE INDEX entries_by_task ON entries(task_id) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_by_type ON entries(event_type, created_at)",
)
_SELECT: Final = (
    "SELECT producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
    " FROM entries ORDER BY seq"
)


@contextmanager
def served(directory: Path) -> Iterator[Served]:
    """An empty database in a fresh directory."""
    path = directory / "events.db"
    with in_files(directory, str(path)) as place:
        with closing(apsw.Connection(str(path))) as connection:
            for statement in _SCHEMA:
                connection.execute(statement)
        yield place


def connect(path: str) -> sqlite3.Connection:
    """As people connect, for any thread: one commit a statement, each with its fsync."""
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def stored(place: Served) -> Iterator[Stored]:
    """All that the table has."""
    return map(from_row, rows(Path(place.address), _SELECT))


def rows(path: Path, select: str) -> Iterator[tuple[Any, ...]]:
    """What a statement finds in a database."""
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(int(BUSY_TIMEOUT_S * 1_000))
        yield from connection.execute(select)


def size(path: Path) -> int:
    """Bytes of a database, its WAL's newer pages counted once."""
    found = rows(path, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
    ((size_bytes,),) = found
    return int(size_bytes)
