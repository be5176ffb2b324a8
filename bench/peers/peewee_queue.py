"""peewee's `SqliteQueueDatabase`: threads queue statements, and its thread executes each.

Statements are handed to it as text, which spares it the making of each from a model; and what it
returns for each is looked at when all are queued, as nobody has to wait in between.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peers import sqlite_files
from bench.peers.peer import Peer, Served, Took, timed
from bench.peers.servers import not_installed
from bench.peers.stored import Stored, row
from bench.workloads.event import Event


@dataclass(frozen=True, slots=True)
class PeeweeQueue(Peer):
    """Each statement commits by itself."""

    def missing(self) -> str | None:
        return not_installed("peewee", "playhouse")

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        with sqlite_files.served(directory) as place:
            yield place

    @contextmanager
    def opened(self, served: Served) -> Iterator[Any]:
        from playhouse.sqliteq import SqliteQueueDatabase

        database = SqliteQueueDatabase(
            served.address, pragmas={"journal_mode": "wal", "synchronous": "full"}
        )
        yield database
        database.stop()

    def record(self, opened: Any, number: int, events: Sequence[Event]) -> Took:
        execute, cursors = opened.execute_sql, []

        def call(seq: int, event: Event) -> None:
            cursors.append(execute(sqlite_files.INSERT, row(number, seq, event)))

        durations = timed(call, events)
        for cursor in cursors:
            cursor.fetchall()  # waits, and raises what the statement did
        return Took(durations)

    def stored(self, served: Served) -> Iterator[Stored]:
        return sqlite_files.stored(served)

    def stored_bytes(self, served: Served) -> int:
        return sqlite_files.size(Path(served.address))
