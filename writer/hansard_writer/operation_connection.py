"""The connection that a named operation is given, and what holds it to its rules.

It keeps mistakes out of the log; it is no wall against malice, because an operation runs in the
writer's process with all its rights.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import apsw

from hansard.errors import AuditLogError
from hansard_writer.authorizer import Authorizer

ROWS_MAX: Final = 1_000_000  # of one execute(): they are all held in memory
PROGRESS_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock: below 1 ms

Bindings = Sequence[Any] | Mapping[str, Any]

# The disk's, whatever the operation makes of them.
_FATAL: Final = (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.FullError)


class OperationError(AuditLogError):
    """What an operation may not do, or not any more. Correct the operation."""


class Result:
    """What a statement returned, all of it. Iterating and fetching go on where they stopped.

    * ``columns``: the names of the columns, empty where the statement returns no rows.
    * ``changes``: how many rows were inserted, updated and deleted, by triggers too.
    * ``last_insert_rowid``: of the newest row that this operation inserted, 0 if there is none.
    """

    __slots__ = ("_rows", "changes", "columns", "last_insert_rowid")

    def __init__(
        self, rows: list[Any], columns: tuple[str, ...], changes: int, last_insert_rowid: int
    ) -> None:
        self._rows = iter(rows)
        self.columns = columns
        self.changes = changes
        self.last_insert_rowid = last_insert_rowid

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        """The next row as a tuple, None after the last."""
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return list(self._rows)


class OperationConnection:
    """The log's database as an operation sees it: in its transaction, within its time.

    It may read everything, and do as it likes with tables of its own, whose names begin neither
    with ``hansard_`` nor with ``sqlite_``. Foreign keys are not enforced. It is of use to the
    thread that runs the operation, until that returns.
    """

    def __init__(self, connection: apsw.Connection, seconds: float) -> None:
        self._connection: apsw.Connection | None = connection
        self._thread = threading.get_ident()
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._authorizer = Authorizer()
        self._ended: str | None = None  # why the transaction is over before its time
        self._fatal: apsw.Error | None = None

    def execute(self, sql: str, bindings: Bindings = ()) -> Result:
        """Run SQL to its end, with values for its ``?`` or ``:name``; what it returned.

        Raises `OperationError` for what an operation may not do, and what apsw raises.
        """
        return self._run(sql, lambda cursor: cursor.execute(sql, bindings, can_cache=False))

    def executemany(self, sql: str, rows: Iterable[Bindings]) -> Result:
        """Run SQL once for each of ``rows``; what all of them returned."""
        return self._run(sql, lambda cursor: cursor.executemany(sql, rows, can_cache=False))

    def _run(self, sql: str, begin: Callable[[apsw.Cursor], Any]) -> Result:
        connection = self._usable()
        cursor = connection.cursor()
        columns: tuple[str, ...] = ()

        def before_each(cursor: apsw.Cursor, _sql: str, _bindings: Any) -> bool:
            nonlocal columns
            self._usable()
            self._authorizer.begin_statement()
            columns = columns or tuple(name for name, _ in cursor.get_description())
            return True

        cursor.exec_trace = before_each
        self._authorizer.begin_statement()
        changes_before = connection.total_changes()
        try:
            begin(cursor)
            rows = list(itertools.islice(cursor, ROWS_MAX + 1))
            if len(rows) > ROWS_MAX:
                raise OperationError(
                    f"{sql!r:.100} returns more than {ROWS_MAX:,} rows: narrow it, or LIMIT it"
                )
        except apsw.Error as error:
            self._note_end(connection, sql, error)
            reason = self._reason(error)
            if reason is None:
                raise
            raise OperationError(reason) from error
        finally:
            cursor.close(True)
        changes = connection.total_changes() - changes_before
        return Result(rows, columns, changes, connection.last_insert_rowid())

    def _usable(self) -> apsw.Connection:
        if self._connection is None:
            raise OperationError("the operation is over: its connection cannot be used any more")
        if threading.get_ident() != self._thread:
            raise OperationError("an operation's connection is for the thread that runs it")
        if self._ended is not None:
            raise OperationError(self._ended)
        if time.monotonic() >= self._until:
            raise OperationError(self._too_long())
        return self._connection

    def _too_long(self) -> str:
        return f"it ran longer than {self._seconds:.3g} s, and its SQL was interrupted"

    def _note_end(self, connection: apsw.Connection, sql: str, error: apsw.Error) -> None:
        """SQLite may have rolled the transaction back: ON CONFLICT ROLLBACK, RAISE(ROLLBACK), an
        interrupted write. What came after would be a transaction of nobody's."""
        if isinstance(error, _FATAL):
            self._fatal = error
        if not connection.in_transaction and self._ended is None:
            is_late = isinstance(error, apsw.InterruptError)
            rolled_back = f"{sql!r:.100} rolled its transaction back ({error})"
            self._ended = self._too_long() if is_late else rolled_back

    def _reason(self, error: apsw.Error) -> str | None:
        """What to say of an error instead of SQLite's words, None for nothing."""
        if isinstance(error, apsw.AuthError):
            return self._authorizer.refusal
        if isinstance(error, apsw.InterruptError):
            return self._too_long()
        return self._ended

    def _settle(self, connection: apsw.Connection) -> None:
        """Raise what forbids to commit."""
        if self._fatal is not None:
            raise self._fatal
        if self._ended is not None or not connection.in_transaction:
            raise OperationError(self._ended or "its transaction was ended")
        if self._authorizer.renames:
            name = self._authorizer.reserved_name(connection)
            if name is not None:
                raise OperationError(
                    f"operations may not rename to {name!r}: it is kept for the log"
                )


@contextlib.contextmanager
def guarded(connection: apsw.Connection, seconds: float) -> Iterator[OperationConnection]:
    """Within, ``connection`` is held to the rules; the block MUST use the one that it is given.

    Raises, at the end of a block that did not, what forbids to commit: `OperationError`, or the
    error of SQLite's after which nothing can be relied upon.
    """
    given = OperationConnection(connection, seconds)
    until = given._until
    connection.set_authorizer(given._authorizer)  # this expires all statements prepared before
    connection.set_progress_handler(lambda: time.monotonic() >= until, PROGRESS_STEPS)
    connection.set_commit_hook(lambda: True)  # refuses
    connection.set_last_insert_rowid(0)
    try:
        yield given
    except BaseException:
        if given._fatal is not None:
            raise given._fatal from None  # whatever the operation made of it
        raise
    finally:
        given._connection = None
        connection.set_commit_hook(None)
        connection.set_progress_handler(None)
        connection.set_authorizer(None)
    given._settle(connection)
