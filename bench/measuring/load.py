"""A load: worker processes record a workload as fast as they can, until the last event is
committed. It checks nothing.

The workers' events are made before the clock runs.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measuring import machine
from bench.measuring.entered import WrongEntries
from bench.measuring.processes import SPAWN, started
from bench.workloads import Workload
from bench.workloads.event import Event
from hansard import AuditLog, requester, wire

START_S_MAX: Final = 120.0
FLUSH_S_MAX: Final = 600.0
STATS_S_MAX: Final = 30.0


class Load(NamedTuple):
    """What it took to enter so many events; times run from the first `record()`."""

    events: int
    recorded_s: float  # until the last `record()` had returned
    committed_s: float  # until the last commit was acked
    commits: int
    writer_cpu_us: float  # an event
    worker_cpu_us: float  # an event, sender threads included
    written_bytes: int  # by the writer, to whatever file
    recorded: Mapping[bytes, Sequence[Event]]  # by the producer's hash

    @property
    def events_per_s(self) -> float:
        """To the last commit."""
        return self.events / self.committed_s


class _Share(NamedTuple):
    """What one worker did; times are of the monotonic clock, which all processes share."""

    producer_hash: bytes
    began_ns: int
    recorded_ns: int
    committed_ns: int
    cpu_s: float


def record(
    directory: Path, writer_pid: int, workload: Workload, workers: Sequence[int], events_each: int
) -> Load:
    """Let these workers, by the numbers that the workload knows them by, record so many each. A
    writer serves ``directory``. Raises `WrongEntries` where they are not committed."""
    together = SPAWN.Barrier(len(workers))
    commits, cpu_s, written = _spent(directory, writer_pid)
    pipes = [
        started(_work, directory, workload, worker, events_each, together) for worker in workers
    ]
    shares: list[_Share] = [pipe.recv() for pipe in pipes]
    commits_after, cpu_s_after, written_after = _spent(directory, writer_pid)
    events, began_ns = len(workers) * events_each, min(share.began_ns for share in shares)
    return Load(
        events,
        (max(share.recorded_ns for share in shares) - began_ns) / 1e9,
        (max(share.committed_ns for share in shares) - began_ns) / 1e9,
        commits_after - commits,
        (cpu_s_after - cpu_s) * 1e6 / events,
        sum(share.cpu_s for share in shares) * 1e6 / events,
        written_after - written,
        {
            share.producer_hash: workload.events(worker, events_each)
            for worker, share in zip(workers, shares, strict=True)
        },
    )


def _spent(directory: Path, writer_pid: int) -> tuple[int, float, int]:
    """By the writer so far: commits, seconds of CPU, bytes written."""
    _, stats = requester.ask(directory, wire.pack_stats_request(), STATS_S_MAX)
    assert isinstance(stats, dict)
    return stats["commits"], machine.cpu_s(writer_pid), machine.written_bytes(writer_pid)


def _work(
    directory: Path,
    workload: Workload,
    worker: int,
    count: int,
    together: Barrier,
    result: "Connection[Any, Any]",
) -> None:
    prepared = workload.events(worker, count)
    with closing(result), AuditLog(directory, ack_timeout=FLUSH_S_MAX) as log:
        record = log.record
        together.wait(START_S_MAX)
        cpu_before, began_ns = machine.own_cpu_s(), time.monotonic_ns()
        for event_type, payload, level, actor, task_id in prepared:
            entry = record(event_type, payload, level=level, actor=actor, task_id=task_id)
        recorded_ns = time.monotonic_ns()
        if not log.flush(FLUSH_S_MAX) or entry.key is None:
            raise WrongEntries(f"worker {worker}: not committed in {FLUSH_S_MAX:g} s")
        committed_ns = time.monotonic_ns()
        cpu_s = machine.own_cpu_s() - cpu_before
        result.send(_Share(entry.key[0], began_ns, recorded_ns, committed_ns, cpu_s))
