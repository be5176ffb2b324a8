"""What the proof costs the writer: the same frames through the same code, with it and without.

Both logs are written in one process, batch by batch in turns, and only CPU time is counted.
Without it means that salts and hashes are NULL and no tree is kept; nothing else differs.
"""

import contextlib
import gc
import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final
from unittest import mock

from bench import anatomy
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure
from bench.parts import limit
from hansard import wire
from hansard_writer import entering
from hansard_writer.intake import Intake
from hansard_writer.proof import leaves
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge, Row

PART: Final = "proof cost"
RATIO_MAX: Final = 1.8
EVENTS_EACH: Final = 25_000  # of four workers
FRAMES_A_BATCH: Final = 2


class _Side:
    """One log, and the CPU time (ns) that its events took."""

    def __init__(self, directory: Path) -> None:
        self.store, _ = limit.open_store(directory)
        store = self.store
        self._intake = Intake(store.find_producer, store.next_producer_id, store.own_producer())
        for worker in range(anatomy.WORKERS):
            hello = wire.Hello(anatomy.producer_id(worker), 1, 0, "", 1, 1, None)
            self._intake.greet(hello, 0.0, 1)
        self.ns = 0

    def take(self, frames: Sequence[list[bytes]]) -> None:
        """One batch, from the wire to the checkpoint of SQLite's."""
        began = time.thread_time_ns()
        for parts in frames:
            self._intake.take_message(parts, 1.0, 1)
        self.store.write(self._intake.batch, 1)
        self._intake.fresh_batch()
        limit.keep_wal_small(self.store)
        self.ns += time.thread_time_ns() - began


def run(place: Path, events_each: int = EVENTS_EACH) -> list[Figure]:
    """Write both logs in ``place``. Raises `WrongEntries`."""
    place.mkdir()
    frames = anatomy.messages(events_each)
    proven, bare = _Side(place / "with"), _Side(place / "without")
    gc.collect()
    gc.disable()
    for start in range(0, len(frames), FRAMES_A_BATCH):
        batch = frames[start : start + FRAMES_A_BATCH]
        proven.take(batch)
        with _no_proof():
            bare.take(batch)
    gc.enable()
    events = anatomy.WORKERS * events_each
    if not proven.store.size == bare.store.size == events:
        raise WrongEntries(f"{events} events, {proven.store.size} and {bare.store.size} entries")
    for side in (proven, bare):
        side.store.close()
    with_us, without_us = proven.ns / events / 1e3, bare.ns / events / 1e3
    return [
        Figure(PART, "writer CPU an event, with the proof", with_us, "µs"),
        Figure(PART, "writer CPU an event, without it", without_us, "µs"),
        Figure(PART, "with the proof / without", with_us / without_us, "x", RATIO_MAX),
    ]


@contextlib.contextmanager
def _no_proof() -> Iterator[None]:
    with (
        mock.patch.object(leaves, "hide", return_value=(repeat(None), repeat(None))),
        mock.patch.object(leaves, "leaf_hashes", _no_leaves),
        mock.patch.object(entering, "grow", _longer),
    ):
        yield


def _no_leaves(entries: Iterator[Any]) -> bytes:
    """Only how many they are, for the next seq."""
    return bytes(HASH_BYTES * sum(1 for _ in entries))


def _longer(edge: Edge, nothing: bytes) -> tuple[Edge, list[Row]]:
    return Edge(edge.size + len(nothing) // HASH_BYTES), []
