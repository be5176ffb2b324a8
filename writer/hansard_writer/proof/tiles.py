"""The shape of a tree as static files: which tiles there are, and what they are called. Pure.

Source: https://c2sp.org/tlog-tiles. A tile has up to 256 hashes of one level, each of ``256 **
level`` entries; a bundle has the entries under a tile of level 0. What was pruned is not there.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

TILE_HEIGHT: Final = 8
TILE_HASHES: Final = 1 << TILE_HEIGHT
ENTRY_BYTES_MAX: Final = 0xFFFF  # the length before an entry has two bytes
LENGTH_BYTES: Final = 2
ENTRIES: Final = "entries"  # in the place of a bundle's level


class Tile(NamedTuple):
    """A tile, or the bundle at its place, where the level is 0."""

    level: int
    number: int
    width: int = TILE_HASHES

    @property
    def is_full(self) -> bool:
        """Whether it will never change."""
        return self.width == TILE_HASHES

    @property
    def first_entry(self) -> int:
        """Where the entries begin that it is of, counted from 0."""
        return self.number << self._height

    @property
    def end_entry(self) -> int:
        """Where they end, if it were full: behind it, what was pruned may be missing."""
        return (self.number + 1) << self._height

    @property
    def path(self) -> str:
        """Below the place where the log is served."""
        return f"tile/{self.level}/{_path_of(self.number)}{self._suffix}"

    @property
    def bundle_path(self) -> str:
        """The same, of the bundle."""
        return f"tile/{ENTRIES}/{_path_of(self.number)}{self._suffix}"

    @property
    def _height(self) -> int:
        return TILE_HEIGHT * (self.level + 1)

    @property
    def _suffix(self) -> str:
        return "" if self.is_full else f".p/{self.width}"


def levels(size: int) -> Iterator[int]:
    """The levels that a tree of ``size`` entries has tiles of."""
    level = 0
    while size >> (TILE_HEIGHT * level):
        yield level
        level += 1


def tiles(level: int, size: int, exported: int = 0) -> Iterator[Tile]:
    """The tiles of one level of a tree of ``size`` entries, without those that are full in a tree
    of ``exported`` entries already; the partial one at the end, if there is one, is the last."""
    full, width = divmod(size >> (TILE_HEIGHT * level), TILE_HASHES)
    for number in range(exported >> (TILE_HEIGHT * (level + 1)), full):
        yield Tile(level, number)
    if width:
        yield Tile(level, full, width)


def bundle(entries: Iterable[bytes]) -> bytes:
    """The entries of a bundle, each behind its length. Raises ValueError for one that is too long
    for the format."""
    parts = []
    for entry in entries:
        if len(entry) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(entry):,} bytes: {ENTRY_BYTES_MAX:,} at most")
        parts += [len(entry).to_bytes(LENGTH_BYTES, "big"), entry]
    return b"".join(parts)


def _path_of(number: int) -> str:
    """``1234067`` as ``x001/x234/067``."""
    digits = str(number)
    padded = digits.zfill(-(-len(digits) // 3) * 3)
    *first, last = (padded[at : at + 3] for at in range(0, len(padded), 3))
    return "".join(f"x{each}/" for each in first) + last
