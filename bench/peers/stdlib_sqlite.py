"""The stdlib's `sqlite3`: from each process for itself, and behind a queue and one thread."""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.peers import sqlite_files
from bench.peers.peer import Peer, Served, Took, timed
from bench.peers.stored import Stored, row
from bench.workloads.event import Event

RETRIES_MAX: Final = 1_000  # of one event


@dataclass(frozen=True, slots=True)
class _InOneFile(Peer):
    """What both have in common: the file."""

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        with sqlite_files.served(directory) as place:
            yield place

    def stored(self, served: Served) -> Iterator[Stored]:
        return sqlite_files.stored(served)

    def stored_bytes(self, served: Served) -> int:
        return sqlite_files.size(Path(served.address))


@dataclass(frozen=True, slots=True)
class OneCommitAnEvent(_InOneFile):
    """Every process has a connection and commits each event. It waits for the others' locks as long
    as SQLite lets it, and tries again when that was too short, as its caller would have to."""

    @contextmanager
    def opened(self, served: Served) -> Iterator[sqlite3.Connection]:
        with closing(sqlite_files.connect(served.address)) as connection:
            yield connection

    def record(self, opened: sqlite3.Connection, number: int, events: Sequence[Event]) -> Took:
        retries = 0

        def call(seq: int, event: Event) -> None:
            nonlocal retries
            values = row(number, seq, event)
            for _ in range(RETRIES_MAX):
                try:
                    opened.execute(sqlite_files.INSERT, values)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                        raise
                    retries += 1
                else:
                    return
            raise TimeoutError(f"database is locked, {RETRIES_MAX:,} times in a row")

        return Took(timed(call, events), retries)


@dataclass(frozen=True, slots=True)
class QueueAndThread(_InOneFile):
    """Threads put closures on a queue; one thread runs each with its connection, and commits it."""

    @contextmanager
    def opened(self, served: Served) -> Iterator["_CommittingThread"]:
        with closing(sqlite_files.connect(served.address)) as connection:
            thread = _CommittingThread(connection)
            thread.start()
            yield thread
            thread.finish()

    def record(self, opened: "_CommittingThread", number: int, events: Sequence[Event]) -> Took:
        put = opened.closures.put

        def call(seq: int, event: Event) -> None:
            put(partial(_insert, row(number, seq, event)))

        durations = timed(call, events)
        opened.wait()
        return Took(durations)


class _CommittingThread(threading.Thread):
    """Runs what is on its queue. Owns the connection until `finish` has returned."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(daemon=True)
        self.closures: queue.Queue[Callable[[sqlite3.Connection], object] | None] = queue.Queue()
        self._connection = connection
        self._errors: list[sqlite3.Error] = []

    def run(self) -> None:
        while (closure := self.closures.get()) is not None:
            try:
                closure(self._connection)
            except sqlite3.Error as error:
                self._errors.append(error)
            finally:
                self.closures.task_done()

    def wait(self) -> None:
        """Until all that is on the queue is committed. Raises what could not be."""
        self.closures.join()
        if self._errors:
            raise self._errors[0]

    def finish(self) -> None:
        self.closures.put(None)
        self.join()


def _insert(values: tuple[Any, ...], connection: sqlite3.Connection) -> None:
    connection.execute(sqlite_files.INSERT, values)
