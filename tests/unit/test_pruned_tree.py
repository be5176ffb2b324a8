"""What of a tree's rows may go with its first leaves: all that the rest never asks for."""

import hashlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard_writer.proof.merkle_hash_tree import (
    Edge,
    audit_path,
    consistency_proof,
    grow,
    root_of_path,
)
from hansard_writer.proof.stored_tree import NodeMissing, StoredTree, rows_within

LEAVES_MAX = 10_000

sizes = st.one_of(
    st.integers(1, LEAVES_MAX),
    st.sampled_from([15, 16, 17, 255, 256, 257, 4_095, 4_096, 4_097, 8_192]),
)


@cache
def leaves() -> bytes:
    return b"".join(hashlib.sha256(str(each).encode()).digest() for each in range(LEAVES_MAX))


@cache
def rows_of(size: int) -> dict[tuple[int, int], bytes]:
    return {(level, idx): hashes for level, idx, hashes in grow(Edge(), leaves()[: 32 * size])[1]}


def pruned_rows(size: int, pruned_to: int) -> dict[tuple[int, int], bytes]:
    gone = dict(rows_within(pruned_to))
    return {(level, idx): row for (level, idx), row in rows_of(size).items()
            if idx >= gone.get(level, 0)}  # fmt: skip


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.data())
def test_a_pruned_tree_answers_all_that_is_asked_of_its_rest(data: st.DataObject) -> None:
    size = data.draw(sizes, "size")
    pruned_to = data.draw(st.integers(0, size), "pruned to")
    older, old, new = sorted(
        data.draw(st.integers(max(pruned_to, 1), size), "a size") for _ in range(3)
    )
    whole = StoredTree(lambda *row: rows_of(size).get(row))
    rows = pruned_rows(size, pruned_to)
    pruned = StoredTree(lambda *row: rows.get(row))
    for each in (older, old, new):
        assert pruned.edge(each) == whole.edge(each)
    assert consistency_proof(old, new, pruned.node) == consistency_proof(old, new, whole.node)
    if pruned_to < new:
        index = data.draw(st.integers(pruned_to, new - 1), "a leaf")
        path = audit_path(index, new, pruned.node)
        assert path == audit_path(index, new, whole.node)
        leaf = leaves()[32 * index : 32 * index + 32]
        assert root_of_path(leaf, index, new, path) == pruned.root(new)


def test_it_goes_on_growing_as_the_whole_one_does() -> None:
    rows = pruned_rows(700, 600)
    edge = StoredTree(lambda *row: rows.get(row)).edge(700)
    assert grow(edge, leaves()[32 * 700 : 32 * 900])[0] == grow(Edge(), leaves()[: 32 * 900])[0]


def test_what_remains_is_little() -> None:
    rows = pruned_rows(LEAVES_MAX, 9_990)
    assert len(rows) <= 3 * 2
    assert sum(map(len, rows.values())) < 3_000


def test_what_is_gone_is_missing_and_not_something_else() -> None:
    rows = pruned_rows(1_000, 600)
    pruned = StoredTree(lambda *row: rows.get(row))
    with pytest.raises(NodeMissing):
        pruned.edge(495)
    with pytest.raises(NodeMissing):
        audit_path(3, 1_000, pruned.node)
