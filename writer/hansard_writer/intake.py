"""What the writer takes in: frames become a batch, numbers are held against watermarks.

Pure: no sockets, no files, no clock. The state of a producer moves with what is taken into the
batch; what is committed is remembered beside it, because only that may be acked.
"""

from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import orjson

from hansard import wire
from hansard_writer.decoding import Decoder, Refused, Run, crc_behind, without
from hansard_writer.tasks import TaskBook

BAD_HEADER: Final = "bad_header"
UNKNOWN_PRODUCER: Final = "unknown_producer"
ANOTHERS_PRODUCER: Final = "anothers_producer"
LOST: Final = "hansard.lost"
KEPT_OF_BAD_BYTES_MAX: Final = 64 << 10  # of a message that is nobody's
NOTICES_MAX: Final = 16
NOTICE_CHARS_MAX: Final = 300
OWN_ENTRIES_PER_BATCH_MAX: Final = 1_000  # that hellos cause; beyond, they must wait
PRODUCERS_MAX: Final = 16_384  # remembered; the others are read from the database again
NO_REPORT: Final = wire.Report()


class Outcome(Enum):
    """What became of a frame."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    GAP = "gap"
    CONFLICT = "conflict"
    REFUSED = "refused"
    ANOTHERS = "another's"  # its producer is not who sent it: nothing is kept


class AnothersProducer(wire.WireError):
    """Somebody speaks for a producer of another client, or of the writer's own host."""

    reason = ANOTHERS_PRODUCER


class ProducerState:
    """A producer as the writer sees it. ``watermark``, ``crc`` and ``dropped`` include the batch;
    the ``committed_`` ones do not. ``is_stored``: whether the database has its row."""

    __slots__ = (
        "client",
        "committed_crc",
        "committed_dropped",
        "committed_watermark",
        "crc",
        "dropped",
        "duplicates",
        "hash",
        "host",
        "id",
        "is_stored",
        "lost",
        "newest_run",
        "notices",
        "pid",
        "refused_to",
        "report",
        "resume_told_at",
        "started_at",
        "waits_since",
        "watermark",
    )

    def __init__(
        self,
        row_id: int,
        producer_hash: bytes,
        host: str,
        pid: int,
        started_at: int,
        watermark: int = 0,
        crc: int = 0,
        dropped: int = 0,
        lost: int = 0,
        client: str | None = None,
        *,
        is_stored: bool = False,
    ) -> None:
        self.id, self.hash, self.host, self.pid = row_id, producer_hash, host, pid
        self.started_at = started_at
        self.client = client
        self.watermark = self.committed_watermark = watermark
        self.crc = self.committed_crc = crc
        self.dropped = self.committed_dropped = dropped
        self.lost = lost  # numbers that a log had which went back in time
        self.refused_to = 0  # a frame up to this number came too early, or was another's
        self.resume_told_at: int | None = None  # the watermark at which it was told to
        self.is_stored = is_stored
        self.newest_run: tuple[int, int, int] | None = None  # committed, as `runs` has it
        self.duplicates = 0  # events that were dropped because they are there already
        self.notices: list[wire.Notice] = []  # of what was refused lately; a deque is 600 bytes
        self.report = NO_REPORT  # how it said it is doing
        self.waits_since: float | None = None  # by the clock of who measures it

    @property
    def is_clean(self) -> bool:
        """Whether the batch holds nothing of it."""
        return self.watermark == self.committed_watermark and self.dropped == self.committed_dropped

    def require_of(self, client: str | None) -> None:
        """Raises `AnothersProducer` unless it is this client's."""
        if self.client != client:
            raise AnothersProducer(
                "this producer is another's: its events came from another client, or over the "
                "writer's own sockets; if this key went by another name then, allow it under that "
                "name again, else begin a new producer, under a new id"
            )

    @property
    def wants_resume(self) -> bool:
        """Whether it must send again what was refused, and has not been told."""
        return self.refused_to > self.watermark and self.resume_told_at is None

    def committed(self) -> None:
        """The batch is in the database."""
        self.committed_watermark, self.committed_crc = self.watermark, self.crc
        self.committed_dropped = self.dropped
        self.is_stored = True


class Batch:
    """What the next transaction will write, in order."""

    def __init__(self) -> None:
        self.runs: list[tuple[ProducerState, Run]] = []
        self.refused: list[tuple[ProducerState | None, Refused]] = []
        self.touched: dict[int, ProducerState] = {}
        self.events = 0
        self.bytes = 0
        self.is_urgent = False  # somebody waits for it, whose `wait` may still be on its way
        self.oldest_at: float | None = None

    def __bool__(self) -> bool:
        return bool(self.touched or self.refused)

    def touch(self, state: ProducerState, now: float) -> None:
        """Its row must be written with the batch."""
        self.touched[state.id] = state
        if self.oldest_at is None:
            self.oldest_at = now


class Counters:
    """What has happened since the writer started."""

    def __init__(self) -> None:
        self.frames = self.events = self.duplicates_dropped = self.gaps = self.conflicts = 0
        self.event_bytes = self.refused = self.lost_reports = 0

    def as_mapping(self) -> dict[str, int]:
        """Name to count."""
        return dict(vars(self))


