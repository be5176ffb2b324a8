"""Numbers are held against watermarks: what is taken, and what is not."""

import orjson
import pytest

from frames import PRODUCER, Chain, event, parts
from hansard import wire
from hansard_writer import intake
from hansard_writer.intake import LOST, Intake, Outcome, ProducerState


class Rows:
    """The database's rows of producers."""

    def __init__(self) -> None:
        self.states: dict[bytes, ProducerState] = {}
        self.asked = 0
        self._id = 0

    def find(self, producer_hash: bytes) -> ProducerState | None:
        self.asked += 1
        return self.states.get(producer_hash)

    def next_id(self) -> int:
        self._id += 1
        return self._id


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def taking(rows: Rows) -> Intake:
    own = ProducerState(0, bytes(32), "", 0, 0, is_stored=True)
    return Intake(rows.find, rows.next_id, own)


def greet(taking: Intake, chain: Chain, first_seq: int = 1, crc: int = 0) -> ProducerState:
    return taking.greet(chain.hello(first_seq, crc), 0.0, 5)


def take(taking: Intake, state: ProducerState, frame: wire.Frame, now: float = 1.0) -> Outcome:
    return taking.take(state, frame, now, 5)


def lost(taking: Intake) -> list[dict[str, object]]:
    return [
        orjson.loads(payload)
        for state, run in taking.batch.runs
        for kind, payload in zip(run.columns[1], run.columns[-1], strict=True)
        if kind == LOST
    ]


def test_a_new_producer_begins_at_zero_and_has_no_row_yet(taking: Intake) -> None:
    state = greet(taking, Chain())
    assert (state.watermark, state.crc, state.is_stored, state.is_clean) == (0, 0, False, True)
    assert not taking.batch


def test_a_producer_is_looked_up_once(taking: Intake, rows: Rows) -> None:
    chain = Chain()
    first = greet(taking, chain)
    assert greet(taking, chain) is first
    assert taking.state_of(chain.hash) is first
    assert rows.asked == 1


def test_a_producer_of_an_earlier_run_goes_on_where_it_was(taking: Intake, rows: Rows) -> None:
    chain = Chain()
    frame = chain.frame(event(), event())
    rows.states[chain.hash] = ProducerState(
        9, chain.hash, "h", 1, 1, watermark=2, crc=chain.crc, is_stored=True
    )
    state = greet(taking, chain, 3, chain.crc)
    assert state.id == 9
    assert take(taking, state, frame) is Outcome.DUPLICATE
    assert take(taking, state, chain.frame(event())) is Outcome.TAKEN


