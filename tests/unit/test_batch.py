"""Batches: what proves itself, and what does not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from hansard_writer.proof.checkpoint import encode_root
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import (
    Batch,
    DoesNotVerify,
    MalformedBatch,
    pack_batch,
    payloads,
    unpack_batch,
)
from hansard_writer.shipping.log_source import LogSource
from verifiable import SignedLog


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignedLog]:
    """With checkpoints of sizes 300 and 600."""
    log = SignedLog(tmp_path_factory.mktemp("original") / "log")
    for _ in range(2):
        log.enter(count=300)
        log.seal()
    yield log
    log.close()


@pytest.fixture
def batches(log: SignedLog) -> list[Batch]:
    """Of 200 entries: the second one begins and ends within what a checkpoint covers."""
    source, found = LogSource(log.directory, entries_max=200), list[Batch]()
    while batch := source.next(found[-1].last if found else 0):
        found.append(batch)
    source.close()
    return found


def test_batches_follow_each_other_and_verify(batches: list[Batch]) -> None:
    edge = Edge()
    for batch in batches:
        edge = batch.checked(edge).edge
    assert [batch.last for batch in batches] == [200, 300, 500, 600]
    assert [batch.covering.size for batch in batches] == [300, 300, 600, 600]
    assert [bool(batch.proof) for batch in batches] == [True, False, True, False]
    assert edge.size == 600


def test_a_batch_is_the_same_behind_the_wire(batches: list[Batch]) -> None:
    for batch in batches:
        assert unpack_batch(pack_batch(batch)) == batch


def test_what_a_target_has_already_is_cut_off(batches: list[Batch]) -> None:
    first, second = batches[:2]
    edge = first.checked(Edge()).edge
    joined = second._replace(before=0, rows=[*first.rows, *second.rows], owners=first.owners)
    assert joined.behind(200).checked(edge).edge.size == 300
    assert joined.behind(0) == joined


def test_payloads_come_apart_from_their_salts(batches: list[Batch]) -> None:
    pairs = list(payloads(batches[0].rows))
    assert pairs[7][1] == b'{"n":7}'
    assert all(salt and len(salt) == 16 for salt, _ in pairs)


def changed(column: int, value: object) -> Callable[[Batch], Batch]:
    def change(batch: Batch) -> Batch:
        row = list(batch.rows[5])
        row[column] = value
        return batch._replace(rows=[*batch.rows[:5], tuple(row), *batch.rows[6:]])

    return change


FORGERIES = {
    "another producer number": changed(2, 77),
    "another time": changed(3, 5_000),
    "another type": changed(4, "forged"),
    "another level": changed(5, "debug"),
    "another actor": changed(6, "eve"),
    "another task": changed(7, "T9"),
    "another payload": changed(9, b"0123456789abcdef" + b'{"n":99}'),
    "another hash": changed(8, bytes(32)),
    "no payload and no hash": lambda batch: changed(8, None)(changed(9, None)(batch)),
    "an entry missing": lambda batch: batch._replace(rows=batch.rows[:-1]),
    "an entry twice": lambda batch: batch._replace(rows=[*batch.rows, batch.rows[-1]]),
    "two entries swapped": lambda batch: batch._replace(
        rows=[batch.rows[1], batch.rows[0], *batch.rows[2:]]
    ),
    "another owner": lambda batch: batch._replace(
        owners=[batch.owners[0]._replace(producer_hash=bytes(32))]
    ),
    "no owner": lambda batch: batch._replace(owners=[]),
    "no proof": lambda batch: batch._replace(proof=[]),
    "another proof": lambda batch: batch._replace(proof=[*batch.proof[::-1], bytes(32)]),
    "a checkpoint of another log": lambda batch: batch._replace(
        notes=[batch.notes[0].replace(batch.origin, "hansard/00", 1)]
    ),
    "another checkpoint": lambda batch: batch._replace(
        notes=[batch.notes[0].replace(encode_root(batch.covering.root), encode_root(bytes(32)))]
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_batch_that_was_changed_does_not_verify(batches: list[Batch], forgery: str) -> None:
    with pytest.raises(DoesNotVerify):
        FORGERIES[forgery](batches[0]).checked(Edge())


def test_a_batch_behind_another_history_does_not_verify(batches: list[Batch]) -> None:
    with pytest.raises(DoesNotVerify, match="do not come behind the first 0"):
        batches[1].checked(Edge())
    edge = batches[0].checked(Edge()).edge
    wrong = edge._replace(rows=(bytes(len(edge.rows[0])), *edge.rows[1:]))
    with pytest.raises(DoesNotVerify, match="not those that were signed"):
        batches[1].checked(wrong)


def test_a_redacted_entry_verifies_without_its_payload(batches: list[Batch]) -> None:
    redacted = changed(9, None)(batches[0])
    assert redacted.checked(Edge()).edge == batches[0].checked(Edge()).edge


def test_what_the_log_says_is_gone_is_told(directory: Path) -> None:
    log = SignedLog(directory)
    log.enter(count=20)
    log.redacted(3, 5)
    log.pruned(4)
    source = LogSource(directory)
    batch = source.next(0)
    source.close()
    log.close()
    assert batch
    checked = batch.checked(Edge())
    assert list(checked.redacted) == [(3, 5)]
    assert checked.pruned_to == 4
    assert batch.before == 4  # they are gone already
    assert [row[0] for row in batch.rows] == list(range(5, 23))


def test_what_somebody_else_says_is_gone_is_not(directory: Path) -> None:
    log = SignedLog(directory)
    log.enter(count=5)
    log.redacted(2)
    log.seal()
    source = LogSource(directory)
    batch = source.next(0)
    source.close()
    log.close()
    assert batch
    assert list(batch.statements().redacted) == [(2, 2)]
    others = [owner._replace(producer_hash=bytes(32)) for owner in batch.owners]
    assert list(batch._replace(owners=others).statements().redacted) == []


def packed(**changes: object) -> bytes:
    names = ["version", "origin", "before", "last", "rows", "owners", "notes", "proof", "begun"]
    row = [1, 0, 1, 5, "a", "info", None, None, None, None]
    note = "hansard/00\n1\n" + "A" * 43 + "=\n\n— hansard/00 AAAAAAAA\n"
    values = [1, "hansard/00", 0, 1, [row], [[bytes(32), "h", 1, 5]], [note], [], None]
    given = dict(zip(names, values, strict=True)) | changes
    data: bytes = msgpack.packb(list(given.values()))
    return data


MALFORMED = {
    "no msgpack": b"\xc1",
    "not an array": msgpack.packb(7),
    "too few values": msgpack.packb([1, 2]),
    "another version": packed(version=2),
    "no origin": packed(origin=7),
    "nothing in it": packed(last=0),
    "a row too short": packed(rows=[[1, 2]]),
    "a row without a number": packed(rows=[["x"] * 10]),
    "a hash that is text": packed(rows=[[1, 0, 1, 5, "a", "info", None, None, "x", None]]),
    "a payload that is text": packed(rows=[[1, 0, 1, 5, "a", "info", None, None, None, "x"]]),
    "an actor that is a number": packed(rows=[[1, 0, 1, 5, "a", "info", 7, None, None, None]]),
    "an owner with a pid without end": packed(owners=[[bytes(32), "h", float("inf"), 5]]),
    "an owner with a short hash": packed(owners=[[b"x", "h", 1, 5]]),
    "an owner with too little": packed(owners=[[bytes(32)]]),
    "no checkpoint": packed(notes=[]),
    "what is no checkpoint": packed(notes=["no"]),
    "a proof of something else": packed(proof=["x"]),
    "an edge of half a hash": packed(begun=[b"x"]),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_what_is_no_batch_is_refused(what: str) -> None:
    with pytest.raises(MalformedBatch):
        unpack_batch(MALFORMED[what])


def test_what_they_were_made_of_is_one() -> None:
    assert unpack_batch(packed()).covering.size == 1
