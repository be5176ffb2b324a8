"""The spool's stand-in on the heap: held against the spool itself."""

import zlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.memory_queue import MemoryQueue
from hansard.spool import Identity, Spool, SpoolState
from hansard.wire import FRAME_BYTES_MAX, FRAME_EVENTS_CUT, FRAME_EVENTS_MAX, Drops, Frame

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=50)

IDENTITY = Identity(bytes(range(16)), "host-a", 7, 1_000)


def queue_of(*events: bytes, room: int = 1 << 30, **state: object) -> MemoryQueue:
    """A queue that holds these events."""
    queue = MemoryQueue(room, IDENTITY, SpoolState(**state))  # type: ignore[arg-type]
    seq, crc = SpoolState(**state).base_seq, SpoolState(**state).base_crc  # type: ignore[arg-type]
    for data in events:
        seq, crc = seq + 1, zlib.crc32(data, crc)
        assert queue.append(seq, crc, data)
    return queue


def held_in(queue: MemoryQueue) -> list[bytes]:
    """The bytes of each record."""
    return [data for data, _ in queue.records()]


def said_by(
    store: Spool | MemoryQueue, first: int, last: int
) -> tuple[bytes, list[tuple[bytes, int]]]:
    """All that a sender and a renumbering would see of the events first to last."""
    body, seq = b"", first
    whole = {first + before for before in ends_of(store)}
    while seq <= last:
        frame = store.frame(seq, last)
        assert (frame.producer_id, frame.first_seq) == (IDENTITY.producer_id, seq)
        assert frame.crc_before == store.crc_at(seq - 1)
        assert frame.event_count >= 1
        assert frame.event_count <= FRAME_EVENTS_CUT or is_one_record(store, frame)
        body += frame.body
        seq = frame.last_seq + 1
        assert seq in whole, "a run is split"
    return body, list(store.records())


def ends_of(store: Spool | MemoryQueue) -> Iterator[int]:
    """How many events are held up to the end of each record."""
    return accumulate(count for _, count in store.records())


def is_one_record(store: Spool | MemoryQueue, frame: Frame) -> bool:
    return (frame.body, frame.event_count) in set(store.records())


def take(
    store: Spool | MemoryQueue, step: str, amount: int, seq: int, crc: int, data: bytes, freed: int
) -> None:
    """One step of a store whose last event is ``seq``."""
    if step == "append":
        assert store.append(seq + 1, zlib.crc32(data, crc), data)
    elif step == "run":
        assert store.append_run(seq + 1, zlib.crc32(data, crc), data, amount)
    elif step == "free":
        store.free_to(freed)
    elif step == "interrupt":
        store.append(seq + 1, 1, data)
        store.trim_to(seq)
    elif step == "interrupt run":
        store.append_run(seq + 1, 1, data, amount)
        store.trim_to(seq)
    else:
        store.note(drops=Drops(amount, 1, 2))


@repeatable
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 300)),
            st.tuples(st.just("append"), st.integers(1, 300)),
            st.tuples(st.just("run"), st.integers(1, 300)),
            st.tuples(st.just("free"), st.integers(0, 9)),
            st.tuples(st.just("interrupt"), st.integers(1, 300)),
            st.tuples(st.just("interrupt run"), st.integers(1, 300)),
            st.tuples(st.just("note"), st.integers(1, 9)),
        ),
        max_size=40,
    ),
    st.integers(0, 1_000),
)
def test_it_does_what_the_spool_does(steps: list[tuple[str, int]], base_seq: int) -> None:
    with TemporaryDirectory() as directory:
        state = SpoolState(base_seq=base_seq, base_crc=5)
        spool = Spool(Path(directory), 1 << 16, 0o600, IDENTITY, state)
        queue = MemoryQueue(1 << 16, IDENTITY, state)
        stores: tuple[Spool | MemoryQueue, ...] = (spool, queue)
        seq, acked, crc = base_seq, base_seq, 5
        for step, amount in steps:
            data = b"%d:" % (seq + 1) + b"x" * amount
            freed = acked + ([0, *ends_of(queue)] * 10)[amount] if step == "free" else 0
            for store in stores:
                take(store, step, amount, seq, crc, data, freed)
            if step in ("append", "run"):
                seq, crc = seq + (amount if step == "run" else 1), zlib.crc32(data, crc)
            acked = max(acked, freed)
            assert said_by(spool, acked + 1, seq) == said_by(queue, acked + 1, seq)
            assert queue.bytes_used == sum(map(len, held_in(queue)))
            for each in range(acked, seq + 1):
                assert spool.crc_at(each) == queue.crc_at(each)
            if seq > acked:
                last = acked + max([0, *ends_of(queue)][:-1]) + 1
                assert spool.frame(last, seq) == queue.frame(last, seq)
        spool.close(remove=True)


