"""A worker process of an import: it records chunks, each as the producer that the chunk names.

It decides nothing about files and has no deadline of its own: it says how far it is, or that no
writer answers, and its parent decides. It may be killed at any moment; another worker goes on.
"""

import fcntl
import logging
import os
import signal
import socket
import time
from array import array
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import orjson

from hansard import AuditLog, entry, requester, wire
from hansard.errors import AckTimeout, AuditLogError, InvalidEvent, WriterUnavailable
from hansard.events import EventEncoder
from hansard.reader import LogReader
from hansard.settings import load_settings
from hansard.source import Source
from hansard_writer.importing.appending import append, appending
from hansard_writer.importing.fields import Event, Place, Reading

ANSWER_S: Final = 1.0  # without an answer, until the parent hears of it
REPORT_EVENTS: Final = 100
ATTEMPTS_MAX: Final = 5  # to get a chunk in that the log says it does not have


class Numbered(Protocol):
    """Items that one producer records, in order: a `Chunk` of a file, or what a ledger claims."""

    @property
    def producer_id(self) -> bytes: ...
    @property
    def first_place(self) -> Place: ...
    @property
    def items(self) -> Iterable[tuple[Place, Any]]: ...
    @property
    def size(self) -> int: ...


class Refusal(NamedTuple):
    """An item that is no event, and why; its number where it is kept as a dead letter."""

    place: Place
    reason: str
    number: int | None = None


class Task(NamedTuple):
    """What a worker is asked to do: one chunk."""

    chunk: Numbered
    reading: Reading
    created_at: int  # for what is not asked for its time


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
    """All ``numbers`` of the chunk are committed, of which ``orphaned`` wait for their tasks.
    ``record_ns`` is what each `record()` took."""

    numbers: int
    refused: list[Refusal]
    record_ns: "array[int]"
    orphaned: int = 0


class Failed(NamedTuple):
    """The import cannot go on, and why."""

    reason: str


Kept = Event | bytes  # what takes a number: an event, or the bytes of a dead letter
Message = Begun | Recorded | Unanswered | Done | Failed


def main(connection: "Connection[Message, Task]", directory: Path, guard: Path | None) -> None:
    """Take tasks until the parent closes the connection, or dies. ``guard``: a lock to share
    meanwhile, so that the next import knows when nobody of this one is left."""
    shared = os.open(guard, os.O_RDONLY | os.O_CLOEXEC) if guard else None
    if shared is not None:
        fcntl.flock(shared, fcntl.LOCK_SH)
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
        recorded, refused = self._read(task)
        record_ns = array("q")
        welcome = self._greet(task.chunk.producer_id)
        self._tell(Begun(welcome.watermark))
        certain = all(each.number for each in refused)
        if not self._same_numbers(task.chunk.producer_id, welcome, recorded, certain=certain):
            return Done(0, [Refusal(task.chunk.first_place, _OTHER_OPTIONS)], record_ns)
        for _ in range(ATTEMPTS_MAX):
            if welcome.watermark >= len(recorded):
                orphaned = wire.Refusals(*welcome.refusals).orphaned
                return Done(len(recorded), refused, record_ns, orphaned)
            source = Source(task.chunk.producer_id, welcome.watermark, welcome.crc)
            record_ns.extend(self._record(source, recorded))
            welcome = self._greet(task.chunk.producer_id)
        return Failed(
            f"the log has {welcome.watermark} of {len(recorded)} events after {ATTEMPTS_MAX} "
            f"attempts to enter the chunk at {task.chunk.first_place}: see `hansard doctor`"
        )

    def _read(self, task: Task) -> tuple[list[Kept], list[Refusal]]:
        """What takes the numbers of a chunk, in order, and what is refused of it."""
        recorded: list[Kept] = []
        refused = []
        for place, item in task.chunk.items:
            try:
                event = task.reading.event(item)
                if event.created_at is None:
                    event = event._replace(created_at=task.created_at)
                event.check(self._encoder)  # what record() refuses must not take a number
                recorded.append(event)
            except InvalidEvent as error:
                reason = str(error)
                kept = task.reading.letter(place, item, reason, task.created_at)
                if kept is not None:
                    recorded.append(kept)
                refused.append(Refusal(place, reason, len(recorded) if kept else None))
        return recorded, refused

    def _ask(self, request: wire.Hello | wire.Lookup) -> Any:
        """The content of the writer's answer, whenever there is one."""
        message = wire.pack_request(request)
        while True:
            try:
                return requester.ask(self._directory, message, ANSWER_S)[1]
            except WriterUnavailable:
                self._tell(Unanswered())

    def _greet(self, producer_id: bytes) -> wire.Welcome:
        """How much of a producer the log has.

        To say that number 1 is still here keeps the writer from taking this for a producer whose
        events the log has lost.
        """
        return wire.Welcome(
            *self._ask(
                wire.Hello(
                    producer_id, 1, 0, socket.gethostname()[:255], os.getpid(), time.time_ns(), None
                )
            )
        )

    def _same_numbers(
        self,
        producer_id: bytes,
        welcome: wire.Welcome,
        recorded: list[Kept],
        *,
        certain: bool,
    ) -> bool:
        """Whether an earlier import gave these events these numbers, as far as it went.

        With other options it may have refused other lines; to go on from its watermark would
        enter some twice and leave others out. The last number tells.
        """
        last = welcome.watermark
        if last == 0 or (certain and last == len(recorded)):
            return True
        if last > len(recorded):
            return False
        event = recorded[last - 1]
        reply = wire.LookupReply(*self._ask(wire.Lookup(wire.producer_hash(producer_id), last)))
        if reply.status != entry.COMMITTED:
            return True  # a dead letter
        with LogReader(self._directory) as reader:
            found = reader.get(reply.seq)
        if found is None or found.payload is None:
            return True
        return isinstance(event, Event) and found.payload.encode() == event.payload

    def _record(self, source: Source, recorded: list[Kept]) -> "array[int]":
        """Record what is behind the watermark and wait for its commit; what each call took."""
        record_ns = array("q")
        clock = time.perf_counter_ns
        with appending(self._directory, source) as log:
            for done, each in enumerate(recorded[source.watermark :], source.watermark + 1):
                if isinstance(each, bytes):
                    append(log, each)
                else:
                    payload = None if each.payload is None else orjson.Fragment(each.payload)
                    began = clock()
                    log.record(
                        each.event_type,
                        payload,
                        level=each.level,
                        actor=each.actor,
                        task_id=each.task_id,
                        created_at=each.created_at,
                    )
                    record_ns.append(clock() - began)
                if done % REPORT_EVENTS == 0:
                    self._tell(Recorded(done, source.watermark))
            self._await_commit(log, len(recorded), source.watermark)
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
