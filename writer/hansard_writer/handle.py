"""The one writing handle of log.db: how it is opened, and what each error of SQLite's means for it.

It owns SQLite in this process. It knows transactions, checkpoints and schema versions, and nothing
of entries.
"""

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw

from hansard.errors import ConfigError
from hansard_writer import damage, schema
from hansard_writer.database_file import DatabaseFile
from hansard_writer.foreign_wal import require_own_wal
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.lock import WriterRun
from hansard_writer.retries import (
    FALTERS_MAX,
    StoreBusy,
    StoreFaltered,
    StoreFull,
    StoreUnready,
)
from hansard_writer.sqlite_errors import NO_ROOM, Kind, code_of, kind_of, name_of
from hansard_writer.unusable import LogUnusable

FRAME_BYTES: Final = PAGE_BYTES + 24  # of the WAL, which is named in them
PAGE_CACHE_KIB: Final = 64 << 10
START_BUSY_MS: Final = 5_000  # a backup, or a reader's recovery, at the start
READ_TRIES_MAX: Final = 5  # at once: somebody waits for the answer

Read = TypeVar("Read")


class Handle:
    """The connection, and the judge of its errors. One thread's.

    What may pass is raised as a `StoreUnready`, with the database as it was. Every other error of
    SQLite's MUST end the process (`hansard_writer.damage.end_at_once`): a sync that failed must not
    be tried again on this handle, and a close would. ``may_be_old`` is for who migrates: a log of
    an earlier schema is refused else.
    """

    def __init__(
        self, path: Path, mode: int, vfs: str | None = None, *, may_be_old: bool = False
    ) -> None:
        damage.require_log(path, may_be_old=may_be_old)
        self._path = path
        self._may_be_old = may_be_old
        self.wal_pages = 0  # frames that the newest commit left in the WAL
        self.checkpoints = 0
        self.fulls = 0  # how often there was no room
        self.errors: collections.Counter[str] = collections.Counter()  # by the name of the code
        self._checkpoint_falters = 0
        self._file: DatabaseFile | None = None
        self.on_commit: Callable[[int], None] | None = None  # is told how many frames the WAL has
        self._is_new = not path.exists()
        if self._is_new:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
        try:
            self.connection = apsw.Connection(str(path), vfs=vfs)
        except apsw.Error as error:
            raise LogUnusable(damage.reason_to_end(path, error)) from error
        self._execute = self.connection.execute
        self.wal = Path(self.connection.filename_wal)

    @contextlib.contextmanager
    def starting(self, predecessor: WriterRun | None) -> Iterator[None]:
        """Configure, and make a new log; then the block, which makes this the log's writer.

        Until its end a close is no checkpoint, so that what is refused stays as it was; but a new
        database leaves no WAL, which might be taken for one of the database before it. Raises
        `hansard_writer.unusable.LogUnusable`, and `StoreFull`.
        """
        if not self._is_new:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.connection.set_busy_timeout(START_BUSY_MS)
        try:
            require_own_wal(self.connection, self._path, predecessor)
            self._configure()
            if not self.user_version:
                self._make()
            yield
        except BaseException as error:
            refusal = self._refusal(error)
            self.connection.close()
            if refusal:
                raise refusal from error
            raise
        self.connection.set_busy_timeout(0)  # the loop tries again; workers never wait for it
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN to COMMIT, or a rollback; but after an error that ends the process nothing of the
        kind."""
        try:
            self._execute("BEGIN IMMEDIATE")
            yield
            if not self.connection.in_transaction:
                raise AssertionError("a statement ended the transaction")
            self._execute("COMMIT")
        except apsw.Error as error:
            unready = self._judged(error)
            if self.connection.in_transaction and self._kind(error) is not Kind.FATAL:
                self._execute("ROLLBACK")
            if unready:
                raise unready from error
            raise
        except BaseException:
            if self.connection.in_transaction:
                self._execute("ROLLBACK")
            raise

    def rows(self, statement: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """All rows of a query."""
        return self.read(lambda: self._execute(statement, bindings).fetchall())

    def one(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row, its value where it has one column, None without a row."""
        return self.read(lambda: self._execute(statement, bindings).get)

    def read(self, read: Callable[[], Read]) -> Read:
        """What a function returns that only reads. What may pass is tried again at once; not in a
        transaction, which may be over by then."""
        for _ in range(0 if self.connection.in_transaction else READ_TRIES_MAX - 1):
            try:
                return read()
            except apsw.Error as error:
                if self._judged(error) is None:
                    raise
        return read()

    def checkpoint_passive(self) -> tuple[int, int] | None:
        """Move the WAL's pages into the database, as far as readers let it; waits for nobody.

        How many frames the WAL holds, and how many of them are in the database; None if it could
        not be done now.
        """
        return self._checkpoint(apsw.SQLITE_CHECKPOINT_PASSIVE)

    def checkpoint_truncate(self) -> bool:
        """Empty the WAL; False if a reader, or a full disk, stands in the way. Waits for nobody."""
        if self._checkpoint(apsw.SQLITE_CHECKPOINT_TRUNCATE) is None:
            return False
        self.wal_pages = 0
        return True

    @property
    def user_version(self) -> int:
        """The version of the database's schema; 0 of a new one."""
        version: int = self.one("PRAGMA user_version")
        return version

    @property
    def wal_bytes(self) -> int:
        """The size of the WAL's file."""
        try:
            return self.wal.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def file(self) -> DatabaseFile:
        """The database as a file, for who knows what may be written into it."""
        if self._file is None:
            self._file = DatabaseFile(self._path)
        return self._file

    def close(self) -> None:
        """End; the last connection of all also removes the WAL."""
        self.connection.close()
        if self._file is not None:
            self._file.close()

    # --- judging ---

    def _kind(self, error: apsw.Error) -> Kind:
        return kind_of(code_of(error), self.connection.system_errno)

    def _judged(self, error: apsw.Error) -> StoreUnready | None:
        """What to raise of an error that may pass, counted; None for one that does not. After a
        fatal one not even a close in passing (the collector's) is a checkpoint any more."""
        kind = self._kind(error)
        if isinstance(error, apsw.IOError | apsw.CantOpenError) and self.connection.system_errno:
            error.add_note(os.strerror(self.connection.system_errno))
        if kind is Kind.FATAL:
            self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if kind in (Kind.FATAL, Kind.CONTENT):
            return None
        name = name_of(code_of(error))
        self.errors[name] += 1
        if kind is Kind.BUSY:
            return StoreBusy("another program holds the write lock of log.db")
        if kind is Kind.FULL:
            self.fulls += 1
            return StoreFull("the disk that holds log.db is full")
        return StoreFaltered(f"log.db could not be used ({name})")

    def _checkpoint(self, mode: int) -> tuple[int, int] | None:
        try:
            done = self.connection.wal_checkpoint(mode=mode)
        except apsw.Error as error:
            unready = self._judged(error)
            self._checkpoint_falters += isinstance(unready, StoreFaltered)
            if unready is None or self._checkpoint_falters >= FALTERS_MAX:
                raise
            return None
        self._checkpoint_falters = 0
        self.checkpoints += 1
        return done

    def _refusal(self, error: BaseException) -> Exception | None:
        """What to say instead of an error of the start, None for a fault of ours."""
        if isinstance(error, OSError):
            why = f"{self.wal} cannot be written once more ({error.strerror})"
            if error.errno in NO_ROOM:
                return StoreFull(why)
            return LogUnusable(f"{why}: look after the disk, and start again")
        cause = error.__cause__ if isinstance(error, StoreUnready) else error
        if not isinstance(cause, apsw.Error) or damage.is_ours(cause):
            return None
        if self._kind(cause) is Kind.FULL:
            return StoreFull("the disk that holds log.db is full")
        return LogUnusable(damage.reason_to_end(self._path, cause))

    # --- the start ---

    def _configure(self) -> None:
        application_id, version = self.one("PRAGMA application_id"), self.user_version
        is_empty = self.one("SELECT count(*) FROM sqlite_schema") == 0
        if not (is_empty or application_id == schema.APPLICATION_ID):
            raise damage.another_programs(self._path, application_id)
        damage.require_version(self._path, version)
        if not is_empty and not version:
            raise damage.no_version(self._path)
        if version and not self._may_be_old:
            damage.require_migrated(self._path, version)
        self._execute(f"PRAGMA page_size = {PAGE_BYTES}").fetchall()
        if application_id != schema.APPLICATION_ID:  # it is a commit each time
            self._execute(f"PRAGMA application_id = {schema.APPLICATION_ID}").fetchall()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
            "recursive_triggers = ON",  # or REPLACE would delete behind the triggers' back
            "trusted_schema = OFF",
            "temp_store = MEMORY",
            "wal_autocheckpoint = 0",  # the loop says when
            f"cache_size = -{PAGE_CACHE_KIB}",
        ):
            self._execute(f"PRAGMA {pragma}").fetchall()
        if self.one("PRAGMA journal_mode") != "wal":
            raise ConfigError(f"{self._path} cannot be put into WAL mode: use a local file system")
        self.connection.set_wal_hook(self._on_wal)

    def _on_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        if self.on_commit is not None:
            self.on_commit(pages)
        return apsw.SQLITE_OK

    def _make(self) -> None:
        """In one transaction: killed in between, it is still a new log and not an old one."""
        with self.transaction():
            for statement in itertools.chain.from_iterable(schema.MIGRATIONS):
                self._execute(statement)
            self._execute(f"PRAGMA user_version = {schema.VERSION}")
