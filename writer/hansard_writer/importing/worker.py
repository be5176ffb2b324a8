"""A worker process of an import: it records chunks, each as the producer that the chunk names.

It decides nothing about files and has no deadline of its own: it says how far it is, or that no
writer answers, and its parent decides. It may be killed at any moment; another worker goes on.
"""

import logging
import os
import signal
import socket
import time
from array import array
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from hansard import AuditLog, entry, requester, wire
from hansard.errors import AckTimeout, AuditLogError, InvalidEvent, WriterUnavailable
from hansard.events import EventEncoder
from hansard.reader import LogReader
from hansard.settings import MIB, load_settings
from hansard.source import Source
from hansard_writer.importing.fields import Event, Fields, read_event
from hansard_writer.importing.source import CHUNK_LINES_MAX, Chunk

ANSWER_S: Final = 1.0  # without an answer, until the parent hears of it
REPORT_EVENTS: Final = 100
ATTEMPTS_MAX: Final = 5  # to get a chunk in that the log says it does not have
SPOOL_BYTES: Final = 8 * MIB  # a whole chunk fits, so no event ever waits for room


class Task(NamedTuple):
    """What a worker is asked to do: one chunk."""

    chunk: Chunk
    fields: Fields
    created_at: int  # for lines that are not asked for their time


class Begun(NamedTuple):
    """The log has so many events of the chunk already."""

    already: int


class Recorded(NamedTuple):
    """So many events of the chunk are recorded, and so many of them known to be committed."""

    events: int
    committed: int


class Unanswered(NamedTuple):
    """No writer has answered for `ANSWER_S`."""


class Done(NamedTuple):
    """All ``good`` events of the chunk are committed. ``refused`` are line numbers and reasons,
    ``record_ns`` what each `record()` took."""

    good: int
    refused: list[tuple[int, str]]
    record_ns: "array[int]"


class Failed(NamedTuple):
    """The import cannot go on, and why."""

    reason: str


Message = Begun | Recorded | Unanswered | Done | Failed


def main(connection: "Connection[Message, Task]", directory: Path) -> None:
    """Take tasks until the parent closes the connection, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends this process
    logging.getLogger("hansard").setLevel(logging.ERROR)  # the parent says what goes wrong
    with closing(connection), suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            worker = _Worker(connection.send, directory)
            while True:
                connection.send(worker.enter(connection.recv()))
        except (AuditLogError, wire.WireError) as error:
            connection.send(Failed(str(error)))


class _Worker:
    def __init__(self, tell: Callable[[Message], None], directory: Path) -> None:
        self._tell = tell
        self._directory = directory
        settings = load_settings(directory)
        self._encoder = EventEncoder(settings.event_types, settings.actor)

    def enter(self, task: Task) -> Done | Failed:
        """Record what the log lacks of a chunk, until the log itself says that it has all."""
        events, refused = self._read(task)
        record_ns = array("q")
        source = self._ask_progress(task.chunk.producer_id)
        self._tell(Begun(source.watermark))
        if not self._same_numbers(source, events, certain=not refused):
            return Done(0, [(task.chunk.first_line, _OTHER_OPTIONS)], record_ns)
        for _ in range(ATTEMPTS_MAX):
            if source.watermark >= len(events):
                return Done(len(events), refused, record_ns)
            record_ns.extend(self._record(source, events))
            source = self._ask_progress(task.chunk.producer_id)
        return Failed(
            f"the log has {source.watermark} of {len(events)} events after {ATTEMPTS_MAX} attempts "
            f"to enter the chunk at line {task.chunk.first_line}: see `hansard doctor`"
        )

    def _read(self, task: Task) -> tuple[list[Event], list[tuple[int, str]]]:
        """The events of a chunk, in order, and the lines that are none."""
        events, refused = [], []
        for number, line in enumerate(task.chunk.lines, task.chunk.first_line):
            try:
                event = read_event(line, task.fields)
                if event.created_at is None:
                    event = event._replace(created_at=task.created_at)
                self._encoder.encode(  # as record() will: what it refuses must not take a number
                    event.event_type,
                    orjson.Fragment(line),
                    "info",
                    event.actor,
                    event.task_id,
                    event.created_at or 0,
                )
                events.append(event)
            except InvalidEvent as error:
                refused.append((number, str(error)))
        return events, refused

    def _ask(self, request: wire.Hello | wire.Lookup) -> Any:
        """The content of the writer's answer, whenever there is one."""
        message = wire.pack_request(request)
        while True:
            try:
                return requester.ask(self._directory, message, ANSWER_S)[1]
            except WriterUnavailable:
                self._tell(Unanswered())

    def _ask_progress(self, producer_id: bytes) -> Source:
        """How much of a producer the log has.

        To say that number 1 is still here keeps the writer from taking this for a producer whose
        events the log has lost.
        """
        welcome = wire.Welcome(
            *self._ask(
                wire.Hello(
                    producer_id, 1, 0, socket.gethostname()[:255], os.getpid(), time.time_ns(), None
                )
            )
        )
        return Source(producer_id, welcome.watermark, welcome.crc)

    def _same_numbers(self, source: Source, events: list[Event], *, certain: bool) -> bool:
        """Whether an earlier import gave these events these numbers, as far as it went.

        With other options it may have refused other lines; to go on from its watermark would
        enter some twice and leave others out. The last number tells.
        """
        last = source.watermark
        if last == 0 or (certain and last == len(events)):
            return True
        if last > len(events):
            return False
        reply = wire.LookupReply(
            *self._ask(wire.Lookup(wire.producer_hash(source.producer_id), last))
        )
        if reply.status != entry.COMMITTED:
            return True  # a dead letter
        with LogReader(self._directory) as reader:
            found = reader.get(reply.seq)
        return found is None or found.payload in (None, events[last - 1].line.decode())

    def _record(self, source: Source, events: list[Event]) -> "array[int]":
        """Record the events behind the watermark and wait for their commit; what each call took."""
        record_ns = array("q")
        clock = time.perf_counter_ns
        with AuditLog(
            self._directory,
            _source=source,
            sync=False,
            best_effort=False,
            on_full="raise",
            spool_bytes=SPOOL_BYTES,
            queue_maxsize=CHUNK_LINES_MAX,
        ) as log:
            for done, event in enumerate(events[source.watermark :], source.watermark + 1):
                payload = orjson.Fragment(event.line)
                began = clock()
                log.record(
                    event.event_type,
                    payload,
                    actor=event.actor,
                    task_id=event.task_id,
                    created_at=event.created_at,
                )
                record_ns.append(clock() - began)
                if done % REPORT_EVENTS == 0:
                    self._tell(Recorded(done, source.watermark))
            self._await_commit(log, len(events), source.watermark)
        return record_ns

    def _await_commit(self, log: AuditLog, recorded: int, committed: int) -> None:
        before = committed
        while True:
            self._tell(Recorded(recorded, committed))
            try:
                log.flush(ANSWER_S)
                return
            except (AckTimeout, WriterUnavailable):
                figures = log.statistics()
                now = before + figures["appended"] + figures["dead_lettered"]
            if now == committed:
                self._tell(Unanswered())
            committed = now


_OTHER_OPTIONS: Final = (
    "from here on, lines are in the log that were imported with other options, which refused other "
    "lines: use the same options again, or import the missing lines from a file of their own"
)
