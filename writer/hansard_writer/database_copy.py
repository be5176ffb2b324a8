"""A copy of a log's database as of one moment: one file, private, whole and durable, or none.

It copies pages as they are. Whose log it is, and what the copy is for, it does not ask.
"""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from hansard import directory as layout
from hansard_writer.durable_files import sync_directory, sync_file
from hansard_writer.sqlite_errors import NO_ROOM, code_of, is_damage
from hansard_writer.unusable import LogUnusable

PAGES_AT_ONCE: Final = 1_000

_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


def copy_database(
    source: apsw.Connection, to: Path, partial: Path, progress: Callable[[int, int], None]
) -> None:
    """Copy what ``source`` reads to the file ``to``, which MUST NOT be there; until it is whole
    and durable it is ``partial``, in the same directory, where what an earlier try has left goes.

    ``progress`` hears how many of how many bytes are copied. Raises
    `hansard_writer.unusable.LogUnusable` where it cannot be written, and SQLite's error for damage.
    """
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, _FLAGS, layout.PRIVATE_FILE_MODE))
        try:
            _copy(source, partial, progress)
            sync_file(partial)
            partial.rename(to)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        sync_directory(to.parent)
    except (OSError, apsw.Error) as error:
        if isinstance(error, apsw.Error) and is_damage(code_of(error)):
            raise
        raise _not_written(to, error) from error


def _copy(source: apsw.Connection, to: Path, progress: Callable[[int, int], None]) -> None:
    page_bytes: int = source.execute("PRAGMA page_size").get
    target = apsw.Connection(str(to), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF"):  # it is whole or thrown away
            target.execute(f"PRAGMA {pragma}").fetchall()
        with target.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(PAGES_AT_ONCE)
                done = backup.page_count - backup.remaining
                progress(done * page_bytes, backup.page_count * page_bytes)
    finally:
        target.close()


def _not_written(to: Path, error: OSError | apsw.Error) -> LogUnusable:
    if isinstance(error, OSError):
        is_full, why = error.errno in NO_ROOM, error.strerror
    else:
        is_full, why = isinstance(error, apsw.FullError), str(error)
    way_out = "make room there" if is_full else "see to its directory"
    return LogUnusable(f"cannot write {to} ({why}): {way_out}, or name another file")
