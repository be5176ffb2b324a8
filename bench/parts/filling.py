"""Fills a log to so many entries, through the store itself: nobody records, and no writer runs.

As if a few producers had recorded a workload for long: their events come by turns, in batches as
large as a busy writer's, and their tasks never come again. It measures nothing.
"""

import random
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import orjson

from bench.parts import limit
from bench.workloads import Workload
from hansard import wire
from hansard_writer.decoding import Run
from hansard_writer.entering import Entering
from hansard_writer.full_text import FullText
from hansard_writer.store import Store

PRODUCERS: Final = 8
FIRST_WORKER: Final = 1_000  # as the workload knows them: behind all that record
PREPARED: Final = 20_000  # events of each, which come again and again, as other tasks'
PIECE: Final = 250  # of each in a transaction
TOLD_EVERY: Final = 100  # transactions

_TASK: Final = "task-"

_Row = tuple[str, str, str, str, str]


def fill(directory: Path, workload: Workload, entries: int, result: "Connection[Any, Any]") -> None:
    """Let the log in ``directory`` have so many entries; sends how many it has, now and then and
    at the end. For a process of its own. Task ids of ``workload`` MUST look like those of `tasks`.
    """
    with closing(result):
        store, connection = limit.open_store(directory)
        connection.execute("PRAGMA synchronous = OFF")  # nobody relies on it yet
        producers = [_Producer(store, workload, FIRST_WORKER + n) for n in range(PRODUCERS)]
        turn = 0
        while (left := entries - store.size) > 0:
            with store.entering() as entering:
                for producer in producers:
                    piece = min(PIECE, left)
                    left -= piece
                    if piece:
                        producer.enter(entering, piece)
            limit.keep_wal_small(store)
            turn += 1
            if turn % TOLD_EVERY == 0 and store.size < entries:
                result.send(store.size)
        with store.transaction():
            connection.executemany(
                "UPDATE producers SET watermark = ? WHERE id = ?",
                [(producer.count, producer.id) for producer in producers],
            )
        _look_for_text(store)
        connection.execute("PRAGMA synchronous = FULL")  # what is dirty is written now
        store.handle.checkpoint_truncate()
        store.close()
        result.send(entries)


def _look_for_text(store: Store) -> None:
    """As a writer would have, or the next one does it beside what is measured."""
    full_text = FullText(store, None)
    while full_text.tail:
        full_text.index_piece()
        limit.keep_wal_small(store)


class _Producer:
    """One that records for as long as it is asked to."""

    def __init__(self, store: Store, workload: Workload, worker: int) -> None:
        name = f"{worker}, from {store.size} on"
        self.id = store.next_producer_id()
        self.count = 0
        self._hash = wire.producer_hash(name.encode())
        self._rows = _rows(workload, worker, random.Random(name))
        with store.transaction() as connection:
            connection.execute(
                "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc,"
                " dropped) VALUES(?,?,'',0,0,0,0,0)",
                (self.id, self._hash),
            )

    def enter(self, entering: Entering, count: int) -> None:
        """Its next events, recorded now."""
        now = time.time_ns()
        columns = zip(*islice(self._rows, count), strict=True)
        kinds, created = [wire.KIND_EVENT] * count, list(range(now, now + count))
        entering.enter(self.id, self._hash, Run(self.count + 1, kinds, (created, *columns)))
        self.count += count


def _rows(workload: Workload, worker: int, chance: random.Random) -> Iterator[_Row]:
    """Columns of entries, but for created_at. Those that share a task do so each time."""
    rows = [
        (event.event_type, event.level, event.actor, orjson.dumps(event.payload).decode(),
         int(event.task_id.removeprefix(_TASK), 16))
        for event in workload.events(worker, PREPARED)
    ]  # fmt: skip
    while True:
        mask = chance.getrandbits(64)
        for event_type, level, actor, payload, task in rows:
            yield event_type, level, actor, f"{_TASK}{task ^ mask:016x}", payload
