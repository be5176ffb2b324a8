"""Proof files: made, checked by the format's own words, and refused when anything is changed."""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfc6962
from hansard_writer import proof as public
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.logged_entry import LoggedEntry
from hansard_writer.proof.proofs import (
    HASHES_MAX,
    PROOF_BYTES_MAX,
    MalformedProof,
    NotProven,
    ProofError,
    ProvenConsistency,
    ProvenEntry,
    check_consistency_proof,
    check_inclusion_proof,
    check_proof,
    make_consistency_proof,
    make_inclusion_proof,
    parse_consistency_proof,
    parse_inclusion_proof,
)
from hansard_writer.proof.signed_note import BadSignature, NoteError, UntrustedNote
from provable import signing_key

ORIGIN: Final = "hansard/00ff"
KEY: Final = signing_key(ORIGIN)
KEYS: Final = [KEY.verifier_key]
OTHERS: Final = [signing_key(ORIGIN, 2).verifier_key]
SALT: Final = b"s" * 16


def entry_of(seq: int) -> LoggedEntry:
    payload = None if seq % 3 == 0 else f'{{"n":{seq},"s":"ü"}}'
    hidden = None if payload is None else hashlib.sha256(SALT + payload.encode()).digest()
    facts = (seq, b"p" * 32, seq, 10**18 + seq, "a.b", "info", "ü", None, hidden)
    return LoggedEntry(*facts, payload, None if payload is None else SALT)


ENTRIES: Final = [entry_of(seq) for seq in range(1, 41)]
TREE: Final = rfc6962.Tree(entry.leaf_hash for entry in ENTRIES)


def note_of(size: int, origin: str = ORIGIN, root: bytes | None = None) -> str:
    return sign_checkpoint(Checkpoint(origin, size, root or TREE.root(size)), [KEY])


def proof_of(seq: int, size: int = 40) -> str:
    return make_inclusion_proof(ENTRIES[seq - 1], TREE.path(seq - 1, 0, size), note_of(size))


def consistency(old: int, new: int = 40) -> str:
    hashes = TREE.proof(old, new) if old > 0 else []
    return make_consistency_proof(hashes, note_of(old), note_of(new))


# --- inclusion ---


@pytest.mark.parametrize(("seq", "size"), [(1, 1), (1, 40), (40, 40), (17, 33), (33, 33), (3, 20)])
def test_an_entry_is_proven_to_who_has_the_key(seq: int, size: int) -> None:
    proven = check_inclusion_proof(proof_of(seq, size), KEYS)
    checkpoint = Checkpoint(ORIGIN, size, TREE.root(size))
    assert proven == ProvenEntry(ENTRIES[seq - 1], checkpoint, tuple(KEYS))
    assert check_proof(proof_of(seq, size).encode(), KEYS) == proven


def test_a_redacted_entry_is_proven_by_what_is_left_of_it() -> None:
    whole = ENTRIES[4]
    redacted = LoggedEntry(*(getattr(whole, name) for name in LoggedEntry.__slots__[:9]))
    text = make_inclusion_proof(redacted, TREE.path(4, 0, 40), note_of(40))
    assert "s" * 16 not in text
    proven = check_inclusion_proof(text, KEYS).entry
    assert (proven, proven.is_redacted) == (redacted, True)
    assert check_inclusion_proof(proof_of(5), KEYS).entry.payload_hash == proven.payload_hash


def test_the_file_is_a_tlog_proof_to_the_letter() -> None:
    lines = proof_of(17, 33).split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1].startswith("extra ")
    assert lines[2] == "index 16"
    empty = lines.index("")
    path = [base64.b64decode(line, validate=True) for line in lines[3:empty]]
    assert "\n".join(lines[empty + 1 :]) == note_of(33)
    entry = json.loads(base64.b64decode(lines[1].removeprefix("extra "), validate=True))
    hidden = hashlib.sha256(bytes.fromhex(entry["salt"]) + entry["payload"].encode()).digest()
    assert entry["payload_hash"] == hidden.hex()
    leaf = msgpack.packb(
        [1, entry["seq"], bytes.fromhex(entry["producer_hash"]), entry["producer_seq"],
         entry["created_at"], entry["event_type"], entry["level"], entry["actor"],
         entry["task_id"], hidden]
    )  # fmt: skip
    assert rfc6962.includes(rfc6962.leaf(leaf), 16, 33, path, TREE.root(33))


