"""The log as Datasette opens it: by the standard library's SQLite, to read and for nothing else.

Below 3.51.3 SQLite has a bug that corrupts a WAL when a checkpoint races a write. Who only reads
takes no part in it; so what keeps this one from ever checkpointing is in three places: the file is
opened read-only, so that no lock for a checkpoint can be had; an authorizer refuses PRAGMA, ATTACH
and every write; and a connection lives for one question, so that it is never the one that a
stopping writer leaves behind. The log may be replaced meanwhile.

A question is bounded in time, in memory and in what it answers, whatever it asks: Datasette's own
limit is looked at between steps of a statement only, and a thousand of them may take long.
"""

import asyncio
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from datasette.database import Database

from hansard import directory as layout
from hansard import wire
from hansard_writer.viewing.pausing import Pauses

VIEWS: Final = ("events", "task_audits", "env_operations", "signed_events", "derived")
TABLES: Final = ("entries", "dead_letters", "checkpoints", "tasks", "producers", "derived_fields")

BUSY_S: Final = 1.0
CACHE_KIB: Final = 4_096
QUESTION_S_MAX: Final = 2.0  # behind Datasette's limit
ANSWER_BYTES_MAX: Final = 16 << 20

_LIMITS: Final = (
    (sqlite3.SQLITE_LIMIT_LENGTH, 2 * wire.MESSAGE_BYTES_MAX),  # no row of the log is longer
    (sqlite3.SQLITE_LIMIT_COLUMN, 100),
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),  # it is looked for in each place of a text
)

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

    def __init__(self, datasette: Any, directory: Path, pauses: Pauses) -> None:
        super().__init__(datasette, str(directory / layout.DATABASE), is_mutable=True)
        self._directory = directory
        self._pauses = pauses

    def connect(self, write: bool = False) -> sqlite3.Connection:  # noqa: ARG002
        raise AssertionError("each question has a connection of its own")

    async def execute_fn(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run it on a new connection, in one of Datasette's threads."""

        def in_thread() -> Any:
            with reading(self._directory) as connection:
                self.ds._prepare_connection(connection, self.name)
                connection.row_factory = _Bounded()
                with _interrupted(connection):
                    return fn(connection)

        async with self._pauses.reading():
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
            for limit, most in _LIMITS:
                connection.setlimit(limit, most)
            connection.create_function("concat_ws", -1, _concat_ws, deterministic=True)
            connection.create_function("instr", 2, _instr, deterministic=True)
            connection.create_function("replace", 3, _replace, deterministic=True)
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


@contextmanager
def _interrupted(connection: sqlite3.Connection) -> Iterator[None]:
    """Within, a statement that takes too long ends at its next row."""
    timer = threading.Timer(QUESTION_S_MAX, connection.interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it must not interrupt a connection that is closed


class _Bounded:
    """Makes the rows of one question, up to a size of them all."""

    def __init__(self) -> None:
        self._left = ANSWER_BYTES_MAX

    def __call__(self, cursor: sqlite3.Cursor, values: tuple[Any, ...]) -> sqlite3.Row:
        self._left -= sum(len(each) for each in values if isinstance(each, str | bytes))
        if self._left < 0:
            raise sqlite3.OperationalError(
                f"the answer is larger than {ANSWER_BYTES_MAX >> 20} MiB: ask for fewer rows or "
                "columns, or use `hansard export`"
            )
        return sqlite3.Row(cursor, values)


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


# SQLite's own compare at each place of the text, so that a megabyte in another takes minutes.


def _instr(text: Any, part: Any) -> int | None:
    if text is None or part is None:
        return None
    if isinstance(text, bytes) and isinstance(part, bytes):
        return text.find(part) + 1
    return _text(text).find(_text(part)) + 1


def _replace(text: Any, part: Any, other: Any) -> str | None:
    if text is None or part is None or other is None:
        return None
    all_of_it, found, put = _text(text), _text(part), _text(other)
    if not found:
        return all_of_it
    if len(all_of_it) + all_of_it.count(found) * (len(put) - len(found)) > wire.MESSAGE_BYTES_MAX:
        raise ValueError("the text would become too long")
    return all_of_it.replace(found, put)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
