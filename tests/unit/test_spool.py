"""The spool: a ring in a file, whole at every moment, and adopted only when its owner is dead."""

import fcntl
import mmap
import os
import random
import stat
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.spool import RECORDS_AT, Identity, Spool, SpoolDamaged, SpoolState
from hansard.spool import live as spool_module
from hansard.spool.layout import SIZE_BITS, pack_state
from hansard.spool.orphan import Orphan, lock_orphan
from hansard.wire import (
    FRAME_BYTES_MAX,
    FRAME_EVENTS_CUT,
    FRAME_EVENTS_MAX,
    INT64_MAX,
    RUN_BYTES_MAX,
    Drops,
    Frame,
)
from support import wait_until

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=40)

PRODUCER = bytes(range(16))
IDENTITY = Identity(PRODUCER, "host-a", 7, 1_000)
RING_BYTES = 600  # small, so that it wraps all the time
HEAD = 16  # bytes of a record before its event
REAL_FLOCK = fcntl.flock  # tests put their own in its place


class Kept:
    """A spool, and beside it plain lists that say what must be in it: ``events``, and how many
    of them each record holds."""

    def __init__(self, directory: Path, ring_bytes: int = RING_BYTES, **state: Any) -> None:
        self.spool = Spool(directory, RECORDS_AT + ring_bytes, 0o600, IDENTITY, SpoolState(**state))
        self.base_seq, self.base_crc = state.get("base_seq", 0), state.get("base_crc", 0)
        self.events: list[bytes] = []
        self.crcs: list[int] = []
        self.counts: list[int] = []

    @property
    def records(self) -> list[tuple[bytes, int]]:
        left = iter(self.events)
        return [(b"".join(next(left) for _ in range(count)), count) for count in self.counts]

    @property
    def runs(self) -> list[range]:
        """The numbers of each run of joined events."""
        first, runs = self.base_seq + 1, []
        for count in self.counts:
            runs.append(range(first, first + count))
            first += count
        return [run for run in runs if len(run) > 1]

    @property
    def seq(self) -> int:
        return self.base_seq + len(self.events)

    @property
    def crc(self) -> int:
        return self.crcs[-1] if self.crcs else self.base_crc

    def next_event(self, length: int, ahead: int = 0) -> bytes:
        """Bytes that occur nowhere else, without a zero."""
        tag = b"<%d>" % (self.seq + 1 + ahead)
        return (tag * (length // len(tag) + 1))[: max(length, len(tag))]

    def append(self, length: int) -> bool:
        data = self.next_event(length)
        crc = zlib.crc32(data, self.crc)
        kept = self.spool.append(self.seq + 1, crc, data)
        if kept:
            self.events.append(data)
            self.crcs.append(crc)
            self.counts.append(1)
        return kept

    def next_run(self, count: int, length: int = 1) -> list[bytes]:
        """So many events, each of that many bytes or a few more."""
        return [self.next_event(length, ahead) for ahead in range(count)]

    def append_run(self, count: int, length: int = 1) -> bool:
        events = self.next_run(count, length)
        data = b"".join(events)
        crc = zlib.crc32(data, self.crc)
        kept = self.spool.append_run(self.seq + 1, crc, data, count)
        if kept:
            self.events += events
            self.crcs += [crc] * count
            self.counts.append(count)
        return kept

    def free(self, records: int) -> list[bytes]:
        count = sum(self.counts[:records])
        del self.counts[:records]
        if count:
            freed, self.base_crc = self.events[:count], self.crcs[count - 1]
            self.base_seq += count
            del self.events[:count], self.crcs[:count]
            self.spool.free_to(self.base_seq)
            return freed
        self.spool.free_to(self.base_seq)
        return []

    def image(self) -> bytes:
        """The file as a kill at this moment would leave it."""
        return self.spool.path.read_bytes()


def read(image: bytes, runs: Sequence[range] = ()) -> tuple[SpoolState, list[bytes]]:
    """What an adopter finds in a file with these bytes: the state, and the events, of which
    ``runs`` are joined."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "left.spool"
        path.write_bytes(image)
        orphan = lock_orphan(path)
        assert orphan is not None
        try:
            frames = list(orphan.frames())
        finally:
            orphan.close()
    assert_frames_follow(frames, orphan.state.base_seq, orphan.state.base_crc, runs)
    return orphan.state, events_of(frames)


def assert_frames_follow(
    frames: list[Frame], base_seq: int, base_crc: int, runs: Sequence[range] = ()
) -> None:
    """Each begins where the one before ended, none splits a run, and none is larger than allowed,
    but for one event or run alone."""
    seq, crc = base_seq + 1, base_crc
    for frame in frames:
        assert (frame.producer_id, frame.first_seq, frame.crc_before) == (PRODUCER, seq, crc)
        assert not any(run.start < seq < run.stop for run in runs), "a run is split"
        is_alone = frame.event_count == 1 or range(seq, frame.last_seq + 1) in runs
        assert frame.event_count <= FRAME_EVENTS_CUT or is_alone
        assert len(frame.body) <= FRAME_BYTES_MAX or is_alone
        seq, crc = seq + frame.event_count, zlib.crc32(frame.body, crc)


def events_of(frames: list[Frame]) -> list[bytes]:
    """The events of frames whose events are numbered tags, parted again by their numbers."""
    events = []
    for frame in frames:
        body = frame.body
        for seq in range(frame.first_seq, frame.last_seq + 1):
            tag, following = b"<%d>" % seq, b"<%d>" % (seq + 1)
            end = body.find(following)
            event = body if end < 0 or seq == frame.last_seq else body[:end]
            assert event.startswith(tag)
            events.append(event)
            body = body[len(event) :]
        assert not body
    return events


def frames_of(kept: Kept) -> list[Frame]:
    """All frames that a sender would push from the first event on."""
    frames, seq = [], kept.base_seq + 1
    while seq <= kept.seq:
        frames.append(kept.spool.frame(seq, kept.seq))
        assert frames[-1].event_count >= 1
        seq = frames[-1].last_seq + 1
    return frames


def assert_as_kept(kept: Kept) -> None:
    """The live view, the frames and the file say what the list says."""
    assert list(kept.spool.records()) == kept.records
    frames = frames_of(kept)
    assert_frames_follow(frames, kept.base_seq, kept.base_crc, kept.runs)
    assert events_of(frames) == kept.events
    crcs = [kept.spool.crc_at(kept.base_seq + index) for index in range(len(kept.events) + 1)]
    assert crcs == [kept.base_crc, *kept.crcs]
    state, found = read(kept.image(), kept.runs)
    assert found == kept.events
    assert (state.base_seq, state.base_crc) == (kept.base_seq, kept.base_crc)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path)
    yield kept
    kept.spool.close(remove=True)


# --- the ring ---

operations = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 250)),
        st.tuples(st.just("append"), st.integers(1, 250)),
        st.tuples(st.just("run"), st.integers(2, 60)),
        st.tuples(st.just("run"), st.integers(2, 60)),
        st.tuples(st.just("free"), st.integers(0, 6)),
        st.tuples(st.just("interrupt"), st.integers(1, 250)),
        st.tuples(st.just("interrupt run"), st.integers(2, 60)),
        st.tuples(st.just("note"), st.integers(1, 9)),
    ),
    max_size=40,
)


@repeatable
@given(operations)
def test_a_ring_holds_what_a_list_would_hold(steps: list[tuple[str, int]]) -> None:
    with TemporaryDirectory() as directory:
        kept = Kept(Path(directory))
        for step, amount in steps:
            if step in ("append", "run"):
                before = kept.image()
                if not (kept.append(amount) if step == "append" else kept.append_run(amount)):
                    assert kept.events, "an empty ring took nothing"
                    assert read(kept.image(), kept.runs) == read(before, kept.runs)
            elif step == "free":
                freed = kept.free(amount)
                image = kept.image()
                assert not any(event in image for event in freed), "freed, but not zeroed"
            elif step == "interrupt":
                kept.spool.append(kept.seq + 1, 1, kept.next_event(amount))
                kept.spool.trim_to(kept.seq)
            elif step == "interrupt run":
                data = b"".join(kept.next_run(amount))
                kept.spool.append_run(kept.seq + 1, 1, data, amount)
                kept.spool.trim_to(kept.seq)
            else:
                kept.spool.note(drops=Drops(amount, 1, 2))
                assert read(kept.image(), kept.runs)[0].drops == Drops(amount, 1, 2)
            assert_as_kept(kept)
        kept.spool.close(remove=True)


def test_a_full_ring_takes_no_more_until_something_is_freed(kept: Kept) -> None:
    while kept.append(100):
        pass
    full = kept.image()
    assert not kept.append(100)
    assert kept.image() == full
    kept.free(1)
    assert kept.append(100 - HEAD)  # as the way back must fit behind it
    assert_as_kept(kept)


def test_an_empty_ring_takes_an_event_as_large_as_itself(kept: Kept) -> None:
    largest = RING_BYTES - 2 * HEAD  # its own head, and the mark behind it
    assert not kept.append(largest + 1)
    for _ in range(3):
        assert kept.append(largest)
        kept.free(1)


def test_a_ring_goes_round_and_round(kept: Kept) -> None:
    for _ in range(100):
        assert kept.append(150)
        assert kept.append(40)
        kept.free(1)
        assert_as_kept(kept)
        kept.free(1)


def test_a_frame_ends_where_the_ring_wraps(kept: Kept) -> None:
    for _ in range(4):
        kept.append(120)
    kept.free(3)
    for _ in range(2):
        assert kept.append(120)
    frames = frames_of(kept)
    assert [frame.event_count for frame in frames] == [1, 2]
    assert events_of(frames) == kept.events


def test_what_was_freed_before_is_not_freed_again(kept: Kept) -> None:
    for _ in range(3):
        kept.append(50)
    kept.free(2)
    image = kept.image()
    for seq in (0, 1, 2):
        kept.spool.free_to(seq)
    assert kept.image() == image


def test_an_emptied_ring_is_zero(kept: Kept) -> None:
    for _ in range(7):
        kept.append(100)
        kept.append(100)
        kept.free(1)
    kept.free(99)
    assert kept.image()[RECORDS_AT:] == bytes(RING_BYTES)
    assert kept.spool.bytes_used == 0


def test_bytes_used_are_those_of_the_records(kept: Kept) -> None:
    kept.append(100)
    kept.append(60)
    assert kept.spool.bytes_used == 2 * HEAD + 160
    kept.free(1)
    assert kept.spool.bytes_used == HEAD + 60


def test_an_event_is_kept_the_same_whatever_its_size(wide: Kept) -> None:
    """The small ones are written by one call, the large ones by two."""
    for length in (1, 2, 510, 511, 512, 513, 5_000):
        assert wide.append(length)
    assert_as_kept(wide)


def test_what_an_interrupted_append_left_is_overwritten(kept: Kept) -> None:
    kept.append(50)
    kept.spool.append(2, 9, b"\xff" * 200)
    kept.spool.trim_to(1)
    assert_as_kept(kept)
    kept.append(30)
    assert_as_kept(kept)
    record = kept.image()[RECORDS_AT + HEAD + 50 + HEAD + 30 :]
    assert record == bytes(len(record)), "the space behind the newest record is zero"


# --- frames ---


@pytest.fixture
def wide(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path, 2 << 20)
    yield kept
    kept.spool.close(remove=True)


def test_a_frame_of_single_events_is_cut(wide: Kept) -> None:
    for _ in range(FRAME_EVENTS_CUT + 1):
        wide.append(10)
    assert [frame.event_count for frame in frames_of(wide)] == [FRAME_EVENTS_CUT, 1]
    assert_as_kept(wide)


def test_a_frame_has_at_most_its_bytes(wide: Kept) -> None:
    for _ in range(9):
        wide.append(FRAME_BYTES_MAX // 4)
    counts = [frame.event_count for frame in frames_of(wide)]
    assert counts == [3, 3, 3]  # the heads of the records count too
    assert_as_kept(wide)


def test_a_larger_event_is_a_frame_of_its_own(wide: Kept) -> None:
    for length in (10, 1 << 20, 10, 10):
        wide.append(length)
    assert [frame.event_count for frame in frames_of(wide)] == [1, 1, 2]
    assert_as_kept(wide)


def test_a_frame_does_not_go_beyond_the_last_number_asked_for(wide: Kept) -> None:
    for _ in range(5):
        wide.append(10)
    frame = wide.spool.frame(2, 3)
    assert (frame.first_seq, frame.event_count) == (2, 2)
    assert events_of([frame]) == wide.events[1:3]


def test_a_frame_carries_what_was_dropped(wide: Kept) -> None:
    wide.append(10)
    wide.spool.note(drops=Drops(3, 4, 5))
    assert wide.spool.frame(1, 1).drops == Drops(3, 4, 5)


# --- runs of joined events ---


def test_a_run_is_one_record_and_its_numbers_follow_one_another(kept: Kept) -> None:
    kept.append(30)
    assert kept.append_run(3)
    assert kept.append(30)
    first, _, _, _, last = kept.events
    assert list(kept.spool.records()) == [(first, 1), (b"<2><3><4>", 3), (last, 1)]
    (frame,) = frames_of(kept)
    assert (frame.first_seq, frame.event_count) == (1, 5)
    assert kept.spool.bytes_used == 3 * HEAD + 30 + len(b"<2><3><4>") + 30
    assert_as_kept(kept)


def test_a_run_of_one_is_an_event(kept: Kept) -> None:
    assert kept.append_run(1, 40)
    single = kept.image()[RECORDS_AT:]
    kept.free(1)
    kept.base_seq = kept.base_crc = 0
    other = Kept(kept.spool.path.parent)
    other.append(40)
    assert other.image()[RECORDS_AT:] == single
    other.spool.close(remove=True)


def test_a_frame_never_splits_a_run(wide: Kept) -> None:
    for count in (200, 40, 20, 100, 250, 1, 249, 1, 1):
        assert wide.append_run(count) if count > 1 else wide.append(10)
    counts = [frame.event_count for frame in frames_of(wide)]
    assert counts == [240, 120, 250, 250, 2]
    assert_as_kept(wide)


def test_a_run_of_a_thousand_is_a_frame_of_its_own(wide: Kept) -> None:
    for count in (1, FRAME_EVENTS_MAX, 1, FRAME_EVENTS_CUT + 1, 1):
        assert wide.append_run(count)
    assert [frame.event_count for frame in frames_of(wide)] == [1, 1_000, 1, 251, 1]
    assert_as_kept(wide)


def test_a_run_as_large_as_allowed_is_a_frame_of_its_own(wide: Kept) -> None:
    wide.append(10)
    length = RUN_BYTES_MAX // 500
    assert wide.append_run(500, length)
    wide.append(10)
    assert [frame.event_count for frame in frames_of(wide)] == [1, 500, 1]
    assert_as_kept(wide)


def test_runs_share_a_frame_up_to_its_bytes(wide: Kept) -> None:
    for _ in range(5):
        assert wide.append_run(2, FRAME_BYTES_MAX // 4)
    assert [frame.event_count for frame in frames_of(wide)] == [4, 4, 2]
    assert_as_kept(wide)


def test_single_events_are_cut_the_same_once_a_run_is_freed(wide: Kept) -> None:
    wide.append_run(3)
    for _ in range(FRAME_EVENTS_CUT + 1):
        wide.append(10)
    wide.free(1)
    assert [frame.event_count for frame in frames_of(wide)] == [FRAME_EVENTS_CUT, 1]
    assert_as_kept(wide)


def test_a_run_that_does_not_fit_leaves_the_ring_as_it_was(kept: Kept) -> None:
    kept.append_run(20, 20)
    before = kept.image()
    assert not kept.append_run(20, 20)
    assert kept.image() == before
    assert kept.append(20)
    assert_as_kept(kept)


def test_a_run_goes_over_the_end_of_the_ring_whole(kept: Kept) -> None:
    for _ in range(50):
        assert kept.append_run(7, 25)
        assert kept.append(90)
        assert kept.append_run(3, 20)
        kept.free(1)
        assert_as_kept(kept)
        kept.free(2)


def test_a_frame_of_runs_may_go_over_the_end_of_the_ring(kept: Kept) -> None:
    for _ in range(4):
        kept.append_run(4, 30)
    kept.free(3)
    for _ in range(2):
        assert kept.append_run(4, 30)
    (frame,) = frames_of(kept)
    assert frame.event_count == 12
    assert_as_kept(kept)


@pytest.mark.parametrize("are_numbered", [False, True])
def test_what_an_interrupted_run_left_is_overwritten(kept: Kept, are_numbered: bool) -> None:
    kept.append(50)
    data = b"".join(kept.next_run(5, 20))
    if are_numbered:
        kept.spool.append_run(2, 9, data, 5)
    else:  # as far as `append_run` came: the record is there, the numbers are not
        kept.spool.append(2, 9, data, 4 << SIZE_BITS)
    kept.spool.trim_to(1)
    assert_as_kept(kept)
    kept.append_run(2)
    assert_as_kept(kept)
    end = RECORDS_AT + HEAD + 50 + HEAD + len(b"<2><3>")
    assert not any(kept.image()[end:]), "the space behind the newest record is zero"


def test_an_interruption_at_any_line_of_a_run_leaves_nothing_of_it(kept: Kept) -> None:
    """Over the end of the ring, where most can go wrong."""
    for _ in range(3):
        kept.append(150)
    kept.free(2)
    line = 0
    while True:
        line, passed = line + 1, 0

        def interrupt() -> None:
            nonlocal passed
            passed += 1
            if passed == line:  # noqa: B023 - called in this turn only
                raise KeyboardInterrupt

        data = b"".join(kept.next_run(5, 30))
        try:
            with at_every_line(interrupt):
                kept.spool.append_run(kept.seq + 1, zlib.crc32(data, kept.crc), data, 5)
        except KeyboardInterrupt:
            kept.spool.trim_to(kept.seq)
            assert_as_kept(kept)
            continue
        break
    kept.spool.trim_to(kept.seq)
    assert line > 8, "nothing was interrupted"
    assert kept.append_run(5, 30)
    assert_as_kept(kept)


# --- a kill, at any moment ---


@contextmanager
def at_every_line(action: Callable[[], None]) -> Iterator[None]:
    """Calls ``action`` before every line of the spool's code that runs inside."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != spool_module.__file__:
            return None
        if event == "line":
            action()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_loses_nothing_and_invents_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kept = Kept(tmp_path, 300)
    for _ in range(40):
        images: set[bytes] = set()
        before = list(kept.events)
        with at_every_line(lambda images=images: images.add(kept.image())):
            if chance.random() < 0.4:
                kept.append(chance.randint(1, 120))
            elif chance.random() < 0.4:
                kept.append_run(chance.randint(2, 20))
            else:
                kept.free(chance.randint(1, 3))
        allowed = (before, list(kept.events))
        runs = kept.runs
        assert all(read(image, runs)[1] in allowed for image in images)
    kept.spool.close(remove=True)


def test_the_length_of_a_record_is_written_last(kept: Kept) -> None:
    images: set[bytes] = set()
    with at_every_line(lambda: images.add(kept.image()[RECORDS_AT:])):
        kept.append(40)
    whole = kept.image()[RECORDS_AT:]
    assert len(images) >= 3
    assert all(image == whole or image[:4] == bytes(4) for image in images)


def a_run_behind_two_events(kept: Kept, count: int) -> tuple[int, int]:
    """Where the record of a run begins and ends that is behind two other events."""
    kept.append(40)
    kept.append(40)
    begin = RECORDS_AT + 2 * (HEAD + 40)
    assert kept.append_run(count)
    return begin, begin + HEAD + len(kept.records[-1][0])


@pytest.mark.parametrize("count", [2, 9, 20, 70])
def test_a_run_is_there_wholly_or_not_at_all_wherever_its_writing_ends(
    kept: Kept, count: int
) -> None:
    """Its length comes last, as one store of four bytes; what is before may be torn anywhere. A
    torn page may also have the length, and not what is behind it."""
    begin, end = a_run_behind_two_events(kept, count)
    whole = kept.image()
    assert read(whole, kept.runs)[1] == kept.events
    for cut in range(begin, end):
        torn = whole[:cut] + bytes(end - cut) + whole[end:]
        for image in (torn, torn[:begin] + bytes(4) + torn[begin + 4 :]):
            found = read(image, kept.runs)[1]
            assert found == kept.events[:2], f"cut {cut - begin} bytes into the record"


def test_a_run_with_a_broken_byte_is_an_end(kept: Kept) -> None:
    begin, end = a_run_behind_two_events(kept, 9)
    image = kept.image()
    for at in range(begin, end):
        broken = image[:at] + bytes([image[at] ^ 0xFF]) + image[at + 1 :]
        assert read(broken, kept.runs)[1] == kept.events[:2], f"byte {at - begin} of the record"


def test_a_torn_tail_is_an_end(kept: Kept) -> None:
    for _ in range(3):
        kept.append(40)
    image = kept.image()
    begin = RECORDS_AT + 2 * (HEAD + 40)
    end = begin + HEAD + 40
    for cut in range(begin, end):
        torn = image[:cut] + bytes(end - cut) + image[end:]
        assert read(torn)[1] == kept.events[:2], f"cut {cut - begin} bytes into the record"


def test_a_broken_byte_is_an_end(kept: Kept) -> None:
    for _ in range(3):
        kept.append(40)
    image = kept.image()
    begin = RECORDS_AT + 2 * (HEAD + 40)
    for at in range(begin, begin + HEAD + 40):
        broken = image[:at] + bytes([image[at] ^ 0xFF]) + image[at + 1 :]
        assert read(broken)[1] == kept.events[:2], f"byte {at - begin} of the record"


def test_a_file_that_was_cut_short_is_an_end(kept: Kept) -> None:
    for _ in range(3):
        kept.append(40)
    image = kept.image()
    for size in range(RECORDS_AT + 2 * 56, RECORDS_AT + 3 * 56):
        assert read(image[:size])[1] == kept.events[:2]
    assert read(image[: RECORDS_AT + 1])[1] == []


@pytest.mark.parametrize("window", [1, 16, 50, 1_000])
def test_records_that_lie_across_two_reads_are_whole(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    monkeypatch.setattr("hansard.spool.orphan.WINDOW_BYTES", window)
    for length in (40, 3, 90, 41, 7):
        kept.append(length)
        kept.append_run(3, length)
    kept.free(4)
    while kept.append(33):
        continue
    assert read(kept.image(), kept.runs)[1] == kept.events, "beyond the end of the ring, too"


def test_a_kill_between_the_two_copies_of_the_state_leaves_one(kept: Kept) -> None:
    for round_ in range(1, 4):
        kept.append(30)
        before = kept.image()[:RECORDS_AT]
        kept.spool.note(log_id=bytes([round_]) * 16, drops=Drops(round_, round_, round_))
        after = kept.image()
        changed = [at for at in range(RECORDS_AT) if before[at] != after[at]]
        old, _ = read(before + after[RECORDS_AT:])
        new, _ = read(after)
        assert old != new
        for at in range(changed[0], changed[-1] + 2):
            torn, events = read(after[:at] + before[at:] + after[RECORDS_AT:])
            assert torn in (old, new)
            assert events == kept.events


@pytest.mark.parametrize("slot", [2_048, 3_072])
def test_one_broken_copy_of_the_state_is_no_damage(kept: Kept, slot: int) -> None:
    kept.append(30)
    kept.spool.note(drops=Drops(1, 1, 1))
    image = kept.image()
    assert read(image[:slot] + b"\xff" * 100 + image[slot + 100 :])[1] == kept.events


def test_two_broken_copies_of_the_state_are_damage(kept: Kept) -> None:
    image = bytearray(kept.image())
    image[2_048:2_148] = image[3_072:3_172] = b"\xff" * 100
    with pytest.raises(SpoolDamaged, match="both copies of the state"):
        read(bytes(image))


# --- what is written beside the events ---


def test_a_spool_says_whose_it_is_and_what_came_before(tmp_path: Path) -> None:
    kept = Kept(tmp_path, base_seq=41, base_crc=17, log_id=b"L" * 16, drops=Drops(1, 2, 3))
    kept.append(20)
    state, events = read(kept.image())
    assert state == SpoolState(RECORDS_AT, 41, 17, b"L" * 16, Drops(1, 2, 3))
    assert events == kept.events
    kept.spool.close(remove=False)
    orphan = lock_orphan(kept.spool.path)
    assert orphan is not None
    assert orphan.identity == IDENTITY
    orphan.close(remove=True)


def test_a_spool_without_events_still_tells_what_was_dropped(kept: Kept) -> None:
    kept.spool.note(drops=Drops(5, 6, 7))
    kept.spool.close(remove=False)
    orphan = lock_orphan(kept.spool.path)
    assert orphan is not None
    (frame,) = orphan.frames()
    assert (frame.event_count, frame.body, frame.drops) == (0, b"", Drops(5, 6, 7))
    orphan.close()
    kept.spool = Kept(kept.spool.path.parent).spool


def test_an_orphan_that_knew_no_log_names_the_one_that_takes_it(kept: Kept) -> None:
    kept.append(20)
    kept.free(1)
    kept.spool.close(remove=False)
    for log_id in (b"L" * 16, b"M" * 16):
        orphan = lock_orphan(kept.spool.path)
        assert orphan is not None
        orphan.join(log_id)
        orphan.close()
        state, events = read(kept.spool.path.read_bytes())
        assert (state.log_id, events) == (log_id, kept.events)
    kept.spool = Kept(kept.spool.path.parent).spool


def test_a_state_behind_which_none_could_be_written_is_damage(kept: Kept) -> None:
    """What is in a dead one's header may be anything."""
    kept.append(20)
    kept.spool.close(remove=False)
    at, packed = pack_state((1 << 64) - 1, SpoolState(RECORDS_AT, 0, 0, None, Drops()))
    content = bytearray(kept.spool.path.read_bytes())
    content[at : at + len(packed)] = packed
    kept.spool.path.write_bytes(content)
    with pytest.raises(SpoolDamaged, match="generation"):
        lock_orphan(kept.spool.path)
    kept.spool = Kept(kept.spool.path.parent).spool


def test_a_note_of_one_thing_keeps_the_other(kept: Kept) -> None:
    kept.spool.note(log_id=b"L" * 16)
    kept.spool.note(drops=Drops(1, 2, 3))
    kept.append(20)
    kept.free(1)
    state, _ = read(kept.image())
    assert (state.log_id, state.drops) == (b"L" * 16, Drops(1, 2, 3))


def test_an_identity_with_the_longest_host_fits(tmp_path: Path) -> None:
    identity = Identity(PRODUCER, "\U0001f600" * 255, 1 << 62, INT64_MAX, True)
    spool = Spool(tmp_path, RECORDS_AT + 100, 0o600, identity, SpoolState(log_id=b"L" * 16))
    spool.close(remove=False)
    orphan = lock_orphan(spool.path)
    assert orphan is not None
    assert (orphan.identity, orphan.state.log_id) == (identity, b"L" * 16)
    orphan.close()


# --- the file ---


def test_a_spool_is_fully_allocated(tmp_path: Path) -> None:
    size = 2 << 20
    spool = Spool(tmp_path, size, 0o600, IDENTITY, SpoolState())
    info = spool.path.stat()
    assert info.st_size == size
    assert info.st_blocks * 512 >= size
    spool.close(remove=True)


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_a_spool_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        spool = Spool(tmp_path, RECORDS_AT + 100, mode, IDENTITY, SpoolState())
    finally:
        os.umask(before)
    assert spool.path.stat().st_mode & 0o7777 == mode
    spool.close(remove=True)


def test_a_spool_has_its_name_only_when_it_is_whole_and_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[tuple[str, list[str], bool]] = []

    def noted(moment: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            (path,) = tmp_path.iterdir()
            moments.append((moment, [path.suffix], is_locked(path)))
            if moment == "rename":
                Orphan(path, os.open(path, os.O_RDONLY)).close()  # whole: it can be read
            return real(*arguments)

        return call

    for module, name in (
        (fcntl, "flock"),
        (os, "fchmod"),
        (os, "posix_fallocate"),
        (Path, "rename"),
    ):
        monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
    spool = Spool(tmp_path, RECORDS_AT + 100, 0o600, IDENTITY, SpoolState())
    monkeypatch.undo()
    assert {tuple(names) for _, names, _ in moments} == {(".tmp",)}
    assert [(moment, locked) for moment, _, locked in moments] == [
        ("flock", False),
        ("fchmod", True),
        ("posix_fallocate", True),
        ("rename", True),
    ]
    assert [path.suffix for path in tmp_path.iterdir()] == [".spool"]
    assert is_locked(spool.path)
    spool.close(remove=True)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the file's lock, as another open file sees it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        REAL_FLOCK(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("module", "failing"),
    [(os, "posix_fallocate"), (os, "fchmod"), (mmap, "mmap"), (Path, "rename")],
)
def test_a_spool_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, failing: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - entries vanish meanwhile
    monkeypatch.setattr(module, failing, full)
    try:
        Spool(tmp_path, RECORDS_AT + 100, 0o600, IDENTITY, SpoolState())
    except OSError as error:
        said = error.strerror
    monkeypatch.undo()
    assert said == "No space left on device"
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208


def test_a_closed_spool_goes_or_stays_as_asked(tmp_path: Path) -> None:
    spools = [Kept(tmp_path).spool for _ in range(2)]
    spools[0].close(remove=True)
    spools[1].close(remove=False)
    assert list(tmp_path.iterdir()) == [spools[1].path]


# --- adoption: only of the dead ---


def left_behind(directory: Path) -> Path:
    """A dead producer's spool with one event."""
    kept = Kept(directory)
    kept.append(20)
    kept.spool.close(remove=False)
    return kept.spool.path


def test_a_live_producers_spool_is_not_adopted(kept: Kept) -> None:
    assert lock_orphan(kept.spool.path) is None


def test_a_dead_producers_spool_is_adopted_by_one(tmp_path: Path) -> None:
    path = left_behind(tmp_path)
    orphan = lock_orphan(path)
    assert orphan is not None
    assert lock_orphan(path) is None
    orphan.close()
    assert path.exists()
    orphan = lock_orphan(path)
    assert orphan is not None
    orphan.close(remove=True)
    assert not path.exists()


def test_a_spool_that_is_gone_is_not_adopted(tmp_path: Path) -> None:
    assert lock_orphan(tmp_path / "gone.spool") is None


@pytest.mark.parametrize("event", ["removed", "replaced"])
def test_a_spool_that_goes_between_open_and_lock_is_not_adopted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    path = left_behind(tmp_path)
    other = left_behind(tmp_path)
    real, open_before = fcntl.flock, len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    def flock(descriptor: int, operation: int) -> None:
        path.unlink() if event == "removed" else other.rename(path)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert lock_orphan(path) is None
    monkeypatch.undo()
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208
    if event == "replaced":  # and the new one is not spoilt
        orphan = lock_orphan(path)
        assert orphan is not None
        orphan.close()


@contextmanager
def forked(child: Callable[[], None]) -> Iterator[None]:
    """A child that does something, says so, and lives until the block ends."""
    done_read, done_write = os.pipe()
    live_read, live_write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the test runner
        pid = os.fork()
    if pid == 0:
        try:
            os.close(live_write)
            child()
            os.write(done_write, b"!")
            os.read(live_read, 1)
        finally:
            os._exit(0)
    try:
        os.close(done_write)
        assert os.read(done_read, 1) == b"!", "the child failed"
        yield
    finally:
        for descriptor in (done_read, live_read, live_write):
            os.close(descriptor)
        os.waitpid(pid, 0)


def test_a_dead_parents_spool_is_adopted_though_its_child_lives(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.append(20)
    with forked(kept.spool.abandon_after_fork):
        assert lock_orphan(kept.spool.path) is None  # the child has not unlocked it
        kept.spool.close(remove=False)
        orphan = lock_orphan(kept.spool.path)
        assert orphan is not None
        orphan.close()


def test_a_child_that_keeps_the_descriptor_would_keep_the_lock(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with forked(lambda: None):
        kept.spool.close(remove=False)
        assert lock_orphan(kept.spool.path) is None  # why the child must abandon it


# --- files that are no spools, or lie ---


def spool_with(identity: Any, state: SpoolState, directory: Path) -> Path:
    """A well-formed file that says something of its own."""
    Spool(directory, RECORDS_AT + 100, 0o600, identity, state).close(remove=False)
    (path,) = directory.iterdir()
    return path


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "0 bytes are too few"),
        (b"HANSARD-SPOOL-1\n", "16 bytes are too few"),
        (bytes(RECORDS_AT), "does not begin as a spool does"),
        (b"abc" * RECORDS_AT, "does not begin as a spool does"),
        (b"HANSARD-SPOOL-1\n" + b"\xff" * RECORDS_AT, "identity in its header is broken"),
    ],
    ids=["empty", "short", "zero", "text", "no identity"],
)
def test_a_file_that_is_no_spool_is_damage(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "bad.spool"
    path.write_bytes(content)
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(SpoolDamaged, match=what):
        lock_orphan(path)
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208
    assert not is_locked(path)


def test_a_broken_byte_in_the_identity_is_damage(kept: Kept) -> None:
    image = kept.image()
    for at in range(24 + len(msgpack.packb(tuple(IDENTITY)))):
        with pytest.raises(SpoolDamaged):
            read(image[:at] + bytes([image[at] ^ 0x01]) + image[at + 1 :])


@pytest.mark.parametrize(
    "identity",
    [
        (b"short", "host", 1, 2),
        ("a" * 16, "host", 1, 2),
        (PRODUCER, b"host", 1, 2),
        (PRODUCER, "h" * 300, 1, 2),
        (PRODUCER, "host", "1", 2),
        (PRODUCER, "host", -1, 2),
        (PRODUCER, "host", 1, 2.5),
        (PRODUCER, "host", 1, 1 << 63),
        (PRODUCER, "host", 1),
        (PRODUCER, "host", 1, 2, False, 3),
        PRODUCER,
        7,
    ],
    ids=[
        "short id",
        "id of text",
        "host of bytes",
        "long host",
        "pid of text",
        "negative pid",
        "start with a fraction",
        "start too late",
        "too little",
        "too much",
        "no list",
        "a number",
    ],
)
def test_an_identity_that_no_hello_could_have_is_damage(tmp_path: Path, identity: Any) -> None:
    path = spool_with(IDENTITY, SpoolState(), tmp_path)
    packed = msgpack.packb(identity)
    image = bytearray(path.read_bytes())
    image[16 : 24 + len(packed)] = (
        len(packed).to_bytes(4, "little") + zlib.crc32(packed).to_bytes(4, "little") + packed
    )
    path.write_bytes(bytes(image))
    with pytest.raises(SpoolDamaged):
        lock_orphan(path)


@pytest.mark.parametrize(
    "state",
    [
        SpoolState(head=0),
        SpoolState(head=RECORDS_AT - 1),
        SpoolState(head=RECORDS_AT + 100),
        SpoolState(base_seq=INT64_MAX),
        SpoolState(base_seq=(1 << 64) - 1),
        SpoolState(drops=Drops(1 << 63, 0, 0)),
        SpoolState(drops=Drops(1, -1, 0)),
        SpoolState(drops=Drops(1, 0, -1)),
    ],
    ids=[
        "head at nothing",
        "head in the header",
        "head behind the end",
        "numbers used up",
        "numbers beyond all",
        "drops beyond all",
        "first drop before 1970",
        "last drop before 1970",
    ],
)
def test_a_state_that_no_frame_could_have_is_damage(tmp_path: Path, state: SpoolState) -> None:
    path = spool_with(IDENTITY, state, tmp_path)
    with pytest.raises(SpoolDamaged):
        lock_orphan(path)


def test_a_record_that_lies_about_its_length_is_an_end(kept: Kept) -> None:
    kept.append(30)
    kept.append(30)
    image = bytearray(kept.image())
    too_many = (FRAME_EVENTS_MAX << SIZE_BITS) + 30
    lengths = (0, 1, 31, 10_000, 1 << 20, (1 << 20) + 1, too_many, 0xFFFF_FFFE, 0xFFFF_FFFF)
    for length in lengths:
        image[RECORDS_AT + 46 : RECORDS_AT + 50] = length.to_bytes(4, "little")
        assert read(bytes(image))[1] == kept.events[:1]


def test_a_ring_of_nothing_but_a_way_back_ends(kept: Kept) -> None:
    image = bytearray(kept.image())
    image[RECORDS_AT : RECORDS_AT + 4] = b"\xff" * 4
    assert read(bytes(image))[1] == []


@pytest.mark.parametrize("kind", ["directory", "link", "socket"])
def test_what_is_no_file_is_not_adopted(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "odd.spool"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(left_behind(tmp_path))
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises((OSError, SpoolDamaged)):
        lock_orphan(path)
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208


def outcome_of(program: str, *arguments: object) -> int:
    """How a program ended; it has ten seconds."""
    worker = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: worker.poll() is not None, "the program has ended", 10)
    finally:
        worker.kill()
        worker.wait()
    return worker.returncode


def test_a_pipe_in_the_spool_directory_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.spool")
    program = (
        "import sys; from pathlib import Path\n"
        "from hansard.spool import SpoolDamaged; from hansard.spool.orphan import lock_orphan\n"
        "try: lock_orphan(Path(sys.argv[1]))\n"
        "except (OSError, SpoolDamaged): sys.exit(3)"
    )
    assert outcome_of(program, tmp_path / "a.spool") == 3


def test_a_spool_that_is_cut_short_while_it_is_read_kills_nobody(tmp_path: Path) -> None:
    kept = Kept(tmp_path, 1 << 20)
    for _ in range(10):
        kept.append(90_000)
    kept.spool.close(remove=False)
    program = (
        "import os, sys; from pathlib import Path\n"
        "from hansard.spool import SpoolDamaged; from hansard.spool.orphan import lock_orphan\n"
        "orphan = lock_orphan(Path(sys.argv[1]))\n"
        "frames = orphan.frames()\n"
        "next(frames)\n"
        "os.truncate(orphan.path, 8192)\n"
        "try: list(frames)\n"
        "except (OSError, SpoolDamaged): pass"
    )
    assert outcome_of(program, kept.spool.path) == 0
