"""The tree against the RFC's own recursion, published vectors, and proofs that prove nothing."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from hansard_writer.proof import merkle_hash_tree as tree
from hansard_writer.proof.merkle_hash_tree import BadProof, Edge, Row

LEAVES: Final = 4_500  # three rows above each other, and some: 16, 256, 4,096
MANY: Final = rfc6962.Tree(rfc6962.leaf(b"entry %d" % number) for number in range(LEAVES))

# 2,500 examples, each with cases of four kinds: over 10,000 in all
repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=2_500)

sizes = st.one_of(
    st.integers(1, 70),
    st.integers(1, LEAVES),
    st.sampled_from([15, 16, 17, 255, 256, 257, 272, 4_095, 4_096, 4_097, 4_352]),
)


def node_of_many(height: int, index: int) -> bytes:
    return MANY.mth(index << height, (index + 1) << height)


Rows = dict[tuple[int, int], bytes]  # as they are stored


def grown(leaves: Sequence[bytes], pieces: Sequence[int]) -> tuple[Edge, Rows]:
    """A tree grown in pieces of these lengths and then the rest."""
    edge, stored, start = Edge(), Rows(), 0
    for length in (*pieces, len(leaves)):
        piece = leaves[start : start + length]
        edge, rows = tree.grow(edge, b"".join(piece))
        stored.update({(row.level, row.idx): row.hashes for row in rows})
        start += len(piece)
    return edge, stored


def flipped(data: bytes, bit: int) -> bytes:
    number = bit % (8 * len(data))
    changed = bytearray(data)
    changed[number // 8] ^= 1 << number % 8
    return bytes(changed)


def leads_to(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the product takes an audit path."""
    try:
        return tree.root_of_path(leaf, index, size, path) == root
    except BadProof:
        return False


