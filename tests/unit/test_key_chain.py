"""Which key signs which size, from the log's own entries."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard_writer.proof.key_chain import BrokenChain, KeyChain, key_chain
from hansard_writer.proof.signed_note import SigningKey, VerifierKey


def key(seed: str, name: str = "hansard/00") -> VerifierKey:
    private = Ed25519PrivateKey.from_private_bytes(seed.encode() * 32)
    return SigningKey(name, private).verifier_key


A, B, C = key("a"), key("b"), key("c")
B_ANEW = key("b", "hansard/00/7")


def entry(
    seq: int, retired: VerifierKey, new: VerifierKey, reason: str = "rotated"
) -> tuple[int, str, dict[str, Any]]:
    event_type = "hansard.rollback" if reason == "rollback" else "hansard.key"
    return seq, event_type, {"reason": reason, "retired": str(retired), "verifier_key": str(new)}


def signers(chain: KeyChain, size: int, before: int) -> list[VerifierKey]:
    return list(chain.signers(size, before))


def test_a_log_without_such_entries_has_the_key_of_its_file() -> None:
    chain = key_chain(A, [(3, "hansard.lost", {"count": 1})])
    assert chain.keys == (A,)
    assert chain.at(0).key == chain.at(10**6).key == chain.current.key == A
    assert signers(chain, 5, 0) == [A]


def test_the_first_key_is_the_one_that_the_first_entry_retires() -> None:
    assert key_chain(B, [entry(4, A, B)]).keys == (A, B)


def test_a_rotation_is_vouched_for_by_the_first_checkpoint_that_covers_it() -> None:
    chain = key_chain(A, [entry(4, A, B)])
    assert signers(chain, 3, 0) == [A]
    assert signers(chain, 4, 3) == [A, B]
    assert signers(chain, 9, 3) == [A, B]
    assert signers(chain, 9, 4) == [B]


def test_two_rotations_under_one_checkpoint_need_all_three_signatures() -> None:
    chain = key_chain(A, [entry(4, A, B), entry(6, B, C)])
    assert signers(chain, 7, 3) == [A, B, C]
    assert signers(chain, 7, 4) == [B, C]
    assert chain.at(5).key == B


def test_an_accepted_rollback_and_a_lost_key_begin_a_new_origin() -> None:
    chain = key_chain(A, [entry(4, A, B), entry(6, B, B_ANEW, "rollback")])
    assert [link.origin for link in chain.links] == ["hansard/00", "hansard/00", "hansard/00/7"]
    assert [link.reason for link in chain.links] == ["first", "rotated", "rollback"]
    assert signers(chain, 6, 3) == [B_ANEW]
    assert signers(key_chain(A, [entry(4, A, B_ANEW, "lost")]), 4, 3) == [B_ANEW]


def test_payloads_may_be_text() -> None:
    seq, event_type, facts = entry(4, A, B)
    assert key_chain(A, [(seq, event_type, json.dumps(facts))]).current.key == B


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ([entry(4, A, B), entry(6, A, C)], "retires a key that was not the log's"),
        ([entry(4, A, B_ANEW)], "another origin"),
        ([(4, "hansard.key", None)], "says nothing any more"),
        ([(4, "hansard.key", "[]")], "says nothing any more"),
        ([(4, "hansard.key", "{")], "names no keys"),
        ([(4, "hansard.key", {})], "names no keys"),
        ([(4, "hansard.key", {"retired": 1, "verifier_key": str(B)})], "names no keys"),
        ([(4, "hansard.key", {"retired": str(A), "verifier_key": "B"})], "names no keys"),
        ([entry(4, A, B, "because")], "no reason that is known"),
    ],
)
def test_entries_that_do_not_fit_together_are_no_chain(
    entries: list[tuple[int, str, Any]], rule: str
) -> None:
    with pytest.raises(BrokenChain, match=rule):
        key_chain(A, entries)
