"""Proofs: how long one takes out of a long log, and how much of the tree it reads.

The long log is written through the store itself, salts, leaves and tree included; each proof is
made as `hansard prove` makes it, connection and all but the start of a process, and is checked.
For the longer log only rows of hashes are made, of no entries: what is counted is bytes.
"""

import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure, percentile
from bench.measuring.processes import in_fresh_process
from bench.parts import limit
from bench.workloads.tasks import events
from hansard import wire
from hansard.reader_connection import ReadConnection
from hansard.texts import encode_payload
from hansard_writer.decoding import Run
from hansard_writer.proof import ProofError, check_proof
from hansard_writer.proof.checkpoint import Checkpoint, sign_checkpoint
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    ROW_BYTES,
    ROW_HASHES,
    ROW_HEIGHT,
    audit_path,
    consistency_proof,
    root,
)
from hansard_writer.proof.proving import prove_entry
from hansard_writer.proof.signed_note import SigningKey, VerifierKey
from hansard_writer.proof.stored_tree import StoredTree
from hansard_writer.store import Store

PART: Final = "proof"
ENTRIES: Final = 1_000_000
LARGE_ENTRIES: Final = 10_000_000
BATCH: Final = 2_000  # entries a transaction
PROOFS: Final = 500
PROOF_MS_MAX: Final = 10.0
READ_BYTES_MAX: Final = 8_192  # "a few kilobytes"


def run(place: Path, entries: int = ENTRIES, large_entries: int = LARGE_ENTRIES) -> list[Figure]:
    """Prove entries of a log in ``place``; raises `WrongEntries` for a proof that proves
    nothing."""
    figures = in_fresh_process(_prove, place, entries)
    return [*figures, *_read(large_entries)]


def _prove(directory: Path, entries: int) -> list[Figure]:
    store, _ = limit.open_store(directory)
    _fill(store, entries)
    key = _sign(store)
    store.close()
    chance = random.Random(entries)
    made: list[int] = []
    checked: list[int] = []
    for _ in range(PROOFS):
        seq = chance.randint(1, entries)
        began = time.perf_counter_ns()
        log = ReadConnection(directory)
        text = prove_entry(log, seq)
        log.close()
        made.append(time.perf_counter_ns() - began)
        began = time.perf_counter_ns()
        try:
            check_proof(text, [key])
        except ProofError as error:
            raise WrongEntries(f"the proof of entry {seq} proves nothing: {error}") from error
        checked.append(time.perf_counter_ns() - began)
    made.sort()
    checked.sort()
    return [
        Figure(PART, "entries of the log", entries, "entries"),
        Figure(PART, "a proof p50", percentile(made, 0.50) / 1e6, "ms", PROOF_MS_MAX),
        Figure(PART, "a proof p99", percentile(made, 0.99) / 1e6, "ms"),
        Figure(PART, "its check p50", percentile(checked, 0.50) / 1e6, "ms"),
    ]


def _fill(store: Store, entries: int) -> None:
    """As the writer enters them, but for the wire."""
    own, rows = store.own_producer(), _rows(entries)
    while batch := list(islice(rows, BATCH)):
        kinds = [wire.KIND_EVENT] * len(batch)
        with store.entering() as entering:
            piece = Run(store.size + 1, kinds, tuple(zip(*batch, strict=True)))
            entering.enter(own.id, own.hash, piece)
        limit.keep_wal_small(store)
    if store.size != entries:
        raise WrongEntries(f"{entries:,} entries were written, and the log has {store.size:,}")


def _rows(entries: int) -> Iterator[tuple[Any, ...]]:
    """Of the workload, over and over."""
    some = [
        (event_type, level, actor, task_id, encode_payload(payload).decode())
        for event_type, payload, level, actor, task_id in events(0, min(entries, 10_000))
    ]
    for number in range(entries):
        event_type, level, actor, task_id, payload = some[number % len(some)]
        yield 10**18 + number, event_type, level, actor, task_id, payload


def _sign(store: Store) -> VerifierKey:
    """A checkpoint of all of it, by a key of the bench's own, which is returned."""
    origin = f"hansard/{store.log_id.hex()}"
    key = SigningKey(origin, Ed25519PrivateKey.generate())
    note = sign_checkpoint(Checkpoint(origin, store.size, root(store._position.edge)), [key])
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO checkpoints(size, origin, created_at, note) VALUES(?,?,?,?)",
            (store.size, origin, 1, note),
        )
    return key.verifier_key


def _read(entries: int) -> list[Figure]:
    """How many bytes of hashes a proof reads out of a tree of that size; of any hashes."""
    chance = random.Random(entries)

    def fetch(level: int, idx: int) -> bytes:
        nodes = entries >> (ROW_HEIGHT * level)
        return bytes(min(ROW_BYTES, (nodes - idx * ROW_HASHES) * HASH_BYTES))

    paths, proofs = [], []
    for _ in range(PROOFS):
        tree = StoredTree(fetch)
        audit_path(chance.randrange(entries), entries, tree.node)
        paths.append(tree.bytes_read)
        tree = StoredTree(fetch)
        consistency_proof(chance.randint(1, entries), entries, tree.node)
        proofs.append(tree.bytes_read)
    return [
        Figure(PART, "entries of a longer log", entries, "entries"),
        Figure(PART, "hashes read for a proof, at most", max(paths), "bytes", READ_BYTES_MAX),
        Figure(PART, "hashes read for growth, at most", max(proofs), "bytes", READ_BYTES_MAX),
    ]
