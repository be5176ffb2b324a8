"""What one `record()` costs its caller, beside `logging`'s `QueueHandler`, call by call.

One process, the same events, alternating blocks, each with its thread that takes things away:
ours sends to a live writer, the `QueueListener` hands to a handler that only counts. The
QueueHandler comes twice: with ``queue.Queue(-1)``, as the standard library's documentation has it,
and with `queue.SimpleQueue`, the cheapest there is (in C). Both get the payload as ``extra``, which
they pass on without formatting it.
"""

import logging
import queue
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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

_Records = queue.Queue[logging.LogRecord] | queue.SimpleQueue[logging.LogRecord]

OURS: Final = "record()"
QUEUES: Final[dict[str, Callable[[], _Records]]] = {
    "QueueHandler": lambda: queue.Queue(-1),
    "QueueHandler, SimpleQueue": queue.SimpleQueue,
}


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
    peers: dict[str, _Durations]


def run(directory: Path, events_count: int) -> Found:
    """Record about ``events_count`` events each way, and check ours. Raises `WrongEntries`."""
    with hansard_writer.running(directory, log_level="warning"):
        measured = in_fresh_process(_measure, directory, events_count)
    recorded = [event for block in _blocks(events_count) for event in block.events]
    entered.check(directory, {measured.producer_hash: recorded})
    found = Found()
    for name, took in {OURS: measured.ours, **measured.peers}.items():
        found.figures += distribution(PART, name, took.in_a_row)
        found.figures += distribution(PART, f"{name}, one a ms", took.paced)
        shown = "Hansard" if took is measured.ours else name
        found.curves += [
            latency_curve(PLOT, f"{shown}, in a row", took.in_a_row),
            latency_curve(PLOT, f"{shown}, one a ms", took.paced),
        ]
    for name, peer in measured.peers.items():
        for what, share, reach in (("p50", 0.50, P50_RATIO_MAX), ("p99", 0.99, P99_RATIO_MAX)):
            ratio = _ratio(measured.ours.in_a_row, peer.in_a_row, share)
            found.figures.append(Figure(PART, f"{OURS} {what} / {name} {what}", ratio, "x", reach))
    return found


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
    """All by turns. What waits is taken away before another's turn comes."""
    ours = _Durations(array("q"), array("q"))
    peers = {name: _Durations(array("q"), array("q")) for name in QUEUES}
    with AuditLog(directory) as log, ExitStack() as stack:
        loggers = {name: stack.enter_context(_QueueLogger(name, QUEUES[name]())) for name in QUEUES}
        entry = None
        for block in _blocks(count):
            entry = _by_record(log, block, ours.of(block))
            if not log.flush(DRAIN_S_MAX):
                raise entered.WrongEntries(f"not committed within {DRAIN_S_MAX:g} s")
            for name, peer in peers.items():
                _by_queue_handler(loggers[name].logger, block, peer.of(block))
                loggers[name].drain(len(peer.in_a_row) + len(peer.paced))
    assert entry is not None
    return _Measured(entry, ours, peers)


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

    def __init__(self, name: str, records: _Records) -> None:
        self.logger = logging.getLogger(f"bench.{name}")
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
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
