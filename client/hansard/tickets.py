"""Callers that wait for acks: each holds a ticket for one number.

The sender's thread settles tickets, the caller's thread waits on its own. No sockets here.
"""

import _thread
from collections.abc import Callable

from hansard.entry import COMMITTED, ORPHANED, REJECTED, UNKNOWN
from hansard.wire import ORPHAN, Ack


class Ticket:
    """One caller's wait for ``seq``. ``wants_outcome``: for its id, not only for its commit.

    ``on_settled`` is called by whichever thread settles it, under the producer's lock: it MUST
    return at once, and raise nothing.
    """

    __slots__ = ("_on_settled", "_settled", "id", "reason", "seq", "status", "wants_outcome")

    def __init__(
        self, seq: int, *, wants_outcome: bool, on_settled: Callable[[], None] | None = None
    ) -> None:
        self._on_settled = on_settled
        self.seq = seq
        self.wants_outcome = wants_outcome
        self.status = UNKNOWN
        self.id: int | None = -1
        self.reason = ""
        self._settled = _thread.allocate_lock()
        self._settled.acquire()

    def wait(self, timeout: float) -> bool:
        """Whether it was settled within ``timeout`` seconds."""
        return self._settled.acquire(timeout=min(max(timeout, 0), _thread.TIMEOUT_MAX))

    def settle(self, status: str, id: int | None = None, reason: str = "") -> None:  # noqa: A002
        """Let the caller go on. MUST be called once."""
        self.status, self.id, self.reason = status, id, reason
        self._settled.release()
        if self._on_settled:
            self._on_settled()


class Tickets:
    """All tickets of a producer. MUST be used under the producer's lock."""

    def __init__(self) -> None:
        self._open: list[Ticket] = []

    def add(self, ticket: Ticket) -> None:
        """Wait for one more."""
        self._open.append(ticket)

    def discard(self, ticket: Ticket) -> None:
        """Its caller has given up."""
        if ticket in self._open:
            self._open.remove(ticket)

    def __len__(self) -> int:
        return len(self._open)

    def target(self) -> int:
        """The highest number that somebody waits for, 0 for none."""
        return max((ticket.seq for ticket in self._open), default=0)

    def first_outcome(self) -> int:
        """The lowest number whose outcome somebody wants, 0 for none."""
        return min((ticket.seq for ticket in self._open if ticket.wants_outcome), default=0)

    def awaits(self, seq: int) -> bool:
        """Whether somebody wants to know what became of ``seq``."""
        return any(ticket.wants_outcome and ticket.seq == seq for ticket in self._open)

    def settle(self, ack: Ack, asked_from: int, committed_to: int) -> None:
        """Settle what an ack answers. It tells the outcomes from ``asked_from`` on (0: none), and
        knows nothing of callers who came after it was asked for."""
        still_open = []
        for ticket in self._open:
            if ticket.seq > committed_to:
                still_open.append(ticket)
            elif not ticket.wants_outcome:
                ticket.settle(COMMITTED)
            elif 0 < asked_from <= ticket.seq <= ack.outcomes_to:
                _settle_with_outcome(ticket, ack)
            else:
                still_open.append(ticket)
        self._open = still_open

    def give_up(self) -> None:
        """Nobody will ever answer these."""
        for ticket in self._open:
            ticket.settle(UNKNOWN, -1, "the log was replaced by another one")
        self._open = []

    def shift(self, by: int) -> None:
        """All numbers have become smaller by ``by``: the producer took a new id. What was
        committed under the old one can be told by `lookup` only."""
        for ticket in self._open:
            ticket.seq -= by
        for ticket in self._open:
            if ticket.seq <= 0:
                ticket.settle(UNKNOWN, -1, "its producer took a new id")
        self._open = [ticket for ticket in self._open if ticket.seq > 0]


def _settle_with_outcome(ticket: Ticket, ack: Ack) -> None:
    for first, count, seq in ack.runs:
        if first <= ticket.seq < first + count:
            ticket.settle(COMMITTED, seq + ticket.seq - first)
            return
    for first, count, reason, detail in ack.dead:
        if first <= ticket.seq < first + count:
            ticket.settle(ORPHANED if reason == ORPHAN else REJECTED, None, detail)
            return
    ticket.settle(REJECTED, None, "a dead letter that was not kept")
