"""Who waits for an answer: held back until the commit that settles it, or until time is up.

Pure: envelopes and values in, replies out. An ack MUST NOT say more than what is committed.
"""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from hansard import wire
from hansard_writer.decoding import crc_behind
from hansard_writer.intake import ProducerState
from hansard_writer.tallies import SECONDS, Histogram

Outcomes = Callable[
    [int, int, int], tuple[list[tuple[int, int, int]], list[tuple[int, int, str, str]], int]
]


Refusals = Callable[[int], wire.Refusals]


GREETING_S: Final = 5.0  # whoever was not welcomed by then has long said hello on new sockets


class Reply(NamedTuple):
    """An answer, and to whom."""

    envelope: list[bytes]
    content: bytes


class _Waiter(NamedTuple):
    envelope: list[bytes]
    wait: wire.Wait
    state: ProducerState
    deadline: float


class Acks:
    """All unanswered hellos and waits. A peer has one at most: a newer one replaces the older.

    ``clock`` only measures how long a producer waits; it decides nothing.
    """

    def __init__(
        self,
        run_id: bytes,
        log_id: bytes,
        epoch: int,
        outcomes: Outcomes,
        refusals: Refusals,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run_id = run_id
        self._log_id = log_id
        self._epoch = epoch
        self._outcomes = outcomes
        self._refusals = refusals
        self._clock = clock
        self._seconds = Histogram(SECONDS)
        self._waiters: dict[bytes, _Waiter] = {}
        self._greeted: dict[bytes, tuple[list[bytes], ProducerState, float]] = {}
        self.suspended = ""  # why nothing is taken in: every answer says so

    def __len__(self) -> int:
        return len(self._waiters) + len(self._greeted)

    def greet(self, envelope: list[bytes], state: ProducerState, now: float) -> None:
        """Welcome a producer, as soon as the batch holds nothing of it."""
        self._waiters.pop(envelope[0], None)
        state.waits_since = None
        self._greeted[envelope[0]] = (envelope, state, now + GREETING_S)

    def wait(
        self, envelope: list[bytes], wait: wire.Wait, state: ProducerState, now: float
    ) -> None:
        """Answer when the target is committed, or after `wire.WAIT_S`."""
        state.report = wait.report
        if state.waits_since is None:
            state.waits_since = self._clock()
        self._waiters[envelope[0]] = _Waiter(envelope, wait, state, now + wire.WAIT_S)

    def hurry(self) -> bool:
        """Whether somebody waits for a commit of what has been read."""
        if self._greeted:
            return True
        return any(
            (waiter.wait.urgent or waiter.state.wants_resume) and not waiter.state.is_clean
            for waiter in self._waiters.values()
        )

    def due(self, now: float) -> list[Reply]:
        """The answers that can be given now."""
        replies = []
        for peer, (envelope, state, until) in list(self._greeted.items()):
            if not state.is_clean and now >= until:
                del self._greeted[peer]
            elif state.is_clean:
                del self._greeted[peer]
                welcome = self._welcome(
                    state.committed_watermark,
                    state.committed_crc,
                    state.committed_dropped,
                    self._refusals(state.id) if state.is_stored else wire.Refusals(),
                )
                replies.append(Reply(envelope, welcome))
        for peer, waiter in list(self._waiters.items()):
            status = _status(waiter, now)
            if status:
                del self._waiters[peer]
                if status == wire.COMMITTED:
                    self._measure(waiter.state)
                replies.append(Reply(waiter.envelope, self._ack(waiter, status)))
        return replies

    def figures(self) -> dict[str, Any]:
        """For `hansard stats`. ``ack_seconds``: from the first wait for something to the answer
        that it is committed, through all those that could only say that it is not yet."""
        return {"waiting_requests": len(self), "ack_seconds": self._seconds.figures()}

    def next_deadline(self) -> float | None:
        """When the first wait must be answered whatever has happened."""
        return min((waiter.deadline for waiter in self._waiters.values()), default=None)

    def compared(self, state: ProducerState, frame: wire.Frame, held: int) -> wire.Ack:
        """What became of the first ``held`` events of a frame, which are the log's own."""
        first, last = frame.first_seq, frame.first_seq + held - 1
        runs, dead, outcomes_to = self._outcomes(state.id, first, last) if held else ([], [], last)
        refused = orphaned = 0
        for number, count, reason, _ in dead:
            numbers = min(number + count - 1, last) - max(number, first) + 1
            refused += numbers
            orphaned += numbers if reason == wire.ORPHAN else 0
        return wire.Ack(
            wire.COMMITTED,
            self._run_id,
            last,
            crc_behind(frame, held),
            0,
            outcomes_to,
            0,
            wire.Refusals(refused, 0, orphaned),
            runs,
            dead,
            [],
            self.suspended,
        )

    def welcome_stranger(self) -> bytes:
        """For a producer of another log: says which log this is, and knows nothing of it."""
        return self._welcome(0, 0, 0, wire.Refusals())

    def _measure(self, state: ProducerState) -> None:
        if state.waits_since is not None:
            self._seconds.observe(self._clock() - state.waits_since)
            state.waits_since = None

    def _welcome(self, watermark: int, crc: int, dropped: int, refusals: wire.Refusals) -> bytes:
        limits = {
            "event_bytes_max": wire.EVENT_BYTES_MAX,
            "frame_events_max": wire.FRAME_EVENTS_MAX,
            "frame_bytes_max": wire.FRAME_BYTES_MAX,
            wire.URGENT_FRAMES: 1,
        }
        welcome = wire.Welcome(
            self._log_id,
            self._run_id,
            self._epoch,
            watermark,
            crc,
            dropped,
            refusals,
            limits,
            self.suspended,
        )
        return wire.pack_reply("hello", welcome)

    def _ack(self, waiter: _Waiter, status: str) -> bytes:
        state, wait = waiter.state, waiter.wait
        runs: list[tuple[int, int, int]] = []
        dead: list[tuple[int, int, str, str]] = []
        outcomes_to = min(wait.target_seq, state.committed_watermark)
        if status == wire.RESUME:
            state.resume_told_at = state.watermark
        elif status == wire.PENDING and state.resume_told_at is not None:
            came = state.watermark > state.resume_told_at  # if not, it may have been lost
            state.resume_told_at = state.watermark if came else None
        if 0 < wait.from_seq <= outcomes_to:
            newest = state.newest_run
            if newest and newest[0] <= wait.from_seq and outcomes_to < newest[0] + newest[1]:
                runs = [newest]  # it holds all that is asked for: no need to look it up
            else:
                runs, dead, outcomes_to = self._outcomes(state.id, wait.from_seq, outcomes_to)
        ack = wire.Ack(
            status,
            self._run_id,
            state.committed_watermark,
            state.committed_crc,
            state.committed_dropped,
            outcomes_to,
            state.duplicates,
            self._refusals(state.id) if state.is_stored else wire.Refusals(),
            runs,
            dead,
            _notices(state, wait.seen_seq),
            self.suspended,
        )
        return wire.pack_reply("wait", ack)


def _notices(state: ProducerState, seen_seq: int) -> list[wire.Notice]:
    """Those of what is committed and new to the producer. It may ask again: they are kept until
    it has seen them."""
    state.notices = [each for each in state.notices if each.producer_seq > seen_seq]
    return state.notices


def _status(waiter: _Waiter, now: float) -> str | None:
    """What can be said now, None for nothing yet."""
    state, wait = waiter.state, waiter.wait
    if state.wants_resume and state.is_clean:
        return wire.RESUME
    if state.committed_watermark >= wait.target_seq and state.committed_dropped >= wait.dropped:
        return wire.COMMITTED
    return wire.PENDING if now >= waiter.deadline else None
