"""What verification judges by, without a log: ranges, statements, nodes, rows, keys, verdicts."""

import hashlib
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.key_chain import LOST, ROTATED, KeyChain, Link
from hansard_writer.proof.leaves import entry_bytes
from hansard_writer.proof.merkle_hash_tree import Edge, grow, leaf_hash, root
from hansard_writer.proof.signed_note import MalformedNote, SigningKey, UntrustedNote
from hansard_writer.proof.verifying.accounting import (
    check_accounts,
    check_put_back,
    is_accounted_for,
)
from hansard_writer.proof.verifying.entry_rows import (
    complaint,
    decoded,
    is_redacted,
    leaf_hashes,
    unlike_their_hash,
)
from hansard_writer.proof.verifying.findings import (
    FINDINGS_NAMED_MAX,
    Finding,
    Findings,
    Verdict,
    verdict_of,
)
from hansard_writer.proof.verifying.recomputed_tree import Misfit, RecomputedTree
from hansard_writer.proof.verifying.statements import Ranges, Statements
from hansard_writer.proof.verifying.trust import open_other, open_own, trust
from provable import signing_key

ORIGIN = "hansard/00"
FIRST, SECOND, THIRD = (signing_key(ORIGIN, seed) for seed in (1, 2, 3))

# --- verdicts and findings ---


def verdict(**facts: Any) -> Verdict:
    nothing: dict[str, Any] = {
        "altered": 0,
        "leaves_too_many": False,
        "forked": False,
        "truncated": False,
        "unsound": 0,
        "pruned": False,
    }
    return verdict_of(**nothing | facts)


def test_the_gravest_verdict_is_said() -> None:
    everything = {"forked": True, "truncated": True, "unsound": 1, "pruned": True}
    assert verdict() is Verdict.INTACT
    assert verdict(pruned=True) is Verdict.PRUNED
    assert verdict(unsound=1, pruned=True) is Verdict.ALTERED
    assert verdict(truncated=True, unsound=1) is Verdict.TRUNCATED
    assert verdict(forked=True, truncated=True) is Verdict.FORKED
    assert verdict(altered=1, **everything) is Verdict.ALTERED


def test_leaves_without_entries_are_a_truncation_only_if_they_were_signed() -> None:
    assert verdict(leaves_too_many=True) is Verdict.ALTERED
    assert verdict(leaves_too_many=True, truncated=True) is Verdict.TRUNCATED
    assert verdict(leaves_too_many=True, forked=True) is Verdict.ALTERED


def test_of_many_findings_the_first_are_named_and_all_are_counted() -> None:
    findings = Findings()
    for seq in range(100):
        findings.add("x", seq)
    findings.add("y", 1, 10, count=10)
    assert len(findings.named) == FINDINGS_NAMED_MAX
    assert findings.count == 110


def test_a_finding_says_which_entries_it_is_about() -> None:
    assert str(Finding("gone")) == "gone"
    assert str(Finding("gone", 7)) == str(Finding("gone", 7, 7)) == "entry 7: gone"
    assert str(Finding("gone", 7, 9)) == "entries 7 to 9: gone"


# --- ranges and statements ---

some_ranges = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 5)).map(lambda each: (each[0], sum(each))),
    max_size=8,
)


def ranges(*pairs: tuple[int, int]) -> Ranges:
    made = Ranges()
    for first, last in pairs:
        made.add(first, last)
    return made


def members(pairs: Any) -> set[int]:
    return {number for first, last in pairs for number in range(first, last + 1)}


