"""Where the microseconds of an event go: each step of `record()` and of the writer, timed alone.

``python -m bench.anatomy``. It starts no process and opens no socket. Steps of `record()` are the
best of many loops over one event, all warm; steps of the writer are CPU time over frames of four
workers by turns, beside the same rows inserted bare, batch by batch.
"""

import gc
import logging
import tempfile
import time
import timeit
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import msgpack
import orjson

from bench.parts import limit
from bench.workloads.tasks import events
from hansard import AuditLog, wire
from hansard.entry import QUEUED, Entry
from hansard.events import EventEncoder
from hansard.settings import Settings
from hansard.texts import encode_payload
from hansard_writer import decoding
from hansard_writer.intake import Batch, Intake

LOOP: Final = 2_000
REPEAT: Final = 60
WORKERS: Final = 4
EVENTS_EACH: Final = 50_000
FRAME_EVENTS: Final = wire.FRAME_EVENTS_CUT
FRAMES_A_BATCH: Final = Settings().batch_events_max // FRAME_EVENTS


def record_steps(place: Path) -> dict[str, float]:
    """ns of each step of one `record()`, its sender asleep."""
    event_type, payload, level, actor, task_id = events(0, 700)[-1]
    now = time.time_ns()
    encode = EventEncoder(None, None).encode
    data = encode(event_type, payload, level, actor, task_id, now)
    text = orjson.dumps(payload)
    pack = msgpack.Packer(use_bin_type=False).pack
    log = AuditLog(place / "record")
    producer = log._producer
    producer._wake = lambda: None
    log.record(event_type)
    producer.sender_sleeps = False
    spool, first_seq = producer._store, producer.seq
    lock = producer._lock

    def locked() -> None:
        lock._is_owned()  # type: ignore[attr-defined]
        lock.acquire()
        lock.release()

    def key() -> Entry:
        return Entry(-1, QUEUED, (producer.hash, 5), event_type, now)

    def again() -> None:
        """The spool as it was: a page that is touched for the first time is not what we time."""
        assert spool is not None
        spool.trim_to(first_seq)
        producer.seq = first_seq

    steps: dict[str, Callable[[], object]] = {
        "time_ns": time.time_ns,
        "orjson.dumps": lambda: orjson.dumps(payload),
        "encode_payload": lambda: encode_payload(payload),
        "msgpack.pack": lambda: pack((0, now, event_type, level, actor, task_id, text)),
        "EventEncoder.encode": lambda: encode(event_type, payload, level, actor, task_id, now),
        "crc32": lambda: zlib.crc32(data, 5),
        "lock, by hand": locked,
        "Producer.append": lambda: producer.append(data),
        "Entry": key,
        "record()": lambda: log.record(
            event_type, payload, level=level, actor=actor, task_id=task_id
        ),
    }
    empty = _best(lambda: None, again)
    took = {name: _best(step, again) - empty for name, step in steps.items()}
    again()
    logging.getLogger("hansard").setLevel(logging.ERROR)  # its one event stays, on purpose
    log.close()
    return took


def _best(step: Callable[[], object], setup: Callable[[], None]) -> float:
    return min(timeit.repeat(step, setup, number=LOOP, repeat=REPEAT)) / LOOP * 1e9


class _Timer:
    """CPU time (ns) of this thread by step."""

    def __init__(self) -> None:
        self.ns: Counter[str] = Counter()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        began = time.thread_time_ns()
        yield
        self.ns[name] += time.thread_time_ns() - began


def writer_steps(place: Path) -> dict[str, float]:
    """ns of CPU an event of each step of the writer, and of the bare insert."""
    frames = messages()
    store, _ = limit.open_store(place / "writer")
    bare_store, bare = limit.open_store(place / "bare")
    intake = Intake(store.find_producer, store.next_producer_id, store.own_producer())
    decoder = decoding.Decoder()
    for worker in range(WORKERS):
        intake.greet(wire.Hello(producer_id(worker), 1, 0, "", 1, 1, None), 0.0, 1)
    timer, seq = _Timer(), 0
    gc.collect()
    gc.disable()
    for start in range(0, len(frames), FRAMES_A_BATCH):
        parts = frames[start : start + FRAMES_A_BATCH]
        for each in parts:
            _take_apart(timer, decoder, wire.unpack_frame(*each))
        with timer.step("writer: intake, all of it"):
            for each in parts:
                intake.take_message(each, 1.0, 1)
        rows = list(_rows(intake.batch, seq))
        seq += len(rows)
        with timer.step("writer: write, commit"):
            store.write(intake.batch, 1)
            intake.fresh_batch()
        with timer.step("writer: checkpoint"):
            limit.keep_wal_small(store)
        with timer.step("bare: insert"):
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(limit.INSERT, rows)
        with timer.step("bare: commit"):
            bare.execute("COMMIT")
        with timer.step("bare: checkpoint"):
            limit.keep_wal_small(bare_store)
    gc.enable()
    store.close()
    bare_store.close()
    return {name: ns / seq for name, ns in timer.ns.items()}


def _take_apart(timer: _Timer, decoder: decoding.Decoder, frame: wire.Frame) -> None:
    with timer.step("of intake: CRC"):
        decoding.crc_behind(frame)
    with timer.step("of intake: msgpack.unpackb"):
        unpacked = decoding._unpack(frame)
    with timer.step("of intake: rows to columns"):
        kinds, *columns = zip(*unpacked, strict=True)
    with timer.step("of intake: checks"):
        decoder._all_good(kinds, columns, len(frame.body))


def _rows(batch: Batch, seq: int) -> Iterator[tuple[Any, ...]]:
    for state, run in batch.runs:
        yield from zip(
            range(seq + 1, seq + 1 + run.length),
            repeat(state.id),
            range(run.first_seq, run.first_seq + run.length),
            *run.columns,
            strict=False,
        )
        seq += run.length


def messages(events_each: int = EVENTS_EACH) -> list[list[bytes]]:
    """Frames of all workers, by turns, as they come over the wire."""
    by_worker = [list(_frames(worker, events_each)) for worker in range(WORKERS)]
    return [message for turn in zip(*by_worker, strict=True) for message in turn]


def _frames(worker: int, count: int) -> Iterator[list[bytes]]:
    encode, now, crc = EventEncoder(None, None).encode, time.time_ns(), 0
    encoded = [encode(*event, now + n) for n, event in enumerate(events(worker, count))]
    for start in range(0, count, FRAME_EVENTS):
        part = encoded[start : start + FRAME_EVENTS]
        frame = wire.Frame(
            producer_id(worker), start + 1, len(part), crc, wire.Drops(), b"".join(part)
        )
        crc = zlib.crc32(frame.body, crc)
        yield [wire.pack_header(frame), frame.body]


def producer_id(worker: int) -> bytes:
    """Of one of the workers."""
    return bytes([worker]) * wire.PRODUCER_ID_BYTES


def main() -> None:
    """Print both, in µs."""
    with tempfile.TemporaryDirectory(prefix="hansard-bench-") as name:
        steps = {**record_steps(Path(name)), **writer_steps(Path(name))}
    for step, ns in steps.items():
        print(f"{step:28} {ns / 1e3:6.2f} µs")


if __name__ == "__main__":
    main()
