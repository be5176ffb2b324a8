"""A log's tree once more, from the leaves of what is kept, held against the roots of checkpoints.

Beside each row the leaf hash is kept that it had. Where a row comes to another one, the tree is
grown with both, until a root fits one of the two: that tells which of them was changed, and one
changed row is one misfit and not one a checkpoint. Pure.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    BadProof,
    Edge,
    edge_positions,
    grow,
    require_consistent,
    root,
)

_UNTOLD: Final = 0
_FITS: Final = 1
_DIFFERS: Final = 2


class Claims:
    """The sizes and roots that checkpoints claim, in 41 bytes each, and which of them fit."""

    def __init__(self, claims: Iterable[tuple[int, bytes]]) -> None:
        self._sizes, self._roots = array("q"), bytearray()
        for size, claimed in claims:
            self._sizes.append(size)
            self._roots += claimed
        order = sorted(range(len(self._sizes)), key=self._sizes.__getitem__)
        self._roots = bytearray(b"".join(self._root(at) for at in order))
        self._sizes = array("q", (self._sizes[at] for at in order))
        self._told = bytearray(len(self._sizes))

    def next_behind(self, size: int) -> int | None:
        """The smallest claimed size behind one."""
        at = bisect_right(self._sizes, size)
        return self._sizes[at] if at < len(self._sizes) else None

    def are_of(self, size: int) -> bool:
        """Whether any is of a size."""
        return len(self._places(size)) > 0

    def hold(self, size: int, found: Sequence[bytes]) -> list[bool]:
        """Hold the claims of a size against the roots that it may have; whether each is claimed."""
        places = self._places(size)
        claimed = {self._root(at) for at in places}
        for at in places:
            self._told[at] = _FITS if self._root(at) in found else _DIFFERS
        return [each in claimed for each in found]

    def fits(self, size: int, claimed: bytes) -> bool | None:
        """Whether a claim fits; None where that could not be told."""
        for at in self._places(size):
            if self._root(at) == claimed:
                return None if self._told[at] == _UNTOLD else self._told[at] == _FITS
        return None

    def _places(self, size: int) -> range:
        return range(bisect_left(self._sizes, size), bisect_right(self._sizes, size))

    def _root(self, at: int) -> bytes:
        return bytes(self._roots[at * HASH_BYTES : (at + 1) * HASH_BYTES])


class Told(NamedTuple):
    """That up to a size it is told which of the two was changed: the rows, or their kept leaves."""

    size: int
    kept_fits: bool


class RegrownTree:
    """A tree that grows from an edge, by leaf hashes, past claims."""

    def __init__(self, begun: Edge, claims: Claims) -> None:
        self._claims = claims
        self._computed = begun
        self._kept: Edge | None = None  # where it is another
        self.is_lost = False  # leaves are missing, and no root can be told any more
        self._hold()

    @property
    def size(self) -> int:
        """Its size."""
        return self._computed.size

    def root(self) -> bytes:
        """Its root, by the kept leaves where there are two."""
        return root(self._kept or self._computed)

    def append(self, computed: bytes, kept: bytes) -> list[Told]:
        """Append leaf hashes, joined: those that rows come to, and those that are kept."""
        told: list[Told] = []
        begin, end = self.size, self.size + len(computed) // HASH_BYTES
        while self.size < end:
            at = self.size
            to = min(self._claims.next_behind(at) or end, end)
            part = slice((at - begin) * HASH_BYTES, (to - begin) * HASH_BYTES)
            self._grow(computed[part], kept[part])
            told += self._hold()
        return told

    def skip(self, count: int) -> None:
        """Go on behind entries whose leaves nobody knows."""
        self.is_lost = True
        self._kept = None
        self._computed = Edge(self.size + count)

    def leads_to(self, size: int, claimed: bytes, proof: Sequence[bytes]) -> Told | None:
        """Whether it is the beginning of a larger tree, as a consistency proof has it; by which
        leaves. None where it is not."""
        for edge, kept_fits in ((self._kept, True), (self._computed, False)):
            if edge is None or self.is_lost:
                continue
            try:
                require_consistent(edge.size, root(edge), size, claimed, proof)
            except BadProof:
                continue
            return Told(edge.size, kept_fits)
        return None

    def _grow(self, computed: bytes, kept: bytes) -> None:
        if self.is_lost:
            self._computed = Edge(self.size + len(computed) // HASH_BYTES)
            return
        if self._kept is not None or computed != kept:
            self._kept, _ = grow(self._kept or self._computed, kept)
        self._computed, _ = grow(self._computed, computed)

    def _hold(self) -> list[Told]:
        """Hold it against what is claimed of its size, and go on with the one of two that fits."""
        size = self.size
        if self.is_lost or not self._claims.are_of(size):
            return []
        if self._kept is None:
            self._claims.hold(size, [root(self._computed)])
            return []
        kept_fits, computed_fits = self._claims.hold(size, [root(self._kept), root(self._computed)])
        if not (kept_fits or computed_fits):
            return []
        if kept_fits:
            self._computed = self._kept
        self._kept = None
        return [Told(size, kept_fits)]


def is_whole(edge: Edge) -> bool:
    """Whether an edge has the hashes that one of its size has."""
    if edge.size < 0:
        return False
    counts = [count for _, _, count in edge_positions(edge.size)]
    lengths = [len(row) for row in edge.rows]
    missing = [0] * (len(counts) - len(lengths))
    return [*lengths, *missing] == [HASH_BYTES * count for count in counts]
