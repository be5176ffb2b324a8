"""A producer: it numbers events, keeps them until the log has them, and accounts for each.

One object, one lock, two sides: callers append and wait; the sender's thread takes frames and
brings answers. It opens the spool but no sockets, and it never sleeps except where a full queue
makes a caller wait.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from hansard import wire
from hansard.accounts import FULL, MEMORY_LOST, UNSENT
from hansard.complaints import Complaints
from hansard.entry import COMMITTED, UNKNOWN
from hansard.errors import ClosedError, QueueFull
from hansard.exclusive import exclusively
from hansard.holding import Holding
from hansard.keeping import Record
from hansard.settings import Settings
from hansard.source import Source, new_producer_id
from hansard.spool import making
from hansard.tickets import Ticket, Tickets

NOT_NUMBERED: Final = 0  # append() was interrupted by this event: it gets its number later
NOT_KEPT: Final = -1  # there was no room for it
NO_ROOM: Final = -2  # the same, and nothing was done about it: only where `TELL` asks for it

DROP: Final = "drop"
TELL: Final = "tell"  # instead of on_full: do nothing that takes time, and say so
CLOSED: Final = "the log is closed: record() before close(), or make a new AuditLog"

SPOOL_AGAIN_S: Final = 30.0  # between two tries to have a spool after all


class Producer(Holding):
    """The events of one client instance in one process.

    Callers' side, any thread: `append`, `ticket`, `give_up`. Sender's side, its thread alone:
    everything else. ``wake`` is called after an append while ``sender_sleeps`` is true; it MUST
    return at once.
    """

    def __init__(
        self,
        directory: Path,
        settings: Settings,
        complaints: Complaints,
        wake: Callable[[], None],
        source: Source | None = None,
    ) -> None:
        super().__init__(directory, settings, complaints, source)
        self._wake = wake
        self.sender_sleeps = True
        self.sender_ident: int | None = None
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._busy = False  # this thread is inside: whoever interrupts it uses the side queue
        self._side: deque[Record] = deque()
        self._tickets = Tickets()
        self._blocked = 0  # callers that wait for room
        self._is_inherited = False
        self._stalled = False  # a caller waited in vain: fail fast until there is room again

    # --- the callers' side ---

    def append(  # noqa: C901 - the hot path: a function more is 2 % of a `record()`
        self, data: bytes, on_full: str | None = None, wakes: bool = True
    ) -> int:
        """Keep one encoded event; its number, or `NOT_NUMBERED` or `NOT_KEPT`.

        Blocks only when the queue is full, as ``on_full`` says, by default the setting: `DROP`
        never does, nor `TELL`, which gives `NO_ROOM`. Raises `QueueFull` where that is asked for,
        and `ClosedError`.
        """
        lock = self._lock
        is_inside = lock._is_owned()  # type: ignore[attr-defined] # `Condition` asks so, too
        if is_inside and self._busy:
            self._side.append((data, 1))
            return NOT_NUMBERED
        # By hand, because `with` is 5 % of a `record()`. A signal handler runs behind a call, not
        # before one: so each call that takes the lock or gives it back is inside of the `try`, and
        # the first in its `except`. Who comes inside neither takes it nor gives it back.
        try:
            if not is_inside:
                lock.acquire()
            try:
                self._busy = True
                if self._side:  # of an interruption behind the last call's flag
                    self._drain_side()
                seq = self.seq + 1
                crc = crc32(data, self._crc)
                if seq <= self._seq_max and self._store.append(seq, crc, data):  # type: ignore[union-attr]
                    self.seq, self._crc = seq, crc
                else:
                    seq = self._append_slowly((data, 1), on_full)
            except BaseException:  # a signal handler may raise anywhere: leave nothing half done
                self._is_torn, self._seq_max = True, -1
                if not self._is_inherited:
                    if self._closed:
                        raise ClosedError(CLOSED) from None
                    self._mend()
                    self._drain_side()
                    raise
                seq = NOT_KEPT  # a fork came up inside: the event is the parent's
            finally:
                self._busy = False
            if not is_inside:
                lock.release()
        except BaseException:
            if not is_inside:
                try:  # noqa: SIM105 - suppress() would be a call before it
                    lock.release()
                except RuntimeError:  # it was not taken yet, or is given back already
                    pass
            raise
        if self._side:  # of whoever interrupted
            self._drain()
        if self.sender_sleeps and wakes:
            self._wake()
        return seq

    def append_at_once(self, data: bytes) -> int:
        """`append` that waits neither for room nor for another thread: then it gives `NO_ROOM`."""
        if not self._lock.acquire(blocking=False):
            return NO_ROOM
        try:
            return self.append(data, TELL)
        finally:
            self._lock.release()

    def append_awaited(
        self, data: bytes, on_full: str | None = None, on_settled: Callable[[], None] | None = None
    ) -> tuple[int, Ticket | None]:
        """The same, and a ticket for its outcome, before its number can become another."""
        ticket = None
        try:
            with self._lock:
                seq = self.append(data, on_full, wakes=False)
                if seq > 0:
                    ticket = Ticket(seq, wants_outcome=True, on_settled=on_settled)
                    self._tickets.add(ticket)
        finally:
            self._wake()  # not before: it would send what it sees as if nobody waited
        return seq, ticket

    def append_run(self, data: bytes, count: int) -> int:
        """Keep ``count`` joined events under numbers without a gap, all or none; the number of
        the last, or as `append`."""
        with self._lock:
            if self._busy:
                self._side.append((data, count))
                return NOT_NUMBERED
            last = self._keep((data, count))
        self._wake()
        return last

    def append_run_awaited(self, data: bytes, count: int) -> tuple[int, list[Ticket]]:
        """The same, and a ticket for each, before their numbers can become others."""
        with self._lock:
            last = self.append_run(data, count)
            numbers = range(last - count + 1, last + 1) if last > 0 else ()
            return last, [self.ticket(seq, wants_outcome=True) for seq in numbers]

    def ticket(
        self, seq: int, *, wants_outcome: bool, on_settled: Callable[[], None] | None = None
    ) -> Ticket:
        """Wait for ``seq`` to be committed; the ticket is settled by the sender's thread."""
        ticket = Ticket(seq, wants_outcome=wants_outcome, on_settled=on_settled)
        if self.interrupts():
            ticket.settle(UNKNOWN)  # an interruption cannot wait for what it interrupts
            return ticket
        self._open(ticket)
        self._wake()
        return ticket

    @exclusively
    def give_up(self, ticket: Ticket) -> None:
        """Its caller waits no longer."""
        self._tickets.discard(ticket)

    @contextmanager
    def at_once(self) -> Iterator[bool]:
        """Whether a call of the callers' side in this block will wait for no other thread."""
        is_free = self._lock.acquire(blocking=False)
        try:
            yield is_free
        finally:
            if is_free:
                self._lock.release()

    @exclusively
    def count_unsent(self) -> None:
        """An event came after the end; it is accounted for, and nobody gets an error."""
        self.accounts.lose(UNSENT, 1)

    # --- the sender's side ---

    @property
    def has_work(self) -> bool:
        """Whether there is anything left that the log must learn."""
        return (
            self.seq > self.acked
            or self.accounts.has_unreported
            or self.hurried
            or bool(self._side)
        )

    @property
    def hurried(self) -> bool:
        """Whether a caller waits, for an ack or for room."""
        return len(self._tickets) > 0 or self._blocked > 0

    @exclusively
    def hello(self) -> wire.Hello:
        """How this producer introduces itself."""
        self._open_store()
        return wire.Hello(
            self.producer_id,
            self.acked + 1,
            self._base_crc,
            os.uname().nodename[:255],
            os.getpid(),
            self._keeper.started_at,
            self._log_id,
        )

    @exclusively
    def tend_spool(self, now: float) -> None:
        """See that what is kept survives this process: a spool that was removed is made again,
        and one that could not be had is tried again now and then."""
        if self.spooled:
            self._survives()
        elif now >= self._keeper.seek_spool_at:
            self._keeper.seek_spool_at = now + SPOOL_AGAIN_S
            if self._find_spool():
                what = "a spool again in %s: events survive this process"
                self._complaints.later("spool again", what, self._directory)

    def frame(self, first_seq: int) -> wire.Frame | None:
        """The next frame from ``first_seq`` on; an empty one reports drops; None for nothing."""
        last_seq = self.seq
        if self._store and first_seq <= last_seq:
            return self._store.frame(first_seq, last_seq)
        if not self.accounts.has_unreported:
            return None
        return wire.Frame(self.producer_id, first_seq, 0, 0, self.accounts.drops, b"")

    @exclusively
    def wanted(self) -> tuple[int, int]:
        """The lowest number whose outcome somebody waits for, and the highest waited for."""
        return self._tickets.first_outcome(), self._tickets.target()

    @exclusively
    def belongs_to(self, log_id: bytes) -> bool:
        """Whether the events may enter this log; a producer that knows none joins it."""
        if self._log_id is None:
            self._log_id = log_id
            if self._store:
                self._store.note(log_id=log_id)
        return self._log_id == log_id

    @exclusively
    def acknowledge(self, watermark: int, crc: int, dropped: int, refusals: wire.Refusals) -> bool:
        """Everything up to ``watermark`` is committed, but for the refusals: free it.

        False, and nothing changed, when the log's CRC there is not this producer's: somebody else
        used its id.
        """
        if watermark > self.seq:
            return False
        if watermark >= self.acked:
            held_crc = self._store.crc_at(watermark) if self._store else self._base_crc
            if held_crc != crc:
                return False
            if self._store:
                self._store.free_to(watermark)
            if watermark > self.acked:
                self._stalled = False  # an answer alone makes no room
            self.acked, self._base_crc = watermark, crc
            self._set_room()
        self.accounts.reported(dropped)
        self.accounts.refused(refusals)
        self._room.notify_all()
        return True

    @exclusively
    def share(self, ack: wire.Ack) -> bool:
        """The same for what a twin has sent out of a copy of these events: the answer to a
        `wire.Compare`, whose refusals are of these alone. False, and nothing changed, when its CRC
        is not that of the events held here."""
        refusals = self.accounts.refusals_with(ack.refusals)
        return self.acknowledge(ack.watermark, ack.crc, 0, refusals)

    @exclusively
    def meet(self, refusals: wire.Refusals) -> None:
        """The log greets this producer, and says what it has refused under its id so far."""
        self.accounts.meet(refusals)

    @exclusively
    def unawaited(self, notices: Sequence[wire.Notice]) -> list[wire.Notice]:
        """Those that no caller learns of by waiting."""
        return [each for each in notices if not self._tickets.awaits(each.producer_seq)]

    @exclusively
    def settle(self, ack: wire.Ack, asked_from: int) -> None:
        """Let the callers go on whose numbers an ack answers."""
        self._tickets.settle(ack, asked_from, self.acked)

    @exclusively
    def renumber(self) -> None:
        """Take a new id; what is not committed gets new numbers from 1. Raises OSError, and
        nothing changed, when no new spool can be made."""
        committed, acked = self.acked - self.first_seq + 1, self.acked
        self._restart(Source(new_producer_id()), self._held())
        self.accounts.committed_before += committed
        self._tickets.shift(acked)

    @exclusively
    def rebase(self, watermark: int, crc: int) -> None:
        """For a `Source`: the log has these numbers already, whoever sent them. Raises OSError,
        and nothing changed, when no new spool can be made."""
        left = self._held(behind=watermark)
        committed = min(watermark, self.seq) - self.first_seq + 1
        skip = max(watermark - self.seq, 0)
        self._skip += skip
        try:
            self._restart(Source(self.producer_id, watermark, crc), left)
        except OSError:
            self._skip -= skip
            raise
        self.accounts.committed_before += committed

    @exclusively
    def survives(self) -> bool:
        """Whether what waits outlives this process; a spool that was removed is made again."""
        return self._survives()

    @exclusively
    def leave_log(self) -> None:
        """The log in the directory is another one: these events never enter it.

        The spool stays as it is, with drops not told yet, for who brings the old log back; memory
        is lost and counted.
        """
        self._leave_log()
        self._tickets.give_up()

    @exclusively
    def refuse(self) -> None:
        """Take nothing more; what is kept is kept."""
        self._closed = True
        self._seq_max = -1
        self._room.notify_all()

    def close(self) -> int:
        """Let go of the store; how many events are left in it. A spool that is empty is removed."""
        self.refuse()
        return self._let_go()

    @exclusively
    def statistics(self) -> dict[str, Any]:
        """A consistent snapshot: ``submitted = appended + dead_lettered + waiting + dropped``."""
        refusals = self.accounts.refusals
        dead_lettered = refusals.refused - refusals.returned
        return {
            "submitted": self.committed + self.waiting + self.accounts.dropped_total,
            "appended": self.committed - dead_lettered,
            "dead_lettered": dead_lettered,
            "orphaned": refusals.orphaned,
            "waiting": self.waiting,
            "dropped": dict(self.accounts.dropped),
            "append_failures": refusals.refused,
            "spooled": self.spooled,
            "spool_bytes": self.spool_bytes,
        }

    def abandon_after_fork(self) -> None:
        """In a child: leave the parent's spool alone. The object is of no use after that."""
        self._is_inherited = True
        if self._store:
            self._store.abandon_after_fork()

    # --- inside ---

    @exclusively
    def _drain(self) -> None:
        """Keep what interruptions have set aside: at the end, as always."""

    @exclusively
    def _keep(self, record: Record) -> int:
        try:
            return self._append_slowly(record)
        except BaseException:  # a signal handler may raise anywhere: leave nothing half done
            if self._is_inherited:
                return NOT_KEPT
            if self._is_torn:
                self._mend()
            raise

    @exclusively
    def _open(self, ticket: Ticket) -> None:
        if ticket.seq <= self.acked and not ticket.wants_outcome:
            ticket.settle(COMMITTED)
        else:
            self._tickets.add(ticket)

    @exclusively
    def _let_go(self) -> int:
        with making:
            left = self.waiting
            survives = not left or self._survives()
            store, self._store = self._store, None
            if store:
                store.close(remove=not left and not self.accounts.has_unreported)
                if not survives:
                    self.accounts.lose(MEMORY_LOST, left)
                    self.seq = self.acked
        return left

    def _append_slowly(self, record: Record, on_full: str | None = None) -> int:
        """The first event, a run, a full queue, or a closed log. The number of the last event."""
        if self._closed:
            raise ClosedError(CLOSED)
        if on_full == TELL:
            return NO_ROOM
        on_full = on_full or self._settings.on_full
        if self._skip:
            self._skip -= 1
            self._set_room()
            return NOT_NUMBERED
        if self._store is None:
            self._open_store()
        if self._try(record):
            self._stalled = False
            return self.seq
        if on_full == "raise":
            raise QueueFull(self._full())
        if on_full == "block" and self._wait_for_room(record):
            return self.seq
        if self._closed:
            raise ClosedError(CLOSED)
        self._drop(FULL, record[1])
        self._complaints.later("full", "event dropped: %s", self._full())
        if not self._settings.best_effort:
            raise QueueFull(self._full())
        return NOT_KEPT

    def _wait_for_room(self, record: Record) -> bool:
        """Until it is kept, or `ack_timeout` has passed; then others need not try."""
        if self._stalled or threading.get_ident() == self.sender_ident:  # it would wait for itself
            return False
        deadline = time.monotonic() + self._settings.ack_timeout
        self._blocked += 1
        try:
            self._wake()
            while (left := deadline - time.monotonic()) > 0 and not self._closed:
                self._busy = False  # the lock is free while waiting, and so is this thread
                try:
                    self._room.wait(min(left, threading.TIMEOUT_MAX))
                finally:
                    self._busy = True
                if self._try(record):
                    return True
        finally:
            self._blocked -= 1
        self._stalled = True
        return False

    def _drain_side(self) -> None:
        while self._side:
            record, seq = self._side[0], self.seq
            try:
                if self._store is None and not self._closed:
                    self._open_store()
                if not self._try(record):
                    self._drop(FULL, record[1])
            except BaseException:  # whoever comes next goes on from here
                if self.seq != seq:
                    del self._side[0]
                raise
            del self._side[0]

    def interrupts(self) -> bool:
        """Whether this call came up inside another call of the same thread."""
        if not self._lock.acquire(blocking=False):
            return False  # another thread is inside
        try:
            return self._busy
        finally:
            self._lock.release()
