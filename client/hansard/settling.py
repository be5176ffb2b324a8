"""What a caller gets once its wait is over: an entry or an answer, a warning, at most an error.

It waits on tickets and reads what the sender's thread made of them; it sends nothing.
"""

from typing import NamedTuple

from hansard import entry as outcome
from hansard.complaints import Complaints
from hansard.entry import Entry
from hansard.errors import AckTimeout, Rejected, WriterUnavailable
from hansard.producer import NOT_KEPT, Producer
from hansard.sender import Sender
from hansard.served_by import Writer
from hansard.tickets import Ticket
from hansard.wording import counted


class Facts(NamedTuple):
    """What its caller knows of an event: type, time (ns since 1970 UTC) and task."""

    event_type: str
    created_at: int
    task_id: str | None


class Settling:
    """The outcomes of one producer's events, as its callers want them. For any thread.

    Where ``best_effort`` is off, what goes wrong is raised besides the warning.
    """

    def __init__(
        self,
        writer: Writer,
        producer: Producer,
        sender: Sender,
        complaints: Complaints,
        *,
        best_effort: bool,
    ) -> None:
        self._writer = writer
        self._producer = producer
        self._sender = sender
        self._complaints = complaints
        self._best_effort = best_effort

    def entry(self, seq: int, ticket: Ticket | None, facts: Facts, timeout: float) -> Entry:
        """Wait for an event, up to ``timeout`` seconds, and say what became of it. Without a
        ticket there is nothing to wait for: ``seq`` says why."""
        return self.outcome(seq, ticket, ticket is not None and self._wait(ticket, timeout), facts)

    def outcome(self, seq: int, ticket: Ticket | None, is_settled: bool, facts: Facts) -> Entry:
        """The same, once the wait is over."""
        if ticket is None:
            return self.unnumbered(seq, facts)
        key = (self._producer.hash, ticket.seq)  # both may be others than when it was recorded
        event_type, created_at, _ = facts
        if not is_settled:
            self._complain_of_silence(event_type)
            return Entry(outcome.ID_UNKNOWN, outcome.UNKNOWN, key, event_type, created_at)
        if ticket.status == outcome.ORPHANED:
            self._complaints.warn_of_orphan(event_type, ticket.reason)
        elif ticket.status == outcome.REJECTED:
            self._complain_of_refusal(event_type, ticket.reason)
        return Entry(ticket.id, ticket.status, key, event_type, created_at)

    def queued(self, seq: int, facts: Facts) -> Entry:
        """An event that nobody waits for."""
        if seq <= 0:
            return self.unnumbered(seq, facts)
        key = (self._producer.hash, seq)
        return Entry(outcome.ID_UNKNOWN, outcome.QUEUED, key, facts.event_type, facts.created_at)

    def unnumbered(self, seq: int, facts: Facts) -> Entry:
        """An event that was dropped, or that interrupted another's recording."""
        self._complaints.say()
        event_type, created_at, _ = facts
        if seq == NOT_KEPT:
            return Entry(None, outcome.DROPPED, None, event_type, created_at)
        return Entry(outcome.ID_UNKNOWN, outcome.QUEUED, None, event_type, created_at)

    def flushed(self, ticket: Ticket, timeout: float) -> bool:
        """Wait for a flush, up to ``timeout`` seconds; whether it is done."""
        return self.flush_outcome(ticket, self._wait(ticket, timeout))

    def flush_outcome(self, ticket: Ticket, is_settled: bool) -> bool:
        """The same, once the wait is over."""
        if is_settled:
            return ticket.status == outcome.COMMITTED
        error, waiting = self._no_answer(), self._producer.waiting
        self._complaints.warn("flush", "flush: %s; waiting: %s", error, counted(waiting, "event"))
        if not self._best_effort:
            raise error
        return False

    # --- inside ---

    def _wait(self, ticket: Ticket, timeout: float) -> bool:
        is_settled = ticket.wait(timeout)
        if not is_settled:
            self._producer.give_up(ticket)
        return is_settled

    def _complain_of_silence(self, event_type: str) -> None:
        error = self._no_answer()
        self._complaints.warn(
            "ack",
            "%s: the outcome of a %r event is unknown; it is kept and will be entered",
            error,
            event_type,
        )
        if not self._best_effort:
            raise error

    def _complain_of_refusal(self, event_type: str, reason: str) -> None:
        message = f"the writer refused a {event_type!r} event: {reason}"
        self._complaints.warn("rejected", "%s; see `hansard dlq list`", message)
        if not self._best_effort:
            raise Rejected(message)

    def _no_answer(self) -> AckTimeout | WriterUnavailable:
        if self._sender.served:
            return AckTimeout(f"no ack in time from {self._writer.name}")
        return WriterUnavailable(
            self._writer.silent("in time")
            or f"no writer answers {self._writer.where}: "
            f"{self._writer.way_out(self._sender.refusal)}"
        )
