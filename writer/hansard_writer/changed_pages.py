"""Which pages the commits of this connection have written since some moment.

A page's buffer may become another page when a b-tree is balanced, with all that belongs to nothing
in it; so who goes through a database in pieces has to come back to what was written meanwhile.
"""

from typing import Final

import apsw

from hansard_writer.free_space import PAGE_BYTES

WAL: Final = 1  # for `apsw.Connection.read`
# https://www.sqlite.org/walformat.html
HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
_RESTARTS: Final = slice(12, 24)  # of the header: other bytes each time that the WAL begins anew


class ChangedPages:
    """Their numbers. ``committed`` MUST be called at each commit, from SQLite's hook."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._read = connection.read
        self._seen = (b"", 0)  # of which WAL how many frames
        self._numbers: set[int] = set()

    def committed(self, frames: int) -> None:
        """A commit has left so many frames in the WAL."""
        wal = self._bytes(0, HEADER_BYTES)[_RESTARTS]
        before, seen = self._seen
        for frame in range(seen if wal == before else 0, frames):
            at = HEADER_BYTES + frame * (FRAME_HEADER_BYTES + PAGE_BYTES)
            self._numbers.add(int.from_bytes(self._bytes(at, 4), "big"))
        self._seen = (wal, frames)

    def take(self) -> set[int]:
        """What was written since the last time."""
        taken, self._numbers = self._numbers, set()
        return taken

    def _bytes(self, offset: int, size: int) -> bytes:
        _, data = self._read("main", WAL, offset, size)
        return data
