"""Free pages of log.db go back to the file system, in pieces, while the log serves.

SQLite moves the last pages of the file into free ones, which it can do where pointer maps say who
refers to them (auto_vacuum), and ends the file in front of them. It frees no page, takes nothing
out of the log, and keeps no mark of how far it is: each piece is whole by itself.
"""

import time
from typing import Final, NamedTuple

from hansard import wire
from hansard.reader.paging import Rows
from hansard_writer import wal_readers
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.store import Store

PIECE_PAGES_MAX: Final = 64  # 4 ms, ...
PIECE_S: Final = 0.01  # ... and no longer where thousands of megabytes are free: it looks for each
PAGES_AT_ONCE: Final = 8
PIECE_BYTES: Final = 1 << 20  # of the WAL, about, in which a piece is written first

_ROOM: Final = "SELECT * FROM pragma_page_count, pragma_freelist_count, pragma_auto_vacuum"


class Room(NamedTuple):
    """How many pages a database has, and how many of them are free; and whether they can be given
    back in pieces: a log has to be laid out anew for that once, see `laying_out`."""

    pages: int
    free: int
    is_in_pieces: bool

    @property
    def bytes(self) -> int:
        """Of the whole database."""
        return self.pages * PAGE_BYTES

    @property
    def free_bytes(self) -> int:
        """Of the pages that are free."""
        return self.free * PAGE_BYTES

    @property
    def used_bytes(self) -> int:
        """Of the others."""
        return self.bytes - self.free_bytes


def room(rows: Rows) -> Room:
    """That of the database that ``rows`` reads."""
    pages, free, auto_vacuum = rows(_ROOM)[0]
    return Room(pages, free, bool(auto_vacuum))


class Vacuuming:
    """Of one log, in one run of its writer. MUST NOT be used while a batch holds what is not
    committed. Raises `hansard_writer.retries.StoreUnready`: the piece can be done again."""

    def __init__(self, store: Store, wal_bytes_target: int) -> None:
        self._store = store
        self._wal_bytes_target = wal_bytes_target

    def piece(self, asked: wire.Vacuum) -> wire.Vacuumed:
        """Give back so many pages, or as many as fit into a piece; of none, see that the file is
        as small as the log. Raises `WireError` where it cannot be done in pieces."""
        handle, held_up_by = self._store.handle, ""
        before = room(self._rows)
        if not before.is_in_pieces:
            raise wire.WireError(
                "this log gives nothing back while it is served, before it was laid out for that: "
                "stop its writer, and then run `hansard prune --vacuum`, this once"
            )
        if not asked.pages:
            if not handle.checkpoint_truncate():
                held_up_by = wal_readers.in_the_way(handle.wal)
        elif handle.wal_bytes > self._wal_bytes_target and not handle.checkpoint_truncate():
            held_up_by = wal_readers.in_the_way(handle.wal)
        else:
            self._give_back(min(asked.pages, before.free, PIECE_PAGES_MAX))
        after = room(self._rows)
        freed = max(before.pages - after.pages, 0)
        return wire.Vacuumed(freed, after.free, self._store.size, held_up_by)

    # --- inside ---

    def _rows(self, statement: str) -> list[tuple[int, ...]]:
        return self._store.handle.rows(statement)

    def _give_back(self, pages: int) -> None:
        until = time.perf_counter() + PIECE_S
        with self._store.transaction() as connection:
            for done in range(0, pages, PAGES_AT_ONCE):
                count = min(PAGES_AT_ONCE, pages - done)
                connection.execute(f"PRAGMA incremental_vacuum({count})").fetchall()
                if time.perf_counter() > until:
                    return