class Intake:
    """Turns frames into a batch.

    ``find`` looks a producer up in the database by its hash, ``next_id`` gives the id for a new
    row. ``own`` is the writer itself as a producer, for the entries that it makes. ``tasks``
    knows the registered tasks, None where events of others are entered too.
    """

    def __init__(
        self,
        find: Callable[[bytes], ProducerState | None],
        next_id: Callable[[], int],
        own: ProducerState,
        tasks: TaskBook | None = None,
    ) -> None:
        self._find = find
        self._next_id = next_id
        self.own = own
        self._tasks = tasks
        self._states: dict[bytes, ProducerState] = {own.hash: own}
        self._decoder = Decoder()
        self.batch = Batch()
        self.counters = Counters()

    def has_room_for(self, hello: wire.Hello) -> bool:
        """Whether the batch takes what a hello reports as lost. One that reports nothing takes
        none; without a bound, hellos would fill memory while nothing can be committed."""
        if self.own.watermark - self.own.committed_watermark < OWN_ENTRIES_PER_BATCH_MAX:
            return True
        state = self.state_of(wire.producer_hash(hello.producer_id))
        return hello.first_seq <= (state.watermark if state else 0) + 1

    def greet(
        self, hello: wire.Hello, now: float, now_ns: int, client: str | None = None
    ) -> ProducerState:
        """A producer introduces itself, and is its client's from then on. Where the log is behind
        what it has already freed, the log went back in time: that is entered, and the watermark
        moves. Raises `AnothersProducer`."""
        producer_hash = wire.producer_hash(hello.producer_id)
        state = self.state_of(producer_hash)
        if state is None:
            state = ProducerState(
                self._next_id(),
                producer_hash,
                hello.host,
                hello.pid,
                hello.started_at,
                client=client,
            )
            self._remember(state)
        state.require_of(client)
        if hello.first_seq > state.watermark + 1:
            first, last = state.watermark + 1, hello.first_seq - 1
            self._report_lost(
                state,
                now,
                now_ns,
                reason="the log went back in time",
                first_producer_seq=first,
                last_producer_seq=last,
                count=last - first + 1,
            )
            state.watermark, state.crc = last, hello.crc_before
            state.lost += last - first + 1
            self.batch.touch(state, now)
        state.refused_to, state.resume_told_at = 0, None
        return state

    def state_of(self, producer_hash: bytes) -> ProducerState | None:
        """A known producer, from memory or the database."""
        state = self._states.get(producer_hash)
        if state is None:
            state = self._find(producer_hash)
            if state is not None:
                self._remember(state)
        return state

    def take_message(
        self, parts: list[bytes], now: float, now_ns: int, client: str | None = None
    ) -> Outcome:
        """Take a message from the wire, sent with the key of ``client``, or over ipc."""
        try:
            if len(parts) != 2:
                raise wire.WireError(f"a frame has 2 parts, not {len(parts)}")
            frame = wire.unpack_frame(*parts)
        except wire.WireError as error:
            return self._refuse_message(BAD_HEADER, str(error), parts, now)
        state = self.state_of(wire.producer_hash(frame.producer_id))
        if state is None:
            return self._refuse_message(UNKNOWN_PRODUCER, "it said no hello", parts, now)
        if state.client != client:
            return Outcome.ANOTHERS
        return self.take(state, frame, now, now_ns)

    def take(self, state: ProducerState, frame: wire.Frame, now: float, now_ns: int) -> Outcome:
        """Take a frame of a known producer: all of it, its new part, or nothing."""
        counters, batch = self.counters, self.batch
        counters.frames += 1
        if frame.drops.total > state.dropped:
            self._take_drops(state, frame.drops, now, now_ns)
        if not frame.event_count:
            return Outcome.TAKEN
        if frame.first_seq > state.watermark + 1:
            counters.gaps += 1
            state.refused_to = max(state.refused_to, frame.last_seq)
            return Outcome.GAP
        if frame.last_seq < state.watermark:
            self._count_duplicates(state, frame.event_count)
            return Outcome.DUPLICATE
        skip = state.watermark - frame.first_seq + 1
        crc = crc_behind(frame)
        if not self._continues(state, frame, skip, crc):
            counters.conflicts += 1
            state.refused_to = max(state.refused_to, frame.last_seq)
            return Outcome.CONFLICT
        self._count_duplicates(state, skip)
        if frame.last_seq == state.watermark:
            return Outcome.DUPLICATE
        runs, refused = self._decoder.decode(frame, skip)
        if self._tasks:
            runs, refused = _without_orphans(runs, refused, self._tasks)
        batch.runs.extend((state, run) for run in runs)
        batch.refused.extend((state, each) for each in refused)
        batch.events += frame.event_count - skip
        batch.bytes += len(frame.body)
        batch.is_urgent |= frame.urgent
        state.watermark, state.crc = frame.last_seq, crc
        if state.refused_to <= state.watermark:
            state.resume_told_at = None
        batch.touch(state, now)
        counters.events += frame.event_count - skip
        counters.event_bytes += len(frame.body)
        counters.refused += sum(each.numbers for each in refused)
        return Outcome.TAKEN

    def enter_own(self, event_type: str, payload: dict[str, Any], now: float, now_ns: int) -> None:
        """An entry that the writer itself makes, level warning."""
        own = self.own
        run = own_run(own.watermark + 1, event_type, "warning", payload, now_ns)
        self.batch.runs.append((own, run))
        self.batch.events += 1
        own.watermark += 1
        self.batch.touch(own, now)

    def fresh_batch(self) -> None:
        """The batch is committed: its producers know, and the next one begins."""
        for state in self.batch.touched.values():
            state.committed()
        for owner, each in self.batch.refused:
            if owner is not None:
                detail = each.detail[:NOTICE_CHARS_MAX]
                event_type = each.event_type[: wire.EVENT_TYPE_CHARS_MAX]
                notice = wire.Notice(each.first_seq, each.reason, event_type, detail)
                owner.notices = [*owner.notices, notice][-NOTICES_MAX:]
        self.batch = Batch()

    def reported(self) -> tuple[int, int, wire.Report]:
        """What the producers that are remembered have said of themselves, in sums; first how
        many events wait with them, as far as they have said so, and how many of those have not
        been read here."""
        waiting = unread = resent = failures = spool_bytes = 0
        for state in self._states.values():
            behind = max(state.report.recorded_seq - state.committed_watermark, 0)
            waiting += behind
            unread += max(state.report.recorded_seq - state.watermark, 0)
            spool_bytes += state.report.spool_bytes if behind else 0
            resent += state.report.resent
            failures += state.report.send_failures
        most = wire.INT64_MAX  # whatever a producer says of itself, msgpack carries it
        report = wire.Report(0, min(spool_bytes, most), min(resent, most), min(failures, most))
        return min(waiting, most), min(unread, most), report

    def _count_duplicates(self, state: ProducerState, events: int) -> None:
        self.counters.duplicates_dropped += events
        state.duplicates += events

    def _continues(self, state: ProducerState, frame: wire.Frame, skip: int, crc: int) -> bool:
        """Whether the frame is the same producer's as what was taken before."""
        if skip == 0:
            return frame.crc_before == state.crc
        if skip == frame.event_count:
            return crc == state.crc
        try:
            return crc_behind(frame, skip) == state.crc
        except Exception:  # noqa: BLE001 - a body that cannot be told apart is nobody's
            return False

    def _take_drops(self, state: ProducerState, drops: wire.Drops, now: float, now_ns: int) -> None:
        """The producer could not keep everything: the log itself says so, once."""
        self._report_lost(
            state,
            now,
            now_ns,
            reason="the queue stayed full",
            count=drops.total - state.dropped,
            first_at=drops.first_at,
            last_at=drops.last_at,
        )
        state.dropped = drops.total
        self.batch.touch(state, now)

    def _report_lost(
        self, state: ProducerState, now: float, now_ns: int, *, reason: str, **facts: int
    ) -> None:
        self.counters.lost_reports += 1
        payload = {
            "producer": state.hash.hex(),
            "host": state.host,
            "pid": state.pid,
            "reason": reason,
            **facts,
        }
        self.enter_own(LOST, payload, now, now_ns)

    def _refuse_message(self, reason: str, detail: str, parts: list[bytes], now: float) -> Outcome:
        """A message that is nobody's: kept in part, and nothing moves."""
        kept = b"".join(parts)[:KEPT_OF_BAD_BYTES_MAX]
        self.batch.refused.append((None, Refused(0, 0, reason, detail[:500], kept)))
        self.batch.bytes += len(kept)
        self.batch.events += 1
        if self.batch.oldest_at is None:
            self.batch.oldest_at = now
        self.counters.refused += 1
        return Outcome.REFUSED

    def _remember(self, state: ProducerState) -> None:
        if len(self._states) >= PRODUCERS_MAX:
            others = (each for each in self._states.items() if each[1] is not self.own)
            clean = [key for key, each in others if each.is_clean]
            idle = [key for key in clean if self._states[key].is_stored] or clean
            for key in idle[: PRODUCERS_MAX // 4]:
                del self._states[key]
        self._states[state.hash] = state


def own_run(seq: int, event_type: str, level: str, payload: dict[str, Any], now_ns: int) -> Run:
    """An entry of the writer's own, under its number ``seq``."""
    text = orjson.dumps(payload).decode()
    columns = ((now_ns,), (event_type,), (level,), ("hansard",), (None,), (text,))
    return Run(seq, (wire.KIND_EVENT,), columns)


def _without_orphans(
    runs: list[Run], refused: list[Refused], tasks: TaskBook
) -> tuple[list[Run], list[Refused]]:
    good = []
    for run in runs:
        faults = tasks.faults(run)
        parts, orphans = without(run, faults) if faults else ([run], [])
        good += parts
        refused += orphans
    return good, refused
