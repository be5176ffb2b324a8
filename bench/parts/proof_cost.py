"""What the writer costs beside a bare `executemany` of its rows, with the proof and without.

Four logs are written in one process, batch by batch in turns, and only CPU time is counted: twice
the writer's, from the wire to SQLite's checkpoint, and twice the bare insert's, into the same
tables, indexes and page cache, of tuples made beforehand. Without the proof means that salts and
hashes are NULL and no tree is kept, by a switch that there is only here; nothing else differs.

A log's cost is that of its median batch, and of its median checkpoint of SQLite's as often as there
was one: of two logs in turns, other work on the machine is then the same in both.

The bare insert without the proof is what both writers are held against: who needs no proof writes
no salts and hashes. The other one says what of the proof is only that its rows are longer.
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
from bench.measuring.figures import Figure, median
from bench.parts import limit
from hansard import wire
from hansard_writer import entering
from hansard_writer.intake import Intake
from hansard_writer.proof import leaves
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge, Row

PART: Final = "proof cost"
PROVEN_MAX: Final = 1.8  # times the same without the proof
WITH_PROOF_MAX: Final = 2.0  # times the bare insert
WITHOUT_PROOF_MAX: Final = 1.3
EVENTS_EACH: Final = 50_000  # of four workers

_NEWEST: Final = f"SELECT {limit.COLUMNS}{limit.HIDDEN} FROM entries WHERE seq > ? ORDER BY seq"


class _Side:
    """One log, and the CPU time (ns) of each of its batches, and of each checkpoint."""

    def __init__(self, directory: Path) -> None:
        self.store, self.connection = limit.open_store(directory)
        self._batches: list[int] = []
        self._checkpoints: list[int] = []

    @property
    def ns(self) -> float:
        """What all its batches took, outliers apart."""
        parts = (self._batches, self._checkpoints)
        return sum(median(part) * len(part) for part in parts if part)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """One batch, and the checkpoint behind it, if there is one."""
        checkpoints = self.store.handle.checkpoints
        began = time.thread_time_ns()
        yield
        ended = time.thread_time_ns()
        limit.keep_wal_small(self.store)
        self._batches.append(ended - began)
        if self.store.handle.checkpoints > checkpoints:
            self._checkpoints.append(time.thread_time_ns() - ended)


class _Writer(_Side):
    """The writer's own way from frames to rows."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        store = self.store
        self._intake = Intake(store.find_producer, store.next_producer_id, store.own_producer())
        for worker in range(anatomy.WORKERS):
            hello = wire.Hello(anatomy.producer_id(worker), 1, 0, "", 1, 1, None)
            self._intake.greet(hello, 0.0, 1)

    def take(self, frames: Sequence[list[bytes]]) -> None:
        with self.timed():
            for parts in frames:
                self._intake.take_message(parts, 1.0, 1)
            self.store.write(self._intake.batch, 1)
            self._intake.fresh_batch()


class _Bare(_Side):
    """Rows as they are."""

    def insert(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        with self.timed():
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(statement, rows)
            self.connection.execute("COMMIT")


def run(place: Path, events_each: int = EVENTS_EACH) -> list[Figure]:
    """Write the logs in ``place``. Raises `WrongEntries`."""
    place.mkdir()
    frames = anatomy.messages(events_each)
    proven, unproven = _Writer(place / "with"), _Writer(place / "without")
    longer, bare = _Bare(place / "bare-with"), _Bare(place / "bare")
    sides = (proven, unproven, longer, bare)
    gc.collect()
    gc.disable()
    try:
        for start in range(0, len(frames), anatomy.FRAMES_A_BATCH):
            batch = frames[start : start + anatomy.FRAMES_A_BATCH]
            size = proven.store.size
            proven.take(batch)
            with _no_proof():
                unproven.take(batch)
            rows = proven.connection.execute(_NEWEST, (size,)).fetchall()
            longer.insert(limit.INSERT_AS_ENTERED, rows)
            bare.insert(limit.INSERT, [row[:-2] for row in rows])
    finally:
        gc.enable()  # for the other parts, which go on
    events = anatomy.WORKERS * events_each
    for side in sides:
        entries = side.connection.execute("SELECT count(*) FROM entries").get
        if entries != events:
            raise WrongEntries(f"{events} events, and {entries} entries")
        side.store.close()
    return _figures(events, proven, unproven, longer, bare)


def _figures(
    events: int, proven: _Side, unproven: _Side, longer: _Side, bare: _Side
) -> list[Figure]:
    took = {
        "writer CPU an event, with the proof": proven,
        "writer CPU an event, without it": unproven,
        "bare executemany of the rows with salts and hashes": longer,
        "bare executemany of the rows without": bare,
    }
    return [
        *(Figure(PART, name, side.ns / events / 1e3, "µs") for name, side in took.items()),
        Figure(PART, "with the proof / without", proven.ns / unproven.ns, "x", PROVEN_MAX),
        Figure(PART, "writer without / bare", unproven.ns / bare.ns, "x", WITHOUT_PROOF_MAX),
        Figure(PART, "writer with the proof / bare", proven.ns / bare.ns, "x", WITH_PROOF_MAX),
        Figure(PART, "writer with the proof / bare with it", proven.ns / longer.ns, "x"),
    ]


class _Unproven:
    """In place of salts, hashes and leaves: how many they are, for the next seq."""

    def __init__(self) -> None:
        self._leaves = b""

    def hide(self, payloads: Sequence[object]) -> tuple[Iterator[None], Iterator[None]]:
        self._leaves = bytes(HASH_BYTES * len(payloads))
        return repeat(None), repeat(None)

    def leaf_hashes(self, _entries: object) -> bytes:
        return self._leaves


@contextlib.contextmanager
def _no_proof() -> Iterator[None]:
    instead = _Unproven()
    with (
        mock.patch.object(leaves, "hide", instead.hide),
        mock.patch.object(leaves, "leaf_hashes", instead.leaf_hashes),
        mock.patch.object(entering, "grow", _longer),
    ):
        yield


def _longer(edge: Edge, nothing: bytes) -> tuple[Edge, list[Row]]:
    return Edge(edge.size + len(nothing) // HASH_BYTES), []