def is_consistent(
    old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether the product takes a consistency proof."""
    try:
        tree.require_consistent(old, old_root, new, new_root, proof)
    except BadProof:
        return False
    return True


def mutated(path: list[bytes], chance: int) -> list[list[bytes]]:
    """Paths that are another one each: cut, longer, doubled, with one bit changed, in another
    order."""
    wrong = [[*path, bytes(32)], [bytes(32), *path]]
    if path:
        at = chance % len(path)
        wrong += [path[:-1], path[1:], [*path[:at], path[at], *path[at:]]]
        wrong.append([*path[:at], flipped(path[at], chance), *path[at + 1 :]])
        wrong.append([*path[:at], path[at][:31], *path[at + 1 :]])
    if len(path) > 1:
        wrong.append([path[1], path[0], *path[2:]])
    return wrong


# --- against the recursive definition ---


@repeatable
@given(data=st.data(), size=sizes)
def test_roots_paths_and_proofs_are_the_definitions(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size))
    chance = data.draw(st.integers(0, 1 << 20))
    assert tree.range_hash(0, size, node_of_many) == MANY.root(size)

    leaf, root, path = MANY.leaves[index], MANY.root(size), MANY.path(index, 0, size)
    assert tree.audit_path(index, size, node_of_many) == path
    assert tree.root_of_path(leaf, index, size, path) == root
    assert rfc6962.includes(leaf, index, size, path, root)
    assert not leads_to(flipped(leaf, chance), index, size, path, root)
    assert not leads_to(leaf, index, size, path, flipped(root, chance))
    assert not leads_to(leaf, chance % LEAVES, size, path, root) or chance % LEAVES == index
    other = 1 + chance % LEAVES
    assert not leads_to(leaf, index, other, path, MANY.root(other)) or other == size
    for wrong in mutated(path, chance):
        assert not leads_to(leaf, index, size, wrong, root)

    old_root, proof = MANY.root(old), MANY.proof(old, size)
    assert tree.consistency_proof(old, size, node_of_many) == proof
    tree.require_consistent(old, old_root, size, root, proof)
    assert old == size or rfc6962.consistent(old, old_root, size, root, proof)
    assert not is_consistent(old, flipped(old_root, chance), size, root, proof)
    assert not is_consistent(old, old_root, size, flipped(root, chance), proof)
    if old < size:
        assert not is_consistent(old, root, size, root, proof)
        assert not is_consistent(size, root, old, old_root, proof)
        assert not is_consistent(old, old_root, size, root, [])
        assert not is_consistent(other, MANY.root(other), size, root, proof) or other == old
        assert not is_consistent(old, old_root, other, MANY.root(other), proof) or other == size
    for wrong in mutated(proof, chance):
        assert not is_consistent(old, old_root, size, root, wrong)


@settings(repeatable, max_examples=400)
@given(
    entries=st.lists(st.binary(max_size=5), max_size=90),
    pieces=st.lists(st.integers(0, 40), max_size=6),
)
def test_a_tree_of_any_entries_grown_in_any_pieces_is_the_definitions(
    entries: list[bytes], pieces: list[int]
) -> None:
    leaves = [tree.leaf_hash(entry) for entry in entries]
    assert leaves == [rfc6962.leaf(entry) for entry in entries]
    expected = rfc6962.Tree(leaves)
    edge, stored = grown(leaves, pieces)
    assert edge.size == len(leaves)
    assert tree.root(edge) == expected.root(len(leaves)) == tree.tree_hash(leaves)
    assert stored == rows_of(expected)


@settings(repeatable, max_examples=60)
@given(size=sizes, pieces=st.lists(st.integers(0, 2_000), max_size=5))
def test_a_large_tree_grown_in_any_pieces_is_the_definitions(size: int, pieces: list[int]) -> None:
    edge, stored = grown(MANY.leaves[:size], pieces)
    assert tree.root(edge) == MANY.root(size)
    for level, idx, count in tree.edge_positions(size):
        row = stored.get((level, idx), b"")
        assert row == edge.rows[level], "what is stored is what it goes on from"
        assert len(row) == count * tree.HASH_BYTES
    assert len(edge.rows) == len(list(tree.edge_positions(size)))
    for (level, idx), hashes in stored.items():
        for offset, found in enumerate(tree.split_hashes(hashes)):
            assert found == node_of_many(tree.ROW_HEIGHT * level, idx * tree.ROW_HASHES + offset)


def rows_of(expected: rfc6962.Tree) -> Rows:
    """The rows of a tree, from the definition: of each level the complete subtrees, 16 a row."""
    rows = Rows()
    level, leaves = 0, 1
    while leaves <= len(expected.leaves):
        for index in range(len(expected.leaves) // leaves):
            hashed = expected.mth(index * leaves, (index + 1) * leaves)
            place = level, index // 16
            rows[place] = rows.get(place, b"") + hashed
        level, leaves = level + 1, leaves * 16
    return rows


def test_growing_by_nothing_changes_nothing() -> None:
    edge, _ = grown(MANY.leaves[:300], [])
    assert tree.grow(edge, b"") == (edge, [])


def test_only_rows_that_changed_are_written() -> None:
    edge, _ = grown(MANY.leaves[:4_095], [])
    _, rows = tree.grow(edge, MANY.leaves[4_095])
    places = [(row.level, row.idx, len(row.hashes) // 32) for row in rows]
    assert places == [(0, 255, 16), (1, 15, 16), (2, 0, 16), (3, 0, 1)]
    _, rows = tree.grow(Edge(), MANY.leaves[0])
    assert rows == [Row(0, 0, MANY.leaves[0])]


# --- what cannot be asked, and what is no proof ---


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (6, 5)])
def test_no_path_leads_from_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {size} leaves has no leaf {index}"):
        tree.audit_path(index, size, node_of_many)
    with pytest.raises(BadProof, match=f"a tree of {size} leaves has no leaf {index}"):
        tree.root_of_path(MANY.leaves[0], index, size, [])


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5)])
def test_no_tree_is_the_beginning_of_a_smaller_one(old: int, new: int) -> None:
    with pytest.raises(ValueError, match=f"a tree of {new} leaves was never one of {old}"):
        tree.consistency_proof(old, new, node_of_many)
    with pytest.raises(BadProof, match=f"a tree of {new} leaves was never one of {old}"):
        tree.require_consistent(old, bytes(32), new, bytes(32), [])


def test_the_empty_tree_is_the_beginning_of_every_tree() -> None:
    assert tree.consistency_proof(0, 9, node_of_many) == []
    tree.require_consistent(0, tree.EMPTY_ROOT, 9, MANY.root(9), [])
    tree.require_consistent(0, tree.EMPTY_ROOT, 0, tree.EMPTY_ROOT, [])
    with pytest.raises(BadProof, match="empty tree"):
        tree.require_consistent(0, MANY.root(1), 9, MANY.root(9), [])
    with pytest.raises(BadProof, match="empty tree"):
        tree.require_consistent(0, MANY.root(1), 0, MANY.root(1), [])
    with pytest.raises(BadProof, match="none"):
        tree.require_consistent(0, tree.EMPTY_ROOT, 9, MANY.root(9), [MANY.root(9)])


def test_a_tree_is_consistent_with_itself_by_an_empty_proof() -> None:
    tree.require_consistent(7, MANY.root(7), 7, MANY.root(7), [])
    with pytest.raises(BadProof, match="differ"):
        tree.require_consistent(7, MANY.root(7), 7, MANY.root(8), [])
    with pytest.raises(BadProof, match="none"):
        tree.require_consistent(7, MANY.root(7), 7, MANY.root(7), [MANY.root(7)])


def test_a_hash_of_another_length_is_no_hash() -> None:
    """Bytes may not move from one hash to its neighbour."""
    leaf, path, root = MANY.leaves[0], MANY.path(0, 0, 2), MANY.root(2)
    assert leads_to(leaf, 0, 2, path, root)
    with pytest.raises(BadProof, match="0 bytes"):
        tree.root_of_path(b"", 0, 2, [leaf + path[0]])
    with pytest.raises(BadProof, match="64 bytes"):
        tree.root_of_path(leaf, 0, 2, [leaf + path[0]])
    with pytest.raises(BadProof, match="31 bytes"):
        tree.root_of_path(leaf[:31], 0, 2, [leaf[31:] + path[0]])
    with pytest.raises(BadProof, match="33 bytes"):
        tree.require_consistent(1, leaf, 2, root, [path[0] + b"x"])


# --- the vectors of the certificate-transparency reference code (merkle_tree tests) ---

INPUTS: Final = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS: Final = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
A: Final = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B: Final = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C: Final = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D: Final = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E: Final = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F: Final = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
PATHS: Final = [  # leaf, counted from 1; size; path
    (1, 1, []),
    (1, 8, [A, B, C]),
    (6, 8, [D, E, ROOTS[4]]),
    (3, 3, [ROOTS[2]]),
    (2, 5, [ROOTS[1], B, D]),
]
PROOFS: Final = [
    (1, 1, []),
    (1, 8, [A, B, C]),
    (2, 8, [B, C]),
    (6, 8, [F, E, ROOTS[4]]),
    (2, 5, [B, D]),
]


def vectors(size: int) -> list[bytes]:
    return [tree.leaf_hash(bytes.fromhex(each)) for each in INPUTS[:size]]


def hashes(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def node_of_vectors(height: int, index: int) -> bytes:
    return tree.tree_hash(vectors(8)[index << height : (index + 1) << height])


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots(size: int) -> None:
    edge = Edge()
    for leaf in vectors(size):
        edge, _ = tree.grow(edge, leaf)
    assert tree.root(edge).hex() == ROOTS[size]
    assert tree.tree_hash(vectors(size)).hex() == ROOTS[size]
    assert rfc6962.Tree(vectors(size)).root(size).hex() == ROOTS[size]


@pytest.mark.parametrize(("leaf", "size", "path"), PATHS)
def test_the_published_audit_paths(leaf: int, size: int, path: list[str]) -> None:
    assert tree.audit_path(leaf - 1, size, node_of_vectors) == hashes(path)
    assert rfc6962.Tree(vectors(8)).path(leaf - 1, 0, size) == hashes(path)
    assert leads_to(vectors(8)[leaf - 1], leaf - 1, size, hashes(path), hashes(ROOTS)[size])


@pytest.mark.parametrize(("old", "new", "proof"), PROOFS)
def test_the_published_consistency_proofs(old: int, new: int, proof: list[str]) -> None:
    roots = hashes(ROOTS)
    assert tree.consistency_proof(old, new, node_of_vectors) == hashes(proof)
    assert rfc6962.Tree(vectors(8)).proof(old, new) == hashes(proof)
    assert is_consistent(old, roots[old], new, roots[new], hashes(proof))
