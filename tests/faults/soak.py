"""Soak: mixed load for ten minutes, readers beside it, and a look at everything once a second.

Whatever grows with time (memory, descriptors, threads, the WAL, files) grows here; what was
recorded is accounted for at the end. It makes no fault but workers that are killed.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

from faults import crowd
from faults.checker import account
from faults.results import Row
from hansard_writer import running
from support import query, wait_until

TITLE: Final = "Soak"
SECONDS: Final = 600
KINDS: Final = (
    "steady",
    "synchronous",
    "together",
    "threads",
    "asynchronous",
    "others",
    "parent",
)
SETTINGS: Final = {"spool_bytes": 4 << 20, "ack_timeout": 30}

WARM_SHARE: Final = 0.02  # of the time: fills SQLite's page cache, which is allowed its 64 MiB
WARM_EVENT_BYTES: Final = 1_000
SAMPLE_S: Final = 1.0
SAMPLES_MIN: Final = 20
VICTIMS: Final = 20  # workers that are killed
LOOK_S: Final = 10.0  # between two looks at `hansard stats`

RSS_GROWTH_MIB: Final = 8  # of the writer, between the second fifth and the last
WORKER_GROWTH_MIB: Final = 2
COUNT_GROWTH: Final = 1  # descriptors and threads of a worker: one is coming or going
CONNECTIONS_GROWTH: Final = 4  # of the writer, and spools: who is coming or going
WAL_BYTES_MAX: Final = 64 << 20  # the default of wal_bytes_target


class Sample(NamedTuple):
    """All that might grow, at one moment; of the workers the sums of those that live throughout."""

    writer: crowd.Figures
    workers_rss_bytes: int
    workers_descriptors: int
    workers_threads: int
    wal_bytes: int
    spool_files: int


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """Soak a log for ``size`` seconds, 600 by default."""
    seconds = size or SECONDS
    with tempfile.TemporaryDirectory(prefix="hansard-soak-") as place:
        directory = Path(place) / "log"
        with contextlib.ExitStack() as stack:
            with mock.patch.dict(os.environ, PYTHONPATH=crowd.python_path()):
                served = running(directory, operations=["faults.named"], log_level="error")
                writer = stack.enter_context(served)
            with crowd.Crowd(directory, Path(place) / "notes", seed, **SETTINGS) as workers:
                samples = _load(workers, writer.pid, seconds, say)
                killed = len(workers.killed)
                said = workers.end()
            wait_until(lambda: not _spools(directory), "all spools are entered", 60.0)
        told = workers.told()
        assert told.dropped == sum(sum(each["dropped"].values()) for each in said) == 0
        found = account(directory, told.noted)
        assert (found.entered, found.lost_entries) == (found.recorded, 0), found
        [(producers, entries)] = query(
            directory, "SELECT (SELECT count(*) FROM producers), (SELECT count(*) FROM entries)"
        )
    mixed = Row(
        f"{seconds} s of mixed load",
        f"{len(KINDS)} kinds of workers: async, sync, runs, threads, asyncio, operations with "
        "refusals, tasks and calls, a parent that forks; beside them queries, `tail`, `stats` and "
        "a reader that sleeps 2 s in a transaction",
        found.recorded,
        f"all entered once, in order, beside {entries - found.recorded:,} other entries; "
        f"{producers - 1:,} producers, {killed} workers killed",
    )
    return [mixed, *_judged(samples, len(KINDS))]


def _load(
    workers: crowd.Crowd, writer: int, seconds: float, say: Callable[[str], None]
) -> list[Sample]:
    """Keep everybody busy, and look."""
    workers.start("flood", "warms", FLOOD_BYTES=str(WARM_EVENT_BYTES))
    time.sleep(max(seconds * WARM_SHARE, 1.0))
    workers.end()
    for kind in KINDS:
        workers.start(kind, kind)
    lasting = [process.pid for process in workers.workers.values()]
    workers.start("read", "reader")
    workers.wait_for_all()
    samples: list[Sample] = []
    until = time.monotonic() + seconds
    another_victim, a_look = _each(seconds / VICTIMS), _each(LOOK_S)
    with crowd.beside("tail", "--follow", directory=workers.directory):
        while time.monotonic() < until:
            time.sleep(min(SAMPLE_S, seconds / SAMPLES_MIN))
            samples.append(_sample(workers.directory, writer, lasting))
            if len(samples) % 60 == 0:
                say(f"  {samples[-1]}")
            if next(another_victim):
                for name in [name for name in workers.workers if name.startswith("victim")]:
                    workers.kill(name)
                workers.start("steady", f"victim-{len(samples)}")
            if next(a_look):
                command = [sys.executable, "-m", "hansard_writer", "stats", "--dir"]
                subprocess.run([*command, workers.directory], check=True, capture_output=True)
    return samples


def _each(interval: float) -> Iterator[bool]:
    """Whether another interval has begun since the last time it was asked."""
    due = time.monotonic()
    while True:
        is_due = time.monotonic() >= due
        due += interval * is_due
        yield is_due


def _sample(directory: Path, writer: int, workers: Sequence[int]) -> Sample:
    of_writer = crowd.figures(writer)
    of_workers = [crowd.figures(pid) for pid in workers]
    assert of_writer, "the writer is gone"
    found = [each for each in of_workers if each]
    assert len(found) == len(workers), "a worker is gone"
    return Sample(
        of_writer,
        sum(each.rss_bytes for each in found),
        sum(each.descriptors for each in found),
        sum(each.threads for each in found),
        (directory / "log.db-wal").stat().st_size,
        len(_spools(directory)),
    )


def _spools(directory: Path) -> list[Path]:
    return list((directory / "spool").glob("*.spool"))


def _judged(samples: Sequence[Sample], workers: int) -> list[Row]:
    """Each figure at the start, in the middle and at the end; fails where it grew."""
    mib = float(1 << 20)
    wal_bytes = max(each.wal_bytes for each in samples)
    assert wal_bytes <= WAL_BYTES_MAX, f"the WAL grew to {wal_bytes:,} bytes"
    figures: list[tuple[str, Callable[[Sample], float], float]] = [
        ("the writer's RSS, MiB", lambda s: s.writer.rss_bytes / mib, RSS_GROWTH_MIB),
        ("its descriptors", lambda s: s.writer.descriptors, CONNECTIONS_GROWTH),
        ("its threads", lambda s: s.writer.threads, 0),
        ("a worker's RSS, MiB", lambda s: s.workers_rss_bytes / mib / workers, WORKER_GROWTH_MIB),
        ("its descriptors", lambda s: s.workers_descriptors / workers, COUNT_GROWTH),
        ("its threads", lambda s: s.workers_threads / workers, COUNT_GROWTH),
        ("the WAL, MiB", lambda s: s.wal_bytes / mib, WAL_BYTES_MAX / mib),
        ("spools", lambda s: s.spool_files, CONNECTIONS_GROWTH),
    ]
    return [_flat(what, [figure(s) for s in samples], growth) for what, figure, growth in figures]


def _flat(what: str, values: Sequence[float], growth_max: float) -> Row:
    fifth = len(values) // 5
    first, second, last = (
        statistics.median(values[start : start + fifth])
        for start in (0, fifth, len(values) - fifth)
    )
    assert last <= second + growth_max, f"{what}: {second:g} became {last:g}"
    return Row(
        what,
        "medians of the first, the second and the last fifth, and the most",
        len(values),
        f"{first:.1f}, {second:.1f}, {last:.1f}, {max(values):.1f} (may grow by {growth_max:g} "
        "from the second to the last)",
    )
