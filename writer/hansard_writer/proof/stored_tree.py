"""The tree as the database has it: nodes, edges and roots out of stored rows.

It reads rows through a function that it is given, and trusts them: whether they are the right
ones only a root that somebody signed can say.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    ROW_HASHES,
    ROW_HEIGHT,
    Edge,
    edge_positions,
    root,
    split_hashes,
    tree_hash,
)

READ_ROW: Final = "SELECT hashes FROM tree WHERE level = ? AND idx = ?"
WRITE_ROW: Final = (
    "INSERT INTO tree(level, idx, hashes) VALUES(?,?,?)"
    " ON CONFLICT DO UPDATE SET hashes = excluded.hashes"
)
DELETE_ROWS: Final = "DELETE FROM tree WHERE level = ? AND idx < ?"
READ_SIZE: Final = f"""
    SELECT coalesce(max(idx * {ROW_HASHES} + length(hashes) / {HASH_BYTES}), 0)
    FROM tree WHERE level = 0 AND idx = (SELECT max(idx) FROM tree WHERE level = 0)
"""  # noqa: S608 - our own words
ROWS_REMEMBERED_MAX: Final = 64

Fetch = Callable[[int, int], bytes | None]
"""The hashes of the row at a level and an idx, None where there is none."""


def rows_within(size: int) -> Iterator[tuple[int, int]]:
    """By level, how many rows may go with the first ``size`` leaves: those of tiles (of 256
    hashes, as C2SP has them) that are wholly of these leaves.

    Without them there are still the edge and the root of every tree of at least that size, the
    audit path of every leaf behind them, and the consistency proof between any two such trees:
    each needs only nodes whose row reaches beyond ``size``, because it holds their parent, and
    that does. And every tile that reaches beyond ``size`` is whole, as whoever is served tiles
    needs it: he has no smaller piece to ask for.
    """
    level = 0
    while tiles := size >> (ROW_HEIGHT * (level + 2)):
        yield level, tiles << ROW_HEIGHT  # the tile's rows, side by side
        yield level + 1, tiles  # and the row between it and the tile above
        level += 2


Rows = Callable[..., list[Any]]
"""Runs a statement with arguments, as `hansard.reader_connection.ReadConnection.rows`."""


class NodeMissing(LookupError):
    """A part of the tree that is not there: pruned, or taken away."""


class StoredTree:
    """A tree's rows, by `Fetch`, the last ones remembered: they MUST NOT change meanwhile, but for
    becoming longer."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._remembered: dict[tuple[int, int], bytes] = {}
        self.bytes_read = 0

    def node(self, height: int, index: int) -> bytes:
        """The hash of a complete subtree, as `merkle_hash_tree.Node`. Raises `NodeMissing`."""
        level, above = divmod(height, ROW_HEIGHT)
        first = index << above
        row, offset = divmod(first, ROW_HASHES)
        return tree_hash(split_hashes(self._hashes(level, row, offset, 1 << above)))

    def edge(self, size: int) -> Edge:
        """The edge of the tree of the first ``size`` leaves. Raises `NodeMissing`."""
        rows = [
            self._hashes(level, row, 0, count) if count else b""
            for level, row, count in edge_positions(size)
        ]
        return Edge(size, tuple(rows))

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` leaves. Raises `NodeMissing`."""
        return root(self.edge(size))

    def _hashes(self, level: int, idx: int, offset: int, count: int) -> bytes:
        start, end = offset * HASH_BYTES, (offset + count) * HASH_BYTES
        row = self._remembered.get((level, idx), b"")
        if len(row) < end:
            row = self._read(level, idx)
        if len(row) < end:
            raise NodeMissing(f"row {idx} of level {level} of the tree is cut short, or gone")
        return row[start:end]

    def _read(self, level: int, idx: int) -> bytes:
        row = self._fetch(level, idx) or b""
        self.bytes_read += len(row)
        if len(self._remembered) >= ROWS_REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[level, idx] = row
        return row


def stored_tree(rows: Rows) -> StoredTree:
    """The tree of the database that ``rows`` reads."""

    def fetch(level: int, idx: int) -> bytes | None:
        found = rows(READ_ROW, level, idx)
        return found[0][0] if found else None

    return StoredTree(fetch)
