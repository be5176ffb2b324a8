"""Merkle hash trees: RFC 6962, section 2.1, with its names. Pure: hashes in, hashes out.

It knows nothing of entries, checkpoints or databases. A tree is kept as rows of 16 hashes, of
complete subtrees all: row ``idx`` of ``level`` has the nodes ``16 * idx`` and on, each the hash of
``16 ** level`` leaves; the last row of a level may be shorter. Every second level, 16 rows side by
side, are the tiles of C2SP's tlog-tiles. Rows are that small because the last one is written at
every commit, and because a path needs one a level: 6 of 512 bytes among 10 million leaves.

How the checks work: RFC 9162, sections 2.1.3.2 and 2.1.4.2, as the recursion that they unroll.
"""

import hashlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from hansard.wording import counted
from hansard_writer.proof.digests import Digests

HASH_BYTES: Final = 32
ROW_HEIGHT: Final = 4  # levels of the tree between two levels of rows
ROW_HASHES: Final = 1 << ROW_HEIGHT
ROW_BYTES: Final = ROW_HASHES * HASH_BYTES
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()

_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"

_sha256 = hashlib.sha256
_node_digests = Digests(_NODE)
_pairs = struct.Struct(f"{2 * HASH_BYTES}s").iter_unpack  # faster than slices

Node = Callable[[int, int], bytes]
"""The hash of a complete subtree: of the ``2 ** height`` leaves from ``index * 2 ** height`` on,
for ``node(height, index)``."""


class Row(NamedTuple):
    """A row as it is stored."""

    level: int
    idx: int
    hashes: bytes


class Edge(NamedTuple):
    """All that a tree needs to grow: its size in leaves, and the last row of each level, bottom
    first, as far as it is not full."""

    size: int = 0
    rows: tuple[bytes, ...] = ()


class BadProof(ValueError):
    """A proof that does not prove what it is held against."""


# --- hashes ---


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf."""
    return _sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two nodes side by side."""
    return _sha256(_NODE + left + right).digest()


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """MTH of a list of leaf hashes; or of complete subtrees of one size, of which the last may be
    smaller."""
    if not hashes:
        return EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return node_hash(tree_hash(hashes[:middle]), tree_hash(hashes[middle:]))


# --- growing ---


def grow(edge: Edge, leaves: bytes) -> tuple[Edge, list[Row]]:
    """Append leaf hashes, joined: the new edge, and the rows that came or changed."""
    changed: list[Row] = []
    rows: list[bytes] = []
    added, size = leaves, edge.size
    level = 0
    while added:
        idx = size >> (ROW_HEIGHT * (level + 1))
        joined = _row(edge, level) + added
        whole = len(joined) - len(joined) % ROW_BYTES
        for start in range(0, len(joined), ROW_BYTES):
            changed.append(Row(level, idx, joined[start : start + ROW_BYTES]))
            idx += 1
        rows.append(joined[whole:])
        added = parents(joined[:whole])
        level += 1
    return Edge(size + len(leaves) // HASH_BYTES, (*rows, *edge.rows[level:])), changed


def root(edge: Edge) -> bytes:
    """The root of the tree: MTH of all its leaves."""
    last: list[bytes] = []
    for row in edge.rows:
        hashes = [*split_hashes(row), *last]
        last = [tree_hash(hashes)] if hashes else []
    return tree_hash(last)


def edge_positions(size: int) -> Iterator[tuple[int, int, int]]:
    """Where the edge of a tree of ``size`` leaves is found among its rows: level, idx, and how
    many hashes of that row, possibly none."""
    level = 0
    while nodes := size >> (ROW_HEIGHT * level):
        yield level, nodes >> ROW_HEIGHT, nodes % ROW_HASHES
        level += 1


def split_hashes(joined: bytes) -> list[bytes]:
    """The hashes of a row."""
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]


def _row(edge: Edge, level: int) -> bytes:
    return edge.rows[level] if level < len(edge.rows) else b""


def parents(nodes: bytes) -> bytes:
    """The hash of each row, of full rows side by side."""
    for _ in range(ROW_HEIGHT):
        nodes = b"".join(_node_digests([pair for (pair,) in _pairs(nodes)]))
    return nodes


# --- proofs ---


