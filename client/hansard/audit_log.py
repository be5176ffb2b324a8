"""The client: `AuditLog`, what a worker process records with."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep, time_ns
from types import TracebackType
from typing import Any, Self, overload

from hansard import calls, lifecycle, requester, wire
from hansard import directory as layout
from hansard import entry as outcome
from hansard.calls import CallKey, CallOutcome
from hansard.complaints import Complaints
from hansard.entry import Entry, Key
from hansard.errors import (
    AckTimeout,
    AuditLogError,
    ClosedError,
    ConfigError,
    InvalidEvent,
    Rejected,
    WriterUnavailable,
)
from hansard.events import EventEncoder, Payload, created_at_ns
from hansard.producer import NOT_KEPT, Producer
from hansard.sender import Sender
from hansard.settings import load_settings, log_directory
from hansard.source import Source
from hansard.tickets import Ticket

DROPS_LOOK_S = 0.01
RECORD_MANY_MAX = 1_000
_STOP_S = 1.0  # for the sender's thread to end, once it is told to

_new_entry = tuple.__new__


class AuditLog:
    """A handle on a log, for any number of threads of one process.

    ``directory`` is the log's; None finds it by ``HANSARD_DIR`` or takes the user's state
    directory. Every setting may be given as an argument; see the README for the table.

    By default nothing that goes wrong with the log reaches the caller: it is warned of through
    the logger ``hansard`` and counted. Raises `ConfigError` for settings or a directory that
    cannot be used.

    A fork makes the child's copy a producer of its own. Threads and sockets are made at the
    first event, so an `AuditLog` may be made before forking.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        _source: Source | None = None,
        **settings: Any,
    ) -> None:
        self.directory: Path = log_directory(directory)
        layout.prepare_for_client(self.directory)
        self.settings = load_settings(self.directory, settings)
        try:
            encoder = EventEncoder(self.settings.event_types, self.settings.actor)
        except InvalidEvent as error:
            raise ConfigError(f"the settings event_types and actor: {error}") from error
        self._encode = encoder.encode
        self._sync = self.settings.sync
        self._closed = False
        self._source = _source
        self._begin()
        lifecycle.watch(self)

    def _begin(self) -> None:
        """The parts that belong to one process."""
        self._pid = os.getpid()
        self._complaints = Complaints()
        self._producer = Producer(
            self.directory, self.settings, self._complaints, self._wake, self._source
        )
        self._sender = Sender(self.directory, self._producer, self._complaints)

    def record(
        self,
        event_type: str,
        payload: Payload = None,
        *,
        level: str = "info",
        actor: str | None = None,
        task_id: str | None = None,
        created_at: int | datetime | None = None,
        sync: bool | None = None,
        timeout: float | None = None,
    ) -> Entry:
        """Record one event.

        ``payload`` is a mapping that JSON can hold, or an ``orjson.Fragment`` with the text of a
        JSON object; ``level`` one of debug, info, warning, error, critical; ``created_at`` ns
        since 1970 UTC or a datetime with a zone, by default now.

        Asynchronous, it returns at once with id -1 and status ``queued``. With ``sync`` it waits
        up to ``timeout`` seconds (default ``ack_timeout``) and returns the id with status
        ``committed``; after a time-out the status is ``unknown``, never failed: the event is
        still spooled, and `lookup` settles it.

        Raises `InvalidEvent` for an event that breaks a rule and `ClosedError` after `close`.
        """
        created_at = time_ns() if created_at is None else created_at_ns(created_at)
        data = self._encode(event_type, payload, level, actor, task_id, created_at)
        producer = self._producer
        if self._sync if sync is None else sync:
            wait_s = self._timeout(timeout)  # before it is recorded, in case it is none
            seq, ticket = producer.append_awaited(data)
            return self._settled(seq, ticket, event_type, created_at, wait_s)
        seq = producer.append(data)
        if seq <= 0:
            self._complaints.say()
            return _unnumbered(seq, event_type, created_at)
        return _new_entry(Entry, (-1, "queued", (producer.hash, seq), event_type, created_at))

    def record_many(
        self,
        events: Iterable[Mapping[str, Any]],
        *,
        sync: bool | None = None,
        timeout: float | None = None,
    ) -> list[Entry]:
        """Record up to 1,000 events in one call, under consecutive numbers.

        Each event is a mapping of the arguments of `record`, ``event_type`` among them. All are
        checked before the first is recorded, so one that is invalid records none.
        """
        now = time_ns()
        encoded, facts = [], []
        for index, event in enumerate(events):
            if index >= RECORD_MANY_MAX:
                raise InvalidEvent(f"record_many takes at most {RECORD_MANY_MAX:,} events a call")
            data, fact = self._encode_mapping(index, event, now)
            encoded.append(data)
            facts.append(fact)
        producer = self._producer
        if not (self._sync if sync is None else sync):
            return [
                _new_entry(Entry, (-1, "queued", (producer.hash, seq), *fact))
                if seq > 0
                else _unnumbered(seq, *fact)
                for seq, fact in zip(producer.append_run(encoded), facts, strict=True)
            ]
        deadline = monotonic() + self._timeout(timeout)
        awaited = producer.append_run_awaited(encoded)
        return [
            self._settled(seq, ticket, *fact, deadline - monotonic())
            for (seq, ticket), fact in zip(awaited, facts, strict=True)
        ]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was recorded before is committed: entered or dead-lettered.

        False after ``timeout`` seconds (default ``ack_timeout``); the rest stays spooled and is
        still sent. The log stays usable.
        """
        producer = self._producer
        wait_s = self._timeout(timeout)
        if not producer.has_work:
            return True
        ticket = producer.ticket(producer.seq, wants_outcome=False)
        if ticket.wait(wait_s):
            return ticket.status == outcome.COMMITTED
        producer.give_up(ticket)
        error = self._no_answer()
        self._complaints.warn("flush", "flush: %s; %d events wait", error, producer.waiting)
        if not self.settings.best_effort:
            raise error
        return False

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing waits any more, what others record meanwhile included."""
        deadline = monotonic() + self._timeout(timeout)
        while self._producer.has_work:
            left = deadline - monotonic()
            if left <= 0 or not self.flush(left):
                return False
            if not self._producer.waiting:  # drops to report are left, and no ticket waits for them
                sleep(min(DROPS_LOOK_S, left))
        return True

    def close(self, timeout: float | None = None) -> int:
        """Deliver what waits, for up to ``timeout`` seconds (default ``close_timeout``), and end.

        Never hangs. Returns how many events could not be delivered: they stay in the spool, and
        the writer enters them when it runs. Idempotent; it waits only for a writer that lives.
        """
        if self._closed:
            return 0
        self._closed = True
        timeout = self.settings.close_timeout if timeout is None else timeout
        producer, sender = self._producer, self._sender
        if producer.has_work and layout.a_writer_lives(self.directory):
            ticket = producer.ticket(producer.seq, wants_outcome=False)
            ticket.wait(timeout)
            producer.give_up(ticket)
        if not sender.stop(_STOP_S):
            producer.refuse()
            return producer.waiting  # its thread still uses the spool, which stays
        spooled = producer.spooled
        left = producer.close()
        self._complaints.say()
        if left:
            self._complaints.warn(
                "left",
                "closed with %d events undelivered: %s",
                left,
                "they are in the spool, and a writer will enter them"
                if spooled
                else "they were kept in memory only, and are lost",
            )
        return left

    def call(self, name: str, params: Any = None, *, timeout: float = calls.TIMEOUT_S) -> Any:
        """Run a named operation in the writer, in a transaction of its own; its result.

        ``name`` is one that the writer knows by ``hansard serve --operations``. ``params`` and the
        result are what msgpack carries, a little below 1 MiB each; tuples arrive as lists.
        It is run at most once, and not after ``timeout`` seconds.

        Never best effort. Raises `Rejected` with the reason, and then nothing of it was kept;
        `AckTimeout` when no answer came, and `lookup` of its ``key`` settles it;
        `WriterUnavailable` when it certainly was not sent; `InvalidEvent` for an argument that
        breaks a rule and `ClosedError` after `close`.
        """
        if self._closed:
            raise ClosedError("the log is closed: call() before close(), or make a new AuditLog")
        return calls.call(self.directory, name, params, timeout)

    @overload
    def lookup(self, key: CallKey, timeout: float | None = None) -> CallOutcome: ...
    @overload
    def lookup(self, key: Key, timeout: float | None = None) -> Entry: ...
    def lookup(self, key: Key | CallKey, timeout: float | None = None) -> Entry | CallOutcome:
        """What became of the event, or of the call, with this ``key``.

        Status ``committed`` with the id; ``rejected`` for a dead letter; ``queued`` while this
        instance still holds it; ``unknown`` when the log does not know it.
        Raises `WriterUnavailable` with ``best_effort=False`` when no writer answers.

        The key of a call, which an `AckTimeout` carries, leads to a `CallOutcome`; then it always
        raises when no writer answers.
        """
        if isinstance(key, bytes):
            return calls.look_up(self.directory, key, self._timeout(timeout))
        try:
            producer_hash, producer_seq = key
            request = wire.pack_request(wire.Lookup(bytes(producer_hash), int(producer_seq)))
        except (TypeError, ValueError):
            raise InvalidEvent(f"key is {key!r:.100}: it must be an Entry's key") from None
        reply = wire.LookupReply(outcome.UNKNOWN, -1, "", 0)
        try:
            _, content = requester.ask(self.directory, request, self._timeout(timeout))
            reply = wire.LookupReply(*content)  # type: ignore[misc]
        except (AuditLogError, wire.WireError, OSError) as error:
            self._complaints.warn("lookup", "lookup: %s", error)
            if not self.settings.best_effort:
                raise
        if reply.status == outcome.COMMITTED:
            return Entry(reply.seq, reply.status, key, reply.event_type, reply.created_at)
        if reply.status == outcome.REJECTED:
            return Entry(None, reply.status, key, reply.event_type, reply.created_at)
        producer = self._producer
        held = producer_hash == producer.hash and producer.acked < producer_seq <= producer.seq
        status = outcome.QUEUED if held else outcome.UNKNOWN
        return Entry(outcome.ID_UNKNOWN, status, key, reply.event_type, reply.created_at)

    def statistics(self) -> dict[str, Any]:
        """This instance's figures: ``submitted = committed + waiting + dropped + set_aside``.

        ``dropped`` is a mapping by cause; counts are events, ``spool_bytes`` bytes.
        """
        return self._producer.statistics() | self._sender.transmission.statistics()

    @property
    def is_open(self) -> bool:
        """Whether `record` may be called."""
        return not self._closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        producer = self._producer
        served = self._sender.served
        state = "closed" if self._closed else "served" if served else "unserved"
        return (
            f"<AuditLog {str(self.directory)!r} {state}, "
            f"{producer.committed} committed, {producer.waiting} waiting>"
        )

    # --- inside ---

    def _wake(self) -> None:
        """The producer has something to send."""
        if not self._sender.started:
            lifecycle.register_exit_hook()
        self._sender.wake()

    def _become_child(self) -> None:
        """After a fork, in the child: leave the parent's alone and be a producer of its own."""
        producer, sender = self._producer, self._sender
        self._inherited = (producer, sender)  # kept: its sockets must not be finalized here
        for part in (producer, sender):
            with contextlib.suppress(OSError, ValueError):
                part.abandon_after_fork()
        self._source = None
        self._begin()
        if self._closed:
            self._producer.close()

    def _encode_mapping(
        self, index: int, event: Mapping[str, Any], now: int
    ) -> tuple[bytes, tuple[str, int]]:
        try:
            fields = dict(event)
        except (TypeError, ValueError):
            raise InvalidEvent(f"event {index} is no mapping of record()'s arguments") from None
        try:
            event_type = fields.pop("event_type")
            given = fields.pop("created_at", None)
            created_at = now if given is None else created_at_ns(given)
            data = self._encode(
                event_type,
                fields.pop("payload", None),
                fields.pop("level", "info"),
                fields.pop("actor", None),
                fields.pop("task_id", None),
                created_at,
            )
        except KeyError:
            raise InvalidEvent(f"event {index} has no event_type") from None
        except InvalidEvent as error:
            raise InvalidEvent(f"event {index}: {error}") from error
        if fields:
            raise InvalidEvent(f"event {index} has unknown fields: {', '.join(map(str, fields))}")
        return data, (event_type, created_at)

    def _timeout(self, timeout: float | None) -> float:
        if timeout is None:
            return self.settings.ack_timeout
        if not isinstance(timeout, int | float) or timeout != timeout:
            raise InvalidEvent(f"timeout is {timeout!r:.100}: it must be a number of seconds")
        return timeout

    def _settled(
        self, seq: int, ticket: Ticket | None, event_type: str, created_at: int, timeout: float
    ) -> Entry:
        """The entry of an event that its caller waits for."""
        if ticket is None:
            self._complaints.say()
            return _unnumbered(seq, event_type, created_at)
        producer = self._producer
        if not ticket.wait(timeout):
            producer.give_up(ticket)
            return self._unknown((producer.hash, ticket.seq), event_type, created_at)
        key = (producer.hash, ticket.seq)  # both may be others than when it was recorded
        if ticket.status == outcome.REJECTED:
            message = f"the writer refused a {event_type!r} event: {ticket.reason}"
            self._complaints.warn("rejected", "%s; see `hansard dlq list`", message)
            if not self.settings.best_effort:
                raise Rejected(message)
        return Entry(ticket.id, ticket.status, key, event_type, created_at)

    def _unknown(self, key: Key, event_type: str, created_at: int) -> Entry:
        error = self._no_answer()
        self._complaints.warn(
            "ack",
            "%s: the outcome of a %r event is unknown; it is kept and will be entered",
            error,
            event_type,
        )
        if not self.settings.best_effort:
            raise error
        return Entry(outcome.ID_UNKNOWN, outcome.UNKNOWN, key, event_type, created_at)

    def _no_answer(self) -> AckTimeout | WriterUnavailable:
        if self._sender.served:
            return AckTimeout(f"no ack in time from the writer of {self.directory}")
        return WriterUnavailable(
            f"no writer answers in {self.directory}: "
            f"start one with `hansard serve --dir {self.directory}`"
        )


def _unnumbered(seq: int, event_type: str, created_at: int) -> Entry:
    """The entry of an event that was dropped, or that interrupted another's recording."""
    if seq == NOT_KEPT:
        return Entry(None, outcome.DROPPED, None, event_type, created_at)
    return Entry(outcome.ID_UNKNOWN, outcome.QUEUED, None, event_type, created_at)
