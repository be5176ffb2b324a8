"""Verification: how fast a log is recomputed on one processor, and how much memory that takes.

The logs are written through the store itself, from four producers, payloads padded to 200 bytes.
The time is the processor's, the collector is off, as `hansard verify` has it. SHA-256 of a leaf's
length is timed beside it: most of the work is its three calls an entry, so the two go together
from machine to machine.
"""

import gc
import hashlib
import resource
import time
import timeit
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

import orjson

from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure, median
from bench.measuring.processes import in_fresh_process
from bench.parts import limit
from bench.workloads.tasks import events
from hansard import wire
from hansard_writer.decoding import Run
from hansard_writer.proof import verify
from hansard_writer.proof.verifying import Progress
from hansard_writer.store import Store

PART: Final = "verify"
ENTRIES: Final = 400_000
SMALL_SHARE: Final = 10  # a log of so much less shows how memory grows
WORKERS: Final = 4
BATCH: Final = 500  # of a producer
PAYLOAD_BYTES: Final = 200
RATE_MIN: Final = 300_000  # entries/s
MEMORY_MIB_MAX: Final = 8.0  # beside what the process has before
TURNS: Final = 3  # their median counts
LEAF_BYTES: Final = 130  # about, of which SHA-256 is timed
MIB: Final = 1 << 20


def run(place: Path, entries: int = ENTRIES) -> list[Figure]:
    """Verify a log and a small one; raises `WrongEntries` where they are not intact."""
    place.mkdir()
    for name, count in (("small", entries // SMALL_SHARE), ("large", entries)):
        in_fresh_process(_fill, place / name, count)
    small = in_fresh_process(_memory, place / "small", entries // SMALL_SHARE)
    large = in_fresh_process(_memory, place / "large", entries)
    cpu_us, sha256_us = in_fresh_process(_cpu_us, place / "large", entries)
    return [
        Figure(PART, "entries of 200 bytes of payload", entries, "entries"),
        Figure(PART, "verified, on one processor", 1e6 / cpu_us, "entries/s", reach_min=RATE_MIN),
        Figure(PART, "CPU an entry", cpu_us, "µs"),
        Figure(PART, "the same, in SHA-256 calls", cpu_us / sha256_us, "x"),
        Figure(PART, "memory it takes", large / MIB, "MiB", MEMORY_MIB_MAX),
        Figure(PART, f"memory for 1/{SMALL_SHARE} of the entries", small / MIB, "MiB"),
    ]


def _fill(directory: Path, entries: int) -> None:
    store, connection = limit.open_store(directory)
    hashes = [wire.producer_hash(b"%d" % worker) for worker in range(WORKERS)]
    with store.transaction():
        connection.executemany(
            "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc,"
            " dropped) VALUES(?,?,'',0,0,0,0,0)",
            list(enumerate(hashes, 1)),
        )
    sources = [cycle(_rows(worker)) for worker in range(WORKERS)]
    numbers = [0] * WORKERS
    for start in range(0, entries, BATCH):
        worker, count = start // BATCH % WORKERS, min(BATCH, entries - start)
        columns = tuple(zip(*islice(sources[worker], count), strict=True))
        with store.entering() as entering:
            piece = Run(numbers[worker] + 1, [wire.KIND_EVENT] * count, columns)
            entering.enter(worker + 1, hashes[worker], piece)
        numbers[worker] += count
        limit.keep_wal_small(store)
    _close(store)


def _close(store: Store) -> None:
    store.handle.checkpoint_truncate()
    store.close()


def _rows(worker: int) -> list[tuple[Any, ...]]:
    """Of the workload, created_at first."""
    rows = []
    for number, (event_type, payload, level, actor, task_id) in enumerate(events(worker, 5_000)):
        room = PAYLOAD_BYTES - len(orjson.dumps(payload | {"pad": ""}))
        text = orjson.dumps(payload | {"pad": "x" * room}).decode()
        rows.append((10**18 + number, event_type, level, actor, task_id, text))
    return rows


def _memory(directory: Path, entries: int) -> int:
    """By how many bytes the process grows to verify a log."""
    verify(_nothing(directory))
    before = most = _resident_bytes()

    def look(_done: int, _all: int) -> None:
        nonlocal most
        most = max(most, _resident_bytes())

    _verify(directory, entries, look)
    return most - before


def _resident_bytes() -> int:
    """Of this process, now: man 5 proc."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _nothing(directory: Path) -> Path:
    """An empty log: what is imported and cached then is not counted."""
    empty = directory.with_name(f"{directory.name}-empty")
    store, _ = limit.open_store(empty)
    _close(store)
    return empty


def _cpu_us(directory: Path, entries: int) -> tuple[float, float]:
    """CPU of an entry, and of one SHA-256."""
    leaf = bytes(LEAF_BYTES)
    gc.disable()
    took, calls = [], []
    for _ in range(TURNS):
        began = time.process_time()
        _verify(directory, entries)
        took.append(time.process_time() - began)
        timed = timeit.repeat(lambda: hashlib.sha256(leaf).digest(), number=1_000, repeat=50)
        calls.append(min(timed) / 1_000)
    return median(took) / entries * 1e6, median(calls) * 1e6


def _verify(directory: Path, entries: int, look: Progress = lambda _done, _all: None) -> None:
    report = verify(directory, progress=look)
    if not report.is_good or report.entries != entries:
        raise WrongEntries(f"of {entries:,} entries verify says {report}")
