"""log.db as a file, beside SQLite: read page by page, and cleared of what belongs to nothing.

It writes zeros into bytes that SQLite never reads, and nothing else. When that may be done is the
wiping's business.
"""

import os
from pathlib import Path

from hansard_writer.free_space import PAGE_BYTES, is_pointer_map, residue


class DatabaseFile:
    """A descriptor of its own. It MUST be kept until SQLite has closed the database: a close drops
    all locks that this process has on it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)

    @property
    def pages(self) -> int:
        """How many there are."""
        return os.fstat(self._descriptor).st_size // PAGE_BYTES

    def clear(self, first: int, count: int = 1, *, has_maps: bool) -> int:
        """Clear pages, by their number from 1 on, of what belongs to nothing; in how many there was
        something. ``has_maps`` says whether some of them map others (auto_vacuum)."""
        found, offset = 0, (first - 1) * PAGE_BYTES
        data = os.pread(self._descriptor, count * PAGE_BYTES, offset)
        for index in range(len(data) // PAGE_BYTES):
            if has_maps and is_pointer_map(first + index):
                continue
            at = index * PAGE_BYTES
            if span := residue(data[at : at + PAGE_BYTES], first + index):
                os.pwrite(self._descriptor, bytes(span[1] - span[0]), offset + at + span[0])
                found += 1
        return found

    def sync(self) -> None:
        """To the disk."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Behind SQLite's own close."""
        os.close(self._descriptor)
