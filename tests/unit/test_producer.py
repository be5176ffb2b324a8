"""The producer: numbers, room, interruptions, and an account of every event."""

import contextlib
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time
from types import FrameType, SimpleNamespace
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hansard import directory as layout
from hansard import exclusive as exclusive_module
from hansard import holding as holding_module
from hansard import producer as producer_module
from hansard.complaints import Complaints
from hansard.errors import ClosedError, QueueFull
from hansard.memory_queue import EVENTS_MAX
from hansard.producer import DROP, NO_ROOM, NOT_KEPT, NOT_NUMBERED, SPOOL_AGAIN_S, TELL, Producer
from hansard.settings import SPOOL_BYTES_MIN, Settings
from hansard.source import Source
from hansard.spool import live as spool_module
from hansard.spool.orphan import lock_orphan
from hansard.wire import INT64_MAX, Ack, Drops, Notice, Refusals

LOG, OTHER = b"L" * 16, b"M" * 16
Make = Callable[..., Producer]


def crc_of(*events: bytes, before: int = 0) -> int:
    """The running CRC behind these events."""
    return zlib.crc32(b"".join(events), before)


def crc_at(producer: Producer, seq: int) -> int:
    """The producer's own running CRC behind an event that it holds."""
    return producer._store.crc_at(seq) if producer._store else producer._base_crc


def numbered(count: int, first: int = 1) -> list[bytes]:
    """Events that can be told apart."""
    return [b"<%d>" % number for number in range(first, first + count)]


def held_by(producer: Producer) -> bytes:
    """All that it would push, as one body; its frames follow one another."""
    body, seq = b"", producer.acked + 1
    while seq <= producer.seq:
        frame = producer.frame(seq)
        assert frame is not None
        assert (frame.producer_id, frame.first_seq) == (producer.producer_id, seq)
        body, seq = body + frame.body, frame.last_seq + 1
    return body


def left_in(path: Path) -> tuple[int, bytes, Drops, bytes | None]:
    """What an adopter finds in a dead producer's spool: count, bytes, drops, log."""
    orphan = lock_orphan(path)
    assert orphan is not None
    frames = list(orphan.frames())
    orphan.close()
    count = sum(frame.event_count for frame in frames)
    return count, b"".join(frame.body for frame in frames), frames[-1].drops, orphan.state.log_id


def joined(count: int, first: int = 1) -> tuple[bytes, int]:
    """A run of events that can be told apart: its bytes, and how many they are."""
    return b"".join(numbered(count, first)), count


def ack(outcomes_to: int, runs: list[tuple[int, int, int]]) -> Ack:
    """An answer that tells outcomes up to a number."""
    return Ack("committed", b"", outcomes_to, 0, 0, outcomes_to, 0, Refusals(), runs, [], [])


def assert_accounted_for(producer: Producer, submitted: int) -> None:
    """Every event is appended, dead-lettered, waiting, or dropped."""
    figures = producer.statistics()
    assert figures["submitted"] == submitted
    assert submitted == (
        figures["appended"]
        + figures["dead_lettered"]
        + figures["waiting"]
        + sum(figures["dropped"].values())
    )


@pytest.fixture
def make(directory: Path) -> Iterator[Make]:
    """Makes producers of the test's directory, and closes them at its end."""
    made: list[Producer] = []
    layout.prepare_for_client(directory)

    def make(
        source: Source | None = None, wake: Callable[[], None] = lambda: None, **settings: Any
    ) -> Producer:
        chosen = Settings(**({"spool_bytes": SPOOL_BYTES_MIN} | settings))
        made.append(Producer(directory, chosen, Complaints(), wake, source))
        return made[-1]

    yield make
    for producer in made:
        producer.close()


@pytest.fixture
def no_spool(make: Make, directory: Path) -> None:
    """The log directory's spool directory is missing."""
    (directory / "spool").rmdir()


class Waits:
    """A clock that stands still, except while somebody waits for room."""

    def __init__(self, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None
        clock = SimpleNamespace(monotonic=lambda: self.now, time_ns=lambda: int(self.now * 1e9))
        monkeypatch.setattr(producer_module, "time", clock)
        monkeypatch.setattr(holding_module, "time", clock)
        monkeypatch.setattr(producer._room, "wait", self.wait)

    def wait(self, timeout: float) -> bool:
        self.waited.append(timeout)
        self.now += timeout
        self.meanwhile()
        return True


# --- numbers ---


def test_events_are_numbered_from_one_without_a_gap(make: Make) -> None:
    producer = make()
    assert [producer.append(data) for data in numbered(5)] == [1, 2, 3, 4, 5]
    assert held_by(producer) == b"".join(numbered(5))


def test_two_producers_have_two_secret_names(make: Make) -> None:
    assert make().producer_id != make().producer_id


def test_a_frame_carries_the_crc_of_all_before_it(make: Make) -> None:
    producer = make()
    for data in numbered(3):
        producer.append(data)
    frame = producer.frame(3)
    assert frame is not None
    assert (frame.event_count, frame.crc_before) == (1, crc_of(*numbered(2)))


def test_many_threads_share_the_numbers(make: Make) -> None:
    producer = make()
    got: list[list[int]] = [[] for _ in range(8)]

    def work(mine: list[int]) -> None:
        mine.extend(producer.append(b"x%d" % number) for number in range(200))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for mine in got for number in mine) == list(range(1, 1_601))
    assert all(mine == sorted(mine) for mine in got)
    assert_accounted_for(producer, 1_600)


def test_a_run_gets_numbers_in_a_row(make: Make) -> None:
    producer = make()
    producer.append(b"a")
    assert producer.append_run(*joined(3)) == 4
    assert producer.append(b"b") == 5
    assert held_by(producer) == b"a<1><2><3>b"
    assert producer.acknowledge(4, crc_of(b"a", *numbered(3)), 0, Refusals())
    assert_accounted_for(producer, 5)


def test_a_run_is_awaited_with_a_ticket_for_each_of_its_events(make: Make) -> None:
    producer = make()
    producer.append(b"a")
    last, tickets = producer.append_run_awaited(*joined(3))
    assert (last, [ticket.seq for ticket in tickets]) == (4, [2, 3, 4])
    assert producer.wanted() == (2, 4)
    producer.acknowledge(4, crc_of(b"a", *numbered(3)), 0, Refusals())
    producer.settle(ack(4, [(1, 4, 70)]), 2)
    assert all(ticket.wait(0) for ticket in tickets)
    assert [ticket.id for ticket in tickets] == [71, 72, 73]


def test_a_run_is_never_in_two_frames(make: Make) -> None:
    producer = make()
    for _ in range(200):
        producer.append(b"x")
    producer.append_run(*joined(51))
    producer.append(b"y")
    frames = [producer.frame(seq) for seq in (1, 201)]
    assert [frame and frame.event_count for frame in frames] == [200, 52]


def test_the_sender_is_woken_only_when_it_sleeps(make: Make) -> None:
    woken = []
    producer = make(wake=lambda: woken.append(producer.seq))
    producer.append(b"a")
    producer.sender_sleeps = False
    producer.append(b"b")
    producer.sender_sleeps = True
    producer.append(b"c")
    assert woken == [1, 3]


