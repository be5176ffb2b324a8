"""How a log is opened for reading: read-only, by whom it lets in, beside a writer or without one.

It runs what it is asked to run, and closes. What to ask is the reader's business.
"""

import fcntl
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from hansard import directory as layout
from hansard.errors import AuditLogError, ClosedError, ConfigError
from hansard.served_by import require_log_here

APPLICATION_ID: Final = 0x48414E53  # what the writer's schema says; readers import no writer
SCHEMA_VERSION: Final = 5
SQLITE_VERSION_MIN: Final = (3, 51, 3)  # below, a write that races a checkpoint corrupts the WAL
SQLITE_PATH_BYTES_MAX: Final = 511

SCAN_CACHE_PAGES: Final = 64  # each is read once
BUSY_TIMEOUT_S: Final = 5.0  # while a writer recovers the WAL
START_WAIT_S: Final = 2.0  # for a writer that holds the lock but not yet the database
START_INTERVAL_S: Final = 0.02

_FLAGS: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI


class ReadConnection:
    """A read-only connection to the database in ``directory``. One thread's.

    Where SQLite can make no shared memory (another user's log, a read-only directory) and no
    writer lives, the database is opened as immutable. The lock file is shared meanwhile: a writer
    that starts MUST wait for it, or the reader would see pages of two times. So it is, too, with
    ``leaves_no_trace``, where that can be: SQLite would leave files beside the database.

    With ``to_scan`` a row costs a fifth less: SQLite takes no mutex, so that a second thread MUST
    NOT even try to use it, and keeps no more pages than stay in the processor's own cache.

    Raises `ConfigError` when there is no log or it cannot be read.
    """

    def __init__(
        self, directory: Path, *, leaves_no_trace: bool = False, to_scan: bool = False
    ) -> None:
        self.directory = directory
        self.immutable = False
        self._leaves_no_trace = leaves_no_trace
        self._to_scan = to_scan
        self._database = directory / layout.DATABASE
        self._connection: apsw.Connection | None = None
        self._lock: int | None = None  # the descriptor that makes writers wait
        self._closed = False
        require_sqlite()
        self._connected()

    def rows(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        """All rows at once: the read transaction ends with the call."""
        connection = self._connected()
        try:
            return connection.execute(sql, arguments).fetchall()
        except apsw.Error as error:
            raise AuditLogError(f"cannot read {self._database}: {error}") from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Within, all rows are of one moment: one read transaction, so it MUST be short."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("ROLLBACK")  # nothing was written, and COMMIT could fail

    def copy_into(self, target: apsw.Connection) -> apsw.Backup:
        """All pages of the database, to be copied into another one in steps. Within `snapshot`,
        behind a first row, they are of one moment; else the copy begins anew at each commit."""
        return target.backup("main", self._connected(), "main")

    def data_version(self) -> int:
        """Changes when another connection commits; comparable on one connection only."""
        version: int = self.rows("PRAGMA data_version")[0][0]
        return version

    def wait_while_immutable(self, interval: float) -> None:
        """An immutable database does not change: let go of it until a writer was here."""
        before = self._traces()
        self._let_go()
        while self._traces() == before:
            time.sleep(interval)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def close(self) -> None:
        """End. Idempotent."""
        self._closed = True
        self._let_go()

    def __del__(self) -> None:
        self._let_go()  # or a forgotten reader would keep writers waiting

    # --- inside ---

    def _connected(self) -> apsw.Connection:
        if self._closed:
            raise ClosedError("the reader is closed: open another LogReader")
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> apsw.Connection:
        deadline = time.monotonic() + START_WAIT_S
        refusal: apsw.Error
        while True:
            self._require_file()
            if self._leaves_no_trace and self._keep_writers_out():
                with suppress(apsw.Error):
                    return self._open_as("mode=ro&immutable=1")
                self._let_go()
            try:
                return self._open_as("mode=ro")
            except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
                refusal = error.with_traceback(None)  # or this frame would keep itself alive
            if self._keep_writers_out():
                try:
                    return self._open_as("mode=ro&immutable=1")
                except apsw.Error as error:
                    refusal = error.with_traceback(None)
                    self._let_go()
            if time.monotonic() > deadline or not self._is_readable():
                raise ConfigError(self._unreadable(refusal)) from refusal
            time.sleep(START_INTERVAL_S)  # a writer lives, and is about to open it

    def _open_as(self, parameters: str) -> apsw.Connection:
        connection = apsw.Connection(
            f"{self._database.as_uri()}?{parameters}",
            flags=_FLAGS | (apsw.SQLITE_OPEN_NOMUTEX if self._to_scan else 0),
        )
        try:
            connection.set_busy_timeout(round(BUSY_TIMEOUT_S * 1_000))
            self._require_log(connection)
            if self._to_scan:
                connection.pragma("cache_size", SCAN_CACHE_PAGES)
        except (apsw.CantOpenError, apsw.ReadOnlyError, ConfigError):
            connection.close()
            raise
        except apsw.Error as error:
            connection.close()
            raise ConfigError(f"cannot read {self._database}: {error}") from error
        return connection

    def _require_file(self) -> None:
        try:
            if not stat.S_ISREG(self._database.stat().st_mode):
                raise ConfigError(f"{self._database} is no file, and so no log: move it away")
        except (FileNotFoundError, NotADirectoryError):
            require_log_here(self.directory)
            raise ConfigError(
                f"there is no log in {self.directory}: start its writer with "
                f"`hansard serve --dir {self.directory}`, or name another with --dir or HANSARD_DIR"
            ) from None
        except PermissionError as error:
            raise ConfigError(self._unreadable(error)) from error

    def _require_log(self, connection: apsw.Connection) -> None:
        application_id = connection.pragma("application_id")
        if application_id != APPLICATION_ID:
            raise ConfigError(
                f"{self._database} is no log of Hansard's (its application_id is {application_id})"
            )
        version = connection.pragma("user_version")
        if version != SCHEMA_VERSION:
            raise ConfigError(
                f"{self._database} has schema version {version}, and this release reads "
                f"{SCHEMA_VERSION}: "
                + (
                    "install the release of its writer"
                    if version > SCHEMA_VERSION
                    else f"run `hansard migrate --dir {shlex.quote(str(self.directory))}`, which "
                    "keeps a backup of it"
                )
            )

    def _keep_writers_out(self) -> bool:
        """Whether the file alone is the whole log, and stays so until `_let_go`."""
        try:
            self._lock = os.open(self.directory / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            pass  # a copy: no writer has ever run here
        except OSError:
            self._let_go()
            return False
        if not self._wal_is_empty():  # a writer was killed, and the file is not all
            self._let_go()
            return False
        self.immutable = True
        return True

    def _wal_is_empty(self) -> bool:
        try:
            return self._beside("-wal").stat().st_size == 0
        except FileNotFoundError:
            return True

    def _traces(self) -> tuple[int, int, bool]:
        """What a writer changes that is or was here."""
        try:
            info = self._database.stat()
        except FileNotFoundError:
            return 0, 0, False
        return info.st_mtime_ns, info.st_size, self._beside("-shm").exists()

    def _beside(self, suffix: str) -> Path:
        return self.directory / (layout.DATABASE + suffix)

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._lock is not None:
            os.close(self._lock)
        self._lock, self.immutable = None, False

    def _is_readable(self) -> bool:
        by_effective_user = os.access in os.supports_effective_ids
        return os.access(self._database, os.R_OK, effective_ids=by_effective_user)

    def _unreadable(self, error: Exception) -> str:
        if not self._is_readable():
            return layout.foreign_directory(self.directory)
        if len(os.fsencode(self._database)) > SQLITE_PATH_BYTES_MAX - len("-journal"):
            return f"{self._database} is too long a path for SQLite: move the log to a shorter one"
        if not self._wal_is_empty():
            return (
                f"{self._database}-wal holds entries, and this user may not make what SQLite needs "
                f"to read them: start the writer with `hansard serve --dir {self.directory}`, or "
                "copy the directory to where you may write"
            )
        return f"cannot read {self._database}: {error}"


def require_sqlite() -> None:
    """Raises `ConfigError` when SQLite is one that can corrupt a log."""
    version = apsw.sqlite_lib_version()
    if tuple(map(int, version.split("."))) < SQLITE_VERSION_MIN:
        raise ConfigError(
            f"SQLite {version} can corrupt a WAL: {'.'.join(map(str, SQLITE_VERSION_MIN))} or "
            "later is needed; upgrade apsw"
        )
