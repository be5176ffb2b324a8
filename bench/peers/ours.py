"""Hansard, in the peers' own race: the same workers, clock and check; everything on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

import hansard_writer
from bench.measuring.entered import WrongEntries
from bench.peers import sqlite_files
from bench.peers.peer import Peer, Served, Took, timed
from bench.peers.stored import Stored
from bench.workloads.event import Event
from hansard import AuditLog
from hansard.directory import DATABASE

FLUSH_S_MAX: Final = 120.0

_ENTRIES: Final = (
    "SELECT p.producer_hash, e.producer_seq, e.event_type, e.payload, e.level, e.actor, e.task_id"
    " FROM entries AS e JOIN producers AS p ON p.id = e.producer ORDER BY e.seq"
)


@dataclass(frozen=True, slots=True)
class Ours(Peer):
    """Workers record, asynchronously until `flush()` is true, or each event with ``sync=True``."""

    sync: bool = False

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        directory.mkdir()
        with hansard_writer.running(directory / "log", log_level="warning") as writer:
            yield Served(directory, str(directory / "log"), writer.pid)

    @contextmanager
    def opened(self, served: Served) -> Iterator[tuple[AuditLog, Path]]:
        with AuditLog(served.address, sync=self.sync, best_effort=False) as log:
            yield log, served.directory

    def record(self, opened: tuple[AuditLog, Path], number: int, events: Sequence[Event]) -> Took:
        log, directory = opened
        record, entry = log.record, None

        def call(_: int, event: Event) -> None:
            nonlocal entry
            event_type, payload, level, actor, task_id = event
            entry = record(event_type, payload, level=level, actor=actor, task_id=task_id)

        durations = timed(call, events)
        if not log.flush(FLUSH_S_MAX) or entry is None or entry.key is None:
            raise WrongEntries(f"worker {number}: not committed in {FLUSH_S_MAX:g} s")
        (directory / entry.key[0].hex()).write_text(str(number))  # whose producer that is
        return Took(durations)

    def stored(self, served: Served) -> Iterator[Stored]:
        numbers: dict[bytes, int] = {}
        for producer, seq, event_type, payload, *rest in sqlite_files.rows(
            _database(served), _ENTRIES
        ):
            if producer not in numbers:
                numbers[producer] = int((served.directory / producer.hex()).read_text())
            yield Stored(numbers[producer], seq, Event(event_type, orjson.loads(payload), *rest))

    def stored_bytes(self, served: Served) -> int:
        return sqlite_files.size(_database(served))


def _database(served: Served) -> Path:
    return Path(served.address) / DATABASE