def test_a_tree_of_one_entry_has_an_empty_path() -> None:
    assert proof_of(1, 1).split("\n")[2:4] == ["index 0", ""]


def test_an_entry_that_is_not_in_that_tree_gets_no_proof() -> None:
    path = TREE.path(4, 0, 40)
    with pytest.raises(NotProven, match="entry 6 is not proven"):
        make_inclusion_proof(ENTRIES[5], path, note_of(40))
    with pytest.raises(NotProven, match="no leaf 39"):
        make_inclusion_proof(ENTRIES[39], path, note_of(39))
    with pytest.raises(NotProven, match="hashes"):
        make_inclusion_proof(ENTRIES[4], path[1:], note_of(40))


def changed_entry(text: str, **changed: Any) -> str:
    head, extra, rest = text.split("\n", 2)
    entry = json.loads(base64.b64decode(extra.removeprefix("extra "))) | changed
    encoded = base64.b64encode(json.dumps(entry).encode()).decode()
    return "\n".join([head, f"extra {encoded}", rest])


@pytest.mark.parametrize(
    "changed",
    [
        {"event_type": "a.c"},
        {"level": "error"},
        {"actor": None},
        {"task_id": "T"},
        {"created_at": 10**18},
        {"producer_seq": 9},
        {"producer_hash": "00" * 32},
        {"payload": None, "salt": None, "payload_hash": None},
        {"payload": None, "salt": None, "payload_hash": "00" * 32},
    ],
)
def test_a_fact_of_the_entry_that_was_changed_is_not_proven(changed: dict[str, Any]) -> None:
    with pytest.raises(NotProven, match="do not lead to the root"):
        check_inclusion_proof(changed_entry(proof_of(5), **changed), KEYS)


def test_a_payload_that_was_changed_is_no_entrys() -> None:
    with pytest.raises(MalformedProof, match="payload_hash is not that of this payload"):
        check_inclusion_proof(changed_entry(proof_of(5), payload="{}"), KEYS)


def test_another_seq_is_found_by_the_index_and_by_the_root() -> None:
    forged = changed_entry(proof_of(5), seq=6)
    with pytest.raises(MalformedProof, match="its index is not that of its entry: entry 6"):
        check_inclusion_proof(forged, KEYS)
    with pytest.raises(NotProven, match="entry 6"):
        check_inclusion_proof(forged.replace("index 4", "index 5"), KEYS)


def test_a_checkpoint_of_nobody_known_proves_nothing() -> None:
    with pytest.raises(UntrustedNote, match="no key that is known"):
        check_inclusion_proof(proof_of(5), OTHERS)
    with pytest.raises(UntrustedNote):
        check_inclusion_proof(proof_of(5), [])
    forged = proof_of(5).replace("\n40\n", "\n41\n")
    with pytest.raises(BadSignature):
        check_inclusion_proof(forged, KEYS)


def test_a_log_of_another_name_is_not_the_one_asked_for() -> None:
    assert check_proof(proof_of(5), KEYS, origin=ORIGIN)
    for text in (proof_of(5), consistency(5)):
        with pytest.raises(NotProven, match=r"its log is 'hansard/00ff', not 'hansard/01'"):
            check_proof(text, KEYS, origin="hansard/01")


# --- consistency ---


@pytest.mark.parametrize(
    ("old", "new"), [(0, 0), (0, 40), (1, 40), (16, 32), (17, 33), (39, 40), (40, 40)]
)
def test_a_log_is_proven_to_be_the_beginning_of_another(old: int, new: int) -> None:
    proven = check_consistency_proof(consistency(old, new), KEYS)
    assert proven == ProvenConsistency(
        Checkpoint(ORIGIN, old, TREE.root(old)), Checkpoint(ORIGIN, new, TREE.root(new)), (*KEYS,)
    )
    assert check_proof(consistency(old, new), KEYS) == proven


