"""A worker whose callers keep count: what was recorded, what is still held, what was promised.

It also dies as workers do: in the middle of a record, or of letting go of what is committed.
"""

import copy
import mmap
import os
from collections import deque
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

from faults.model.dying import dying
from faults.model.reference import Event
from frames import event as forged
from hansard import entry as outcome
from hansard import keeping, wire
from hansard.events import EventEncoder, joined
from hansard.producer import Producer
from hansard.source import Source
from hansard.spool import RECORD, RECORDS_AT, Spool
from hansard.spool.layout import LENGTH, read_state
from hansard.tickets import Ticket
from stepped import Killed, Worker, encode

if TYPE_CHECKING:
    from faults.model.watched import WatchedLog

_ENCODER: Final = EventEncoder(None, None)


class _NoSpool(Spool):
    def __init__(self, *_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))


class Subject(Worker):
    """A worker process, and what its callers know."""

    def __init__(
        self, log: "WatchedLog", name: str, *, in_memory: bool = False, **settings: Any
    ) -> None:
        self._watched, self._reference = log, log.reference
        self.pending: deque[Event] = deque()  # in order, all that its producer holds
        self.tickets: list[tuple[Ticket, Event]] = []
        self.inherited: Producer | None = None  # its parent's, until it lets go of it
        self._made = 0
        self._submitted = 0
        self._set_aside = 0
        super().__init__(log, name, None, **settings)
        if in_memory:
            with mock.patch.object(keeping, "Spool", _NoSpool):
                self.producer._open_store()
            self._reference.untold.add(name)
        self._path = self.spool
        self._hash = self.producer.hash

    # --- what its callers do ---

    def put(self, *, size: int = 0, task_id: str | None = None, bad: str = "") -> Event | None:
        """Record an event; None if there was no room."""
        data = self._data(size, task_id, bad)
        number = self.producer.append(data)
        return self._noted(number, [data], can_die=bool(task_id or bad))

    def put_together(self, tasks: list[str | None], bad: str = "") -> Event | None:
        """Record events that belong together; the last of them."""
        data = [self._data(0, task, "" if index else bad) for index, task in enumerate(tasks)]
        number = self.record_together(*data)
        as_sent = [b""] * (len(data) - 1) + [joined(data)]
        return self._noted(number, as_sent, can_die=any(tasks) or bool(bad))

    def put_task(self, task_id: str) -> Event | None:
        """Register a task."""
        self._made += 1
        data = _ENCODER.encode_task(task_id, {"w": self.name, "n": self._made}, self._now_ns())
        return self._noted(self.producer.append(data), [data], can_die=False)

    def wait_for(self, event: Event, *, wants_outcome: bool) -> None:
        """Its caller waits: for its id, or as `flush` does."""
        number = self.producer.acked + 1 + self.pending.index(event)
        ticket = self.producer.ticket(number, wants_outcome=wants_outcome)
        self.tickets.append((ticket, event))

    def ask_again(self) -> None:
        """After a silence, as the sender does: an answer that is not there may never come."""
        if self.transmission.welcomed:
            self.transmission.ask_again()
        else:
            self.reconnect()

    # --- what must be so ---

    def hear(self) -> list[wire.Ack]:
        """As a worker; what it lets go of is looked at."""
        acks = super().hear()
        self.look()
        return acks

    def look(self) -> None:
        """Hold its figures, and what it has let go of, against what its callers know."""
        figures = self.producer.statistics()
        dropped = figures["dropped"]
        assert figures["submitted"] == self._submitted, f"{self._submitted} recorded: {figures}"
        assert (
            figures["waiting"]
            + figures["appended"]
            + figures["dead_lettered"]
            + sum(dropped.values())
            == self._submitted
        ), f"{self._submitted} recorded: {figures}"
        set_aside = dropped.get("set_aside", 0) + dropped.get("other_log", 0)
        now_aside, self._set_aside = set_aside - self._set_aside, set_aside
        freed = len(self.pending) - figures["waiting"] - now_aside
        assert freed >= 0, f"{figures['waiting']} wait, but {len(self.pending)} were recorded"
        for _ in range(freed):
            self._reference.check_freed(self.pending.popleft())
        if now_aside:
            if self._path is None:
                self._reference.dropped(self.name, self._hash, now_aside)
            self._leave(list(self.pending))
        self._path = self.spool
        self._take_note_of_id()
        self.tickets = [each for each in self.tickets if not self._is_settled(*each)]

    def expire_tickets(self) -> list[Event]:
        """Its callers give up; what they waited for."""
        events = [event for _, event in self.tickets]
        for ticket, _ in self.tickets:
            self.producer.give_up(ticket)
        self.tickets.clear()
        return events

    # --- how it ends ---

    def kill(self) -> None:
        """As by -9."""
        self.let_go_of_parent()
        super().kill()
        self._leave(list(self.pending))

    def close(self) -> None:
        """Politely, with nobody to wait for."""
        self.let_go_of_parent()
        self.producer.close()
        self.log.workers.remove(self)
        self._leave(list(self.pending))

    def kill_in_a_record(self, bytes_written: int, size: int) -> bool:
        """By -9, when so many bytes of a record, and of what goes with it, are in its spool.
        Whether that was before all of them were."""
        self.producer.hello()  # opens its store, if need be
        spool, held = self.producer._store, list(self.pending)
        if not isinstance(spool, Spool):
            return False
        data = self._data(size, None, "")
        number, is_killed = self.producer.seq + 1, False
        drops = self.producer.accounts.drops.total
        try:
            with dying(spool, bytes_written % (len(data) + RECORD.size + LENGTH.size)):
                number = self.producer.append(data)
        except Killed:
            is_killed = True
            self._count_drops_since(drops)
        if event := self._noted(number, [data], can_die=False):
            event.is_excused = True  # record() has not returned
        self.pending = deque(held)
        self.kill()
        return is_killed

    def kill_in_freeing(self, bytes_written: int) -> bool:
        """By -9, with an answer heard and so many bytes of what follows from it written: the
        state, then zeros. Whether there was such an answer."""
        spool, held, acked = self.producer._store, list(self.pending), self.producer.acked
        if not isinstance(spool, Spool):
            return False
        try:
            with dying(spool, bytes_written):
                self.hear()
        except Killed:
            header = spool.path.read_bytes()[:RECORDS_AT]
            base_seq = read_state(header, spool._size).base_seq
            self.pending = deque(held[base_seq - acked :])
            self.kill()
            return True
        return False

    # --- processes that are like it ---

    def fork(self, child: "Subject") -> None:
        """A child has what its parent has, descriptors and memory, until its hooks have run."""
        inherited = copy.copy(self.producer)
        spool = inherited._store
        if isinstance(spool, Spool):
            copied = copy.copy(spool)
            copied._descriptor = os.dup(spool._descriptor)
            copied._map = mmap.mmap(copied._descriptor, spool._size)
            inherited._store = copied
        child.inherited = inherited

    def let_go_of_parent(self) -> None:
        """What the hooks of a fork do in the child."""
        inherited, self.inherited = self.inherited, None
        if inherited:
            inherited.abandon_after_fork()

    def become_image_of(self, other: "Subject") -> None:
        """A machine image was copied: this process is the other, under its id."""
        mine, others = self.producer, other.producer
        self._reference.share(others.hash, other.pending)
        self._reference.untold |= {self.name, other.name}
        mine._log_id = others._log_id
        source = Source(others.producer_id, others.acked, others._base_crc)
        mine._restart(source, others._held())
        mine.accounts, mine.first_seq = copy.deepcopy(others.accounts), others.first_seq
        if mine._store:
            mine._store.note(drops=mine.accounts.drops)
        self.pending = deque(other.pending)
        self._submitted, self._set_aside = other._submitted, other._set_aside
        self._path, self._hash = self.spool, mine.hash

    # --- inside ---

    def _ask(self, message: bytes) -> None:
        super()._ask(message)
        self._watched.asked[self._address] = self.producer.hash

    def _take_note_of_id(self) -> None:
        """It may be new. Under an image's next one, what waited has other numbers."""
        reference, before, self._hash = self._reference, self._hash, self.producer.hash
        if before != self._hash and before in reference.shared and self.pending:
            reference.shared.add(self._hash)
        reference.owners.setdefault(self._hash, self.name)

    def _data(self, size: int, task_id: str | None, bad: str) -> bytes:
        self._made += 1
        payload = {"w": self.name, "n": self._made, "x": "x" * size}
        if bad == "level":
            return forged(f'{{"w":"{self.name}","n":{self._made}}}', level="loud")
        if bad == "json":  # as SQLite sees it
            return forged(f'{{"w":"{self.name}","n":{self._made},}}')
        return encode(payload, task_id=task_id, created_at=self._now_ns())

    def _now_ns(self) -> int:
        return self.log.clock_ns()

    def _noted(self, number: int, data: list[bytes], *, can_die: bool) -> Event | None:
        reference, producer_hash = self._reference, self.producer.hash
        self._submitted += len(data)
        if number < 0:
            reference.dropped(self.name, producer_hash, len(data))
            return None
        first, first_n = number - len(data) + 1, self._made - len(data) + 1
        events = [
            Event(self.name, first_n + index, (producer_hash, first + index), can_die=can_die)
            for index in range(len(data))
        ]
        for event, part in zip(events, data, strict=True):
            event.group = events
            reference.recorded(event, part)
        self.pending.extend(events)
        return events[-1]

    def _count_drops_since(self, total: int) -> None:
        """A kill came up while they were noted: they may be told, or not."""
        count = self.producer.accounts.drops.total - total
        if count:
            self._reference.dropped(self.name, self.producer.hash, count)
            self._reference.untold.add(self.name)

    def _leave(self, events: list[Event]) -> None:
        """These are nobody's any more who lives: in a spool, or lost with the memory."""
        self.pending.clear()
        if self._path is not None:
            self._reference.spools[str(self._path)] = events
            return
        for event in events:
            event.is_excused = True

    def _is_settled(self, ticket: Ticket, event: Event) -> bool:
        """Whether it is, and then by the truth."""
        if not ticket.wait(0):
            return False
        if ticket.status == outcome.COMMITTED and ticket.wants_outcome:
            assert ticket.id in event.ids, f"{event} is {event.ids}, its caller got {ticket.id}"
        elif ticket.status == outcome.COMMITTED:
            self._reference.check_freed(event)
            assert event not in self.pending, f"{event} was flushed, and is still held"
        elif ticket.status in (outcome.REJECTED, outcome.ORPHANED):
            was_dead = event.was_dead or event.key[0] in self._reference.shared
            assert was_dead, f"{event} is no dead letter: {ticket.status}, {ticket.reason}"
        else:
            is_excused = self._set_aside or event.key[0] in self._reference.shared
            assert is_excused, f"{event} is {ticket.status}: {ticket.reason}"
        return True
