"""The log as Datasette opens it: by the standard library's SQLite, to read and for nothing else.

Below 3.51.3 SQLite has a bug that corrupts a WAL when a checkpoint races a write. Who only reads
takes no part in it; so what keeps this one from ever checkpointing is in three places: the file is
opened read-only, so that no lock for a checkpoint can be had; an authorizer refuses PRAGMA, ATTACH
and every write; and a connection lives for one question, so that it is never the one that a
stopping writer leaves behind. The log may be replaced meanwhile.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from datasette.database import Database

from hansard import directory as layout

VIEWS: Final = ("events", "task_audits", "env_operations", "signed_events", "derived")
TABLES: Final = ("entries", "dead_letters", "checkpoints", "tasks", "producers", "derived_fields")

BUSY_S: Final = 1.0
CACHE_KIB: Final = 4_096

_READING: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)
_TOLD: Final = frozenset(  # what Datasette asks of a schema; all of them without a value to set
    {
        "foreign_key_list",
        "index_info",
        "index_list",
        "index_xinfo",
        "schema_version",
        "table_info",
        "table_xinfo",
        "data_version",  # of full text, when it is read
    }
)
_FORBIDDEN_FUNCTIONS: Final = frozenset({"load_extension", "fts3_tokenizer"})


class LogDatabase(Database):  # type: ignore[misc]  # Datasette has no types
    """The log in a directory, under the name ``log``."""

    def __init__(self, datasette: Any, directory: Path) -> None:
        super().__init__(datasette, str(directory / layout.DATABASE), is_mutable=True)
        self._directory = directory

    def connect(self, write: bool = False) -> sqlite3.Connection:  # noqa: ARG002
        raise AssertionError("each question has a connection of its own")

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run it on a new connection, in one of Datasette's threads."""

        def in_thread() -> Any:
            with reading(self._directory) as connection:
                self.ds._prepare_connection(connection, self.name)
                return fn(connection)

        return await asyncio.get_running_loop().run_in_executor(self.ds.executor, in_thread)

    # What Datasette would ask of all tables is answered without a look: full text of the log's own
    # SQLite is a format that an earlier one cannot open, and to count a log takes seconds.

    async def table_names(self) -> list[str]:
        """The tables that are worth a look of one's own."""
        return list(TABLES)

    async def view_names(self) -> list[str]:
        """The public read interface."""
        return list(VIEWS)

    async def hidden_table_names(self) -> list[str]:
        return []

    async def table_counts(self, limit: int = 10) -> dict[str, None]:  # noqa: ARG002
        return dict.fromkeys(TABLES)

    async def attached_databases(self) -> list[Any]:
        return []

    async def get_all_foreign_keys(self) -> dict[str, dict[str, list[Any]]]:
        return {name: {"incoming": [], "outgoing": []} for name in TABLES}

    async def execute_write_fn(self, fn: Any, block: bool = True) -> Any:  # noqa: ARG002
        raise sqlite3.OperationalError("the log is only read here")


@contextmanager
def reading(directory: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads, for one question. Raises `sqlite3.Error`."""
    database = directory / layout.DATABASE
    with _writers_kept_out(directory) as immutable:
        connection = sqlite3.connect(
            f"{database.absolute().as_uri()}?mode=ro" + ("&immutable=1" if immutable else ""),
            uri=True,
            timeout=BUSY_S,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA query_only = 1")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            connection.create_function("concat_ws", -1, _concat_ws, deterministic=True)
            connection.set_authorizer(_authorize)
            yield connection
        finally:
            connection.close()


@contextmanager
def _writers_kept_out(directory: Path) -> Iterator[bool]:
    """Whether the file alone is the log, within: no writer has it, and none begins."""
    lock, is_kept = None, True
    try:
        try:
            lock = os.open(directory / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # a copy: no writer has ever run here
        except OSError:
            is_kept = False  # a writer lives
        yield is_kept and _wal_is_empty(directory / f"{layout.DATABASE}-wal")
    finally:
        if lock is not None:
            os.close(lock)


def _wal_is_empty(wal: Path) -> bool:
    try:
        return wal.stat().st_size == 0
    except FileNotFoundError:
        return True


def _authorize(
    action: int, name: str | None, value: str | None, _database: str | None, _trigger: str | None
) -> int:
    if action == sqlite3.SQLITE_PRAGMA:
        is_told = name in _TOLD and (value is None or name != "schema_version")
        return sqlite3.SQLITE_OK if is_told else sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_FUNCTION and value in _FORBIDDEN_FUNCTIONS:
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _concat_ws(separator: object, *values: object) -> str:
    """As SQLite has it from 3.44 on: a view of the log's uses it."""
    return str(separator).join(str(each) for each in values if each is not None)
