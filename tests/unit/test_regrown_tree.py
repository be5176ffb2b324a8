"""The tree of what is kept at a far end, held against the roots that are claimed of it."""

import hashlib

import pytest

from hansard_writer.proof.merkle_hash_tree import Edge, consistency_proof, grow, root, tree_hash
from hansard_writer.shipping.verifying.regrown_tree import Claims, RegrownTree, Told, is_whole

LEAVES = [hashlib.sha256(bytes([number])).digest() for number in range(50)]
OTHER = b"o" * 32


def root_of(size: int) -> bytes:
    return tree_hash(LEAVES[:size])


def joined(first: int, end: int, **changed: bytes) -> bytes:
    """Leaves, some of them others."""
    return b"".join(changed.get(f"at{at}", LEAVES[at]) for at in range(first, end))


def claims(*sizes: int) -> Claims:
    return Claims([(size, root_of(size)) for size in sizes])


def test_claims_that_come_in_any_order_are_held_in_their_order() -> None:
    held = claims(40, 7, 23)
    tree = RegrownTree(Edge(), held)
    assert tree.append(joined(0, 50), joined(0, 50)) == []
    assert [held.fits(size, root_of(size)) for size in (7, 23, 40)] == [True] * 3
    assert held.fits(7, OTHER) is None  # nobody claimed it
    assert held.fits(8, root_of(8)) is None


def test_a_claim_beyond_the_end_is_never_told() -> None:
    held = claims(10, 50)
    RegrownTree(Edge(), held).append(joined(0, 49), joined(0, 49))
    assert held.fits(10, root_of(10)) is True
    assert held.fits(50, root_of(50)) is None


def test_of_two_claims_of_one_size_one_differs() -> None:
    held = Claims([(20, OTHER), (20, root_of(20))])
    RegrownTree(Edge(), held).append(joined(0, 20), joined(0, 20))
    assert held.fits(20, root_of(20)) is True
    assert held.fits(20, OTHER) is False


def test_a_claim_of_what_it_begins_with_is_told() -> None:
    begun, _ = grow(Edge(), joined(0, 17))
    held = claims(16, 17)
    RegrownTree(begun, held)
    assert held.fits(17, root_of(17)) is True
    assert held.fits(16, root_of(16)) is None


@pytest.mark.parametrize("kept_fits", [True, False])
def test_the_first_root_that_fits_one_of_two_tells_which(kept_fits: bool) -> None:
    held = Claims([(10, OTHER), (20, root_of(20)), (50, root_of(50))])
    tree = RegrownTree(Edge(), held)
    true, false = joined(0, 30), joined(0, 30, at5=OTHER)
    computed, kept = (false, true) if kept_fits else (true, false)
    assert tree.append(computed, kept) == [Told(20, kept_fits)]
    assert held.fits(10, OTHER) is False
    assert tree.append(joined(30, 50), joined(30, 50)) == []
    assert tree.root() == root_of(50)
    assert held.fits(50, root_of(50)) is True


def test_where_both_were_changed_no_root_fits_from_there_on() -> None:
    held = claims(5, 20, 50)
    tree = RegrownTree(Edge(), held)
    changed = joined(0, 50, at7=OTHER)
    assert tree.append(changed, changed) == []
    assert [held.fits(size, root_of(size)) for size in (5, 20, 50)] == [True, False, False]


def test_behind_leaves_that_nobody_knows_nothing_is_told() -> None:
    held = claims(10, 20)
    tree = RegrownTree(Edge(), held)
    tree.append(joined(0, 10), joined(0, 10))
    tree.skip(2)
    assert tree.append(joined(12, 20), joined(12, 20)) == []
    assert (tree.size, tree.is_lost) == (20, True)
    assert held.fits(10, root_of(10)) is True
    assert held.fits(20, root_of(20)) is None
    assert tree.leads_to(20, root_of(20), []) is None


def test_a_proof_tells_what_a_root_would() -> None:
    whole, _ = grow(Edge(), joined(0, 50))
    assert root(whole) == root_of(50)
    proof = consistency_proof(30, 50, lambda height, at: tree_hash(
        LEAVES[at << height : (at + 1) << height]
    ))  # fmt: skip
    tree = RegrownTree(Edge(), claims())
    tree.append(joined(0, 30, at5=OTHER), joined(0, 30))
    assert tree.leads_to(50, root_of(50), proof) == Told(30, kept_fits=True)
    assert tree.leads_to(50, OTHER, proof) is None
    assert tree.leads_to(50, root_of(50), proof[1:]) is None


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 255, 256, 300])
def test_an_edge_is_whole_as_it_was_grown_and_not_otherwise(size: int) -> None:
    edge, _ = grow(Edge(), LEAVES[0] * size)
    assert is_whole(edge)
    assert not is_whole(Edge(size, (*edge.rows, b"r" * 32)))
    assert not is_whole(Edge(size + 1, edge.rows))
    assert not is_whole(Edge(-1, ()))