def test_the_file_is_an_add_checkpoint_body_between_a_version_and_the_older_checkpoint() -> None:
    text = consistency(17, 33)
    hashes = "".join(f"{base64.b64encode(each).decode()}\n" for each in TREE.proof(17, 33))
    body = f"old 17\n{hashes}\n{note_of(33)}"
    assert text == f"hansard/consistency-proof@v1\n{body}\n{note_of(17)}"


def test_logs_that_differ_get_no_proof() -> None:
    with pytest.raises(NotProven, match="17 entries is not proven to be the beginning"):
        make_consistency_proof(TREE.proof(17, 40), note_of(17, root=bytes(32)), note_of(40))
    with pytest.raises(NotProven, match="was never one of 40"):
        make_consistency_proof([], note_of(40), note_of(17))


def test_a_log_may_have_taken_another_origin_since() -> None:
    other = signing_key(f"{ORIGIN}/7", 3)
    newer = sign_checkpoint(Checkpoint(f"{ORIGIN}/7", 40, TREE.root(40)), [other])
    text = make_consistency_proof(TREE.proof(17, 40), note_of(17), newer)
    both = [*KEYS, other.verifier_key]
    proven = check_consistency_proof(text, both)
    assert (proven.older.origin, proven.newer.origin) == (ORIGIN, f"{ORIGIN}/7")
    assert proven.signers == tuple(both)
    with pytest.raises(UntrustedNote):
        check_consistency_proof(text, KEYS)


def test_both_checkpoints_must_be_signed_by_a_known_key() -> None:
    forger = signing_key(ORIGIN, 2)
    older, newer = (Checkpoint(ORIGIN, size, TREE.root(size)) for size in (17, 40))
    good = [note_of(17), note_of(40)]
    bad = [sign_checkpoint(each, [forger]) for each in (older, newer)]
    for notes in ((bad[0], good[1]), (good[0], bad[1])):
        text = make_consistency_proof(TREE.proof(17, 40), *notes)
        with pytest.raises(UntrustedNote):
            check_consistency_proof(text, KEYS)
        assert check_consistency_proof(text, [*KEYS, *OTHERS]).signers


def test_other_hashes_prove_nothing() -> None:
    wrong = TREE.proof(18, 40)
    text = consistency(17)
    for good, bad in zip(TREE.proof(17, 40), wrong, strict=False):
        text = text.replace(base64.b64encode(good).decode(), base64.b64encode(bad).decode())
    with pytest.raises(NotProven, match="not proven to be the beginning"):
        check_consistency_proof(text, KEYS)


# --- files that are none ---

Change = Callable[[str], str]


def line(number: int, new: str | None) -> Change:
    """Another text for a line, or none."""

    def change(text: str) -> str:
        lines = text.split("\n")
        lines[number : number + 1] = [] if new is None else [new]
        return "\n".join(lines)

    return change


