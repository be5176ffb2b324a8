"""Ingest: worker processes record as fast as they can, until the last event is committed.

Every process is a real one, the writer too. Each workload has a log of its own, whose rows are
then inserted bare: `limit`.
"""

from pathlib import Path
from typing import Final

import orjson

import hansard_writer
from bench.measuring import entered, load, machine
from bench.measuring.figures import Figure, Found
from bench.measuring.run import Run
from bench.parts import limit
from bench.workloads import TASKS, WORKLOADS, Workload
from hansard.directory import DATABASE

PART: Final = "ingest"
PAYLOAD_BYTES_MAX: Final = 64 << 20  # of a workload: of large events there are fewer
SAMPLE: Final = 500  # events, from which the size of all is told


def run(share: Run) -> Found:
    """Record each workload into a fresh log, and insert the same rows bare; of the quick run only
    the first. Raises `WrongEntries`."""
    share.place.mkdir()
    figures = []
    for workload in [TASKS] if share.is_quick else WORKLOADS.values():
        share.tell(workload.name)
        place = share.place / workload.name
        figures += measure(place, workload, share.workers, share.events)
    return Found(figures)


def measure(place: Path, workload: Workload, workers: int, events: int) -> list[Figure]:
    """Record about so many events, fewer if they are large, check them, and hold what it took
    against the limit. Raises `WrongEntries`."""
    place.mkdir()
    directory, payload_bytes = place / "log", _payload_bytes(workload)
    each = max(min(events, round(PAYLOAD_BYTES_MAX / payload_bytes)) // workers, 1)
    with hansard_writer.running(directory, log_level="warning") as writer:
        done = load.record(directory, writer.pid, workload, range(workers), each)
        rss_bytes = machine.rss_max_bytes(writer.pid)
    entered.check(directory, done.recorded)

    def figure(name: str, value: float, unit: str) -> Figure:
        return Figure(PART, name, value, unit, workload=workload.name)

    database_bytes = (directory / DATABASE).stat().st_size
    return [
        figure("events entered, each checked", done.events, "events"),
        figure("to the last commit", done.events_per_s, "events/s"),
        figure("to the last record()", done.events / done.recorded_s, "events/s"),
        figure("commits", done.commits, "commits"),
        figure("events a commit", done.events / done.commits, "events"),
        figure("writer CPU an event", done.writer_cpu_us, "µs"),
        figure("worker CPU an event, sender thread included", done.worker_cpu_us, "µs"),
        figure("writer RSS max", rss_bytes / (1 << 20), "MiB"),
        figure("payload an event", payload_bytes, "bytes"),
        figure("database an event", database_bytes / done.events, "bytes"),
        figure("written an event, WAL and database", done.written_bytes / done.events, "bytes"),
        *limit.run(directory, place / "bare", workload.name, done),
    ]


def _payload_bytes(workload: Workload) -> float:
    """Of an event, on average."""
    sizes = [len(orjson.dumps(event.payload)) for event in workload.events(0, SAMPLE)]
    return sum(sizes) / len(sizes)
