"""`logging`, one line of JSON an event: straight to a file of each process, or by a queue and a
listener's thread as in the logging cookbook. No fsync: what the system has not written yet is lost
with it."""

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Final

from bench.peers.peer import Peer, Served, Took, in_files, timed
from bench.peers.stored import Stored, from_message, message
from bench.workloads.event import Event

_LINES: Final = "*.jsonl"


@dataclass(frozen=True, slots=True)
class _InLines(Peer):
    """What both have in common: files of lines."""

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        with in_files(directory) as place:
            yield place

    def stored(self, served: Served) -> Iterator[Stored]:
        for path in sorted(served.directory.glob(_LINES)):
            with path.open("rb") as lines:
                yield from map(from_message, lines)


@dataclass(frozen=True, slots=True)
class FileOfEach(_InLines):
    """Each process has a `logging.FileHandler` of its own."""

    @contextmanager
    def opened(self, served: Served) -> Iterator[Path]:
        yield served.directory

    def record(self, opened: Path, number: int, events: Sequence[Event]) -> Took:
        with closing(_JsonLines(opened / f"{number}.jsonl")) as handler:
            return Took(timed(_logged(_logger(handler), number), events))


@dataclass(frozen=True, slots=True)
class ByQueue(_InLines):
    """`QueueHandler`, a `queue.Queue(-1)`, `QueueListener`, `FileHandler`."""

    @contextmanager
    def opened(self, served: Served) -> Iterator[logging.Logger]:
        records: queue.Queue[logging.LogRecord] = queue.Queue(-1)
        with closing(_JsonLines(served.directory / "all.jsonl")) as handler:
            listener = QueueListener(records, handler)
            listener.start()
            yield _logger(QueueHandler(records))
            listener.stop()

    def record(self, opened: logging.Logger, number: int, events: Sequence[Event]) -> Took:
        durations = timed(_logged(opened, number), events)
        written = threading.Event()
        opened.info("all of this worker's are before this one", extra={"reached": written})
        written.wait()
        return Took(durations)


class _JsonLines(logging.FileHandler):
    """A line of JSON for each event; who logs ``reached`` is told when it gets there."""

    def emit(self, record: logging.LogRecord) -> None:
        if reached := record.__dict__.get("reached"):
            reached.set()
        else:
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        number, seq, event = record.__dict__["event"]
        return message(number, seq, event).decode()


def _logger(handler: logging.Handler) -> logging.Logger:
    logger = logging.Logger("bench.peers", logging.INFO)  # noqa: LOG001 - one for each handler
    logger.addHandler(handler)
    return logger


def _logged(logger: logging.Logger, number: int) -> Callable[[int, Event], None]:
    """What logs one event: the handler gets it as it is, and only the last one makes text of it."""
    info = logger.info

    def call(seq: int, event: Event) -> None:
        info(event.event_type, extra={"event": (number, seq, event)})

    return call
