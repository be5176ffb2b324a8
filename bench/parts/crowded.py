"""One synchronous caller beside many bulk producers: how long it waits behind what they send."""

import time
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Flag
from multiprocessing.synchronize import Semaphore
from pathlib import Path
from typing import Any, Final

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, percentile
from bench.measuring.processes import SPAWN, started
from bench.parts import sync
from bench.workloads.tasks import events
from hansard import AuditLog

PART: Final = "crowded"
PRODUCERS: Final = 16
CALLS: Final = 300
P99_MS_MAX: Final = 250.0
START_S_MAX: Final = 120.0
FLUSH_S_MAX: Final = 120.0
_SPOOL_BYTES: Final = 4 << 20


def run(place: Path, *, producers: int = PRODUCERS, calls: int = CALLS) -> list[Figure]:
    """Call so often while the others record as fast as they can. Raises `WrongEntries`."""
    place.mkdir()
    stop, flowing = SPAWN.Event(), SPAWN.Semaphore(0)
    with hansard_writer.running(place, log_level="warning"):
        crowd = [started(_record, place, n, stop, flowing) for n in range(producers)]
        for _ in crowd:
            if not flowing.acquire(timeout=START_S_MAX):
                raise TimeoutError("a bulk producer did not start")
        began = time.monotonic()
        durations = sorted(started(sync.call, place, calls).recv())
        seconds = time.monotonic() - began
        stop.set()
        recorded = sum(each.recv() for each in crowd)
    entered.check_count(place, recorded + producers + calls)  # each of them has said that it began
    beside = f"beside {producers} bulk producers"
    return [
        Figure(PART, f"sync p50 {beside}", percentile(durations, 0.50) / 1e6, "ms"),
        Figure(PART, f"sync p99 {beside}", percentile(durations, 0.99) / 1e6, "ms", P99_MS_MAX),
        Figure(PART, "what those record meanwhile", recorded / seconds, "events/s"),
    ]


def _record(
    directory: Path, number: int, stop: Flag, flowing: Semaphore, result: "Connection[Any, Any]"
) -> None:
    """Record until it is enough; how many since all could."""
    prepared, count = events(number, 1_000), 0
    with closing(result), AuditLog(directory, spool_bytes=_SPOOL_BYTES, ack_timeout=60) as log:
        log.record("bench.began", sync=True)
        flowing.release()
        while not stop.is_set():
            for event_type, payload, level, actor, task_id in prepared[:100]:
                log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
            count += 100
        if not log.flush(FLUSH_S_MAX):
            raise TimeoutError(f"producer {number}: not committed in {FLUSH_S_MAX:g} s")
        result.send(count)