def audit_path(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(m, D[n]): what it takes to compute the root of ``size`` leaves from the leaf at
    ``index``, which counts from 0; the leaf's sibling first. RFC 6962, section 2.1.1."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(middle, end, node))
            end = middle
        else:
            path.append(range_hash(start, middle, node))
            start = middle
    path.reverse()
    return path


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """PROOF(m, D[n]): what it takes to see that the first ``old`` of ``new`` leaves are the leaves
    that the older root is of. RFC 6962, section 2.1.2; empty for equal sizes, and for 0."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves was never one of {old}")
    proof: list[bytes] = []
    if old == 0:
        return proof
    start, end, is_old_root = 0, new, True
    while old < end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(range_hash(middle, end, node))
            end = middle
        else:
            proof.append(range_hash(start, middle, node))
            start, is_old_root = middle, False
    if not is_old_root:
        proof.append(range_hash(start, end, node))
    proof.reverse()
    return proof


def range_hash(start: int, end: int, node: Node) -> bytes:
    """MTH(D[start:end]) of a range as proofs have them: it begins at a multiple of the smallest
    power of two that is not less than its length."""
    count = end - start
    if count & (count - 1) == 0:
        height = count.bit_length() - 1
        return node(height, start >> height)
    middle = start + _split(count)
    return node_hash(range_hash(start, middle, node), range_hash(middle, end, node))


# --- checks ---


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root of ``size`` leaves that a leaf hash at ``index`` and its audit path lead to. Raises
    `BadProof` where the path cannot be one of that place."""
    if not 0 <= index < size:
        raise BadProof(f"a tree of {size} leaves has no leaf {index}")
    turns, _ = _turns(index, index + 1, size)
    _require_hashes([leaf, *path], 1 + len(turns))
    found = leaf
    for is_left, sibling in zip(reversed(turns), path, strict=True):
        found = node_hash(found, sibling) if is_left else node_hash(sibling, found)
    return found


def require_consistent(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises `BadProof` unless the proof shows that the tree of ``old`` leaves is the beginning of
    the one of ``new`` leaves."""
    if not 0 <= old <= new:
        raise BadProof(f"a tree of {new} leaves was never one of {old}")
    if old in (0, new):
        if proof:
            raise BadProof("a proof of hashes where none is needed")
        if old_root != (new_root if old else EMPTY_ROOT):
            raise BadProof("the roots differ" if old else "an empty tree has another root")
        return
    turns, start = _turns(0, old, new)
    is_old_root = start == 0
    _require_hashes([old_root, *proof], 1 + len(turns) + (not is_old_root))
    hashes = iter(proof)
    found_old = found_new = old_root if is_old_root else next(hashes)
    for is_left, sibling in zip(reversed(turns), hashes, strict=True):
        if is_left:
            found_new = node_hash(found_new, sibling)
        else:
            found_old, found_new = node_hash(sibling, found_old), node_hash(sibling, found_new)
    if found_old != old_root:
        raise BadProof("it does not lead to the older root")
    if found_new != new_root:
        raise BadProof("it does not lead to the newer root")


def _require_hashes(hashes: Sequence[bytes], count: int) -> None:
    """That they are hashes, what is proven and what proves it: bytes of one might else be taken
    for bytes of its neighbour."""
    if len(hashes) != count:
        raise BadProof(f"{counted(len(hashes) - 1, 'hash', 'hashes')} where {count - 1} are needed")
    for each in hashes:
        if len(each) != HASH_BYTES:
            raise BadProof(f"a hash of {counted(len(each), 'byte')}, not of {HASH_BYTES}")


def _turns(first: int, end: int, size: int) -> tuple[list[bool], int]:
    """The way from the root of ``size`` leaves down to the largest complete subtree that ends with
    leaf ``end - 1`` and begins at ``first`` or behind: whether it goes to the left, turn by turn,
    and where that subtree begins."""
    turns: list[bool] = []
    start, stop = 0, size
    while start < first or end < stop:
        middle = start + _split(stop - start)
        is_left = end <= middle
        turns.append(is_left)
        start, stop = (start, middle) if is_left else (middle, stop)
    return turns, start


def _split(count: int) -> int:
    """The largest power of two that is smaller than ``count``."""
    return 1 << ((count - 1).bit_length() - 1)
