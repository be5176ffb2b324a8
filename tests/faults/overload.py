"""Overload: workers that record faster than the disk takes it, for a minute.

The writer may not grow, nor the workers beyond their spools; the rate must be the disk's, which a
bare loop of inserts into the same table on the same disk tells.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults import crowd
from faults.checker import account
from faults.results import Row
from faults.slow_disk import SlowDisk, slow_disk
from hansard import requester, wire
from hansard_writer import running
from support import query, wait_until

TITLE: Final = "Overload"
SECONDS: Final = 60
DROP_SHARE: Final = 0.25  # of the time once more, with workers that drop instead of waiting
BARE_SHARE: Final = 0.1  # of the time, for the bare inserts, after each
WORKERS: Final = 4
PADDING_BYTES: Final = 1_000  # an event: large enough for the disk to be what is slow
DISK_BYTES_PER_SECOND: Final = 32 << 20  # both the WAL and the database are written
SPOOL_BYTES: Final = 2 << 20
SETTINGS: Final = {"spool_bytes": SPOOL_BYTES, "ack_timeout": 30}
SAMPLE_S: Final = 0.25

WRITER_RSS_MAX: Final = 256 << 20
WORKER_RSS_MAX: Final = 64 << 20  # an interpreter with its modules, and the whole spool
FULL_SHARE: Final = 0.5  # of all spools: from then on it is overload
WAITED_SHARE_MIN: Final = 0.3  # of their time the workers waited for room
RATE_SHARE_MIN: Final = 0.25  # of the bare loop's; below, something else than the disk is slow


class Load(NamedTuple):
    """What one time of overload was like."""

    recorded: int
    dropped: int
    rate: float  # entries a second, while everybody recorded
    events_per_commit: int
    computed_share: float  # of the writer's time
    queued_share: float  # of its time, for a processor
    waited_share: float  # of the workers' time, for room, on average
    writer: crowd.Figures
    worker_rss_bytes_max: int


class Looks:
    """What was seen while it lasted."""

    def __init__(self) -> None:
        self.workers_rss: list[int] = []
        self.writer: crowd.Figures | None = None


def run(
    size: int | None = None,
    *,
    seed: int = 1,
    say: Callable[[str], None] = print,
    disk_bytes_per_second: int = DISK_BYTES_PER_SECOND,
) -> list[Row]:
    """Overload a log for ``size`` seconds, 60 by default, and a quarter of it with drops."""
    seconds = float(size or SECONDS)
    bare_s = max(seconds * BARE_SHARE, 0.5)
    loads, bare = [], []
    with (
        tempfile.TemporaryDirectory(prefix="hansard-overload-") as name,
        slow_disk(Path(name), disk_bytes_per_second) as disk,
    ):
        place = Path(name)
        for on_full, share in (("block", 1.0), ("drop", DROP_SHARE)):
            loads.append(_overload(place / on_full, seconds * share, seed, on_full, disk))
            say(f"  {on_full}: {loads[-1]}")
            events_per_commit = loads[0].events_per_commit
            bare.append(_bare(place / f"bare-{on_full}", bare_s, events_per_commit, disk))
            say(f"  bare: {bare[-1]:,.0f} a second")
    blocking, dropping = loads
    assert not blocking.dropped, f"{blocking.dropped} dropped by workers that block"
    assert dropping.dropped, "nobody was faster than the disk"
    return _rows(seconds, blocking, dropping, statistics.mean(bare), str(disk))


def _rows(seconds: float, blocking: Load, dropping: Load, bare: float, disk: str) -> list[Row]:
    waited = blocking.waited_share
    assert waited >= WAITED_SHARE_MIN, f"the workers waited {waited:.0%} of their time: too slow"
    ratio = blocking.rate / bare
    assert ratio >= RATE_SHARE_MIN, f"{blocking.rate:,.0f} a second, bare {bare:,.0f}"
    mib = 1 << 20
    loads = (blocking, dropping)
    writer_rss = max(each.writer.rss_bytes_max for each in loads) // mib
    worker_rss = max(each.worker_rss_bytes_max for each in loads) // mib
    how = (
        f"{WORKERS} workers, events of {PADDING_BYTES:,} bytes, spools of {SPOOL_BYTES // mib} "
        f"MiB, {disk}"
    )
    return [
        Row(
            f"workers faster than the disk for {seconds:.0f} s, `on_full=block`",
            how,
            blocking.recorded,
            f"all entered once, none dropped; they waited for room {waited:.0%} of their time",
        ),
        Row(
            f"the same for {seconds * DROP_SHARE:.0f} s, `on_full=drop`",
            how,
            dropping.recorded + dropping.dropped,
            f"{dropping.recorded:,} entered once, {dropping.dropped:,} dropped: counted by their "
            "callers, and the same number in `hansard.lost`",
        ),
        Row(
            "memory",
            f"VmHWM at the end, VmRSS every {SAMPLE_S:g} s",
            2 * (WORKERS + 1),
            f"writer at most {writer_rss} MiB (allowed: {WRITER_RSS_MAX // mib}), a worker with "
            f"its spool {worker_rss} (allowed: {WORKER_RSS_MAX // mib}); no spool file larger than "
            "`spool_bytes`",
        ),
        Row(
            "the rate",
            f"entries a second, against bare inserts, {blocking.events_per_commit:,} a commit, "
            "into the same table on that disk",
            blocking.recorded,
            f"{blocking.rate:,.0f} a second, bare {bare:,.0f}: {ratio:.0%}; the writer computed "
            f"{blocking.computed_share:.0%} of the time, waited {blocking.queued_share:.0%} for a "
            "processor, and the rest for the disk",
        ),
    ]


def _overload(directory: Path, seconds: float, seed: int, on_full: str, disk: SlowDisk) -> Load:
    """Record as fast as it goes; everything is accounted for."""
    looks = Looks()
    notes = directory.with_suffix(".notes")
    with running(directory, log_level="error") as writer:
        disk.take(writer.pid)
        with crowd.Crowd(directory, notes, seed, on_full=on_full, **SETTINGS) as workers:
            for number in range(WORKERS):
                workers.start("flood", f"w{number}", FLOOD_BYTES=str(PADDING_BYTES))
            wait_until(lambda: _full(directory), "all spools are full")
            before, began = _stats(directory), time.monotonic()
            computed, queued = crowd.scheduled_s(writer.pid)
            while time.monotonic() - began < seconds:
                time.sleep(SAMPLE_S)
                _look(looks, directory, writer.pid, workers)
            after, took_s = _stats(directory), time.monotonic() - began
            computed_to, queued_to = crowd.scheduled_s(writer.pid)
            said = workers.end()
        _look(looks, directory, writer.pid, workers)
    told = workers.told()
    found = account(directory, told.noted)
    assert found.entered == found.recorded, found
    dropped = sum(sum(each["dropped"].values()) for each in said)
    assert told.dropped == dropped == _said_lost(directory)
    entries = after["entries"] - before["entries"]
    assert looks.writer
    return Load(
        found.recorded,
        dropped,
        entries / took_s,
        round(entries / (after["commits"] - before["commits"])),
        (computed_to - computed) / took_s,
        (queued_to - queued) / took_s,
        statistics.mean(each["waited_share"] for each in said),
        looks.writer,
        max(looks.workers_rss),
    )


def _look(looks: Looks, directory: Path, writer: int, workers: crowd.Crowd) -> None:
    """Everybody's memory and spools, at this moment."""
    looks.writer = crowd.figures(writer)
    assert looks.writer, "the writer is gone"
    assert looks.writer.rss_bytes_max < WRITER_RSS_MAX, f"the writer has {looks.writer}"
    for spool in (directory / "spool").iterdir():
        assert spool.stat().st_size <= SPOOL_BYTES, f"{spool} grew to {spool.stat().st_size}"
    found = workers.figures()
    if found:
        looks.workers_rss.append(max(each.rss_bytes_max for each in found))
        assert looks.workers_rss[-1] < WORKER_RSS_MAX, f"a worker has {looks.workers_rss[-1]:,}"