def test_who_will_wait_wakes_the_sender_once_it_can_see_him(make: Make) -> None:
    seen = []
    producer = make(wake=lambda: seen.append((producer.seq, producer.hurried)))
    producer.append_awaited(b"a")
    assert seen == [(1, True)]
    producer.sender_sleeps = False
    producer.append_awaited(b"b")
    assert seen[1:] == [(2, True)], "it may linger"


def test_who_finds_no_room_to_wait_for_leaves_a_sender_that_is_woken(make: Make) -> None:
    woken = []
    producer = make(wake=lambda: woken.append(producer.seq), queue_maxsize=1, on_full="raise")
    producer.append(b"a")
    with pytest.raises(QueueFull):
        producer.append_awaited(b"b")
    producer.acknowledge(1, crc_of(b"a"), 0, Refusals())
    woken.clear()
    producer.append(b"c")
    assert woken == [2]


# --- acks ---


def test_what_is_committed_is_freed(make: Make) -> None:
    producer = make()
    for data in numbered(5):
        producer.append(data)
    assert producer.acknowledge(3, crc_of(*numbered(3)), 0, Refusals())
    assert (producer.waiting, producer.committed) == (2, 3)
    assert held_by(producer) == b"".join(numbered(2, first=4))
    assert producer.acknowledge(5, crc_of(*numbered(5)), 0, Refusals())
    assert (producer.waiting, producer.committed, producer.statistics()["spool_bytes"]) == (0, 5, 0)
    assert not producer.has_work
    assert producer.append(b"more") == 6


def test_an_ack_that_comes_late_takes_nothing_back(make: Make) -> None:
    producer = make()
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(2, crc_of(*numbered(2)), 0, Refusals())
    assert producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    assert producer.acked == 2


@pytest.mark.parametrize(("watermark", "crc"), [(2, 1), (3, 0), (4, 0), (0, 1)])
def test_another_ones_crc_is_not_acknowledged(make: Make, watermark: int, crc: int) -> None:
    producer = make()
    for data in numbered(3):
        producer.append(data)
    assert not producer.acknowledge(watermark, crc, 0, Refusals())
    assert (producer.acked, producer.waiting) == (0, 3)
    assert held_by(producer) == b"".join(numbered(3))


def test_a_hello_says_what_is_still_held(make: Make, directory: Path) -> None:
    producer = make()
    assert producer.hello()[1:3] == (1, 0)
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(2, crc_of(*numbered(2)), 0, Refusals())
    hello = producer.hello()
    assert (hello.producer_id, hello.first_seq) == (producer.producer_id, 3)
    assert (hello.crc_before, hello.pid, hello.log_id) == (crc_of(*numbered(2)), os.getpid(), None)
    assert producer.belongs_to(LOG)
    assert producer.hello().log_id == LOG
    assert not producer.belongs_to(OTHER)


def test_the_spool_knows_its_log(make: Make, directory: Path) -> None:
    producer = make()
    producer.append(b"a")
    producer.belongs_to(LOG)
    (path,) = (directory / "spool").iterdir()
    producer.close()
    assert left_in(path) == (1, b"a", Drops(), LOG)


# --- an interruption inside ---


def interrupting_store(producer: Producer, action: Callable[[], None], *, after: bool) -> None:
    """Lets ``action`` come up inside the next append to the store, as a signal handler would."""
    store = producer._store
    assert store is not None
    real = store.append

    def append(*arguments: Any) -> bool:
        store.append = real  # type: ignore[method-assign]
        kept = real(*arguments) if after else False
        action()
        return kept if after else real(*arguments)

    store.append = append  # type: ignore[method-assign]


@pytest.mark.parametrize("after", [False, True])
def test_an_event_recorded_inside_a_record_is_kept_behind_it(make: Make, after: bool) -> None:
    producer = make()
    producer.append(b"first")
    inner: list[int] = []
    interrupting_store(producer, lambda: inner.append(producer.append(b"inner")), after=after)
    assert producer.append(b"outer") == 2
    assert inner == [NOT_NUMBERED]
    assert held_by(producer) == b"firstouterinner"
    assert producer.append(b"last") == 4
    assert_accounted_for(producer, 4)


