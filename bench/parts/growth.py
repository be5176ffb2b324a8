"""Growth: the same load on logs of 0.1, 1 and 10 million entries, by turns.

A log is filled, and copied at each size on the way. Every round records into a fresh copy, but for
the largest log, which hardly grows by it. A fresh writer serves each round, and what was recorded
in it is read back. The files lie in the system's page cache as far as memory goes, and the
writer's own cache is as large as ever.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

import hansard_writer
from bench.measuring import entered, load
from bench.measuring.figures import Curve, Figure, Found, median
from bench.measuring.load import Load
from bench.measuring.processes import started
from bench.measuring.run import Run
from bench.parts import filling
from bench.workloads import RANDOM_KEYS, TASKS, Workload
from hansard.directory import DATABASE
from hansard.reader_connection import ReadConnection

PART: Final = "growth"
PLOT: Final = "growth"
SIZES: Final = (100_000, 1_000_000, 10_000_000)
ROUNDS: Final = 3  # of each size; their medians count
RATE_SHARE_MIN: Final = 0.8  # of the smallest log's, where keys lie together
ENTRY_BYTES_MAX: Final = 700  # on the disk, WAL and copies included


def run(share: Run, *, sizes: Sequence[int] = SIZES, rounds: int = ROUNDS) -> Found:
    """Record ``share.events`` at each size in each round. Sizes that the disk has no room for are
    left out, with a note. Raises `WrongEntries`."""
    share.place.mkdir()
    free_bytes = shutil.disk_usage(share.place).free
    fitting = [size for size in sizes if size * ENTRY_BYTES_MAX <= free_bytes]
    found = Found(
        notes=[
            f"growth: {size:,} entries are left out, for {free_bytes >> 30} GiB are free"
            for size in sizes[len(fitting) :]
        ]
    )
    for workload in (TASKS, RANDOM_KEYS):
        place = share.place / workload.name
        place.mkdir()
        _fill(place, workload, fitting, share)
        loads: dict[int, list[Load]] = {size: [] for size in fitting}
        for number in range(rounds):
            for size in fitting:
                share.tell(f"{workload.name}, {size:,} entries, {number + 1} of {rounds}")
                log, is_last = place / str(size), size == fitting[-1]
                loads[size].append(_round(log, workload, share, number, grows=is_last))
        found.add(_found(workload, loads))
        shutil.rmtree(place)
    return found


def _fill(place: Path, workload: Workload, sizes: Sequence[int], share: Run) -> None:
    """A log of each size in ``place``, by its size."""
    for smaller, size in zip((None, *sizes), sizes, strict=False):
        directory = place / str(size)
        directory.mkdir(mode=0o700)
        if smaller:
            _copy(place / str(smaller) / DATABASE, directory)
        pipe, filled = started(filling.fill, directory, workload, size), 0
        while filled < size:
            filled = pipe.recv()
            share.tell(f"{workload.name}, {size:,} entries, {filled * 100 // size} % filled")


def _copy(database: Path, directory: Path) -> None:
    """What is to be written is written at once, and not while something is measured."""
    with Path(shutil.copy(database, directory)).open("rb") as copy:
        os.fsync(copy)


def _round(made: Path, workload: Workload, share: Run, number: int, *, grows: bool) -> Load:
    """Record into the log, or into a copy of it where it is to be kept as it is."""
    directory = made if grows else made.with_name("copy")
    if not grows:
        directory.mkdir(mode=0o700)
        _copy(made / DATABASE, directory)
    with closing(ReadConnection(directory)) as log:
        ((before,),) = log.rows("SELECT max(seq) FROM entries")
    workers = range(number * share.workers, (number + 1) * share.workers)
    with hansard_writer.running(directory, log_level="warning") as writer:
        events_each = max(share.events // share.workers, 1)
        done = load.record(directory, writer.pid, workload, workers, events_each)
    entered.check(directory, done.recorded, behind=before)
    if not grows:
        shutil.rmtree(directory)
    return done


def _found(workload: Workload, loads: dict[int, list[Load]]) -> Found:
    found, rates = Found(), []
    for size, rounds in loads.items():
        rates.append((size, median([each.events_per_s for each in rounds])))
        for what, values, unit in (
            ("ingest", [each.events_per_s for each in rounds], "events/s"),
            ("writer CPU an event", [each.writer_cpu_us for each in rounds], "µs"),
            ("written an event, WAL and database",
             [each.written_bytes / each.events for each in rounds], "bytes"),
        ):  # fmt: skip
            found.figures.append(
                Figure(PART, f"{size:,} entries: {what}", median(values), unit,
                       workload=workload.name)
            )  # fmt: skip
    if len(rates) > 1:
        (least, least_rate), *_, (most, most_rate) = rates
        found.figures.append(
            Figure(PART, f"ingest at {most:,} / at {least:,}", most_rate / least_rate, "x",
                   reach_min=RATE_SHARE_MIN if workload is TASKS else None, workload=workload.name)
        )  # fmt: skip
    found.curves.append(Curve(PLOT, workload.name, [(float(x), y) for x, y in rates]))
    return found