def _full(directory: Path) -> bool:
    """As workers report it: behind a commit, which has just made room; so one that has dropped
    something counts as well."""
    figures = _stats(directory)
    is_held = figures["spool_bytes"] > WORKERS * SPOOL_BYTES * FULL_SHARE
    return bool(is_held or sum(figures["dropped"].values()))


def _stats(directory: Path) -> Mapping[str, Any]:
    _, figures = requester.ask(directory, wire.pack_stats_request(), 30.0)
    assert isinstance(figures, dict)
    return figures


def _said_lost(directory: Path) -> int:
    [(count,)] = query(
        directory,
        "SELECT coalesce(sum(payload ->> 'count'), 0) FROM entries"
        " WHERE event_type = 'hansard.lost'",
    )
    return int(count)


def _bare(directory: Path, seconds: float, events_per_commit: int, disk: SlowDisk) -> float:
    """Rows a second of bare inserts, on the same disk."""
    with running(directory, log_level="error"):
        pass  # it makes the table and its indexes
    arguments = map(str, (directory, seconds, events_per_commit, PADDING_BYTES))
    command = [sys.executable, "-m", "faults.bare", *arguments]
    environment = {**os.environ, "PYTHONPATH": crowd.python_path()}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        disk.take(process.pid)
        output, _ = process.communicate()
    return float(output)
