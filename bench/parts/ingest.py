"""Ingest: worker processes record as fast as they can, until the last event is committed.

Every process is a real one, the writer too. The workers' events are made before the clock runs.
"""

import time
from collections.abc import Mapping
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple

import hansard_writer
from bench.measuring import entered, machine
from bench.measuring.figures import Figure, Found
from bench.measuring.processes import SPAWN
from bench.measuring.run import Run
from bench.parts import limit
from bench.workloads.tasks import events
from hansard import AuditLog, requester, wire
from hansard.directory import DATABASE

PART: Final = "ingest"
START_S_MAX: Final = 60.0
FLUSH_S_MAX: Final = 120.0


class Result(NamedTuple):
    """What the limit is held against."""

    figures: list[Figure]
    writer_cpu_us: float  # an event
    events_per_commit: int


class _Share(NamedTuple):
    """What one worker did; times are of the monotonic clock, which all processes share."""

    producer_hash: bytes
    began_ns: int
    recorded_ns: int
    committed_ns: int
    cpu_s: float


def run(share: Run) -> Found:
    """Record into a fresh log, and insert the same rows bare. Raises `WrongEntries`."""
    share.place.mkdir()
    directory = share.place / "log"
    result = measure(directory, share.workers, max(share.events // share.workers, 1))
    batch, cpu_us = result.events_per_commit, result.writer_cpu_us
    return Found(result.figures + limit.run(directory, share.place / "bare", batch, cpu_us))


def measure(directory: Path, workers: int, events_each: int) -> Result:
    """Record ``workers * events_each`` events into a fresh log in ``directory``, and check it.

    Raises `WrongEntries`.
    """
    total = workers * events_each
    with hansard_writer.running(directory) as writer:
        commits_before = _stats(directory)["commits"]
        cpu_before = machine.cpu_s(writer.pid)
        shares = _record(directory, workers, events_each)
        cpu_s = machine.cpu_s(writer.pid) - cpu_before
        commits = _stats(directory)["commits"] - commits_before
        rss = machine.rss_max_bytes(writer.pid)
    entered.check(
        directory,
        {share.producer_hash: events(n, events_each) for n, share in enumerate(shares)},
    )
    began = min(share.began_ns for share in shares)
    recorded_s = (max(share.recorded_ns for share in shares) - began) / 1e9
    committed_s = (max(share.committed_ns for share in shares) - began) / 1e9
    cpu_us = cpu_s * 1e6 / total
    workers_cpu_us = sum(share.cpu_s for share in shares) * 1e6 / total
    size = (directory / DATABASE).stat().st_size
    figures = [
        Figure(PART, "events entered, each checked", total, "events"),
        Figure(PART, "to the last commit", total / committed_s, "events/s"),
        Figure(PART, "to the last record()", total / recorded_s, "events/s"),
        Figure(PART, "commits", commits, "commits"),
        Figure(PART, "events a commit", total / commits, "events"),
        Figure(PART, "writer CPU an event", cpu_us, "µs"),
        Figure(PART, "worker CPU an event, sender thread included", workers_cpu_us, "µs"),
        Figure(PART, "writer RSS max", rss / (1 << 20), "MiB"),
        Figure(PART, "database an event", size / total, "bytes"),
    ]
    return Result(figures, cpu_us, round(total / commits))


def _record(directory: Path, workers: int, events_each: int) -> list[_Share]:
    barrier = SPAWN.Barrier(workers)
    processes, connections = [], []
    for number in range(workers):
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(
            target=_work, args=(directory, number, events_each, barrier, theirs), daemon=True
        )
        process.start()
        theirs.close()  # or its end would not show when the worker dies
        processes.append(process)
        connections.append(ours)
    shares = [connection.recv() for connection in connections]
    for process in processes:
        process.join()
    return shares


def _work(
    directory: Path, number: int, count: int, barrier: Barrier, result: "Connection[_Share, Any]"
) -> None:
    prepared = events(number, count)
    with closing(result), AuditLog(directory) as log:
        record = log.record
        barrier.wait(START_S_MAX)
        cpu_before, began_ns = machine.own_cpu_s(), time.monotonic_ns()
        for event_type, payload, level, actor, task_id in prepared:
            entry = record(event_type, payload, level=level, actor=actor, task_id=task_id)
        recorded_ns = time.monotonic_ns()
        if not log.flush(FLUSH_S_MAX) or entry.key is None:
            raise entered.WrongEntries(f"worker {number}: not committed in {FLUSH_S_MAX:g} s")
        committed_ns = time.monotonic_ns()
        cpu_s = machine.own_cpu_s() - cpu_before
        result.send(_Share(entry.key[0], began_ns, recorded_ns, committed_ns, cpu_s))


def _stats(directory: Path) -> Mapping[str, Any]:
    _, figures = requester.ask(directory, wire.pack_stats_request(), 5.0)
    assert isinstance(figures, dict)
    return figures
