"""What one `record()` costs its caller, beside `logging`'s `QueueHandler`, call by call.

One process, the same events, alternating blocks, both with their thread that takes things away:
ours sends to a live writer, the `QueueListener` hands to a handler that only counts. Where there
is a choice, the QueueHandler gets the cheaper: `queue.SimpleQueue` (in C) instead of `Queue`, and
the payload as ``extra``, which it passes on without formatting it.
"""

import logging
import queue
import time
from array import array
from collections.abc import Sequence
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Final, NamedTuple, Self

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, Found, distribution, latency_curve, percentile
from bench.measuring.processes import in_fresh_process
from bench.workloads.event import Event
from bench.workloads.tasks import events
from hansard import AuditLog

PART: Final = "record"
PLOT: Final = "record latency"
P50_RATIO_MAX: Final = 0.2
P99_RATIO_MAX: Final = 1.0
BLOCKS: Final = 20  # of each kind
PACE_S: Final = 0.001
PACED_SHARE: Final = 100  # one of so many events is recorded at a pace
DRAIN_S_MAX: Final = 60.0


class _Block(NamedTuple):
    """Events to record one after the other, with a pause (s) before each."""

    pause: float
    events: Sequence[Event]


class _Durations(NamedTuple):
    """What each call took, in ns: of those in a row, and of those that came at a pace."""

    in_a_row: "array[int]"
    paced: "array[int]"

    def of(self, block: _Block) -> "array[int]":
        return self.paced if block.pause else self.in_a_row


class _Measured(NamedTuple):
    producer_hash: bytes
    ours: _Durations
    peer: _Durations


def run(directory: Path, events_count: int) -> Found:
    """Record about ``events_count`` events each way, and check ours. Raises `WrongEntries`."""
    with hansard_writer.running(directory, log_level="warning"):
        measured = in_fresh_process(_measure, directory, events_count)
    recorded = [event for block in _blocks(events_count) for event in block.events]
    entered.check(directory, {measured.producer_hash: recorded})
    ours, peer = measured.ours, measured.peer
    p50, p99 = (_ratio(ours.in_a_row, peer.in_a_row, share) for share in (0.50, 0.99))
    figures = [
        *distribution(PART, "record()", ours.in_a_row),
        *distribution(PART, "QueueHandler", peer.in_a_row),
        Figure(PART, "record() p50 / QueueHandler p50", p50, "x", P50_RATIO_MAX),
        Figure(PART, "record() p99 / QueueHandler p99", p99, "x", P99_RATIO_MAX),
        *distribution(PART, "record(), one a ms", ours.paced),
        *distribution(PART, "QueueHandler, one a ms", peer.paced),
    ]
    curves = [
        latency_curve(PLOT, "Hansard, in a row", ours.in_a_row),
        latency_curve(PLOT, "Hansard, one a ms", ours.paced),
        latency_curve(PLOT, "QueueHandler, in a row", peer.in_a_row),
        latency_curve(PLOT, "QueueHandler, one a ms", peer.paced),
    ]
    return Found(figures, curves)


def _ratio(ours: "array[int]", peer: "array[int]", share: float) -> float:
    return percentile(sorted(ours), share) / percentile(sorted(peer), share)


def _blocks(count: int) -> list[_Block]:
    paced = max(count // PACED_SHARE // BLOCKS, 1)
    size = max(count // BLOCKS - paced, 1)
    source = events(0, BLOCKS * (size + paced))
    blocks = []
    for start in range(0, len(source), size + paced):
        middle, end = start + size, start + size + paced
        blocks += [_Block(0.0, source[start:middle]), _Block(PACE_S, source[middle:end])]
    return blocks


def _measure(directory: Path, count: int) -> _Measured:
    """Both ways by turns. What waits is taken away before the other's turn comes."""
    ours = _Durations(array("q"), array("q"))
    peer = _Durations(array("q"), array("q"))
    with AuditLog(directory) as log, _QueueLogger() as queue_logger:
        entry = None
        for block in _blocks(count):
            entry = _by_record(log, block, ours.of(block))
            if not log.flush(DRAIN_S_MAX):
                raise entered.WrongEntries(f"not committed within {DRAIN_S_MAX:g} s")
            _by_queue_handler(queue_logger.logger, block, peer.of(block))
            queue_logger.drain(len(peer.in_a_row) + len(peer.paced))
    assert entry is not None
    return _Measured(entry, ours, peer)


def _by_record(log: AuditLog, block: _Block, durations: "array[int]") -> bytes:
    """Time each call; the hash of the producer."""
    record, clock, pause = log.record, time.perf_counter_ns, block.pause
    for event_type, payload, level, actor, task_id in block.events:
        if pause:
            time.sleep(pause)
        began = clock()
        entry = record(event_type, payload, level=level, actor=actor, task_id=task_id)
        durations.append(clock() - began)
    assert entry.key is not None
    return entry.key[0]


def _by_queue_handler(logger: logging.Logger, block: _Block, durations: "array[int]") -> None:
    info, clock, pause = logger.info, time.perf_counter_ns, block.pause
    for event_type, payload, _, actor, task_id in block.events:
        if pause:
            time.sleep(pause)
        began = clock()
        info(event_type, extra={"payload": payload, "actor": actor, "task_id": task_id})
        durations.append(clock() - began)


class _Counter(logging.NullHandler):
    """A handler that counts, in the listener's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def handle(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - logging's signature
        self.count += 1
        return True


class _QueueLogger:
    """A logger with a `QueueHandler`, and the listener that takes its records away."""

    def __init__(self) -> None:
        self.logger = logging.getLogger("bench.queue_handler")
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self.logger.addHandler(QueueHandler(records))
        self._counter = _Counter()
        self._listener = QueueListener(records, self._counter)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.stop()

    def drain(self, count: int) -> None:
        """Wait until the listener has handled ``count`` records in all."""
        deadline = time.monotonic() + DRAIN_S_MAX
        while self._counter.count < count:
            if time.monotonic() > deadline:
                raise entered.WrongEntries(f"the listener got {self._counter.count} of {count}")
            time.sleep(PACE_S)
