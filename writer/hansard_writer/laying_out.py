"""A log is laid out anew, so that from then on it can give free pages back while it is served.

None is made so: to note who refers to a page costs each event (4 % of it, a third in a log of 10
million entries), and most logs never become smaller. A VACUUM writes all of it once more. It needs
the log for itself, and room for it twice; killed at any moment, the log is as it was, or as it will
be. The log MUST have been left by a writer that ended cleanly: nothing of it is looked at.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import apsw

from hansard import directory as layout
from hansard.errors import AuditLogError
from hansard_writer import wal_readers
from hansard_writer.handle import START_BUSY_MS
from hansard_writer.lock import WriterLock
from hansard_writer.unusable import LogUnusable
from hansard_writer.vacuuming import Room, room

MARGIN_BYTES: Final = 16 << 20  # of the disk, for whoever else is on it
STEPS_PER_LOOK: Final = 100_000  # of SQLite's, between two looks at how far it is
TEMPORARY_DIRECTORY: Final = "SQLITE_TMPDIR"  # as SQLite reads it from the environment

Progress = Callable[[int], None]


def lay_out_anew(directory: Path, progress: Progress = lambda _: None) -> Room:
    """Do it; what the database has then. ``progress`` is told how many more bytes are written,
    about, of those that are used.

    Raises `hansard_writer.lock.DirectoryTaken` where a writer serves the log, `AuditLogError` where
    there is no room for it, with nothing changed, or where a reader keeps it from its end.
    """
    path = directory / layout.DATABASE
    mode = (directory / layout.LOCK).stat().st_mode & 0o777
    lock = WriterLock(directory, mode)
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            return _vacuum(connection, directory, progress)
        except apsw.FullError as error:
            raise _no_room(directory, 0) from error
        except apsw.Error as error:
            raise LogUnusable(
                f"{path} cannot be laid out anew ({error}): it is as it was"
            ) from error
        finally:
            connection.close()
    finally:
        lock.close()


def _vacuum(connection: apsw.Connection, directory: Path, progress: Progress) -> Room:
    def rows(statement: str) -> list[Any]:
        return connection.execute(statement).fetchall()

    connection.set_busy_timeout(START_BUSY_MS)
    needed = 2 * room(rows).used_bytes + MARGIN_BYTES
    free = _free_bytes(directory)
    if free < needed:
        raise _no_room(directory, needed)
    written = 0

    def look() -> bool:
        nonlocal written
        more = max(free - _free_bytes(directory) - written, 0)
        progress(more)
        written += more
        return False

    connection.set_progress_handler(look, STEPS_PER_LOOK)
    before = os.environ.get(TEMPORARY_DIRECTORY)
    os.environ[TEMPORARY_DIRECTORY] = str(directory)  # /tmp may be small, or memory
    try:
        for pragma in ("synchronous = FULL", "secure_delete = ON", "auto_vacuum = INCREMENTAL"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("VACUUM").fetchall()
    finally:
        connection.set_progress_handler(None)
        if before is None:
            del os.environ[TEMPORARY_DIRECTORY]
        else:
            os.environ[TEMPORARY_DIRECTORY] = before
    _empty_wal(connection)
    return room(rows)


def _empty_wal(connection: apsw.Connection) -> None:
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError as error:
        why = wal_readers.in_the_way(Path(connection.filename_wal))
        raise AuditLogError(
            f"the log is laid out anew, but {why}; the next writer does it"
        ) from error


def _free_bytes(directory: Path) -> int:
    facts = os.statvfs(directory)
    return facts.f_bavail * facts.f_frsize


def _no_room(directory: Path, needed: int) -> AuditLogError:
    needs = f", and {needed / 1e6:,.0f} MB are needed" if needed else ""
    return AuditLogError(
        f"{_free_bytes(directory) / 1e6:,.0f} MB are free on the disk of {directory}{needs}: the "
        "log is written twice before it becomes smaller; make room; nothing was changed"
    )
