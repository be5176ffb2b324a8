"""A log that cannot be used as it is: how that is seen before SQLite opens it, and what is said.

It repairs nothing and touches nothing: what is damaged is evidence.
"""

import logging
import os
import shlex
import stat
from pathlib import Path
from typing import Final, NoReturn

import apsw

from hansard.errors import ConfigError
from hansard_writer import schema
from hansard_writer.database_header import HEADER_BYTES, read_header
from hansard_writer.sqlite_errors import Kind as ErrorKind
from hansard_writer.sqlite_errors import code_of, is_damage, is_failed_sync, kind_of, name_of
from hansard_writer.unusable import LogRefused, LogUnusable

_WAY_OUT: Final = (
    "move log.db, log.db-wal and log.db-shm away together, put a copy back, and start again; what "
    "was not acked is in the spools"
)

_LOG: Final = logging.getLogger("hansard.writer")


def require_log(path: Path, *, may_be_old: bool = False) -> None:
    """Raises `LogUnusable` unless there is a log at ``path``, an empty file or nothing at all, and
    `ConfigError` for one of an earlier schema, except where that may be.

    SQLite would do harm to some of what it refuses: a WAL without its database is deleted.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        _require_no_wal(path, "is missing")
        return
    except OSError as error:
        raise LogUnusable(f"cannot look at {path}: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise LogUnusable(f"{path} is no file: move it away, and start again")
    by_effective_user = os.access in os.supports_effective_ids
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=by_effective_user):
        raise LogUnusable(
            f"{path} (mode {stat.S_IMODE(facts.st_mode):04o}, uid {facts.st_uid}) cannot be read "
            f"and written by uid {os.geteuid()}: chown or chmod it, and start again"
        )
    if not facts.st_size:
        _require_no_wal(path, "is empty")
        return
    if is_half_made(path):
        return
    version = _version(path, _header(path), facts.st_size)
    if not may_be_old and not has_wal(path):  # else its version may be another by now
        require_migrated(path, version)


def has_wal(path: Path) -> bool:
    """Whether there is something of the log at ``path`` that is not in the file itself."""
    return _has_content(path.with_name(path.name + "-wal"))


def is_half_made(path: Path) -> bool:
    """Whether power was cut while it was made: SQLite undoes what there is of its first page."""
    return _has_content(path.with_name(path.name + "-journal"))


def require_version(path: Path, version: int) -> None:
    """Raises `LogRefused` for the schema of a later release."""
    if version > schema.VERSION:
        raise LogRefused(
            f"{path} was written by a newer release (schema {version}, this one knows "
            f"{schema.VERSION}): install that release or a later one"
        )


def require_migrated(path: Path, version: int) -> None:
    """Raises `ConfigError` for the schema of an earlier release, as whoever reads it does; 0 is
    that of a new log."""
    if 0 < version < schema.VERSION:
        where = f"--dir {shlex.quote(str(path.parent))}"
        raise ConfigError(
            f"{path} has schema {version}, of an earlier release, and this one writes "
            f"{schema.VERSION}: run `hansard migrate {where}`, which keeps a backup of it, or "
            f"start with `hansard serve --migrate {where}`"
        )


def no_version(path: Path) -> LogRefused:
    """For a database with our mark and tables that does not say of which schema they are."""
    return LogRefused(f"{path} is damaged (it has tables, and no schema version): {_WAY_OUT}")


def another_programs(path: Path, application_id: int) -> LogRefused:
    """For a database that is no log."""
    return LogRefused(
        f"{path} is a database of another program (application id {application_id}): "
        "move it away, or name another directory"
    )


def tree_disagrees(path: Path, entries: int, leaves: int) -> LogRefused:
    """For a log whose entries are not those that its Merkle tree is of."""
    return LogRefused(
        f"{path} has entries up to {entries} and a Merkle tree of {leaves}, and parts of it may be "
        "missing: somebody has changed it from outside; `hansard verify` says more; restore a "
        "backup, or put the file back as it was"
    )


def checkpoint_disagrees(path: Path, size: int, entries: int) -> LogRefused:
    """For a log that is not the one that its own newest checkpoint is of."""
    return LogRefused(
        f"{path} holds a checkpoint of {size} entries that is not one of the {entries} it has: "
        "somebody has changed it from outside; `hansard verify` says more; restore a backup, or "
        "put the file back as it was"
    )


def keys_disagree(path: Path, error: Exception) -> LogRefused:
    """For a log of which its own words do not say who signs it."""
    return LogRefused(
        f"{path} does not say any more who signs it ({error}): somebody has changed it from "
        "outside; `hansard verify` says more; restore a backup, or put the file back as it was"
    )


def reason_to_end(path: Path, error: apsw.Error) -> str:
    """What an error of SQLite's says about the log and what to do, in a sentence."""
    code = code_of(error)
    because = ": ".join([name_of(code), *getattr(error, "__notes__", [str(error)])])
    kind = kind_of(code)
    primary = code & 0xFF
    if is_damage(code):
        return f"{path} is damaged ({because}): {_WAY_OUT}"
    if is_failed_sync(code):
        return (
            f"the disk did not keep what was written to {path} ({because}): look after the disk "
            "(dmesg), and start again; what was not acked is in the spools"
        )
    if kind is ErrorKind.BUSY:
        return f"another program holds {path} ({because}): end that program, and start again"
    if kind is ErrorKind.FULL:
        return f"the disk that holds {path} is full ({because}): make room, and start again"
    if primary in (apsw.SQLITE_READONLY, apsw.SQLITE_PERM):
        return (
            f"{path} cannot be written to any more ({because}): see to its mode, and that its disk "
            "is not mounted read-only; then start again"
        )
    if primary in (apsw.SQLITE_IOERR, apsw.SQLITE_CANTOPEN):
        return (
            f"{path} cannot be read or written ({because}): look after the disk (dmesg), and start "
            "again; what was not acked is in the spools"
        )
    if kind is ErrorKind.TRANSIENT:
        return f"{path} could not be used, again and again ({because}): start again"
    return f"SQLite failed on {path} ({because}): start again; what was not acked is in the spools"


