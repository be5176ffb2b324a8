"""The tree once more, from its leaves up, held against the stored one node by node.

Where they differ it tells which of the two the nodes above fit, and goes on with that: so one
changed leaf or node is one misfit and not one a level. It reads rows through a function.
"""

from collections.abc import Callable
from typing import NamedTuple

from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    ROW_BYTES,
    ROW_HASHES,
    ROW_HEIGHT,
    Edge,
    parents,
    root,
)

Fetch = Callable[[int, int, int], list[tuple[int, bytes]]]
"""The stored rows of a level from an idx to another, both included: idx and hashes, in order."""


class Misfit(NamedTuple):
    """A node, by its place in its level, that is stored as another than what is below it makes;
    of level 0, a leaf.

    ``stored`` is false where it is not stored at all. ``stored_is_wrong``: what was computed fits
    the node above, so it is the stored hash that was changed, and not what is below.
    """

    level: int
    at: int
    stored: bool
    stored_is_wrong: bool

    @property
    def entries(self) -> tuple[int, int]:
        """The first and the last entry below it."""
        width = 1 << (ROW_HEIGHT * self.level)
        return self.at * width + 1, (self.at + 1) * width


class RecomputedTree:
    """A tree that grows from an edge, by leaf hashes, beside the stored rows."""

    def __init__(self, edge: Edge, fetch: Fetch) -> None:
        self._fetch = fetch
        self.size = edge.size
        self._rows = list(edge.rows)

    def root(self) -> bytes:
        """Its root."""
        return root(Edge(self.size, tuple(self._rows)))

    def append(self, leaves: bytes) -> list[Misfit]:
        """Append leaf hashes, joined; what of them, and of what they complete, is not stored so."""
        misfits: list[Misfit] = []
        rows, added, level = self._rows, leaves, 0
        while added:
            if level == len(rows):
                rows.append(b"")
            idx = self.size >> (ROW_HEIGHT * (level + 1))
            begun = len(rows[level]) // HASH_BYTES
            joined = self._held_against_stored(level, idx, rows[level] + added, begun, misfits)
            whole = len(joined) - len(joined) % ROW_BYTES
            rows[level] = joined[whole:]
            added = parents(joined[:whole])
            level += 1
        self.size += len(leaves) // HASH_BYTES
        return misfits

    def _held_against_stored(
        self, level: int, idx: int, joined: bytes, begun: int, misfits: list[Misfit]
    ) -> bytes:
        """The rows to go on with, of which the first ``begun`` nodes were looked at before."""
        count = -(-len(joined) // ROW_BYTES)
        stored = self._fetch(level, idx, idx + count - 1)
        together = b"".join([hashes for _, hashes in stored])
        before_last = {len(hashes) for _, hashes in stored[:-1]}
        if (
            together.startswith(joined)  # the last row may have grown since
            and len(together) <= count * ROW_BYTES
            and before_last <= {ROW_BYTES}
        ):
            return joined
        by_idx = dict(stored)
        return b"".join(
            self._row(
                level,
                idx + number,
                joined[number * ROW_BYTES : (number + 1) * ROW_BYTES],
                by_idx.get(idx + number, b""),
                0 if number else begun,
                misfits,
            )
            for number in range(count)
        )

    def _row(
        self,
        level: int,
        idx: int,
        computed: bytes,
        stored: bytes,
        begun: int,
        misfits: list[Misfit],
    ) -> bytes:
        """The row to go on with, node by node."""
        whole = stored[: len(computed)]
        if whole == computed and len(stored) <= ROW_BYTES:
            return computed
        is_full = len(computed) == ROW_BYTES
        stored_is_wrong = is_full and parents(computed) == self._above(level, idx)
        hashes = []
        for place in range(len(computed) // HASH_BYTES):
            at = place * HASH_BYTES
            ours, theirs = computed[at : at + HASH_BYTES], whole[at : at + HASH_BYTES]
            is_stored = len(theirs) == HASH_BYTES
            if ours != theirs and place >= begun:
                misfits.append(Misfit(level, idx * ROW_HASHES + place, is_stored, stored_is_wrong))
            hashes.append(theirs if is_stored and not stored_is_wrong else ours)
        if len(stored) > ROW_BYTES:
            misfits.append(Misfit(level, idx * ROW_HASHES + ROW_HASHES - 1, True, True))
        return b"".join(hashes)

    def _above(self, level: int, idx: int) -> bytes:
        """The stored hash of a row."""
        row, place = divmod(idx, ROW_HASHES)
        stored = dict(self._fetch(level + 1, row, row)).get(row, b"")
        return stored[place * HASH_BYTES : (place + 1) * HASH_BYTES]