@settings(max_examples=60)
@given(some_ranges, some_ranges)
def test_ranges_without_others_are_their_difference(
    these: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    left = list(ranges(*these).without(ranges(*others)))
    assert members(left) == members(these) - members(others)
    assert all(first <= last for first, last in left)


def test_neighbours_are_one_range() -> None:
    assert list(ranges((1, 1), (2, 2), (3, 9), (11, 11))) == [(1, 9), (11, 11)]


def said(*entries: tuple[int, str, str]) -> Statements:
    statements = Statements()
    for entry in entries:
        statements.heed(*entry)
    return statements


@pytest.mark.parametrize(
    "payload",
    ["", "[]", "nothing", "[" * 100_000, '{"entries":7}', '{"entries":[7]}', '{"entries":[[1]]}',
     '{"entries":[["a","b"]]}', '{"entries":[[5,3]]}', '{"entries":[[0,3]]}',
     '{"entries":[[5,10]]}', '{"last":10}', '{"last":"a"}', '{"last":-1}'],
)  # fmt: skip
def test_a_statement_that_is_none_says_nothing(payload: str) -> None:
    statements = said((10, "hansard.redacted", payload), (10, "hansard.pruned", payload))
    assert (statements.redacted.count, statements.pruned_to(99)) == (0, 0)


def test_only_entries_up_to_a_size_say_what_is_pruned() -> None:
    statements = said(
        (10, "hansard.pruned", '{"last":5}'),
        (20, "hansard.pruned", '{"last":15}'),
        (21, "hansard.pruned", '{"last":7}'),
    )
    assert [statements.pruned_to(size) for size in (9, 10, 20, 30)] == [0, 5, 15, 15]


def test_what_is_missing_is_held_against_what_is_said() -> None:
    statements = said((30, "hansard.redacted", '{"entries":[[5,8]]}'),
                      (31, "hansard.pruned", '{"last":3}'))  # fmt: skip
    assert is_accounted_for(statements, ranges((5, 8)), 3, 31)
    assert not is_accounted_for(statements, ranges((5, 9)), 3, 31)
    assert not is_accounted_for(statements, ranges((5, 8)), 4, 31)
    assert not is_accounted_for(statements, ranges((5, 8)), 3, 30)
    for facts, count in [
        ((ranges((5, 8)), 3, 31, 31), 0),
        ((ranges((4, 9)), 3, 31, 31), 2),
        ((ranges((5, 8)), 10, 31, 31), 7),
        ((ranges((5, 8)), 3, 31, 30), 3),
    ]:
        findings = Findings()
        check_accounts(statements, *facts, findings)
        assert findings.count == count


def test_what_was_put_back_is_told_behind_where_a_pass_begins() -> None:
    statements = said((30, "hansard.redacted", '{"entries":[[5,8]]}'))
    findings = Findings()
    check_put_back(statements, ranges((7, 7)), 5, findings)
    assert [each[1:] for each in findings.named] == [(6, 6), (8, 8)]


# --- nodes ---


class Stored:
    """Rows of a tree, to be changed."""

    def __init__(self, leaves: bytes) -> None:
        self.rows = {(row.level, row.idx): row.hashes for row in grow(Edge(), leaves)[1]}

    def __call__(self, level: int, first: int, last: int) -> list[tuple[int, bytes]]:
        found = ((idx, self.rows.get((level, idx))) for idx in range(first, last + 1))
        return [(idx, hashes) for idx, hashes in found if hashes is not None]

    def change(self, level: int, at: int) -> None:
        row, place = divmod(at, 16)
        hashes = bytearray(self.rows[level, row])
        hashes[place * 32] ^= 1
        self.rows[level, row] = bytes(hashes)


def leaves_of(count: int) -> bytes:
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(count))


@settings(max_examples=30)
@given(st.integers(1, 600), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_a_tree_that_is_stored_as_it_was_fits_in_whatever_pieces(
    count: int, pieces: list[int]
) -> None:
    leaves = leaves_of(count)
    tree = RecomputedTree(Edge(), Stored(leaves))
    while tree.size < count:
        piece = pieces[tree.size % len(pieces)]
        assert tree.append(leaves[tree.size * 32 : (tree.size + piece) * 32]) == []
    assert (tree.size, tree.root()) == (count, root(grow(Edge(), leaves)[0]))


def test_a_changed_leaf_or_node_is_one_misfit_wherever_it_is() -> None:
    leaves = leaves_of(700)
    for level, at in [(0, 0), (0, 400), (0, 672), (1, 3), (1, 20), (1, 42), (2, 0), (2, 1)]:
        stored = Stored(leaves)
        stored.change(level, at)
        misfits = RecomputedTree(Edge(), stored).append(leaves)
        assert [each[:2] for each in misfits] == [(level, at)]


def test_a_changed_leaf_is_told_from_a_changed_entry_by_the_node_above() -> None:
    leaves = leaves_of(700)
    stored = Stored(leaves)
    stored.change(0, 400)
    assert RecomputedTree(Edge(), stored).append(leaves) == [Misfit(0, 400, True, True)]
    changed = leaves[: 400 * 32] + bytes(32) + leaves[401 * 32 :]
    tree = RecomputedTree(Edge(), Stored(leaves))
    assert tree.append(changed) == [Misfit(0, 400, True, False)]
    assert tree.root() == root(grow(Edge(), leaves)[0])  # it goes on with what is stored


def test_a_row_that_is_gone_is_told() -> None:
    leaves = leaves_of(300)
    stored = Stored(leaves)
    del stored.rows[1, 0]
    misfits = RecomputedTree(Edge(), stored).append(leaves)
    assert [each[:3] for each in misfits] == [(1, at, False) for at in range(16)]
    assert misfits[0].entries == (1, 16)


# --- rows of entries ---


def row(payload: bytes | None = b"s" * 16 + b"{}", **changed: Any) -> tuple[Any, ...]:
    hidden = None if payload is None else hashlib.sha256(payload).digest()
    facts: dict[str, Any] = {
        "seq": 1, "producer": 3, "producer_seq": 1, "created_at": 5, "event_type": "a.b",
        "level": "info", "actor": None, "task_id": "T", "payload_hash": hidden, "hashed": payload,
    }  # fmt: skip
    return tuple((facts | changed).values())


def test_leaves_are_those_that_the_writer_enters() -> None:
    hidden = hashlib.sha256(b"s" * 16 + b"{}").digest()
    expected = entry_bytes(1, b"p" * 32, 1, 5, "a.b", "info", None, "T", hidden)
    assert leaf_hashes([row()], {3: b"p" * 32}) == leaf_hash(expected)
    assert leaf_hashes([row()], {3: None}) != leaf_hash(expected)


def test_rows_unlike_their_hash_are_redacted_or_wrong() -> None:
    good, none = row(), row(None)
    redacted = row(None, payload_hash=b"h" * 32)
    changed, added, half = row(payload_hash=b"h" * 32), row(payload_hash=None), row(b"")
    half_redacted = row(hashed=b"")
    rows = [good, none, redacted, changed, added, half, half_redacted]
    assert unlike_their_hash(rows) == [redacted, changed, added, half, half_redacted]
    assert list(map(is_redacted, rows)) == [False, False, True] + [False] * 4
    assert "is not what was hashed" in complaint(changed)
    assert "was entered without one" in complaint(added)
    assert "one is missing" in complaint(half)


def test_text_that_is_no_utf_8_stays_bytes() -> None:
    raw = row(event_type=b"a.b", level=b"info", actor=b"\xff", task_id=None)
    assert decoded(raw) == row(actor=b"\xff", task_id=None)


# --- keys ---


def chain(*links: tuple[SigningKey, int, str]) -> KeyChain:
    return KeyChain(tuple(Link(key.verifier_key, since, why) for key, since, why in links))


ROTATED_ONCE = chain((FIRST, 0, "first"), (SECOND, 10, ROTATED))


def note(size: int, *keys: SigningKey, origin: str = ORIGIN) -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, bytes(32)), keys).encode()


