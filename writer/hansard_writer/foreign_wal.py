"""A WAL beside a database that it was not written for: a backup that was copied over a killed log.

SQLite cannot tell, and would carry the pages of one into the other. The lock file says which log
the killed run wrote, and in which epoch; and a log grows, so that an older copy of it is shorter
than the WAL takes for granted; or it was made before the log gave space back, and is longer. It
cannot tell a copy of the same run with as many pages. A WAL that is not the one of the lock file
came together with the database, copied perhaps while the log was in use: then all of it is looked
at.
"""

import os
import struct
from pathlib import Path
from typing import Any, Final

import apsw

from hansard_writer.lock import WriterRun
from hansard_writer.unusable import LogRefused

_FRAMES_AT: Final = 32  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_FRAME_HEADER_BYTES: Final = 24
_FRAME: Final = struct.Struct(">II")  # the page's number; behind a commit the size in pages
_LOCK_BYTE: Final = 1 << 30  # the page that holds it is never written


def require_own_wal(connection: apsw.Connection, path: Path, predecessor: WriterRun | None) -> None:
    """Raises `LogRefused` where the database at ``path`` and its WAL do not make one whole, or not
    the log of the run that ``predecessor`` says wrote the WAL.

    MUST be called before anything is written or checkpointed through the connection, which has
    but been opened, and whose close is no checkpoint.
    """
    pages: int = connection.execute("PRAGMA page_count").get  # recovers the WAL, if there is one
    frame_count, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    if frame_count <= 0:
        return
    page_bytes: int = connection.execute("PRAGMA page_size").get
    frames = _frames(connection.filename_wal, frame_count, page_bytes)
    in_database = Path(connection.filename).stat().st_size // page_bytes
    fits = frames[-1][1] == pages
    if fits and _are_all_there(pages, 0, frames, page_bytes):
        return  # whatever is in the database, it is not read
    if predecessor is None or predecessor.wal_inode != Path(connection.filename_wal).stat().st_ino:
        if fits and _is_whole(connection):
            return
        raise LogRefused(
            f"{path} and {path.name}-wal are not of one moment (a copy of a log that was in use, "
            "or a backup beside another log's WAL?): stop the writer of the log that was copied, "
            f"copy all its files again, and start again; or move {path.name}-wal and "
            f"{path.name}-shm away, if {path.name} is a whole backup by itself"
        )
    if (
        fits
        and _is_its_log(connection, predecessor)
        and (_are_all_there(pages, in_database, frames, page_bytes) or _is_whole(connection))
    ):
        return
    raise LogRefused(
        f"{path} is not the database that {path.name}-wal was written for (a backup that was "
        f"copied over it?): to use it, move {path.name}-wal and {path.name}-shm away; to go on "
        "with the old one, put that back beside them; then start again"
    )


def _is_its_log(connection: apsw.Connection, predecessor: WriterRun) -> bool:
    """Each run commits its epoch before it says who it is: a log that is behind, or another one,
    is not the one that it wrote."""
    try:
        rows = connection.execute("SELECT key, value FROM meta").fetchall()
    except (apsw.SQLError, apsw.CorruptError):  # it has no such table, or pages of another log
        return False
    found: dict[str, Any] = {str(key): value for key, value in rows}
    log_id, epoch = found.get("log_id"), found.get("epoch")
    return log_id == predecessor.log_id and isinstance(epoch, int) and epoch >= predecessor.epoch


def _frames(wal: str, count: int, page_bytes: int) -> list[tuple[int, int]]:
    """Page number and size of each frame that is committed; the last one is a commit's."""
    descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)  # SQLite has no locks on this file
    try:
        offsets = [_FRAMES_AT + n * (_FRAME_HEADER_BYTES + page_bytes) for n in range(count)]
        return [_FRAME.unpack(os.pread(descriptor, _FRAME.size, at)) for at in offsets]
    finally:
        os.close(descriptor)


def _are_all_there(
    pages: int, in_database: int, frames: list[tuple[int, int]], page_bytes: int
) -> bool:
    """Whether each page is in the database or in the WAL, and no other in the database."""
    never_written = _LOCK_BYTE // page_bytes + 1
    if in_database > pages:
        return False  # the log became smaller, or these are the pages of one that had not yet
    missing = set(range(in_database + 1, pages + 1)) - {number for number, _ in frames}
    return not missing - {never_written}


def _is_whole(connection: apsw.Connection) -> bool:
    """Takes time: it reads all of the log."""
    try:
        return bool(connection.execute("PRAGMA integrity_check(1)").get == "ok")
    except apsw.Error:
        return False
