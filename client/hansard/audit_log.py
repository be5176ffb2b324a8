"""The client: `AuditLog`, what a worker process records with."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep, time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

from hansard import calls, lifecycle, refusals, wire
from hansard import entry as outcome
from hansard.calls import CallKey, CallOutcome
from hansard.complaints import Complaints
from hansard.entry import Entry, Key
from hansard.errors import AckTimeout, ClosedError, InvalidEvent
from hansard.events import EventEncoder, created_at_ns
from hansard.lookups import look_up
from hansard.masking import fields_to_mask
from hansard.operations import Environment, Operation
from hansard.producer import Producer
from hansard.sender import Sender
from hansard.served_by import met_in
from hansard.settings import log_directory
from hansard.settling import Facts, Settling
from hansard.source import Source
from hansard.texts import Payload
from hansard.together import encode_together
from hansard.tracing import trace_recorded
from hansard.wording import counted

if TYPE_CHECKING:
    from hansard.audited import Audited
    from hansard.redaction import Redaction, Seqs

DROPS_LOOK_S = 0.01
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

    _meet = staticmethod(met_in)

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        _source: Source | None = None,
        **settings: Any,
    ) -> None:
        self.directory: Path = log_directory(directory)
        self.settings, self._writer = self._meet(self.directory, settings)
        masked = fields_to_mask(self.settings.mask_fields)
        self._encoder = EventEncoder(self.settings.event_types, self.settings.actor, masked)
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
        self._sender = Sender(self._writer, self._producer, self._complaints)
        self._settling = Settling(
            self._writer,
            self._producer,
            self._sender,
            self._complaints,
            best_effort=self.settings.best_effort,
        )

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
        data = self._encoder.encode(event_type, payload, level, actor, task_id, created_at)
        if self._sync if sync is None else sync:
            facts = Facts(event_type, created_at, task_id)
            entry = self._record_sync(data, facts, timeout)
            if task_id is not None and entry.status == outcome.COMMITTED:
                trace_recorded(task_id, payload)
            return entry
        producer = self._producer
        seq = producer.append(data)
        if seq <= 0:
            return self._settling.unnumbered(seq, Facts(event_type, created_at, task_id))
        return _new_entry(Entry, (-1, "queued", (producer.hash, seq), event_type, created_at))

    async def arecord(
        self,
        event_type: str,
        payload: Payload = None,
        *,
        level: str = "info",
        actor: str | None = None,
        task_id: str | None = None,
        created_at: int | datetime | None = None,
        sync: bool | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - as in record()
    ) -> Entry:
        """`record` for asyncio: the same, and it never blocks the event loop.

        Cancelled while it waits for the writer, the event is entered all the same; cancelled
        while it waits for room in a full queue, it may be.
        """
        created_at = time_ns() if created_at is None else created_at_ns(created_at)
        data = self._encoder.encode(event_type, payload, level, actor, task_id, created_at)
        is_sync = self._sync if sync is None else sync
        if not is_sync and (seq := self._producer.append_at_once(data)) > 0:
            key = (self._producer.hash, seq)
            return _new_entry(Entry, (-1, "queued", key, event_type, created_at))
        from hansard import awaiting

        facts = Facts(event_type, created_at, task_id)
        if not is_sync:
            return await awaiting.append(self._producer, self._settling, data, facts, seq)
        wait_s = self._timeout(timeout)
        entry = await awaiting.record(self._producer, self._settling, data, facts, wait_s)
        if task_id is not None and entry.status == outcome.COMMITTED:
            trace_recorded(task_id, payload)
        return entry

    def record_many(
        self,
        events: Iterable[Mapping[str, Any]],
        *,
        sync: bool | None = None,
        timeout: float | None = None,
    ) -> list[Entry]:
        """Record up to 1,000 events, of 1 MiB in all, that belong together.

        Each event is a mapping of the arguments of `record`, ``event_type`` among them. They are
        entered under consecutive ids in one transaction, all of them or none: one that is invalid
        raises before any is recorded, and one that the writer refuses makes dead letters of all.
        """
        data, facts = encode_together(self._encoder.encode, events, self.settings.queue_maxsize)
        if not facts:
            return []
        producer, settling = self._producer, self._settling
        if not (self._sync if sync is None else sync):
            last = producer.append_run(data, len(facts))
            if last <= 0:
                return [settling.unnumbered(last, fact) for fact in facts]
            first = last - len(facts) + 1
            return [settling.queued(first + index, fact) for index, fact in enumerate(facts)]
        deadline = monotonic() + self._timeout(timeout)
        last, tickets = producer.append_run_awaited(data, len(facts))
        if not tickets:
            return [settling.unnumbered(last, fact) for fact in facts]
        try:
            return [
                settling.entry(last, ticket, fact, deadline - monotonic())
                for ticket, fact in zip(tickets, facts, strict=True)
            ]
        except BaseException:  # one raised: nobody waits for the others any more
            for ticket in tickets:
                producer.give_up(ticket)
            raise

    def register_task(
        self,
        task_id: str,
        /,
        *,
        sync: bool | None = None,
        timeout: float | None = None,
        **attributes: Any,
    ) -> Entry:
        """Make a task known, with what describes it; an entry of type ``hansard.task_registered``.

        Where ``enforce_tasks`` is set, an event of a task that is not registered becomes a dead
        letter; registering the task enters such orphans, in order and with their own times, in
        the same transaction. To register a task again is harmless: the newest attributes count.

        ``sync`` and ``timeout`` are as in `record`, so no attribute can have these names.
        """
        facts = Facts(wire.TASK_REGISTERED, time_ns(), task_id)
        data = self._encoder.encode_task(task_id, attributes, facts.created_at)
        if self._sync if sync is None else sync:
            return self._record_sync(data, facts, timeout)
        return self._settling.queued(self._producer.append(data), facts)

    def environment(
        self, workflow_id: str, node_id: str, version_id: str | None = None
    ) -> Environment:
        """An environment, named once for many operations: ``env.operation("add_deps")``."""
        return Environment(self, workflow_id, node_id, version_id)

    def operation(
        self,
        name: str,
        *,
        workflow_id: str,
        node_id: str,
        version_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Operation:
        """One operation on an environment, for a ``with`` or ``async with``, or, as
        `start_operation`, for its own `success` or `failed`: see `Operation`.

        Ids have at most 255 characters, ``name`` at most 50; ``metadata`` is a mapping that JSON
        can hold. Raises `InvalidEvent` for what breaks a rule.
        """
        environment = Environment(self, workflow_id, node_id, version_id)
        return environment.operation(name, metadata=metadata)

    start_operation = operation  # where no block ends it

    def refusal(
        self, agent_id: str, action: Mapping[str, Any], decision: Mapping[str, Any]
    ) -> bool:
        """Record a decision on an agent's action if it is a refusal; whether it was recorded.

        ``action`` has ``kind`` and what else describes it; ``decision`` has ``decision``, one of
        allow, warn, refuse, and ``rule_id`` and ``reason`` where there are such. Only refuse is
        recorded, as ``governance.refusal``.

        Never blocks, whatever ``on_full`` says, and no failure of the log is raised: an event
        that finds no room, or a closed log, is counted as dropped. With the setting ``sync`` it
        waits as `record` does, and is true once the refusal is committed.
        Raises `InvalidEvent` for arguments that break a rule.
        """
        return refusals.record(self, agent_id, action, decision)

    def audited(self, event_type: str, **options: Any) -> "Audited":
        """Decorate a function to record each of its calls: see `hansard.audited.Audited`."""
        from hansard.audited import Audited

        return Audited(self, event_type, **options)

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
        return self._settling.flushed(ticket, wait_s)

    async def aflush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - as flush()
        """`flush` for asyncio: the same, and it never blocks the event loop."""
        from hansard import awaiting

        wait_s = self._timeout(timeout)
        if not self._producer.has_work:
            return True
        return self._settling.flush_outcome(*await awaiting.flush(self._producer, wait_s))

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
        producer, sender, deadline = self._producer, self._sender, monotonic() + timeout
        if producer.has_work and self._writer.may_live():
            ticket = producer.ticket(producer.seq, wants_outcome=False)
            ticket.wait(timeout)
            producer.give_up(ticket)
        sender.finish_adopting(deadline - monotonic())
        if not sender.stop(_STOP_S):
            producer.refuse()
            return producer.waiting  # its thread still uses the spool, which stays
        spooled = producer.survives()
        left = producer.close()
        self._complaints.say()
        if left:
            self._complaints.warn(
                "left",
                "closed with %s undelivered: %s",
                counted(left, "event"),
                "kept in the spool, for a writer to enter"
                if spooled
                else "kept in memory only, and lost",
            )
        return left

    def call(self, name: str, params: Any = None, *, timeout: float = calls.TIMEOUT_S) -> Any:
        """Run a named operation in the writer, in a transaction of its own; its result.

        ``name`` is one that the writer knows by ``hansard serve --operations``. ``params`` and the
        result are what msgpack carries, a little below 1 MiB each; tuples arrive as lists.
        It is run at most once, and not after ``timeout`` seconds.

        Never best effort. Raises `Rejected` with the reason, and then nothing of it was kept;
        `AckTimeout` when no answer came, at once where the writer has ended under the call, and
        `lookup` of its ``key`` settles it;
        `WriterUnavailable` when it certainly was not sent; `InvalidEvent` for an argument that
        breaks a rule and `ClosedError` after `close`.
        """
        if self._closed:
            raise ClosedError("the log is closed: call() before close(), or make a new AuditLog")
        return calls.call(self._writer, name, params, timeout)

    def redact(
        self,
        *,
        seq: "Seqs | None" = None,
        workflow_id: str | None = None,
        task_id: str | None = None,
        reason: str,
        by: str | None = None,
        dry_run: bool = False,
        timeout: float = 30.0,
    ) -> "Redaction":
        """Take the payloads of entries out of the log for good; the entries stay, and provable.

        Of the entries ``seq`` (an id, or ids and pairs of a first and last one), or of the
        operations of a workflow, or of all entries of a task, with that one's dead letters; one of
        the three. ``reason`` and ``by`` (default: ``actor``, else user@host) are kept in an entry
        ``hansard.redacted``. With ``dry_run`` nothing changes.

        What this instance recorded before is committed first. Of the `hansard.redaction.Redaction`
        that is returned, ``done`` is true once no file of the log holds a byte of it any more, for
        which this waits up to ``timeout`` seconds. To redact the same again is harmless.

        Never best effort: raises `InvalidEvent`, `WriterUnavailable`, `AckTimeout` when what was
        recorded before is not committed in time, `AuditLogError` for what the writer refuses.
        """
        from hansard.redaction import redact

        if self._closed:
            raise ClosedError("the log is closed: redact() before close(), or make a new AuditLog")
        if not self.flush(timeout):
            raise AckTimeout(
                f"what was recorded before is not committed within {timeout:g} s, and nothing is "
                "redacted: see that the writer runs, and redact again"
            )
        return redact(
            self._writer,
            seq=seq,
            workflow_id=workflow_id,
            task_id=task_id,
            reason=reason,
            by=by or self.settings.actor,
            dry_run=dry_run,
            timeout=timeout,
        )

    @overload
    def lookup(self, key: CallKey, timeout: float | None = None) -> CallOutcome: ...
    @overload
    def lookup(self, key: Key, timeout: float | None = None) -> Entry: ...
    def lookup(self, key: Key | CallKey, timeout: float | None = None) -> Entry | CallOutcome:
        """What became of the event, or of the call, with this ``key``.

        Status ``committed`` with the id (of an entry that was pruned without type and time),
        ``rejected`` for a dead letter, ``orphaned`` for one that waits for its task, ``queued``
        while this instance still holds it, ``unknown`` when the log does not know it.
        Raises `WriterUnavailable` with ``best_effort=False`` when no writer answers.

        The key of a call, which an `AckTimeout` carries, leads to a `CallOutcome`; then it always
        raises when no writer answers.
        """
        if isinstance(key, bytes):
            return calls.look_up(self._writer, key, self._timeout(timeout))
        return look_up(
            self._writer,
            self._producer,
            self._complaints,
            key,
            self._timeout(timeout),
            best_effort=self.settings.best_effort,
        )

    def statistics(self) -> dict[str, Any]:
        """This instance's figures, of which in every snapshot
        ``submitted = appended + dead_lettered + waiting + sum(dropped.values())``.

        Counts are events, unless they say otherwise:

        * ``appended``: entered in the log; ``dead_lettered``: what the writer could not enter, of
          which ``orphaned`` wait for their task to be registered; both as of the last ack.
        * ``waiting``: not committed yet; of these ``queue_depth`` have not been sent.
        * ``dropped``: lost for want of room, and the like: a mapping by cause.
        * ``append_failures``: refused by the writer at first, those that were entered later
          included; ``duplicates_dropped``: what the writer had already; ``resent``: sent again.
        * ``send_failures``, ``writer_restarts``: times; ``spool_bytes``: bytes; ``spooled``:
          whether what waits survives this process; ``suspended``: whether the writer takes
          nothing in, for want of disk space.
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

    def _record_sync(self, data: bytes, facts: Facts, timeout: float | None) -> Entry:
        deadline = monotonic() + self._timeout(timeout)  # before it may have to wait for room
        seq, ticket = self._producer.append_awaited(data)
        return self._settling.entry(seq, ticket, facts, deadline - monotonic())

    def _timeout(self, timeout: float | None) -> float:
        if timeout is None:
            return self.settings.ack_timeout
        if not isinstance(timeout, int | float) or timeout != timeout:
            raise InvalidEvent(f"timeout is {timeout!r:.100}: it must be a number of seconds")
        return timeout