def test_an_event_recorded_while_the_crc_is_made_is_kept(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make()

    def crc32(data: bytes, before: int) -> int:
        monkeypatch.undo()
        assert producer.append(b"inner") == NOT_NUMBERED
        return zlib.crc32(data, before)

    monkeypatch.setattr(producer_module, "crc32", crc32)
    assert producer.append(b"outer") == 1
    assert held_by(producer) == b"outerinner"
    assert producer.acknowledge(2, crc_of(b"outer", b"inner"), 0, Refusals())


def test_no_logging_handler_is_called_under_the_lock(
    make: Make, no_spool: None, caplog: pytest.LogCaptureFixture
) -> None:
    """It may hold a lock of its own, and wait in a `record()` of its own for ours."""
    producer = make()

    class Recording(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert producer.append(b"inner") == 2

    handler = Recording()
    logging.getLogger("hansard").addHandler(handler)
    try:
        assert producer.append(b"outer") == 1  # will complain that there is no spool
        assert producer.waiting == 1
        producer._complaints.say()
    finally:
        logging.getLogger("hansard").removeHandler(handler)
    assert held_by(producer) == b"outerinner"


class AtLine:
    """Calls ``action`` before the n-th line that runs in the client's code, once."""

    FILES = tuple(
        module.__file__
        for module in (producer_module, exclusive_module, holding_module, spool_module)
    )

    def __init__(self, line: int, action: Callable[[], None], *, but_in: str = "") -> None:
        """``but_in``: a function where no signal's handler can run between two lines, because
        they call nothing."""
        self.but_in = but_in
        self.left = line
        self.action = action
        self.done = False

    def __enter__(self) -> Self:
        self.before = sys.gettrace()
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in self.FILES or frame.f_code.co_name == self.but_in:
            return None
        if event == "line" and not self.done:
            self.left -= 1
            if self.left == 0:
                self.done = True
                sys.settrace(None)
                self.action()
        return None if self.done else self._trace


CALLS: dict[str, Callable[[Producer], object]] = {
    "append": lambda producer: producer.append(b"[outer]"),
    "ticket": lambda producer: producer.ticket(producer.seq, wants_outcome=True),
    "statistics": lambda producer: producer.statistics(),
    "wanted": lambda producer: producer.wanted(),
    "acknowledge": lambda producer: producer.acknowledge(
        producer.seq, crc_at(producer, producer.seq), 0, Refusals()
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_event_recorded_at_any_line_of_a_call_is_kept_once(make: Make, call: str) -> None:
    producer, submitted, line = make(), 0, 0
    while True:
        line += 1
        producer.append(b"[before]")
        expected = held_by(producer)
        with AtLine(line, lambda: producer.append(b"[inner]")) as interruption:
            CALLS[call](producer)
        submitted += 2 if call == "append" else 1
        submitted += interruption.done
        if not interruption.done:
            break
        assert not producer._side, f"set aside at line {line} and forgotten"
        assert not producer._busy
        assert_accounted_for(producer, submitted)
        inside = held_by(producer).removeprefix(expected)
        assert (producer.acked and not producer.waiting) or inside.count(b"[inner]") == 1
        producer.acknowledge(producer.seq, crc_at(producer, producer.seq), 0, Refusals())
        assert producer.waiting == 0
    assert line > 3, "nothing was interrupted"


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_that_raises_leaves_nothing_half_done(make: Make, after: bool) -> None:
    producer = make()
    producer.append(b"first")

    def interrupt() -> None:
        raise KeyboardInterrupt

    interrupting_store(producer, interrupt, after=after)
    with pytest.raises(KeyboardInterrupt):
        producer.append(b"interrupted")
    assert producer.append(b"second") == 2
    assert held_by(producer) == b"firstsecond"
    assert producer.acknowledge(2, crc_of(b"first", b"second"), 0, Refusals())


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_that_records_and_raises_has_recorded(make: Make, after: bool) -> None:
    producer = make()
    producer.append(b"first")

    def interrupt() -> None:
        producer.append(b"inner")
        raise KeyboardInterrupt

    interrupting_store(producer, interrupt, after=after)
    with pytest.raises(KeyboardInterrupt):
        producer.append(b"interrupted")
    assert held_by(producer) == b"firstinner"


def test_an_interruption_knows_that_its_event_is_not_committed(make: Make) -> None:
    producer = make()
    producer.append(b"first")
    producer.acknowledge(1, crc_of(b"first"), 0, Refusals())
    had_work = []

    def interrupt() -> None:
        producer.append(b"inner")
        had_work.append(producer.has_work)  # what flush() looks at

    interrupting_store(producer, interrupt, after=False)
    producer.append(b"outer")
    assert had_work == [True]


def test_an_interruption_does_not_wait_for_what_it_interrupts(make: Make) -> None:
    producer = make()
    producer.append(b"first")
    tickets = []
    interrupting_store(
        producer, lambda: tickets.append(producer.ticket(1, wants_outcome=True)), after=False
    )
    producer.append(b"outer")
    assert tickets[0].wait(0)
    assert (tickets[0].status, producer.hurried) == ("unknown", False)


def test_an_event_recorded_at_any_line_of_a_run_does_not_part_it(make: Make) -> None:
    producer, line = make(), 0
    run, count = joined(3)
    while True:
        line += 1
        before = producer.seq
        with AtLine(line, lambda: producer.append(b"[inner]")) as interruption:
            last = producer.append_run(run, count)
        if not interruption.done:
            break
        assert held_by(producer) in (b"[inner]" + run, run + b"[inner]")
        assert producer.seq == before + 4
        assert last in (before + 3, before + 4)
        assert producer.acknowledge(producer.seq, crc_at(producer, producer.seq), 0, Refusals())
    assert line > 8, "nothing was interrupted"
    assert_accounted_for(producer, 4 * (line - 1) + 3)


def test_a_run_recorded_inside_a_record_is_kept_whole_behind_it(make: Make) -> None:
    producer = make()
    producer.append(b"first")
    inner: list[int] = []
    run, count = joined(3)
    interrupting_store(producer, lambda: inner.append(producer.append_run(run, count)), after=True)
    assert producer.append(b"outer") == 2
    assert inner == [NOT_NUMBERED]
    assert held_by(producer) == b"firstouter" + run
    assert producer.append(b"last") == 6
    assert producer.acknowledge(5, crc_of(b"firstouter", run), 0, Refusals()), "as one record"
    assert_accounted_for(producer, 6)


def test_a_run_recorded_inside_a_record_that_does_not_fit_is_dropped_whole(make: Make) -> None:
    producer = make(queue_maxsize=4)
    producer.append(b"first")
    interrupting_store(producer, lambda: producer.append_run(*joined(3)), after=True)
    assert producer.append(b"outer") == 2
    assert held_by(producer) == b"firstouter"
    assert producer.accounts.dropped == {"full": 3}
    assert_accounted_for(producer, 5)


def test_an_interruption_that_raises_leaves_nothing_of_a_run(make: Make) -> None:
    line = 0
    producer = make()
    producer.append(b"first")
    run, count = joined(3)

    def interrupt() -> None:
        raise KeyboardInterrupt

    while True:
        line, before = line + 1, producer.seq
        interruption = AtLine(line, interrupt, but_in="inside")
        with contextlib.suppress(KeyboardInterrupt), interruption:
            producer.append_run(run, count)
        if not interruption.done:
            break
        kept = producer.seq - before
        assert kept in (0, 3)
        assert not producer._busy, f"stuck at line {line}"
        assert held_by(producer) == b"first" + run * (producer.seq // 3)
        assert crc_at(producer, producer.seq) == crc_of(held_by(producer)), "they go on from here"
    assert line > 8, "nothing was interrupted"


def raise_interrupt() -> None:
    raise KeyboardInterrupt


class RaisingBehindCall:
    """Raises behind the n-th call that the client's code makes to something in C, as a signal
    handler would: the call has done its work, and nobody has its result."""

    def __init__(self, call: int) -> None:
        self.left = call

    def __enter__(self) -> Self:
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "c_return" and frame.f_code.co_filename in AtLine.FILES:
            self.left -= 1
            if self.left == 0:
                raise_interrupt()


@pytest.mark.parametrize("is_held", [False, True], ids=["free", "held"])
def test_an_interruption_that_raises_behind_any_call_of_a_record_does_not_keep_the_lock(
    make: Make, is_held: bool
) -> None:
    producer, call = make(), 0
    producer.append(b"first")
    with ThreadPoolExecutor(1) as another:
        is_done = False
        while not is_done:
            call, before, expected = call + 1, producer.seq, held_by(producer)
            with contextlib.ExitStack() as held:
                if is_held:
                    held.enter_context(producer._lock)
                interruption = RaisingBehindCall(call)
                with contextlib.suppress(KeyboardInterrupt), interruption:
                    producer.append(b"[event]")
                is_done = interruption.left > 0
                assert producer._lock._is_owned() is is_held  # type: ignore[attr-defined]
            assert another.submit(producer._lock.acquire, timeout=5).result(), f"call {call}"
            another.submit(producer._lock.release).result()
            assert not producer._busy
            assert held_by(producer) == expected + b"[event]" * (producer.seq - before)
            assert crc_at(producer, producer.seq) == crc_of(held_by(producer))
    assert call > 6, "nothing was interrupted"


@pytest.mark.parametrize("call", ["append", "append_run"])
def test_an_interruption_that_raises_before_the_store_is_open_costs_no_other_event(
    make: Make, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    producer = make()
    with monkeypatch.context() as patch:
        patch.setattr(producer._keeper, "open", lambda *_: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            producer.append(b"torn") if call == "append" else producer.append_run(*joined(3))
    assert producer.append(b"first") == 1
    assert held_by(producer) == b"first"


@pytest.mark.parametrize("after", [False, True])
def test_an_interruption_that_raises_while_anothers_event_is_kept_loses_and_doubles_nothing(
    make: Make, after: bool
) -> None:
    producer = make()
    producer.append(b"first")

    def record() -> None:
        producer.append(b"inner")
        interrupting_store(producer, raise_interrupt, after=after)

    interrupting_store(producer, record, after=False)
    with pytest.raises(KeyboardInterrupt):
        producer.append(b"outer")
    assert producer.append(b"last") == 4
    assert held_by(producer) == b"firstouterinnerlast"
    assert producer.acknowledge(4, crc_of(b"firstouterinnerlast"), 0, Refusals())
    assert_accounted_for(producer, 4)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["append", "append_run"])
def test_an_interruption_that_raises_while_anothers_rest_is_cleared_away_leaves_none(
    make: Make, monkeypatch: pytest.MonkeyPatch, call: str, after: bool
) -> None:
    producer = make()
    producer.append(b"first")
    store = producer._store
    assert store is not None
    real = store.trim_to

    def trim_to(seq: int) -> None:
        monkeypatch.undo()
        if after:
            real(seq)
        raise_interrupt()

    interrupting_store(producer, raise_interrupt, after=True)
    monkeypatch.setattr(store, "trim_to", trim_to)
    with pytest.raises(KeyboardInterrupt):
        producer.append(b"torn") if call == "append" else producer.append_run(*joined(3))
    assert producer.append(b"last") == 2
    assert held_by(producer) == b"firstlast"
    assert producer.acknowledge(2, crc_of(b"firstlast"), 0, Refusals())


def test_an_interruption_whose_traceback_is_kept_does_not_keep_the_lock(make: Make) -> None:
    """As an interactive session keeps the last one, and an ``except`` block its own."""
    producer, kept = make(), []

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def be_interrupted(after_s: float) -> None:
        """Not in the ``try`` itself, which in Python 3.13 misses what comes at a loop's jump."""
        signal.setitimer(signal.ITIMER_VIRTUAL, after_s)
        until = thread_time() + 0.05  # one that a finalizer swallows comes to nothing
        while thread_time() < until:
            producer.statistics()

    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        for number in range(300):
            try:
                be_interrupted(0.00005 + number % 50 / 1_000_000)
            except KeyboardInterrupt as interruption:
                kept.append(interruption)
            assert not producer._busy
            with ThreadPoolExecutor(1) as another:
                assert another.submit(producer._lock.acquire, timeout=5).result()
                another.submit(producer._lock.release).result()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert len(kept) > 200
    assert producer.append(b"last") == producer.seq


def test_a_producers_attributes_are_as_few_as_the_interpreter_keeps_at_hand(make: Make) -> None:
    """With more than 30, CPython gives it a dict of its own, and `record()` is 2 % slower."""
    producer = make()
    producer.append(b"first")
    assert len(vars(producer)) <= 30


def test_a_fork_inside_a_record_leaves_the_event_to_the_parent(make: Make) -> None:
    producer = make()
    producer.append(b"first")
    interrupting_store(producer, producer.abandon_after_fork, after=False)
    assert producer.append(b"outer") == NOT_KEPT  # this is the child
    producer._store = None


# --- a full queue ---


def test_a_full_queue_blocks_for_the_ack_timeout_and_then_fails_fast(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    producer = make(queue_maxsize=2, ack_timeout=3.0)
    waits = Waits(producer, monkeypatch)
    assert [producer.append(data) for data in numbered(3)] == [1, 2, NOT_KEPT]
    assert waits.waited == [3.0]
    assert [producer.append(b"more") for _ in range(3)] == [NOT_KEPT] * 3
    assert waits.waited == [3.0], "after one wait in vain, no other"
    assert producer.accounts.dropped == {"full": 4}
    assert_accounted_for(producer, 6)
    producer._complaints.say()
    (message,) = caplog.messages
    assert "2 events" in message
    assert "hansard serve" in message


def test_an_answer_that_makes_no_room_lets_nobody_wait_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that takes nothing in (a full disk, a foreign lock) goes on answering."""
    producer = make(queue_maxsize=2, ack_timeout=3.0)
    waits = Waits(producer, monkeypatch)
    for data in numbered(3):
        producer.append(data)
    for _ in range(3):
        assert producer.acknowledge(0, 0, 0, Refusals())
        assert producer.append(b"more") == NOT_KEPT
    assert waits.waited == [3.0]


def test_a_full_queue_blocks_again_once_the_writer_has_answered(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make(queue_maxsize=2, ack_timeout=3.0)
    waits = Waits(producer, monkeypatch)
    for data in numbered(3):
        producer.append(data)
    assert producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    assert producer.append(b"a") == 3
    assert producer.append(b"b") == NOT_KEPT
    assert waits.waited == [3.0, 3.0]


def test_a_blocked_call_goes_on_when_there_is_room(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[int] = []
    producer = make(queue_maxsize=2, ack_timeout=3.0, wake=lambda: woken.append(producer.seq))
    waits = Waits(producer, monkeypatch)
    waits.meanwhile = lambda: producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals()) and None
    for data in numbered(2):
        producer.append(data)
    woken.clear()
    waits.now -= 1  # a spurious wake-up costs nothing
    monkeypatch.setattr(producer, "sender_sleeps", False)
    assert producer.append(b"third") == 3
    assert woken == [2], "whoever waits for the sender has woken it"
    assert held_by(producer) == b"<2>third"
    assert producer.accounts.dropped == {}


def test_a_blocked_call_lets_other_threads_in(make: Make) -> None:
    producer = make(queue_maxsize=1, ack_timeout=30.0)
    producer.append(b"first")
    numbers: list[int] = []
    blocked = threading.Thread(target=lambda: numbers.append(producer.append(b"second")))
    real_wait, waiting = producer._room.wait, threading.Event()

    def wait(timeout: float) -> bool:
        waiting.set()
        return real_wait(timeout)

    producer._room.wait = wait  # type: ignore[method-assign]
    blocked.start()
    assert waiting.wait(10)
    assert producer.statistics()["waiting"] == 1
    producer.acknowledge(1, crc_of(b"first"), 0, Refusals())
    blocked.join(10)
    assert numbers == [2]


def test_a_blocked_call_may_wait_without_end(make: Make) -> None:
    def commit() -> None:
        producer.acknowledge(1, crc_of(b"first"), 0, Refusals())

    committer = threading.Thread(target=commit)
    producer = make(queue_maxsize=1, ack_timeout=float("inf"))
    producer.append(b"first")
    producer._wake = lambda: committer.ident or committer.start()
    try:
        assert producer.append(b"second") == 2
    finally:
        committer.join()


def test_the_sender_itself_never_blocks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = make(queue_maxsize=1)
    waits = Waits(producer, monkeypatch)
    producer.sender_ident = threading.get_ident()
    assert [producer.append(data) for data in numbered(2)] == [1, NOT_KEPT]
    assert waits.waited == []


def test_closing_ends_a_blocked_call(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = make(queue_maxsize=1, ack_timeout=3.0)
    waits = Waits(producer, monkeypatch)
    producer.append(b"first")
    waits.meanwhile = lambda: producer.close() and None
    monkeypatch.setattr(producer._room, "wait", lambda timeout: waits.wait(timeout / 100))
    with contextlib.suppress(ClosedError):  # as good an answer
        assert producer.append(b"second") == NOT_KEPT
    assert len(waits.waited) == 1


def test_a_full_queue_drops_at_once_where_that_is_asked_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make(queue_maxsize=2, on_full="drop")
    waits = Waits(producer, monkeypatch)
    assert [producer.append(data) for data in numbered(4)] == [1, 2, NOT_KEPT, NOT_KEPT]
    assert waits.waited == []
    assert held_by(producer) == b"<1><2>"
    assert_accounted_for(producer, 4)


@pytest.mark.parametrize("best_effort", [True, False])
def test_a_full_queue_raises_where_that_is_asked_for(make: Make, best_effort: bool) -> None:
    producer = make(queue_maxsize=1, on_full="raise", best_effort=best_effort)
    producer.append(b"first")
    with pytest.raises(QueueFull, match=r"1 event waiting .* raise spool_bytes or queue_maxsize"):
        producer.append(b"second")
    assert producer.accounts.dropped == {}, "the caller knows: nothing is lost behind its back"
    producer.acknowledge(1, crc_of(b"first"), 0, Refusals())
    assert producer.append(b"second") == 2


@pytest.mark.parametrize("on_full", ["block", "drop"])
def test_without_best_effort_a_dropped_event_is_an_error(make: Make, on_full: str) -> None:
    producer = make(queue_maxsize=1, on_full=on_full, ack_timeout=0, best_effort=False)
    producer.append(b"first")
    with pytest.raises(QueueFull):
        producer.append(b"second")
    assert_accounted_for(producer, 2)


@pytest.mark.parametrize("on_full", ["block", "raise", "drop"])
def test_a_caller_who_must_not_block_drops_whatever_the_setting_says(
    make: Make, on_full: str
) -> None:
    producer = make(queue_maxsize=1, on_full=on_full, ack_timeout=60)
    assert producer.append(b"<1>", DROP) == 1, "the first event opens the spool"
    assert producer.append(b"<2>", DROP) == NOT_KEPT
    assert_accounted_for(producer, 2)


def test_a_caller_who_asks_whether_it_would_block_is_told_and_nothing_is_done(
    make: Make, directory: Path
) -> None:
    producer = make(queue_maxsize=1, ack_timeout=60)
    assert producer.append(b"<1>", TELL) == NO_ROOM, "a spool is not made in no time"
    assert not list((directory / "spool").iterdir())
    assert producer.append(b"<1>") == 1
    assert producer.append(b"<2>", TELL) == NO_ROOM
    assert producer.append_awaited(b"<2>", TELL) == (NO_ROOM, None)
    assert_accounted_for(producer, 1)
    producer.close()
    with pytest.raises(ClosedError):
        producer.append(b"<2>", TELL)


def test_whether_a_call_would_wait_for_another_thread_is_known_before(make: Make) -> None:
    producer = make()
    producer.append(b"<1>")
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with producer._lock:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(10)
    with producer.at_once() as is_free:
        assert not is_free
    leave.set()
    thread.join()
    with producer.at_once() as is_free:
        assert is_free
        assert producer.append(b"<2>", TELL) == 2


def test_what_comes_after_the_end_without_an_error_is_accounted_for(make: Make) -> None:
    producer = make()
    producer.append(b"<1>")
    producer.close()
    producer.count_unsent()
    figures = producer.statistics()
    assert figures["submitted"] == 2
    assert figures["dropped"] == {"closed": 1}


def test_a_run_that_does_not_fit_is_kept_in_no_part(make: Make) -> None:
    producer = make(queue_maxsize=3, on_full="raise")
    producer.append(b"first")
    with pytest.raises(QueueFull):
        producer.append_run(*joined(3))
    assert producer.waiting == 1
    assert held_by(producer) == b"first"
    assert producer.append_run(*joined(2)) == 3


def test_a_run_that_would_never_fit_is_kept_in_no_part(make: Make) -> None:
    producer = make(queue_maxsize=2, on_full="drop")
    assert producer.append_run(*joined(3)) == NOT_KEPT
    assert producer.append_run_awaited(*joined(3)) == (NOT_KEPT, [])
    assert (producer.waiting, producer.accounts.dropped) == (0, {"full": 6})
    assert_accounted_for(producer, 6)


def test_a_run_waits_for_room_for_all_of_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = make(queue_maxsize=4, ack_timeout=9.0)
    waits = Waits(producer, monkeypatch)
    for data in numbered(4):
        producer.append(data)
    acked = iter((1, 2, 3))

    def meanwhile() -> None:
        watermark = next(acked)
        waits.now -= 9.0  # it is woken at once
        producer.acknowledge(watermark, crc_of(*numbered(watermark)), 0, Refusals())

    waits.meanwhile = meanwhile
    assert producer.append_run(*joined(3, first=5)) == 7
    assert len(waits.waited) == 3
    assert held_by(producer) == b"".join(numbered(4, first=4))


def test_a_run_larger_than_the_spools_room_is_kept_in_no_part(make: Make) -> None:
    producer = make(on_full="raise")
    large = [b"<%d>" % number + b"x" * 104_800 for number in range(10)]
    assert producer.append_run(b"".join(large), 10) == 10
    with pytest.raises(QueueFull):
        producer.append_run(b"".join(large), 10)
    assert producer.waiting == 10
    assert producer.append(b"small") == 11
    assert held_by(producer) == b"".join(large) + b"small"


def test_a_run_is_not_taken_after_the_end(make: Make) -> None:
    producer = make()
    producer.close()
    with pytest.raises(ClosedError, match="before close"):
        producer.append_run(*joined(3))


def test_a_spool_is_full_when_its_bytes_are_used(make: Make) -> None:
    producer = make(on_full="raise")
    large = b"x" * (1 << 20)
    assert producer.append(large) == 1
    with pytest.raises(QueueFull):
        producer.append(large)
    assert producer.append(b"small") == 2
    producer.acknowledge(1, crc_of(large), 0, Refusals())
    producer.acknowledge(2, crc_of(large, b"small"), 0, Refusals())
    assert producer.append(large) == 3


@pytest.mark.usefixtures("no_spool")
def test_without_a_spool_ten_thousand_events_wait_at_most(make: Make) -> None:
    producer = make(on_full="drop")
    assert EVENTS_MAX == 10_000
    for _ in range(EVENTS_MAX):
        producer.append(b"x")
    assert producer.append(b"x") == NOT_KEPT
    producer.acknowledge(1, crc_of(b"x"), 0, Refusals())
    assert producer.append(b"x") == EVENTS_MAX + 1


@pytest.mark.usefixtures("no_spool")
def test_without_a_spool_a_setting_still_beats_the_default(make: Make) -> None:
    producer = make(on_full="drop", queue_maxsize=EVENTS_MAX + 1)
    assert [producer.append(b"x") for _ in range(EVENTS_MAX + 2)][-2:] == [10_001, NOT_KEPT]


# --- what was dropped is told ---


def test_drops_are_told_by_a_frame_without_events(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    waits = Waits(producer, monkeypatch)
    producer.append(b"first")
    assert producer.frame(2) is None
    for second in (200, 201, 202):
        waits.now = second
        producer.append(b"dropped")
    drops = Drops(3, 200_000_000_000, 202_000_000_000)
    frame = producer.frame(2)
    assert frame is not None
    assert (frame.first_seq, frame.event_count, frame.body, frame.drops) == (2, 0, b"", drops)
    with_events = producer.frame(1)
    assert with_events is not None
    assert (with_events.event_count, with_events.drops) == (1, drops)


def test_drops_are_work_until_the_log_has_them(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    waits = Waits(producer, monkeypatch)
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    assert producer.has_work
    assert producer.accounts.has_unreported
    producer.acknowledge(1, crc_of(*numbered(1)), 2, Refusals())
    assert not producer.has_work
    assert producer.frame(2) is None
    waits.now = 300
    producer.append(b"fits")
    producer.append(b"does not")
    frame = producer.frame(3)
    assert frame is not None
    assert frame.drops == Drops(3, 300_000_000_000, 300_000_000_000), "first since the last report"


def test_drops_outlive_their_producer(make: Make, directory: Path) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    (path,) = (directory / "spool").iterdir()
    assert producer.close() == 0
    count, _, drops, _ = left_in(path)
    assert (count, drops.total) == (0, 2)


def test_drops_before_there_was_a_spool_are_told_too(
    make: Make, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    producer._drop("full", 2)
    producer.append(b"first")
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 2


# --- no usable spool ---


@pytest.mark.usefixtures("no_spool")
def test_without_a_spool_events_are_kept_in_memory_with_a_warning(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    producer = make()
    assert [producer.append(data) for data in numbered(3)] == [1, 2, 3]
    assert not producer.spooled
    assert held_by(producer) == b"<1><2><3>"
    producer._complaints.say()
    (message,) = caplog.messages
    assert "no spool in" in message
    assert "No such file or directory" in message


@pytest.mark.usefixtures("no_spool")
def test_where_a_spool_can_be_had_again_it_takes_over_from_memory_under_the_same_numbers(
    make: Make, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    producer = make()
    for data in numbered(2):
        producer.append(data)
    producer.append_run(*joined(2, first=3))
    producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    producer.tend_spool(0)
    assert not producer.spooled
    (directory / "spool").mkdir()
    producer.tend_spool(SPOOL_AGAIN_S - 1)
    assert not producer.spooled, "not so soon again"
    producer.tend_spool(SPOOL_AGAIN_S)
    assert producer.spooled
    producer._complaints.say()
    assert "a spool again in" in caplog.messages[-1]
    assert held_by(producer) == b"<2><3><4>"
    assert producer.append(b"<5>") == 5
    assert producer.acknowledge(2, crc_of(*numbered(2)), 0, Refusals())
    assert_accounted_for(producer, 5)
    assert producer.close() == 3
    (path,) = (directory / "spool").iterdir()
    assert left_in(path)[:2] == (3, b"<3><4><5>")


@pytest.mark.usefixtures("no_spool")
def test_a_spool_that_not_everything_fits_into_does_not_take_over(
    make: Make, directory: Path
) -> None:
    producer = make(queue_maxsize=1_000_000)
    while producer.append(bytes(10_000)) > 0 and producer.seq < SPOOL_BYTES_MIN // 10_000:
        pass
    (directory / "spool").mkdir()
    producer.tend_spool(0)
    assert not producer.spooled
    assert list((directory / "spool").iterdir()) == []
    waiting = producer.seq
    assert producer.append(b"more") == waiting + 1
    assert held_by(producer).endswith(b"more")


def fill_disk(directory: Path) -> None:
    """Record more than a disk of 1 MiB holds, in this process. Exits 0 if all is well."""
    complaints, warned = Complaints(), []
    complaints.later = lambda *arguments: warned.append(arguments[0])  # type: ignore[method-assign]
    settings = Settings(spool_bytes=SPOOL_BYTES_MIN)
    producer = Producer(directory, settings, complaints, lambda: None)
    kept = [producer.append(bytes(100_000)) for _ in range(15)]
    ok = kept == list(range(1, 16)) and not producer.spooled and warned == ["no spool"]
    os._exit(0 if ok and not list((directory / "spool").iterdir()) else 7)


def status_of_fork(child: Callable[[], None]) -> int:
    """How a child process ends that does this."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        pid = os.fork()
    if pid == 0:
        try:
            child()
        finally:
            os._exit(9)
    return os.waitpid(pid, 0)[1]


@pytest.fixture
def tiny_disk(directory: Path) -> Iterator[Path]:
    """A log directory whose spool directory is a disk of 1 MiB."""
    layout.prepare_for_client(directory)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(directory / "spool")]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a tiny disk")
    yield directory
    subprocess.run(["umount", str(directory / "spool")], check=True)


def test_a_full_disk_under_the_map_is_no_bus_error(tiny_disk: Path) -> None:
    status = status_of_fork(lambda: fill_disk(tiny_disk))
    assert not os.WIFSIGNALED(status), signal.Signals(os.WTERMSIG(status)).name
    assert os.WEXITSTATUS(status) == 0


def test_a_limit_on_file_sizes_is_a_full_disk(directory: Path) -> None:
    layout.prepare_for_client(directory)

    def child() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        fill_disk(directory)

    assert status_of_fork(child) == 0


# --- another id, another place to begin, another log ---


def test_a_renumbered_producer_goes_on_from_one_under_a_new_id(make: Make, directory: Path) -> None:
    producer = make()
    for data in numbered(5):
        producer.append(data)
    producer.belongs_to(LOG)
    producer.acknowledge(2, crc_of(*numbered(2)), 0, Refusals())
    old_id, (old_path,) = producer.producer_id, (directory / "spool").iterdir()
    ticket = producer.ticket(4, wants_outcome=True)
    producer.renumber()
    assert producer.producer_id != old_id
    assert (producer.seq, producer.acked, producer.waiting) == (3, 0, 3)
    assert held_by(producer) == b"<3><4><5>"
    assert producer.hello()[1:3] == (1, 0)
    assert producer.hello().log_id == LOG
    assert list((directory / "spool").iterdir()) == [old_path], "in its place, at one moment"
    assert ticket.seq == 2
    assert producer.append(b"<6>") == 4
    assert producer.acknowledge(4, crc_of(*numbered(4, first=3)), 0, Refusals())
    assert_accounted_for(producer, 6)


def test_a_renumbered_producer_keeps_runs_whole(make: Make) -> None:
    producer = make()
    for data in numbered(2):
        producer.append(data)
    producer.append_run(*joined(3, first=3))
    producer.acknowledge(1, crc_of(*numbered(1)), 0, Refusals())
    producer.renumber()
    assert (producer.seq, producer.waiting) == (4, 4)
    assert list(producer._store.records()) == [(b"<2>", 1), (b"<3><4><5>", 3)]  # type: ignore[union-attr]
    assert producer.acknowledge(4, crc_of(*numbered(4, first=2)), 0, Refusals())
    assert_accounted_for(producer, 5)


def test_a_renumbered_producer_does_not_tell_its_drops_twice(make: Make) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(0, 0, 2, Refusals())
    producer.renumber()
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 0, "under the old id the log has them; under the new one it adds"


def test_a_renumbered_producer_still_tells_what_it_has_not_told(make: Make) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    for data in numbered(3):
        producer.append(data)
    producer.renumber()
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 2


def test_outcomes_of_numbers_of_before_are_not_asked_for(make: Make) -> None:
    producer = make()
    for data in numbered(5):
        producer.append(data)
    ticket = producer.ticket(2, wants_outcome=True)
    producer.acknowledge(4, crc_of(*numbered(4)), 0, Refusals())  # its outcome is still to come
    producer.renumber()
    assert producer.wanted()[0] >= 0, "the wire knows no negative numbers"
    producer.settle(ack(1, [(1, 1, 9)]), 1)
    assert ticket.status != "rejected", "it is committed, whatever its id"


def test_a_renumbering_without_room_leaves_everything_as_it_was(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = make()
    for data in numbered(5):
        producer.append(data)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    before = producer.producer_id
    with pytest.raises(OSError, match="No space"):
        producer.renumber()
    assert (producer.producer_id, producer.waiting, producer.spooled) == (before, 5, True)
    assert held_by(producer) == b"".join(numbered(5))
    assert_accounted_for(producer, 5)


def test_a_source_goes_on_behind_what_the_log_has(make: Make) -> None:
    producer = make(Source(b"s" * 16, 41, 17))
    assert producer.hello()[:3] == (b"s" * 16, 42, 17)
    assert producer.append(b"a") == 42
    frame = producer.frame(42)
    assert frame is not None
    assert frame.crc_before == 17
    assert producer.acknowledge(42, crc_of(b"a", before=17), 0, Refusals())
    assert_accounted_for(producer, 1)


def test_a_rebased_source_forgets_what_the_log_has(make: Make) -> None:
    producer = make(Source(b"s" * 16))
    for data in numbered(5):
        producer.append(data)
    producer.rebase(3, 17)
    assert producer.hello()[:3] == (b"s" * 16, 4, 17)
    assert (producer.seq, producer.waiting) == (5, 2)
    assert held_by(producer) == b"<4><5>"
    assert producer.append(b"<6>") == 6
    assert_accounted_for(producer, 6)


def test_a_rebased_source_forgets_the_runs_that_the_log_has(make: Make) -> None:
    producer = make(Source(b"s" * 16))
    producer.append_run(*joined(3))
    producer.append(b"<4>")
    producer.append_run(*joined(2, first=5))
    producer.rebase(3, 17)
    assert (producer.seq, producer.waiting) == (6, 3)
    assert list(producer._store.records()) == [(b"<4>", 1), (b"<5><6>", 2)]  # type: ignore[union-attr]
    assert_accounted_for(producer, 6)


def test_a_source_whose_log_is_ahead_skips_to_where_it_is(make: Make) -> None:
    producer = make(Source(b"s" * 16))
    for data in numbered(2):
        producer.append(data)
    producer.rebase(5, 17)
    assert producer.waiting == 0
    assert [producer.append(data) for data in numbered(4, first=3)] == [0, 0, 0, 6]
    assert held_by(producer) == b"<6>"
    assert producer.acknowledge(6, crc_of(b"<6>", before=17), 0, Refusals())


def test_a_source_whose_log_gets_ahead_again_skips_that_too(make: Make) -> None:
    producer = make(Source(b"s" * 16))
    for data in numbered(2):
        producer.append(data)
    producer.rebase(5, 17)
    producer.append(b"<3>")
    producer.rebase(7, 18)  # before the first skip was over
    numbers = [producer.append(data) for data in numbered(6, first=4)]
    assert numbers == [0, 0, 0, 0, 8, 9], "each event keeps its number: that of its line"


def test_a_source_ends_where_its_log_was_replaced(make: Make, directory: Path) -> None:
    producer = make(Source(b"s" * 16))
    producer.belongs_to(LOG)
    producer.append(b"<1>")
    (path,) = (directory / "spool").iterdir()
    producer.leave_log()
    with pytest.raises(ClosedError):
        producer.append(b"<2>")
    assert left_in(path)[:2] == (1, b"<1>")
    assert_accounted_for(producer, 1)


def test_a_source_says_so_in_its_spool(make: Make, directory: Path) -> None:
    for source, expected in ((Source(b"s" * 16), True), (None, False)):
        producer = make(source)
        producer.append(b"a")
        (path,) = (directory / "spool").iterdir()
        producer.close()
        orphan = lock_orphan(path)
        assert orphan is not None
        assert orphan.identity.numbers_are_the_sources is expected
        orphan.close(remove=True)


def test_events_of_another_log_are_left_in_their_spool(make: Make, directory: Path) -> None:
    producer = make()
    producer.belongs_to(LOG)
    for data in numbered(5):
        producer.append(data)
    producer.acknowledge(2, crc_of(*numbered(2)), 0, Refusals())
    waiting = producer.ticket(4, wants_outcome=True)
    old_id, (path,) = producer.producer_id, (directory / "spool").iterdir()
    producer.leave_log()
    assert left_in(path) == (3, b"<3><4><5>", Drops(), LOG)
    assert producer.producer_id != old_id
    assert waiting.wait(0)
    assert waiting.status == "unknown"
    assert producer.accounts.dropped == {"set_aside": 3}
    assert producer.belongs_to(OTHER)
    assert producer.append(b"new") == 1
    assert held_by(producer) == b"new"
    assert_accounted_for(producer, 6)


@pytest.mark.usefixtures("no_spool")
def test_events_of_another_log_that_are_in_memory_are_lost_and_counted(make: Make) -> None:
    producer = make()
    producer.belongs_to(LOG)
    for data in numbered(3):
        producer.append(data)
    producer.leave_log()
    assert producer.accounts.dropped == {"other_log": 3}
    assert producer.waiting == 0
    assert_accounted_for(producer, 3)


def test_leaving_a_log_with_nothing_to_keep_leaves_no_file(make: Make, directory: Path) -> None:
    producer = make()
    producer.append(b"a")
    producer.acknowledge(1, crc_of(b"a"), 0, Refusals())
    (old,) = (directory / "spool").iterdir()
    producer.leave_log()
    assert not old.exists()
    assert_accounted_for(producer, 1)


def test_another_log_is_not_told_what_the_first_one_knows(make: Make) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(1, crc_of(*numbered(1)), 2, Refusals())
    producer.leave_log()
    assert producer.append(b"new") == 1
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 0


@pytest.mark.parametrize("committed", [0, 1])
def test_drops_that_a_log_was_not_told_stay_in_its_spool(
    make: Make, directory: Path, committed: int
) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    producer.belongs_to(LOG)
    for data in numbered(3):
        producer.append(data)
    producer.acknowledge(committed, crc_of(*numbered(committed)), 0, Refusals())
    (old,) = (directory / "spool").iterdir()
    producer.leave_log()
    _, _, drops, log_id = left_in(old)
    assert (drops.total, log_id) == (2, LOG)
    assert not producer.has_work
    assert producer.append(b"new") == 1
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 0
    assert producer.statistics()["dropped"]["full"] == 2
    assert_accounted_for(producer, 4)


@pytest.mark.usefixtures("no_spool")
def test_drops_that_a_log_was_not_told_are_told_to_the_next_where_no_spool_keeps_them(
    make: Make,
) -> None:
    producer = make(queue_maxsize=1, on_full="drop")
    producer.belongs_to(LOG)
    for data in numbered(3):
        producer.append(data)
    producer.leave_log()
    frame = producer.frame(1)
    assert frame is not None
    assert frame.drops.total == 3  # with the one that waited
    assert_accounted_for(producer, 3)


# --- tickets ---


def test_a_flush_of_what_is_committed_does_not_wait(make: Make) -> None:
    producer = make()
    producer.append(b"a")
    producer.acknowledge(1, crc_of(b"a"), 0, Refusals())
    ticket = producer.ticket(1, wants_outcome=False)
    assert ticket.wait(0)
    assert ticket.status == "committed"
    assert not producer.hurried


def test_an_outcome_is_asked_for_even_when_it_is_committed(make: Make) -> None:
    producer = make()
    producer.append(b"a")
    producer.acknowledge(1, crc_of(b"a"), 0, Refusals())
    ticket = producer.ticket(1, wants_outcome=True)
    assert not ticket.wait(0)
    assert producer.has_work
    assert producer.wanted() == (1, 1)
    producer.settle(ack(1, [(1, 1, 50)]), 1)
    assert (ticket.wait(0), ticket.id) == (True, 50)
    assert not producer.has_work


def test_who_waits_wakes_the_sender(make: Make) -> None:
    woken = []
    producer = make(wake=lambda: woken.append(True))
    producer.append(b"a")
    producer.sender_sleeps = False
    woken.clear()
    ticket = producer.ticket(1, wants_outcome=True)
    assert woken == [True]
    assert producer.wanted() == (1, 1)
    producer.give_up(ticket)
    producer.give_up(ticket)
    assert producer.wanted() == (0, 0)
    assert not producer.hurried


# --- the end ---


def test_a_closed_producer_takes_nothing(make: Make) -> None:
    producer = make()
    producer.append(b"a")
    assert producer.close() == 1
    for _ in range(2):
        with pytest.raises(ClosedError, match="before close"):
            producer.append(b"b")
    assert producer.close() == 1
    assert producer.waiting == 1


def test_an_empty_spool_is_removed_and_another_stays(make: Make, directory: Path) -> None:
    for committed in (True, False):
        producer = make()
        producer.append(b"a")
        if committed:
            producer.acknowledge(1, crc_of(b"a"), 0, Refusals())
        assert producer.close() == (not committed)
        assert len(list((directory / "spool").iterdir())) == (not committed)


def test_a_producer_that_recorded_nothing_makes_no_file(make: Make, directory: Path) -> None:
    producer = make()
    assert list((directory / "spool").iterdir()) == []
    assert producer.close() == 0
    assert list((directory / "spool").iterdir()) == []


@pytest.mark.usefixtures("no_spool")
def test_what_was_in_memory_only_is_lost_and_counted(make: Make) -> None:
    producer = make()
    for data in numbered(3):
        producer.append(data)
    assert producer.close() == 3
    assert producer.accounts.dropped == {"memory_lost": 3}
    assert_accounted_for(producer, 3)


# --- the account ---


def test_what_the_log_refused_is_told_apart_from_what_it_entered(make: Make) -> None:
    producer = make()
    for data in numbered(5):
        producer.append(data)
    producer.acknowledge(4, crc_of(*numbered(4)), 0, Refusals(refused=3, returned=1, orphaned=1))
    figures = producer.statistics()
    names = ("submitted", "appended", "dead_lettered", "orphaned", "append_failures", "waiting")
    assert [figures[name] for name in names] == [5, 2, 2, 1, 3, 1]
    assert_accounted_for(producer, 5)


def test_what_was_refused_of_an_id_before_is_not_this_instances(make: Make) -> None:
    """Another process of the same source had events refused."""
    producer = make(Source(b"s" * 16, 41, 17))
    producer.hello()
    producer.meet(Refusals(7, 2, 1))
    producer.acknowledge(41, 17, 0, Refusals(7, 2, 1))
    producer.append(b"a")
    producer.acknowledge(42, crc_of(b"a", before=17), 0, Refusals(8, 2, 2))
    figures = producer.statistics()
    assert (figures["appended"], figures["dead_lettered"], figures["orphaned"]) == (0, 1, 1)
    producer.meet(Refusals(8, 2, 2))  # a new connection: these are known to be ours
    assert producer.statistics() == figures
    assert_accounted_for(producer, 1)


def test_notices_are_for_who_does_not_learn_it_by_waiting(make: Make) -> None:
    producer = make()
    notices = [Notice(seq, "orphan", "task.done", "why") for seq in (1, 2, 3)]
    for data in numbered(3):
        producer.append(data)
    producer.ticket(2, wants_outcome=True)
    producer.ticket(3, wants_outcome=False)
    assert producer.unawaited(notices) == [notices[0], notices[2]]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 6)),
        st.tuples(st.just("append"), st.integers(1, 6)),
        st.tuples(st.just("run"), st.integers(1, 9)),
        st.tuples(st.just("acknowledge"), st.integers(0, 6)),
        st.tuples(st.sampled_from(["refuse", "return"]), st.integers(1, 6)),
        st.tuples(st.sampled_from(["renumber", "leave_log"]), st.just(0)),
    ),
    max_size=25,
)


class Account:
    """A producer, and beside it what must have become of each event."""

    def __init__(self, directory: Path) -> None:
        settings = Settings(spool_bytes=SPOOL_BYTES_MIN, queue_maxsize=8, on_full="drop")
        self.producer = Producer(directory, settings, Complaints(), lambda: None)
        self.producer.hello()  # no answer comes before it
        self.submitted = self.committed = 0
        self.waiting: list[tuple[bytes, int]] = []  # bytes and number of events of each record
        self.refusals = self.refusals_before = Refusals()

    def append(self, amount: int) -> None:
        for _ in range(amount):
            self.submitted += 1
            data = b"<%d>" % self.submitted
            if self.producer.append(data) != NOT_KEPT:
                self.waiting.append((data, 1))

    def run(self, amount: int) -> None:
        run = joined(amount, self.submitted + 1)
        self.submitted += amount
        if self.producer.append_run(*run) != NOT_KEPT:
            self.waiting.append(run)

    def acknowledge(self, records: int) -> None:
        taken = sum(count for _, count in self.waiting[:records])
        del self.waiting[:records]
        self.committed += taken
        producer = self.producer
        watermark, dropped = producer.acked + taken, producer.accounts.drops.total
        crc = crc_at(producer, watermark)
        assert producer.acknowledge(watermark, crc, dropped, self.refusals)

    def refuse(self, records: int) -> None:
        taken = sum(count for _, count in self.waiting[:records])
        self.refusals = self.refusals._replace(
            refused=self.refusals.refused + taken, orphaned=self.refusals.orphaned + taken
        )
        self.acknowledge(records)

    def return_(self, amount: int) -> None:
        refused, returned, orphaned = self.refusals
        amount = min(amount, orphaned)
        self.refusals = Refusals(refused, returned + amount, orphaned - amount)
        self.acknowledge(0)

    def renumber(self, _: int) -> None:
        self._change_id()
        self.producer.renumber()

    def leave_log(self, _: int) -> None:
        self._change_id()
        self.waiting.clear()
        self.producer.leave_log()

    def _change_id(self) -> None:
        both = zip(self.refusals_before, self.refusals, strict=True)
        self.refusals_before = Refusals(*(before + now for before, now in both))
        self.refusals = Refusals()

    def check(self) -> None:
        assert held_by(self.producer) == b"".join(data for data, _ in self.waiting)
        assert self.producer.committed == self.committed
        figures, before, now = self.producer.statistics(), self.refusals_before, self.refusals
        dead_lettered = before.refused - before.returned + now.refused - now.returned
        assert figures["append_failures"] == before.refused + now.refused
        assert figures["orphaned"] == before.orphaned + now.orphaned
        assert figures["dead_lettered"] == dead_lettered
        assert figures["appended"] == self.committed - dead_lettered
        assert_accounted_for(self.producer, self.submitted)


@hypothesis_settings(derandomize=True, deadline=None, database=None, max_examples=60)
@given(steps, st.booleans())
def test_every_event_is_accounted_for(steps: list[tuple[str, int]], spooled: bool) -> None:
    with TemporaryDirectory() as name:
        if spooled:
            layout.prepare_for_client(Path(name))
        account = Account(Path(name))
        for step, amount in steps:
            getattr(account, "return_" if step == "return" else step)(amount)
            account.check()
        assert account.producer.close() == sum(count for _, count in account.waiting)


def test_numbers_end_before_the_wires_do(make: Make) -> None:
    producer = make(Source(b"s" * 16, INT64_MAX - 1_001, 0), on_full="drop")
    assert producer.append(b"last") == INT64_MAX - 1_000
    assert producer.append(b"one more") == NOT_KEPT
