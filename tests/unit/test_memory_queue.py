"""The spool's stand-in on the heap: held against the spool itself."""

import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.memory_queue import MemoryQueue
from hansard.spool import Identity, Spool, SpoolState
from hansard.wire import FRAME_BYTES_MAX, FRAME_EVENTS_CUT, Drops, Frame

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


def said_by(store: Spool | MemoryQueue, first: int, last: int) -> tuple[bytes, list[bytes]]:
    """All that a sender and a renumbering would see of the events first to last."""
    body, seq = b"", first
    while seq <= last:
        frame = store.frame(seq, last)
        assert (frame.producer_id, frame.first_seq) == (IDENTITY.producer_id, seq)
        assert frame.crc_before == store.crc_at(seq - 1)
        assert 1 <= frame.event_count <= FRAME_EVENTS_CUT
        body += frame.body
        seq = frame.last_seq + 1
    return body, list(store.events())


@repeatable
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 300)),
            st.tuples(st.just("append"), st.integers(1, 300)),
            st.tuples(st.just("free"), st.integers(0, 9)),
            st.tuples(st.just("interrupt"), st.integers(1, 300)),
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
            for store in stores:
                if step == "append":
                    assert store.append(seq + 1, zlib.crc32(data, crc), data)
                elif step == "free":
                    store.free_to(min(acked + amount, seq))
                elif step == "interrupt":
                    store.append(seq + 1, 1, data)
                    store.trim_to(seq)
                else:
                    store.note(drops=Drops(amount, 1, 2))
            if step == "append":
                seq, crc = seq + 1, zlib.crc32(data, crc)
            elif step == "free":
                acked = min(acked + amount, seq)
            assert said_by(spool, acked + 1, seq) == said_by(queue, acked + 1, seq)
            assert queue.bytes_used == sum(map(len, queue.events()))
            for each in range(acked, seq + 1):
                assert spool.crc_at(each) == queue.crc_at(each)
            if seq > acked:
                assert spool.frame(seq, seq) == queue.frame(seq, seq)
        spool.close(remove=True)


def test_it_takes_no_more_than_its_bytes() -> None:
    queue = queue_of(b"a" * 60, room=100)
    assert not queue.append(2, 0, b"b" * 41)
    assert list(queue.events()) == [b"a" * 60]
    assert queue.append(2, 0, b"b" * 40)
    queue.free_to(1)
    assert queue.append(3, 0, b"c" * 60)


def test_a_frame_has_at_most_a_thousand_events() -> None:
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
    assert list(queue.events()) == [b"b"]


@pytest.mark.parametrize("remove", [True, False])
def test_closing_it_takes_nothing_away(remove: bool) -> None:
    queue = queue_of(b"a")
    queue.abandon_after_fork()
    queue.close(remove=remove)
    assert list(queue.events()) == [b"a"]
