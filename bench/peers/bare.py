"""The limit: a bare `executemany` in one process, with rows made beforehand. No writer that keeps
the same table can be faster; and none has recorded anything yet when its rows are tuples."""

import gc
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from bench.peers import sqlite_files
from bench.peers.peer import Peer, Served, Took, in_files
from bench.peers.stored import Stored, from_row, row
from bench.workloads.event import Event
from hansard.directory import DATABASE
from hansard_writer.store import Store

BATCH: Final = 2_000  # events a transaction, as a full batch of the writer

_SELECT: Final = (
    "SELECT producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
    " FROM entries ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Bare(Peer):
    """Into the log's own tables and indexes, with the store's own settings, without a proof."""

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        with in_files(directory, str(directory / "log")) as place:
            yield place

    @contextmanager
    def opened(self, served: Served) -> Iterator[tuple[Store, apsw.Connection]]:
        from bench.parts import limit  # the parts know the peers

        store, connection = limit.open_store(Path(served.address))
        gc.disable()  # as in the writer
        yield store, connection
        gc.enable()
        store.close()

    def prepared(self, number: int, events: Sequence[Event]) -> Sequence[Any]:
        return [(seq, *row(number, seq, event)) for seq, event in enumerate(events, 1)]

    def record(
        self,
        opened: tuple[Store, apsw.Connection],
        number: int,  # noqa: ARG002 - it is in the rows
        events: Sequence[Any],
    ) -> Took:
        from bench.parts import limit

        store, connection = opened
        for start in range(0, len(events), BATCH):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(limit.INSERT, events[start : start + BATCH])
            connection.execute("COMMIT")
            limit.keep_wal_small(store)
        return Took(array("q"))

    def stored(self, served: Served) -> Iterator[Stored]:
        return map(from_row, sqlite_files.rows(Path(served.address) / DATABASE, _SELECT))

    def stored_bytes(self, served: Served) -> int:
        return sqlite_files.size(Path(served.address) / DATABASE)
