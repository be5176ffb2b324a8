"""Go-back-N: what a producer sends next, and what an answer means. No sockets, no clock.

The rules: no frame before a hello is answered; one `wait` outstanding while anything is
uncommitted; frames are sent again only for a new run of the writer, a lost connection (both
through a new hello) or a resume-at, never by a timer alone.
"""

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final

from hansard import wire
from hansard.accounts import UNSENT
from hansard.complaints import Complaints
from hansard.producer import Producer
from hansard.wording import counted

if TYPE_CHECKING:
    from hansard.adopting.adoptee import Adoptee

CALM_S: Final = 0.02  # between two waits that nobody hurries


class Verdict(Enum):
    """What to do after an answer."""

    GO_ON = "go on"
    ASK = "ask"  # what `Transmission.greeting` says now, on the same sockets
    GREET_AGAIN = "greet again"  # on new sockets


class Transmission:
    """One producer's conversation with its writer. Used by the sender's thread alone."""

    def __init__(self, producer: "Producer | Adoptee", complaints: Complaints) -> None:
        self._producer = producer
        self._complaints = complaints
        self.run_id: bytes | None = None  # of the writer that we have met last
        self._reached = (b"", 0)  # how far any frame of a producer id went, for the resent count
        self.writer_restarts = 0
        self.resent = 0
        self.duplicates_dropped = 0
        self._duplicates_told = 0  # by this run of the writer, to this producer id
        self._duplicates_told_to = (b"", b"")
        self.frames_pushed = 0
        self.send_failures = 0
        self.refusal = ""  # what the writer last said instead of an answer
        self.begin()

    def begin(self) -> None:
        """Nothing of what was sent may be counted on: start with a hello."""
        self.welcomed = False
        self.suspended = ""  # why the writer takes nothing in, as it last said
        self.outstanding: wire.Wait | None = None
        self._doubt: wire.Frame | None = None  # events that a twin may have sent
        self._sent_to = 0
        self._drops_sent = 0
        self._marks_urgent = False  # whether this writer understands it
        self._calm_until = 0.0

    def greeting(self) -> bytes:
        """What to ask before anything is pushed: the hello to begin with; where the log's CRC is
        not ours, what of ours it has."""
        if self._doubt is not None:
            asked = self._doubt
            return wire.pack_request(wire.Compare(*asked[:4], asked.body))
        return wire.pack_request(self._producer.hello())

    def has_frame(self) -> bool:
        """Whether there is something to push, and somebody to push it to."""
        producer = self._producer
        return self.welcomed and (
            producer.seq > self._sent_to or producer.accounts.drops.total > self._drops_sent
        )

    def next_frame(self) -> wire.Frame | None:
        """The next frame to push, None when there is none. Urgent if an urgent wait follows it."""
        if not self.has_frame():
            return None
        producer = self._producer
        frame = producer.frame(self._sent_to + 1)
        if frame is None or frame.last_seq < producer.seq or not self._marks_urgent:
            return frame
        is_followed = producer.hurried and not self._is_asked_urgently()
        return frame._replace(urgent=True) if is_followed else frame

    def pushed(self, frame: wire.Frame) -> None:
        """The frame went out."""
        self.frames_pushed += 1
        self._drops_sent = frame.drops.total
        if not frame.event_count:
            return
        producer_id, reached = self._reached
        if producer_id == frame.producer_id and frame.first_seq <= reached:
            self.resent += min(reached, frame.last_seq) - frame.first_seq + 1
        self._sent_to = frame.last_seq
        if producer_id != frame.producer_id or frame.last_seq > reached:
            self._reached = (frame.producer_id, frame.last_seq)

    def wait_is_due(self, now: float) -> bool:
        """Whether to send a wait: something is uncommitted, and none is outstanding.

        A caller who waits overtakes a wait that nobody hurries.
        """
        producer = self._producer
        if not self.welcomed or not producer.has_work:
            return False
        if producer.hurried:
            return not self._is_asked_urgently()
        return self.outstanding is None and now >= self._calm_until

    def next_wait(self, now: float) -> bytes | None:
        """The wait to send now, None when none is due."""
        if not self.wait_is_due(now):
            return None
        producer = self._producer
        from_seq, target = producer.wanted()
        self.outstanding = wire.Wait(
            producer.producer_id,
            from_seq,
            target or self._sent_to,
            producer.acked,
            producer.accounts.drops.total,
            producer.hurried,
            wire.Report(producer.seq, producer.spool_bytes, self.resent, self.send_failures),
        )
        return wire.pack_request(self.outstanding)

    def ask_again(self) -> None:
        """The wait may never have arrived. To ask twice is harmless; frames are never sent twice
        by the clock."""
        self.outstanding = None

    def wakes_at(self, now: float) -> float | None:
        """When the next calm wait is due, None for when something happens."""
        if self.welcomed and self.outstanding is None and self._producer.has_work:
            return max(self._calm_until, now)
        return None

    def statistics(self) -> dict[str, int]:
        """Counts of what went wrong on the way, and was mended; what is still to be sent."""
        producer = self._producer
        return {
            "queue_depth": max(producer.seq - max(self._sent_to, producer.acked), 0),
            "resent": self.resent,
            "duplicates_dropped": self.duplicates_dropped,
            "send_failures": self.send_failures + producer.accounts.dropped.get(UNSENT, 0),
            "writer_restarts": self.writer_restarts,
            "suspended": bool(self.suspended),
        }

    def on_reply(self, message: bytes, now: float) -> Verdict:
        """Take an answer in. Raises `hansard.errors.ProtocolMismatch`."""
        try:
            verb, content = wire.unpack_reply(message)
            if verb == "hello":
                return self._on_welcome(wire.welcome_of(content))
            if verb == "wait":
                return self._on_ack(wire.ack_of(content), now)
            if verb == "compare":
                return self._on_comparison(wire.ack_of(content))
        except wire.WireError as error:
            self.send_failures += 1
            self.refusal = str(error)
            self._complaints.warn("refused", "%s", error)
            return Verdict.GREET_AGAIN
        return Verdict.GO_ON

    def _is_asked_urgently(self) -> bool:
        return self.outstanding is not None and self.outstanding.urgent

    def _on_welcome(self, welcome: wire.Welcome) -> Verdict:
        producer = self._producer
        if self.run_id is not None and self.run_id != welcome.run_id:
            self.writer_restarts += 1
        self.run_id = welcome.run_id
        if self._duplicates_told_to != (welcome.run_id, producer.producer_id):
            self._duplicates_told_to = (welcome.run_id, producer.producer_id)
            self._duplicates_told = 0
        if not producer.belongs_to(welcome.log_id):
            self._complaints.warn(
                "other log",
                "the log was replaced by another one (%s): what was recorded for the old one "
                "stays in its spool; bring the old log back to enter it",
                welcome.log_id.hex(),
            )
            producer.leave_log()
            return Verdict.GREET_AGAIN
        producer.meet(welcome.refusals)
        self._note_suspension(welcome.suspended)
        if not self._acknowledged(welcome):
            return self._part(welcome.watermark, welcome.crc)
        self.welcomed = True
        self._marks_urgent = bool(welcome.limits.get(wire.URGENT_FRAMES))
        self._sent_to = welcome.watermark
        return Verdict.GO_ON

    def _on_ack(self, ack: wire.Ack, now: float) -> Verdict:
        if self.outstanding is None:
            return Verdict.GO_ON  # late: it was overtaken
        asked, self.outstanding = self.outstanding, None
        if ack.run_id != self.run_id:
            return Verdict.GREET_AGAIN
        if not self._acknowledged(ack):
            return self._part(ack.watermark, ack.crc)
        self._note_suspension(ack.suspended)
        self.duplicates_dropped += max(ack.duplicates - self._duplicates_told, 0)
        self._duplicates_told = ack.duplicates
        for notice in self._producer.unawaited(ack.notices):
            self._warn_of(notice)
        self._producer.settle(ack, asked.from_seq)
        if ack.status == wire.RESUME:
            self._sent_to = ack.watermark
            return Verdict.GO_ON
        self._sent_to = max(self._sent_to, ack.watermark)  # what is committed is freed
        if not asked.urgent:
            self._calm_until = now + CALM_S
        return Verdict.GO_ON

    def _on_comparison(self, ack: wire.Ack) -> Verdict:
        """So much of what was asked about is committed: it is freed before the rest takes leave."""
        asked, self._doubt = self._doubt, None
        if asked is None:
            return Verdict.GO_ON  # late: a hello came in between
        if ack.run_id != self.run_id:
            return Verdict.GREET_AGAIN
        producer = self._producer
        if producer.share(ack):
            producer.settle(ack, asked.first_seq)
            if ack.watermark == asked.last_seq and self._doubts():
                return Verdict.ASK
        return self._take_leave()

    def _note_suspension(self, reason: str) -> None:
        """The writer says whether it takes anything in; while it does not, this process keeps."""
        self.suspended = reason
        if reason and self._producer.waiting:
            self._complaints.warn(
                "suspended",
                "the writer takes nothing in: %s; events wait here (%s so far), and go on by "
                "themselves",
                reason,
                counted(self._producer.waiting, "event"),
            )

    def _warn_of(self, notice: wire.Notice) -> None:
        if notice.reason == wire.ORPHAN:
            self._complaints.warn_of_orphan(notice.event_type, notice.detail)
            return
        self._complaints.warn(
            f"refused {notice.reason} {notice.event_type} {notice.detail}",
            "%s event was refused: %s; see `hansard dlq list`",
            notice.event_type,
            notice.detail,
        )

    def _acknowledged(self, said: wire.Welcome | wire.Ack) -> bool:
        """Free what is committed; false where the log's CRC is not ours."""
        return self._producer.acknowledge(said.watermark, said.crc, said.dropped, said.refusals)

    def _part(self, watermark: int, crc: int) -> Verdict:
        """Somebody else used this producer's numbers. What it sent may be ours all the same, from
        a copy of our spool: ask, before it is sent again under another id."""
        self.welcomed = False
        producer = self._producer
        if producer.source is not None:
            return self._renumbered(lambda: producer.rebase(watermark, crc))
        return Verdict.ASK if self._doubts() else self._take_leave()

    def _doubts(self) -> bool:
        """Whether there is something to ask about: the next frame of what is uncommitted."""
        producer = self._producer
        frame = producer.frame(producer.acked + 1)
        self._doubt = frame if frame and frame.event_count else None
        return self._doubt is not None

    def _take_leave(self) -> Verdict:
        """From the numbers: what is left goes on under a new id."""
        self._complaints.warn(
            "twin",
            "another process recorded under this producer's id (a copied machine image?): "
            "going on under a new one",
        )
        return self._renumbered(self._producer.renumber)

    def _renumbered(self, renumber: Callable[[], None]) -> Verdict:
        try:
            renumber()
        except OSError as error:
            self._complaints.warn(
                "no second spool",
                "cannot renumber what is spooled (%s): it waits; make room on the disk",
                error.strerror,
            )
        return Verdict.GREET_AGAIN
