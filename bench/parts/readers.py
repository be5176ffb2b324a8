"""Readers beside an ingest: what 0, 1 and 4 processes that scan the log cost those who record.

A reader iterates over all entries, again and again, either as `hansard query` does, with the
lowest priority and rests, or as fast as it can. In each round, beside the readers, workers first
record as fast as they can, and then one caller synchronously; every round has a fresh log.
"""

import time
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any, Final, NamedTuple

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, median, percentile
from bench.measuring.processes import SPAWN, started
from bench.parts import sync
from bench.workloads import TASKS
from hansard import AuditLog
from hansard.reader import LogReader
from hansard_writer.cli.selecting import step_back

PART: Final = "readers"
BULK_WORKERS: Final = 2
ROUNDS: Final = 3  # of each kind, in turns; their medians count
CALLS: Final = 1_000  # of the synchronous caller, in each round
SCANNED: Final = 20_000  # entries that are there before the clock runs
START_S_MAX: Final = 60.0
FLUSH_S_MAX: Final = 120.0
RATE_SHARE_MIN: Final = 0.9
P99_RATIO_MAX: Final = 1.5


class _Kind(NamedTuple):
    """How many readers, and whether they are considerate as `hansard query` is."""

    readers: int
    considerate: bool

    @property
    def name(self) -> str:
        return f"{self.readers} readers" + ("" if self.considerate else ", inconsiderate")


_ALONE: Final = _Kind(0, considerate=True)
_KINDS: Final = (_ALONE, _Kind(1, considerate=True), _Kind(4, considerate=True),
                 _Kind(4, considerate=False))  # fmt: skip


class _Result(NamedTuple):
    rate: float  # bulk events a second, to the last commit
    p99_ns: int  # of the synchronous caller
    scanned: float  # entries a second, all readers


def run(place: Path, events_each: int, *, rounds: int = ROUNDS, calls: int = CALLS) -> list[Figure]:
    """Record ``events_each`` events a bulk worker, and call ``calls`` times, in each round.
    Raises `WrongEntries`."""
    place.mkdir()
    results: dict[_Kind, list[_Result]] = {kind: [] for kind in _KINDS}
    for number in range(rounds):
        for kind in _KINDS:
            directory = place / f"{number}-{kind.readers}-{kind.considerate}"
            results[kind].append(_round(directory, kind, events_each, calls))
    return [figure for kind in _KINDS for figure in _figures(kind, results)]


def _figures(kind: _Kind, results: dict[_Kind, list[_Result]]) -> Iterator[Figure]:
    def figure(what: str, value: float, unit: str, reach: float | None = None) -> Figure:
        return Figure(PART, f"{kind.name}: {what}", value, unit, reach, workload=TASKS.name)

    rate, p99, scanned = map(median, zip(*results[kind], strict=True))
    yield figure("ingest", rate, "events/s")
    yield figure("sync p99", p99 / 1e3, "µs")
    if kind is _ALONE:
        return
    alone_rate, alone_p99, _ = map(median, zip(*results[_ALONE], strict=True))
    slower = 1 / RATE_SHARE_MIN if kind.considerate else None
    later = P99_RATIO_MAX if kind.considerate else None
    yield figure("scanned", scanned, "entries/s")
    yield figure("ingest alone / with them", alone_rate / rate, "x", slower)
    yield figure("sync p99 with them / alone", p99 / alone_p99, "x", later)


def _round(directory: Path, kind: _Kind, events_each: int, calls: int) -> _Result:
    with hansard_writer.running(directory, log_level="warning"):
        _fill(directory)
        stop, ready = SPAWN.Event(), SPAWN.Barrier(kind.readers + 1)
        began = time.monotonic()
        readers = [
            started(_scan, directory, kind.considerate, stop, ready) for _ in range(kind.readers)
        ]
        ready.wait(START_S_MAX)
        rate = _bulk_rate(directory, events_each)
        durations = sorted(started(sync.call, directory, calls).recv())
        seconds = time.monotonic() - began
        stop.set()
        scanned = sum(connection.recv() for connection in readers)
    entered.check_count(directory, SCANNED + BULK_WORKERS * events_each + calls)
    return _Result(rate, percentile(durations, 0.99), scanned / seconds)


def _bulk_rate(directory: Path, events_each: int) -> float:
    together = SPAWN.Barrier(BULK_WORKERS)
    workers = [
        started(_record, directory, number, events_each, together) for number in range(BULK_WORKERS)
    ]
    spans = [connection.recv() for connection in workers]
    ns = max(end for _, end in spans) - min(begin for begin, _ in spans)
    rate: float = BULK_WORKERS * events_each * 1e9 / ns
    return rate


def _fill(directory: Path) -> None:
    with AuditLog(directory) as log:
        for event_type, payload, level, actor, task_id in TASKS.events(99, SCANNED):
            log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
        if not log.flush(FLUSH_S_MAX):
            raise TimeoutError("the log to be scanned could not be written")


def _record(
    directory: Path, number: int, count: int, barrier: Barrier, result: "Connection[Any, Any]"
) -> None:
    prepared = TASKS.events(number, count)
    with closing(result), AuditLog(directory) as log:
        barrier.wait(START_S_MAX)
        began_ns = time.monotonic_ns()
        for event_type, payload, level, actor, task_id in prepared:
            log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
        if not log.flush(FLUSH_S_MAX):
            raise TimeoutError(f"worker {number}: not committed in {FLUSH_S_MAX:g} s")
        result.send((began_ns, time.monotonic_ns()))


def _scan(
    directory: Path, considerate: bool, stop: Flag, barrier: Barrier, result: "Connection[Any, Any]"
) -> None:
    if considerate:
        step_back()
    count = 0
    with closing(result), LogReader(directory, considerate=considerate) as reader:
        barrier.wait(START_S_MAX)
        while not stop.is_set():
            for _ in reader.events(limit=SCANNED):
                count += 1
        result.send(count)
