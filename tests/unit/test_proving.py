"""Proofs out of a real log: of every entry, redacted, beside pruned ones, and what has none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from frames import event
from hansard.reader_connection import ReadConnection
from hansard_writer.proof import check_consistency_proof, check_inclusion_proof, read_checkpoint
from hansard_writer.proof.proofs import NotProven
from hansard_writer.proof.proving import (
    NotCovered,
    NotProvable,
    checkpoint_of_size,
    newest_checkpoint,
    prove_consistency,
    prove_entry,
    pruned_to,
)
from provable import ProvableLog


@pytest.fixture
def log(directory: Path) -> Iterator[ProvableLog]:
    log = ProvableLog(directory)
    yield log
    log.close()


@pytest.fixture
def reading(log: ProvableLog) -> Iterator[ReadConnection]:
    connection = ReadConnection(log.directory)
    yield connection
    connection.close()


def test_every_entry_is_proven_in_the_newest_checkpoint(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(event('{"ü":1}'), event(None, actor=None, task_id=None), event("{}"))
    log.sign()
    log.enter(count=40)
    log.sign()
    log.enter(count=10)
    for seq in range(1, 44):
        proven = check_inclusion_proof(prove_entry(reading, seq), log.keys)
        assert (proven.entry.seq, proven.checkpoint.size) == (seq, 43)
    first = check_inclusion_proof(prove_entry(reading, 1), log.keys).entry
    assert (first.payload, first.actor, first.task_id) == ('{"ü":1}', "agent:7", "T1")


def test_an_entry_is_proven_in_the_checkpoint_that_is_asked_for(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(count=5)
    small = log.sign()
    log.enter(count=50)
    log.sign()
    proven = check_inclusion_proof(prove_entry(reading, 3, small), log.keys)
    assert proven.checkpoint == read_checkpoint(small)
    elsewhere = log.note(17)  # an outsider's: the log need not have kept it
    assert (
        check_inclusion_proof(prove_entry(reading, 17, elsewhere), log.keys).checkpoint.size == 17
    )
    with pytest.raises(NotCovered, match="entry 6 is not covered by the checkpoint of size 5"):
        prove_entry(reading, 6, small)


def test_an_entry_that_nobody_has_signed_yet_has_no_proof(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(count=2)
    with pytest.raises(NotCovered, match="entry 2 is not covered by any checkpoint"):
        prove_entry(reading, 2)
    with pytest.raises(NotProvable, match="no checkpoint yet"):
        newest_checkpoint(reading)
    with pytest.raises(NotProvable, match="no checkpoint yet"):
        checkpoint_of_size(reading, 2)


def test_an_entry_that_is_not_there_has_no_proof(log: ProvableLog, reading: ReadConnection) -> None:
    with pytest.raises(NotProvable, match="there is no entry 1: the log has 0"):
        prove_entry(reading, 1)
    log.enter(count=2)
    log.sign()
    for seq in (0, 3):
        with pytest.raises(NotProvable, match=f"there is no entry {seq}: the log has 2"):
            prove_entry(reading, seq)


def test_a_redacted_entry_is_proven_without_its_payload(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(event('{"secret":"hunter2"}'), event("{}"))
    log.sign()
    before = check_inclusion_proof(prove_entry(reading, 1), log.keys).entry
    log.redact(1)
    text = prove_entry(reading, 1)
    proven = check_inclusion_proof(text, log.keys).entry
    assert proven.is_redacted
    assert (proven.payload_hash, proven.leaf_hash) == (before.payload_hash, before.leaf_hash)


@pytest.mark.parametrize("last", [1, 255, 256, 300])
def test_what_is_left_of_a_pruned_log_is_proven_and_the_rest_is_said_to_be_gone(
    log: ProvableLog, reading: ReadConnection, last: int
) -> None:
    log.enter(count=300)
    old = log.sign()
    log.enter(count=300)
    new = log.sign()
    kept = prove_entry(reading, last)
    log.prune(last)
    assert pruned_to(reading) == last
    for seq in {last + 1, last + 2, 400, 600}:
        assert check_inclusion_proof(prove_entry(reading, seq), log.keys).entry.seq == seq
    assert check_consistency_proof(prove_consistency(reading, old, new), log.keys)
    assert check_inclusion_proof(kept, log.keys).entry.seq == last, "old proofs remain valid"
    with pytest.raises(NotProvable, match=f"no entry {last} any more; entries 1 to {last} were"):
        prove_entry(reading, last)


def test_a_proof_from_a_size_that_was_pruned_says_why_there_is_none(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(count=20)
    old = log.sign()
    log.enter(count=300)
    new = log.sign()
    log.prune(290)
    with pytest.raises(NotProvable, match=r"row 0 of level 1 .*; entries 1 to 290 were pruned"):
        prove_consistency(reading, old, new)


def test_checkpoints_of_the_log_are_consistent(log: ProvableLog, reading: ReadConnection) -> None:
    notes = []
    for count in (0, 1, 16, 3, 300):
        log.enter(count=count) if count else None
        notes.append(log.sign())
    for place, old in enumerate(notes):
        for new in notes[place:]:
            proven = check_consistency_proof(prove_consistency(reading, old, new), log.keys)
            assert (proven.older, proven.newer) == (read_checkpoint(old), read_checkpoint(new))
    with pytest.raises(NotProvable, match=r"the older checkpoint is the larger one: 20 .* 17"):
        prove_consistency(reading, notes[3], notes[2])


def test_a_checkpoint_that_is_not_there_is_told_from_those_that_are_near(
    log: ProvableLog, reading: ReadConnection
) -> None:
    for _ in range(7):
        log.enter(count=10)
        log.sign()
    assert read_checkpoint(checkpoint_of_size(reading, 30)).size == 30
    assert read_checkpoint(newest_checkpoint(reading)).size == 70
    for size, near in ((35, "20, 30, 40, 50"), (5, "10, 20"), (71, "60, 70"), (10_000, "60, 70")):
        with pytest.raises(NotProvable, match=f"of size {size:,}; near it are {near}$"):
            checkpoint_of_size(reading, size)


def test_a_checkpoint_of_another_history_proves_that(
    log: ProvableLog, reading: ReadConnection
) -> None:
    log.enter(count=20)
    new = log.sign()
    fork = log.note(10, root=bytes(32))
    with pytest.raises(NotProven, match="size 10 has another root than this log had at that size"):
        prove_consistency(reading, fork, new)
    with pytest.raises(NotProven, match=r"entry 5 is not proven: .*; `hansard verify` says"):
        prove_entry(reading, 5, fork)
    future = log.note(30, root=bytes(32))
    for prove in (lambda: prove_entry(reading, 5, future),
                  lambda: prove_consistency(reading, new, future)):  # fmt: skip
        with pytest.raises(NotProvable, match="size 30 is of more entries than this log has, 20"):
            prove()


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE entries SET actor = 'x' WHERE seq = 3", "entry 3 is not proven"),
        ("UPDATE entries SET payload = '{}' WHERE seq = 3", "entry 3 was altered: payload_hash"),
        ("UPDATE entries SET salt = x'00' WHERE seq = 3", "entry 3 was altered: a salt has 16"),
        ("UPDATE entries SET actor = CAST(x'ff' AS TEXT) WHERE seq = 3", "entry 3 was altered"),
        ("DELETE FROM entries WHERE seq = 3", "entry 3 was removed, and not by pruning"),
        ("UPDATE tree SET hashes = zeroblob(length(hashes))", "entry 3 is not proven"),
        ("UPDATE producers SET producer_hash = zeroblob(32) WHERE id = 1", "entry 3 is not proven"),
    ],
)
def test_an_altered_entry_gets_no_proof(
    log: ProvableLog, reading: ReadConnection, statement: str, complaint: str
) -> None:
    log.enter(count=5)
    log.sign()
    log.change(statement)
    with pytest.raises(NotProven, match=complaint):
        prove_entry(reading, 3)