def test_an_anchor_leads_to_its_successors_and_back() -> None:
    keys = [key.verifier_key for key in (FIRST, SECOND, THIRD)]
    both = chain((FIRST, 0, "first"), (SECOND, 10, ROTATED), (THIRD, 20, LOST))
    for anchor, leads, earlier in [(0, {0, 1}, set()), (1, {1}, {0}), (2, {2}, {0, 1})]:
        found = trust(both, [keys[anchor]])
        assert found.leads == {keys[each] for each in leads}
        assert found.earlier == {keys[each] for each in earlier}
    assert trust(both, keys).leads == set(keys)


def test_an_anchor_that_is_not_in_the_chain_leads_to_nothing_else() -> None:
    found = trust(ROTATED_ONCE, [THIRD.verifier_key])
    assert found.keys == {THIRD.verifier_key}


def test_a_checkpoint_is_signed_by_the_key_of_its_size() -> None:
    assert open_own(note(9, FIRST), 9, 0, ROTATED_ONCE)[1].key == FIRST.verifier_key
    assert open_own(note(10, FIRST, SECOND), 10, 9, ROTATED_ONCE)[1].since == 10
    assert open_own(note(11, SECOND), 11, 10, ROTATED_ONCE)[0].size == 11
    for wrong, size, before in [
        (note(9, SECOND), 9, 0),
        (note(11, FIRST), 11, 10),
        (note(10, SECOND), 10, 9),
        (note(10, FIRST), 10, 9),
        (note(9, FIRST, origin="hansard/01"), 9, 0),
    ]:
        with pytest.raises(UntrustedNote):
            open_own(wrong, size, before, ROTATED_ONCE)
    with pytest.raises(MalformedNote, match="one of size 9"):
        open_own(note(9, FIRST), -7, 0, ROTATED_ONCE)


def test_a_checkpoint_from_elsewhere_is_signed_in_its_own_name() -> None:
    checkpoint, signers = open_other(note(9, FIRST), [FIRST.verifier_key, SECOND.verifier_key])
    assert (checkpoint.size, signers) == (9, {FIRST.verifier_key})
    with pytest.raises(UntrustedNote, match="in another name"):
        open_other(note(9, FIRST, origin="hansard/01"), [FIRST.verifier_key])
    with pytest.raises(UntrustedNote):
        open_other(note(9, THIRD), [FIRST.verifier_key])


def test_any_change_of_any_byte_of_a_tree_is_a_misfit() -> None:
    leaves, chance = leaves_of(300), random.Random(7)
    for _ in range(50):
        stored = Stored(leaves)
        key = chance.choice(list(stored.rows))
        row_bytes = bytearray(stored.rows[key])
        row_bytes[chance.randrange(len(row_bytes))] ^= 1 << chance.randrange(8)
        stored.rows[key] = bytes(row_bytes)
        assert RecomputedTree(Edge(), stored).append(leaves)