def test_it_takes_no_more_than_its_bytes() -> None:
    queue = queue_of(b"a" * 60, room=100)
    assert not queue.append(2, 0, b"b" * 41)
    assert held_in(queue) == [b"a" * 60]
    assert queue.append(2, 0, b"b" * 40)
    queue.free_to(1)
    assert queue.append(3, 0, b"c" * 60)


def test_a_frame_of_single_events_is_cut() -> None:
    queue = queue_of(*[b"x"] * (FRAME_EVENTS_CUT + 1))
    assert queue.frame(1, FRAME_EVENTS_CUT + 1).event_count == FRAME_EVENTS_CUT
    assert queue.frame(FRAME_EVENTS_CUT + 1, FRAME_EVENTS_CUT + 1).event_count == 1


def test_a_frame_has_at_most_its_bytes() -> None:
    half = b"x" * (FRAME_BYTES_MAX // 2)
    queue = queue_of(half, half, b"y")
    frame = queue.frame(1, 3)
    assert (frame.event_count, len(frame.body)) == (2, FRAME_BYTES_MAX)


def test_a_larger_event_is_a_frame_of_its_own() -> None:
    large = b"x" * (FRAME_BYTES_MAX + 1)
    queue = queue_of(b"a", large, b"b")
    assert [queue.frame(seq, 3).event_count for seq in (1, 2, 3)] == [1, 1, 1]


def test_a_frame_does_not_go_beyond_the_last_number_asked_for() -> None:
    queue = queue_of(b"a", b"b", b"c", base_seq=10, base_crc=3)
    expected = Frame(IDENTITY.producer_id, 12, 1, zlib.crc32(b"a", 3), Drops(), b"b")
    assert queue.frame(12, 12) == expected


def test_a_frame_carries_what_was_dropped() -> None:
    queue = queue_of(b"a", drops=Drops(1, 2, 3))
    assert queue.frame(1, 1).drops == Drops(1, 2, 3)
    queue.note(log_id=b"L" * 16)
    assert queue.frame(1, 1).drops == Drops(1, 2, 3)
    queue.note(drops=Drops(4, 2, 5))
    assert queue.frame(1, 1).drops == Drops(4, 2, 5)


def test_what_was_freed_before_is_not_freed_again() -> None:
    queue = queue_of(b"a", b"b")
    queue.free_to(1)
    queue.free_to(1)
    queue.free_to(0)
    assert held_in(queue) == [b"b"]


@pytest.mark.parametrize("remove", [True, False])
def test_closing_it_takes_nothing_away(remove: bool) -> None:
    queue = queue_of(b"a")
    queue.abandon_after_fork()
    queue.close(remove=remove)
    assert held_in(queue) == [b"a"]


def test_a_run_is_one_record_and_one_frame() -> None:
    queue = queue_of(b"a")
    assert queue.append_run(2, zlib.crc32(b"abcd"), b"bcd", 3)
    assert queue.append(5, zlib.crc32(b"abcde"), b"e")
    assert list(queue.records()) == [(b"a", 1), (b"bcd", 3), (b"e", 1)]
    frame = queue.frame(1, 5)
    assert (frame.event_count, frame.body) == (5, b"abcde")
    assert queue.crc_at(4) == zlib.crc32(b"abcd")


def test_a_run_of_a_thousand_is_a_frame_of_its_own() -> None:
    queue = queue_of(b"a")
    assert queue.append_run(2, 0, b"r" * 1_000, FRAME_EVENTS_MAX)
    assert queue.append(1_002, 0, b"b")
    frames = [queue.frame(seq, 1_002) for seq in (1, 2, 1_002)]
    assert [frame.event_count for frame in frames] == [1, 1_000, 1]


def test_a_run_that_does_not_fit_is_kept_in_no_part() -> None:
    queue = queue_of(b"a" * 60, room=100)
    assert not queue.append_run(2, 0, b"b" * 41, 3)
    assert (list(queue.records()), queue.bytes_used) == ([(b"a" * 60, 1)], 60)
    assert queue.append(2, 0, b"c")


def test_a_run_that_was_interrupted_is_forgotten_whole() -> None:
    queue = queue_of(b"a")
    queue.append(2, 0, b"bcd")  # as far as `append_run` came
    queue.trim_to(1)
    assert (list(queue.records()), queue.bytes_used) == ([(b"a", 1)], 1)
    queue.append_run(2, 0, b"bcd", 3)
    queue.trim_to(1)
    assert (list(queue.records()), queue.bytes_used) == ([(b"a", 1)], 1)