def test_a_frame_moves_the_watermark_and_the_crc(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    assert take(taking, state, chain.frame(event(), event())) is Outcome.TAKEN
    assert (state.watermark, state.crc) == (2, chain.crc)
    assert (state.committed_watermark, state.committed_crc) == (0, 0)
    assert not state.is_clean
    taking.fresh_batch()
    assert (state.committed_watermark, state.committed_crc) == (2, chain.crc)
    assert state.is_clean
    assert state.is_stored


def test_the_batch_says_how_much_it_holds_and_since_when(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    frames = [chain.frame(event()), chain.frame(event(), event())]
    take(taking, state, frames[0], now=3.0)
    take(taking, state, frames[1], now=4.0)
    assert taking.batch.events == 3
    assert taking.batch.bytes == sum(len(frame.body) for frame in frames)
    assert taking.batch.oldest_at == 3.0
    assert taking.batch
    taking.fresh_batch()
    assert not taking.batch


def test_a_frame_twice_is_taken_once(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    frame = chain.frame(event(), event())
    take(taking, state, frame)
    assert take(taking, state, frame) is Outcome.DUPLICATE
    assert taking.batch.events == 2
    assert taking.counters.duplicates_dropped == 2


def test_a_frame_from_long_ago_is_a_duplicate_and_no_conflict(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    frames = [chain.frame(event(), event()) for _ in range(3)]
    for frame in [*frames, *frames]:
        take(taking, state, frame)
    assert (taking.counters.duplicates_dropped, taking.counters.conflicts) == (6, 0)
    assert not state.wants_resume


def test_a_frame_that_overlaps_is_taken_from_its_new_part_on(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    events = [event(f'{{"n":{n}}}') for n in range(1, 6)]
    whole = Chain().frame(*events)
    take(taking, state, chain.frame(*events[:2]))
    assert take(taking, state, whole) is Outcome.TAKEN
    assert [(run.first_seq, run.length) for _, run in taking.batch.runs] == [(1, 2), (3, 3)]
    assert (state.watermark, taking.counters.duplicates_dropped) == (5, 2)
    chain.frame(*events[2:])
    assert state.crc == chain.crc


def test_a_frame_behind_a_gap_is_not_taken(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    missing = chain.frame(event())
    behind = chain.frame(event())
    assert take(taking, state, behind) is Outcome.GAP
    assert state.wants_resume
    assert not taking.batch
    assert take(taking, state, missing) is Outcome.TAKEN
    assert take(taking, state, behind) is Outcome.TAKEN
    assert not state.wants_resume


def test_a_frame_of_another_history_is_a_conflict(taking: Intake) -> None:
    chain, twin = Chain(), Chain()
    state = greet(taking, chain)
    take(taking, state, chain.frame(event('{"n":1}'), event('{"n":2}')))
    longer = [event('{"m":1}'), event('{"m":2}'), event('{"m":3}')]
    assert take(taking, state, twin.frame(*longer)) is Outcome.CONFLICT
    assert take(taking, state, Chain().frame(*longer[:2])) is Outcome.CONFLICT
    assert take(taking, state, twin.frame(event())) is Outcome.GAP
    assert state.watermark == 2
    assert (state.crc, taking.counters.conflicts) == (chain.crc, 2)


def test_a_frame_whose_crc_before_is_another_is_a_conflict(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    take(taking, state, chain.frame(event()))
    frame = chain.frame(event())._replace(crc_before=1)
    assert take(taking, state, frame) is Outcome.CONFLICT
    assert state.wants_resume


def test_an_overlap_that_cannot_be_told_apart_is_a_conflict(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    take(taking, state, chain.frame(event(), event(), event()))
    frame = wire.Frame(PRODUCER, 1, 5, 0, wire.Drops(), b"\xc1\xc1")
    assert take(taking, state, frame) is Outcome.CONFLICT


def test_an_undecodable_frame_is_refused_and_the_watermark_moves(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    frame = chain.frame(b"\xc1")._replace(event_count=4)
    assert take(taking, state, frame) is Outcome.TAKEN
    ((refused_of, refused),) = taking.batch.refused
    assert refused_of is state
    assert (refused.first_seq, refused.numbers) == (1, 4)
    assert state.watermark == 4
    assert taking.counters.refused == 4


def test_drops_are_reported_once_each(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    frame = chain.frame(event(), drops=wire.Drops(3, 10, 20))
    take(taking, state, frame)
    take(taking, state, frame)
    take(taking, state, chain.frame(drops=wire.Drops(5, 30, 40)))
    take(taking, state, chain.frame(event(), drops=wire.Drops(5, 30, 40)))
    reports = lost(taking)
    assert [(r["count"], r["first_at"], r["last_at"]) for r in reports] == [
        (3, 10, 20),
        (2, 30, 40),
    ]
    assert reports[0]["producer"] == chain.hash.hex()
    assert (reports[0]["host"], reports[0]["pid"]) == ("host", 7)
    assert state.dropped == 5


def test_drops_stand_before_the_events_of_the_frame_that_tells_of_them(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    take(taking, state, chain.frame(event(), drops=wire.Drops(1, 1, 1)))
    assert [each.id for each, _ in taking.batch.runs] == [0, state.id]


def test_drops_are_taken_even_from_a_frame_behind_a_gap(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    chain.frame(event())
    take(taking, state, chain.frame(event(), drops=wire.Drops(2, 1, 1)))
    assert [each["count"] for each in lost(taking)] == [2]


def test_a_hello_from_beyond_the_watermark_says_that_the_log_went_back(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain, 5, 77)
    (report,) = lost(taking)
    assert (report["first_producer_seq"], report["last_producer_seq"]) == (1, 4)
    assert (report["count"], report["reason"]) == (4, "the log went back in time")
    assert (state.watermark, state.crc) == (4, 77)
    greet(taking, chain, 5, 77)
    assert len(lost(taking)) == 1


def test_a_hello_at_or_below_the_watermark_changes_nothing(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    take(taking, state, chain.frame(event(), event()))
    for first_seq in (1, 2, 3):
        greet(taking, chain, first_seq, 123)
    assert (state.watermark, state.crc) == (2, chain.crc)
    assert lost(taking) == []


def test_a_new_hello_forgets_the_gap(taking: Intake) -> None:
    chain = Chain()
    state = greet(taking, chain)
    chain.frame(event())
    take(taking, state, chain.frame(event()))
    greet(taking, chain)
    assert not state.wants_resume


def test_own_entries_are_numbered_without_holes(taking: Intake) -> None:
    for _ in range(3):
        taking.enter_own("hansard.test", {"a": 1}, 0.0, 5)
    numbers = [run.first_seq for _, run in taking.batch.runs]
    assert numbers == [1, 2, 3]


def test_a_message_without_a_readable_header_is_nobodys(taking: Intake) -> None:
    assert taking.take_message([b"\xc1", b"x" * 100_000], 0.0, 5) is Outcome.REFUSED
    ((state, refused),) = taking.batch.refused
    assert state is None
    assert (refused.first_seq, refused.numbers, refused.reason) == (0, 0, intake.BAD_HEADER)
    assert len(refused.data) == intake.KEPT_OF_BAD_BYTES_MAX
    assert taking.batch.events == 1, "or a flood of these would never fill a batch"


def test_a_message_of_a_producer_without_a_hello_is_nobodys(taking: Intake) -> None:
    assert taking.take_message(parts(Chain().frame(event())), 0.0, 5) is Outcome.REFUSED
    assert taking.batch.refused[0][1].reason == intake.UNKNOWN_PRODUCER


def test_only_producers_with_nothing_in_the_batch_are_forgotten(
    taking: Intake, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PRODUCERS_MAX", 4)
    busy = Chain(b"b" * 16)
    state = greet(taking, busy)
    take(taking, state, busy.frame(event()))
    for number in range(20):
        greet(taking, Chain(bytes([number]) * 16))
    assert taking.state_of(busy.hash) is state
