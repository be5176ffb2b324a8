"""The tree out of stored rows: the same nodes, edges and roots, from few bytes, or a clear no."""

import random
from typing import Final

import apsw
import pytest

import rfc6962
from hansard_writer.proof import merkle_hash_tree as tree
from hansard_writer.proof.merkle_hash_tree import Edge, grow
from hansard_writer.proof.stored_tree import (
    READ_ROW,
    READ_SIZE,
    ROWS_REMEMBERED_MAX,
    WRITE_ROW,
    NodeMissing,
    StoredTree,
)

LEAVES: Final = 4_400
EXPECTED: Final = rfc6962.Tree(rfc6962.leaf(b"%d" % number) for number in range(LEAVES))
SIZES: Final = [1, 2, 15, 16, 17, 31, 255, 256, 257, 300, 4_095, 4_096, 4_097, LEAVES]


def rows_of(size: int) -> dict[tuple[int, int], bytes]:
    _, rows = grow(Edge(), b"".join(EXPECTED.leaves[:size]))
    return {(row.level, row.idx): row.hashes for row in rows}


def stored(rows: dict[tuple[int, int], bytes]) -> StoredTree:
    return StoredTree(lambda level, idx: rows.get((level, idx)))


@pytest.mark.parametrize("size", SIZES)
def test_every_complete_subtree_is_the_definitions(size: int) -> None:
    found = stored(rows_of(size))
    chance = random.Random(size)
    for height in range(size.bit_length()):
        count = size >> height
        for index in {0, count - 1, *(chance.randrange(count) for _ in range(5))}:
            expected = EXPECTED.mth(index << height, (index + 1) << height)
            assert found.node(height, index) == expected


@pytest.mark.parametrize("size", SIZES)
def test_earlier_roots_and_edges_are_found_in_a_tree_that_has_grown_since(size: int) -> None:
    found = stored(rows_of(LEAVES))
    assert found.root(size) == EXPECTED.root(size)
    assert found.edge(size) == grow(Edge(), b"".join(EXPECTED.leaves[:size]))[0]


def test_an_empty_tree_has_its_root_without_a_row() -> None:
    found = stored({})
    assert found.root(0) == EXPECTED.root(0)
    assert (found.edge(0), found.bytes_read) == (Edge(), 0)


def test_paths_and_proofs_come_out_of_rows() -> None:
    found, chance = stored(rows_of(LEAVES)), random.Random(1)
    for _ in range(200):
        size = chance.randint(1, LEAVES)
        index, old = chance.randrange(size), chance.randint(1, size)
        assert tree.audit_path(index, size, found.node) == EXPECTED.path(index, 0, size)
        assert tree.consistency_proof(old, size, found.node) == EXPECTED.proof(old, size)


def test_a_proof_reads_a_few_rows_and_none_of_them_twice() -> None:
    found = stored(rows_of(LEAVES))
    tree.audit_path(1_234, LEAVES, found.node)
    once = found.bytes_read
    assert 0 < once <= 2 * 4 * tree.ROW_BYTES, "one row a level, and one of the edge's"
    tree.audit_path(1_234, LEAVES, found.node)
    assert found.bytes_read == once


def test_it_remembers_only_so_many_rows() -> None:
    found = stored(rows_of(LEAVES))
    for index in range(LEAVES):
        found.node(0, index)
    assert found.bytes_read == LEAVES * tree.HASH_BYTES
    assert len(found._remembered) <= ROWS_REMEMBERED_MAX


def test_a_row_that_has_become_longer_is_read_again() -> None:
    rows = rows_of(20)
    found = stored(rows)
    assert found.root(20) == EXPECTED.root(20)
    rows.update(rows_of(40))
    assert found.root(40) == EXPECTED.root(40)


def test_what_is_gone_is_said_to_be() -> None:
    rows = rows_of(300)
    del rows[0, 3]
    rows[0, 18] = rows[0, 18][:-1]
    found = stored(rows)
    with pytest.raises(NodeMissing, match="row 3 of level 0"):
        found.node(0, 50)
    with pytest.raises(NodeMissing, match="row 18 of level 0"):
        found.root(300)
    with pytest.raises(NodeMissing, match="row 20 of level 0"):
        found.node(0, 320)
    assert found.node(0, 47) == EXPECTED.leaves[47]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_the_statements_write_and_read_it(size: int) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(
        "CREATE TABLE tree(level INTEGER, idx INTEGER, hashes BLOB, PRIMARY KEY(level, idx))"
    )
    edge = Edge()
    for start in range(0, size, 100):
        leaves = b"".join(EXPECTED.leaves[start : min(start + 100, size)])
        edge, rows = grow(edge, leaves)
        connection.executemany(WRITE_ROW, rows)
    assert connection.execute(READ_SIZE).get == size
    found = StoredTree(lambda *place: connection.execute(READ_ROW, place).get)
    assert found.root(size) == EXPECTED.root(size)
    assert found.edge(size) == edge
    connection.close()
