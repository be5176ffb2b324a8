"""A WAL beside a database that it was not written for: a backup that was copied over a killed log.

SQLite cannot tell, and would carry the pages of one into the other. A log only grows; so an older
copy of it is shorter than the WAL takes for granted. It writes nothing.
"""

import os
import struct
from pathlib import Path
from typing import Final

import apsw

from hansard.errors import ConfigError

_FRAMES_AT: Final = 32  # https://www.sqlite.org/fileformat2.html#the_write_ahead_log
_FRAME_HEADER_BYTES: Final = 24
_PAGE_NUMBER: Final = struct.Struct(">I")
_LOCK_BYTE: Final = 1 << 30  # the page that holds it is never written


def require_own_wal(connection: apsw.Connection, path: Path) -> None:
    """Raises `ConfigError` where the database at ``path`` and its WAL do not make one whole.

    MUST be called before anything is written or checkpointed through the connection, which has
    but been opened. Where it raises, closing the connection leaves both files as they are.
    """
    pages: int = connection.execute("PRAGMA page_count").get  # recovers the WAL, if there is one
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    page_bytes: int = connection.execute("PRAGMA page_size").get
    if frames <= 0 or not _missing(connection, pages, frames, page_bytes):
        return
    try:
        is_whole = connection.execute("PRAGMA quick_check(1)").get == "ok"
    except apsw.Error:
        is_whole = False
    if not is_whole:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        raise ConfigError(
            f"{path} is not the database that {path.name}-wal was written for (a backup that was "
            f"copied over it?): to use it, move {path.name}-wal and {path.name}-shm away; to go on "
            f"with the old one, put that back beside them; then start again"
        )


def _missing(connection: apsw.Connection, pages: int, frames: int, page_bytes: int) -> bool:
    """Whether a page of the log is neither in the database nor in the WAL."""
    in_database = Path(connection.filename).stat().st_size // page_bytes
    if pages <= in_database:
        return False
    wanted = set(range(in_database + 1, pages + 1)) - {_LOCK_BYTE // page_bytes + 1}
    descriptor = os.open(connection.filename_wal, os.O_RDONLY | os.O_CLOEXEC)  # it has no locks
    try:
        for frame in range(frames):
            offset = _FRAMES_AT + frame * (_FRAME_HEADER_BYTES + page_bytes)
            wanted.discard(*_PAGE_NUMBER.unpack(os.pread(descriptor, _PAGE_NUMBER.size, offset)))
    finally:
        os.close(descriptor)
    return bool(wanted)
