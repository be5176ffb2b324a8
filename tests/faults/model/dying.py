"""A spool whose process is killed at any byte that it writes, in the order in which it writes.

What is written before is in the file, nothing behind; the four bytes of a length are one store.
"""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

from hansard.spool import RECORD, Spool, live
from hansard.spool.layout import LENGTH
from stepped import Killed

NEVER: Final = 1 << 62
HEAD_VALUES: Final = 3  # length, number and CRC


class _Mortal(mmap.mmap):
    """The map of a process that has so many bytes left to write."""

    left = NEVER

    def __setitem__(self, where: Any, content: Any) -> None:
        size = len(content)
        written = size if self.left >= size else 0 if size == LENGTH.size else max(self.left, 0)
        super().__setitem__(slice(where.start, where.start + written), content[:written])
        self.left -= size
        if written < size:
            self.left = -1  # it writes nothing more, whoever cleans up
            raise Killed


@contextmanager
def dying(spool: Spool, bytes_left: int) -> Iterator[None]:
    """Within, the spool's process is killed when it has written so many bytes."""
    spool._map.close()
    mortal = spool._map = _Mortal(spool._descriptor, spool._size)
    mortal.left = bytes_left
    with (
        mock.patch.multiple(
            live,
            _pack_record=_pack_record,
            _pack_length=_pack_length,
            LENGTH=SimpleNamespace(
                size=LENGTH.size, unpack_from=LENGTH.unpack_from, pack_into=_pack_length
            ),
        ),
        mock.patch.object(spool, "_pack_small", (_pack_record,) * live._SMALL_BYTES),
    ):
        yield
    if mortal.left >= 0:
        mortal.left = NEVER


def _pack_record(memory: mmap.mmap, offset: int, *values: Any) -> None:
    """A record's head, and a small one's event behind it."""
    *head, data = values if len(values) > HEAD_VALUES else (*values, b"")
    packed = RECORD.pack(*head) + data
    memory[offset : offset + len(packed)] = packed


def _pack_length(memory: mmap.mmap, offset: int, length: int) -> None:
    memory[offset : offset + LENGTH.size] = LENGTH.pack(length)
