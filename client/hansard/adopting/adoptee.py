"""A dead producer, as far as its spool tells, with the face of a `Producer` that `Sender` and
`Transmission` use: so what it left is sent as it would have sent it.

Nothing is recorded with it, and nobody waits for it. Of the spool it changes nothing but the name
of the log.
"""

import contextlib
import hashlib
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from hansard import wire
from hansard.accounts import Accounts
from hansard.source import Source
from hansard.spool.orphan import Orphan, Position

# What became of it, once it has ended.
DELIVERED: Final = "delivered"
OTHER_LOG: Final = "other log"
UNREADABLE: Final = "unreadable"
CONFLICT: Final = "conflict"

RESTS: Final = 4  # times as long as it reads: the process is there for others
REST_S_MAX: Final = 0.05


class _Mark(NamedTuple):
    """Behind a record: where that is, and the CRC of what is sent under the present id."""

    position: Position
    crc: int


class Adoptee:
    """One orphan on its way in. The sender's thread uses it, and that alone; others wait for
    ``ended``, and may look at ``fate``, ``error`` and ``acked``."""

    hurried: Final = False
    sender_sleeps = False
    sender_ident: int | None = None
    spool_bytes: Final = 0  # of its own process there are none

    def __init__(self, orphan: Orphan) -> None:
        """Raises OSError for a file that cannot be read."""
        identity = orphan.identity
        self._orphan = orphan
        self._log_id = orphan.state.log_id
        self.producer_id = identity.producer_id
        self.source = Source(identity.producer_id) if identity.numbers_are_the_sources else None
        self.accounts = Accounts()
        self.accounts.drops = orphan.state.drops
        self.fate = ""
        self.error: OSError | None = None
        self.ended = threading.Event()
        self._shift = 0  # between the spool's numbers and those that are sent
        self._begins_as_twin: int | None = None  # behind this number
        self._committed = _Mark(orphan.beginning, orphan.beginning.crc)
        self._current: wire.Frame
        self._next: wire.Frame | None
        self._go_back()

    # --- what it holds ---

    @property
    def seq(self) -> int:
        """The highest number that was read: more may follow, of which at least one frame is read
        ahead."""
        newest = self._next or self._current
        return newest.last_seq

    @property
    def acked(self) -> int:
        """The highest number that is committed."""
        return self._committed.position.seq - self._shift

    @property
    def waiting(self) -> int:
        """How many events were read and are not committed."""
        return max(self.seq - self.acked, 0)

    @property
    def has_work(self) -> bool:
        """Whether there is anything left that the log must learn."""
        return not self.ended.is_set()

    def frame(self, first_seq: int) -> wire.Frame | None:
        """The next frame from ``first_seq`` on; an empty one reports drops; None for nothing."""
        with self._reading():
            if self._next and self._next.first_seq == first_seq:
                self._current, self._next = self._next, next(self._frames, None)
            elif self._current.first_seq != first_seq:
                self._go_back()
        if self.fate:
            return None
        drops = self.accounts.drops
        if self._current.event_count and self._current.last_seq >= first_seq:
            return self._current._replace(drops=drops)
        if not self.accounts.has_unreported:
            return None
        return wire.Frame(self.producer_id, first_seq, 0, 0, drops, b"")

    # --- what is said of it, and what answers mean ---

    def hello(self) -> wire.Hello:
        """How the dead one would introduce itself."""
        _, host, pid, started_at, _ = self._orphan.identity
        first_seq, crc = self.acked + 1, self._committed.crc
        return wire.Hello(self.producer_id, first_seq, crc, host, pid, started_at, self._log_id)

    def belongs_to(self, log_id: bytes) -> bool:
        """Whether its events may enter this log; a spool that knows none joins it."""
        if self._log_id is None:
            self._log_id = log_id
            with contextlib.suppress(OSError):  # another user's: it can be read all the same
                self._orphan.join(log_id)
        return self._log_id == log_id

    def acknowledge(self, watermark: int, crc: int, dropped: int, refusals: wire.Refusals) -> bool:  # noqa: ARG002 - a producer's face
        """Everything up to ``watermark`` is committed. False, and nothing changed, when the log's
        CRC there is not that of this spool."""
        found: _Mark | None = self._committed
        if watermark > self.acked:
            with self._reading():
                found = self._mark_at(watermark + self._shift)
        if found is None or (watermark >= self.acked and found.crc != crc):
            self._marks = self._marks_from(self._committed)
            return bool(self.fate)
        self._committed = found
        self.accounts.reported(dropped)
        if self.acked > self.seq or (self.acked == self.seq and not self._next):
            with self._reading():
                self._go_back()
            if not self._current.event_count and not self.accounts.has_unreported:
                self._end(DELIVERED)
        return True

    def share(self, ack: wire.Ack) -> bool:
        """The same for what the log has as it is, whoever sent it."""
        return self.acknowledge(ack.watermark, ack.crc, 0, ack.refusals)

    def renumber(self) -> None:
        """What is left goes in under an id that is made of the file's name and the number where it
        begins, as the writer beside a spool makes it: an interrupted adoption goes on."""
        begin = self._committed.position
        if self._begins_as_twin == begin.seq:
            self._end(CONFLICT)  # under such an id the log has something else
            return
        named = b"%b%b%d" % (
            self._orphan.identity.producer_id,
            self._orphan.path.name.encode(),
            begin.seq + 1,
        )
        self.producer_id = hashlib.sha256(named).digest()[: wire.PRODUCER_ID_BYTES]
        self.accounts.start_over()
        self._shift = self._begins_as_twin = begin.seq
        self._committed = _Mark(begin, 0)
        with self._reading():
            self._go_back()

    def rebase(self, watermark: int, crc: int) -> None:  # noqa: ARG002 - a producer's face
        """An import's numbers mean the same rows whoever sends them: what the log has is passed
        over, as the writer beside a spool does."""
        self._end(DELIVERED)

    def leave_log(self) -> None:
        """The log is another one: nothing of this enters it."""
        self._end(OTHER_LOG)

    def unawaited(self, notices: Sequence[wire.Notice]) -> Sequence[wire.Notice]:
        """All of them: nobody waits."""
        return notices

    def wanted(self) -> tuple[int, int]:
        """Nobody's numbers."""
        return 0, 0

    def meet(self, refusals: wire.Refusals) -> None:
        """What was refused of it is the log's to know."""

    def settle(self, ack: wire.Ack, asked_from: int) -> None:
        """Nobody waits."""

    def tend_spool(self, now: float) -> None:
        """It was closed by its death."""

    # --- inside ---

    def _end(self, fate: str) -> None:
        self.fate = self.fate or fate
        self.ended.set()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Within, the file is read; behind that it rests."""
        begun = time.monotonic()
        try:
            yield
        except OSError as error:
            self.error = error
            self._end(UNREADABLE)
        time.sleep(min((time.monotonic() - begun) * RESTS, REST_S_MAX))

    def _go_back(self) -> None:
        """To the first event that is not committed."""
        self._marks = self._marks_from(self._committed)
        self._frames = self._frames_from(self._committed)
        self._current = next(self._frames)
        self._next = next(self._frames, None)

    def _frames_from(self, mark: _Mark) -> Iterator[wire.Frame]:
        crc = mark.crc
        for frame in self._orphan.frames(mark.position):
            first_seq = frame.first_seq - self._shift
            yield frame._replace(producer_id=self.producer_id, first_seq=first_seq, crc_before=crc)
            crc = zlib.crc32(frame.body, crc)

    def _marks_from(self, mark: _Mark) -> Iterator[_Mark]:
        crc = mark.crc
        for position, record in self._orphan.records(mark.position):
            crc = zlib.crc32(record, crc)
            yield _Mark(position, crc)

    def _mark_at(self, spool_seq: int) -> _Mark | None:
        """Behind the record that ends with this number; None where none does."""
        for mark in self._marks:
            if mark.position.seq >= spool_seq:
                return mark if mark.position.seq == spool_seq else None
        return None