def is_ours(error: apsw.Error) -> bool:
    """Whether it looks like a fault of Hansard's own, of which a traceback is wanted."""
    return code_of(error) & 0xFF in (apsw.SQLITE_ERROR, apsw.SQLITE_MISUSE, apsw.SQLITE_INTERNAL)


def end_at_once(path: Path, error: apsw.Error) -> NoReturn:
    """End the process with exit status 1, and say why. Nothing is closed: the last connection's
    close would run a checkpoint, and sync the handle once more whose sync has failed."""
    _LOG.critical(
        "the writer ends: %s",
        reason_to_end(path, error),
        exc_info=error if is_ours(error) else None,
    )
    logging.shutdown()
    os._exit(1)


def _require_no_wal(path: Path, what: str) -> None:
    if has_wal(path):
        wal = f"{path.name}-wal"
        raise LogRefused(
            f"{path} {what}, but {wal} beside it holds entries of it: put {path.name} back, "
            f"or move {wal} away to begin a new log"
        )


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _header(path: Path) -> bytes:
    """By SQLite's own file system: to close a descriptor of ours would drop the locks that a
    connection of this process holds."""
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
    try:
        file = apsw.VFSFile("", str(path.absolute()), flags)
    except apsw.Error as error:
        raise LogUnusable(reason_to_end(path, error)) from error
    try:
        return file.xRead(min(HEADER_BYTES, file.xFileSize()), 0)
    except apsw.Error as error:
        raise LogUnusable(reason_to_end(path, error)) from error
    finally:
        file.xClose()


def _version(path: Path, header: bytes, size: int) -> int:
    """The version of a log's schema; 0 where the file does not say whose database it is."""
    found = read_header(header)
    if found is None:
        raise LogUnusable(f"{path} is damaged or no database: {_WAY_OUT}")
    if found.application_id == schema.APPLICATION_ID:
        require_version(path, found.user_version)
        return found.user_version
    if size > found.page_bytes > 1:
        raise another_programs(path, found.application_id)
    return 0