HASH: Final = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda _: "", "a proof begins with"),
        (lambda _: "c2sp.org/tlog-proof@v1\n", "its second line is 'extra'"),
        (line(0, "c2sp.org/tlog-proof@v2"), "a proof begins with"),
        (line(1, None), "its second line is 'extra'"),
        (line(1, "extra"), "its second line is 'extra'"),
        (line(1, "extra AAA"), "no base64, and so no extra data"),
        (line(1, "extra e30="), "the entry in its extra data is none: it has no actor"),
        (line(1, "extra e31="), "no base64"),
        (line(2, None), "is not the line 'index' with a number"),
        (line(2, "index 04"), "is not the line 'index'"),
        (line(2, "index -4"), "is not the line 'index'"),
        (line(2, "index \uff14"), "is not the line 'index'"),
        (line(2, "index 4 "), "is not the line 'index'"),
        (line(2, "index  4"), "is not the line 'index'"),
        (line(2, "Index 4"), "is not the line 'index'"),
        (line(2, "index 5"), "its index is not that of its entry: entry 5"),
        (line(2, f"index {1 << 63}"), "is not the line 'index'"),
        (line(2, "index " + "9" * 5_000), "is not the line 'index'"),
        (line(3, HASH[:-1]), "no base64, and so no hash"),
        (line(3, f" {HASH}"), "no base64"),
        (line(3, "AAAA"), "a hash has 32 bytes"),
        (line(3, "\n".join([HASH] * (HASHES_MAX + 1))), "a proof has at most 63"),
        (lambda text: text.replace("\n", "\r\n"), "a proof begins with"),
        (lambda text: text[:-1], "its checkpoint is none: a signed note ends with a newline"),
        (lambda text: text + "\n", "its checkpoint is none"),
        (lambda text: text.partition("\n\n")[0], "its checkpoint is none"),
        (lambda text: text.replace("\n40\n", "\n040\n"), "its checkpoint is none"),
        (lambda text: text + "\ud800", "a proof is UTF-8"),
        (lambda text: text + " " * PROOF_BYTES_MAX, "a proof has at most 16,777,216 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_inclusion_proof_is_told_what_is_wrong(change: Change, complaint: str) -> None:
    with pytest.raises(MalformedProof, match=complaint):
        check_proof(change(proof_of(5)), KEYS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (line(0, "hansard/consistency-proof@v2"), "a proof begins with"),
        (lambda _: "hansard/consistency-proof@v1", "is not the line 'old' with a number"),
        (line(1, None), "is not the line 'old'"),
        (line(1, "old 017"), "is not the line 'old'"),
        (line(1, "old 18"), "its older checkpoint is not one of 18 entries"),
        (line(2, "x"), "no base64, and so no hash"),
        (line(2, "\n".join([HASH] * (HASHES_MAX + 1))), "a proof has at most 63"),
        (lambda text: text.removesuffix(note_of(17)), "two checkpoints follow"),
        (lambda text: text + "\n" + note_of(17), "two checkpoints follow"),
        (lambda text: text[:-1], "its older checkpoint is none"),
        (lambda text: text.replace("\n40\n", "\n\n"), "two checkpoints follow"),
        (lambda text: text.replace("\n40\n", "\nx\n"), "its newer checkpoint is none"),
        (lambda text: text.replace("\n17\n", "\nx\n"), "its older checkpoint is none"),
    ],
)
def test_what_is_no_consistency_proof_is_told_what_is_wrong(change: Change, complaint: str) -> None:
    with pytest.raises(MalformedProof, match=complaint):
        check_proof(change(consistency(17)), KEYS)


def test_each_kind_is_refused_as_the_other() -> None:
    with pytest.raises(MalformedProof, match="an inclusion proof begins with"):
        parse_inclusion_proof(consistency(17))
    with pytest.raises(MalformedProof, match="a consistency proof begins with"):
        parse_consistency_proof(proof_of(5))


GOOD: Final = [proof_of(5).encode(), consistency(17).encode()]


@settings(derandomize=True, deadline=None, database=None, max_examples=600)
@given(
    good=st.sampled_from(GOOD),
    place=st.floats(0, 1, exclude_max=True),
    new=st.binary(max_size=3),
    cut=st.integers(0, 3),
)
def test_no_byte_can_be_changed_and_nothing_else_is_ever_raised(
    good: bytes, place: float, new: bytes, cut: int
) -> None:
    """But for the signature lines of keys that nobody knows, every byte of a proof counts."""
    at = int(place * len(good))
    changed = good[:at] + new + good[at + cut :]
    if changed == good:
        return
    with pytest.raises((ProofError, NoteError)):
        check_proof(changed, KEYS)


def test_all_of_it_is_public() -> None:
    for name in public.__all__:
        assert getattr(public, name).__doc__, name
    assert {"check_proof", "check_inclusion_proof", "check_consistency_proof"} <= {*public.__all__}
