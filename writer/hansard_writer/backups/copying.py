"""The pages of a log, copied as of one moment into a database that needs no WAL.

One read transaction for all of it: beside a writer it rests between pieces while the WAL has hardly
grown, and hurries once it has. What redactions leave until they are wiped, old copies in pages and
words by which full text finds its own, is not copied. It writes one new file, and decides nothing
about its name.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import apsw

from hansard import directory as layout
from hansard.reader.resting import REST_SHARE
from hansard.reader_connection import ReadConnection
from hansard_writer.backups import BackupFailed
from hansard_writer.database_file import DatabaseFile
from hansard_writer.durable_files import sync_file
from hansard_writer.free_space import PAGE_BYTES, TELLABLE_PAGES_MAX
from hansard_writer.full_text_separators import Place, put_right

PIECE_PAGES: Final = 2_048  # 8 MiB: some ms, then others have their turn
WAL_GROWTH_BYTES_MAX: Final = 64 << 20  # beyond, the sooner it is over the better
FILE_MODE: Final = 0o600

_LAYOUT: Final = "SELECT * FROM pragma_page_size, pragma_auto_vacuum"
_FIRST_ROW: Final = "SELECT max(seq) FROM entries"  # with it the moment is fixed


def copy_log(
    log: ReadConnection,
    target: Path,
    *,
    is_recorded: bool,
    require: Callable[[], None],
    progress: Callable[[int, int], None],
) -> None:
    """Copy the database of ``log`` to ``target``, a file that MUST NOT be there yet, durably.

    ``is_recorded``: a writer serves it, and is not to be slowed down. ``require`` is asked before
    each piece whether to go on; ``progress`` gets pages copied, and all of them. Raises
    `BackupFailed`, OSError, and what ``require`` raises.
    """
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
    with _opened(target) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}").fetchall()  # it is whole, or thrown away
        pace = _Pace(log.directory / f"{layout.DATABASE}-wal") if is_recorded else None
        with log.snapshot():
            log.rows(_FIRST_ROW)
            with log.copy_into(connection) as copy:
                while not copy.done:
                    require()
                    copy.step(PIECE_PAGES)
                    progress(copy.page_count - copy.remaining, copy.page_count)
                    if pace:
                        pace.rest()
    with _opened(target) as connection:
        connection.execute("PRAGMA journal_mode = DELETE").fetchall()  # what it copied says WAL
        _mend_full_text(connection)
        page_bytes, auto_vacuum = connection.execute(_LAYOUT).get
    if page_bytes == PAGE_BYTES:
        _clear_pages(target, has_maps=bool(auto_vacuum))
    sync_file(target)


def _mend_full_text(connection: apsw.Connection) -> None:
    """Of words that are in no entry any more. An index that is damaged stays as it is: whoever
    serves the log makes it anew."""
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    damage = apsw.CorruptError, apsw.ConstraintError, apsw.SQLError
    with contextlib.suppress(*damage), connection:
        place: Place | None = Place()
        while place is not None:
            place = put_right(connection, place)


def _clear_pages(target: Path, *, has_maps: bool) -> None:
    """Of what belongs to nothing, as far as pages can be told apart."""
    with contextlib.closing(DatabaseFile(target)) as file:
        if file.pages < TELLABLE_PAGES_MAX:
            for first in range(1, file.pages + 1, PIECE_PAGES):
                file.clear(first, PIECE_PAGES, has_maps=has_maps)


@contextlib.contextmanager
def _opened(target: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(target))
    try:
        yield connection
    except apsw.Error as error:
        why = "its disk is full" if isinstance(error, apsw.FullError) else str(error)
        if errno := connection.system_errno:
            why = os.strerror(errno)
        raise BackupFailed(f"the copy cannot be written ({why})") from error
    finally:
        connection.close()


class _Pace:
    """Rests of four fifths, unless the WAL grows for want of its reader's end."""

    def __init__(self, wal: Path) -> None:
        self._wal = wal
        self._at_first = self._wal_bytes()
        self._worked_to = time.thread_time()

    def rest(self) -> None:
        """After a piece."""
        if self._wal_bytes() - self._at_first <= WAL_GROWTH_BYTES_MAX:
            time.sleep(REST_SHARE * (time.thread_time() - self._worked_to))
        self._worked_to = time.thread_time()

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0
