"""Answers are held back until the commit that settles them, or until time is up."""

from typing import Any

import pytest

from hansard import wire
from hansard_writer.acks import Acks
from hansard_writer.intake import ProducerState

RUN, LOG = b"r" * 16, b"l" * 16


class Outcomes:
    """What the store would say."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.answer: Any = ([(1, 5, 101)], [], 5)

    def __call__(self, producer: int, first: int, last: int) -> Any:
        self.asked.append((producer, first, last))
        return self.answer


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes()


class Refused:
    """What the store would say of the numbers that are no entries."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.answer = wire.Refusals(5, 2, 1)

    def __call__(self, producer: int) -> wire.Refusals:
        self.asked.append(producer)
        return self.answer


@pytest.fixture
def refused() -> Refused:
    return Refused()


@pytest.fixture
def acks(outcomes: Outcomes, refused: Refused) -> Acks:
    return Acks(RUN, LOG, 3, outcomes, refused)


@pytest.fixture
def state() -> ProducerState:
    return ProducerState(7, b"h" * 32, "host", 1, 1)


def wait(
    target: int, *, from_seq: int = 0, seen: int = 0, dropped: int = 0, urgent: bool = False
) -> wire.Wait:
    report = wire.Report(9, 8, 7, 6)
    return wire.Wait(b"p" * 16, from_seq, target, seen, dropped, urgent, report)


def envelope(peer: bytes = b"peer", number: bytes = b"1") -> list[bytes]:
    return [peer, number, b""]


def ack(content: bytes) -> wire.Ack:
    verb, fields = wire.unpack_reply(content)
    assert verb == "wait"
    return wire.ack_of(fields)


def commit(state: ProducerState, watermark: int, crc: int = 9) -> None:
    state.watermark, state.crc = watermark, crc
    state.committed()


def test_nothing_is_answered_before_the_commit(acks: Acks, state: ProducerState) -> None:
    acks.wait(envelope(), wait(3), state, 10.0)
    state.watermark = 3
    assert acks.due(10.1) == []
    state.committed()
    (reply,) = acks.due(10.1)
    assert reply.envelope == envelope()
    assert ack(reply.content)[:5] == (wire.COMMITTED, RUN, 3, 0, 0)
    assert acks.due(99.0) == []


def test_a_wait_that_is_due_says_what_is_committed_and_no_more(
    acks: Acks, state: ProducerState, outcomes: Outcomes
) -> None:
    commit(state, 2)
    state.watermark = 8
    acks.wait(envelope(), wait(8, from_seq=1), state, 10.0)
    assert acks.due(10.24) == []
    assert acks.next_deadline() == 10.25
    (reply,) = acks.due(10.25)
    assert ack(reply.content)[:4] == (wire.PENDING, RUN, 2, 9)
    assert outcomes.asked == [(7, 1, 2)]


def test_the_envelope_is_echoed_whole(acks: Acks, state: ProducerState) -> None:
    whole = [b"peer", b"request", b"hop", b""]
    commit(state, 1)
    acks.wait(whole, wait(1), state, 0.0)
    assert acks.due(0.0)[0].envelope == whole


def test_a_newer_wait_of_a_peer_replaces_the_older(acks: Acks, state: ProducerState) -> None:
    acks.wait(envelope(number=b"1"), wait(5), state, 0.0)
    acks.wait(envelope(number=b"2"), wait(5, urgent=True), state, 0.0)
    assert len(acks) == 1
    commit(state, 5)
    assert [reply.envelope for reply in acks.due(0.0)] == [envelope(number=b"2")]


def test_a_hello_replaces_the_wait_of_the_same_peer(acks: Acks, state: ProducerState) -> None:
    acks.wait(envelope(), wait(5), state, 0.0)
    acks.greet(envelope(), state, 0.0)
    (reply,) = acks.due(1.0)
    assert wire.unpack_reply(reply.content)[0] == "hello"


def test_a_welcome_says_what_is_committed(acks: Acks, state: ProducerState) -> None:
    commit(state, 6, crc=44)
    acks.greet(envelope(), state, 0.0)
    verb, content = wire.unpack_reply(acks.due(0.0)[0].content)
    assert verb == "hello"
    welcome = wire.Welcome(*content)
    assert welcome[:6] == (LOG, RUN, 3, 6, 44, 0)
    assert welcome.limits["frame_events_max"] == wire.FRAME_EVENTS_MAX


def test_a_welcome_waits_until_the_batch_has_nothing_of_the_producer(
    acks: Acks, state: ProducerState
) -> None:
    state.watermark = 4
    acks.greet(envelope(), state, 0.0)
    assert acks.due(1.0) == []
    assert acks.hurry()
    state.committed()
    assert len(acks.due(99.0)) == 1
    assert not acks.hurry()


def test_every_answer_says_why_nothing_is_taken_in(acks: Acks, state: ProducerState) -> None:
    for reason in ("the disk is full", ""):
        acks.suspended = reason
        acks.greet(envelope(b"greets"), state, 0)
        acks.wait(envelope(b"waits"), wait(0), state, 0.0)
        welcome, answer = (each.content for each in acks.due(99.0))
        assert wire.welcome_of(wire.unpack_reply(welcome)[1]).suspended == reason
        assert ack(answer).suspended == reason


def test_a_stranger_learns_which_log_this_is_and_nothing_else(acks: Acks) -> None:
    _, content = wire.unpack_reply(acks.welcome_stranger())
    assert wire.Welcome(*content)[:6] == (LOG, RUN, 3, 0, 0, 0)


def test_only_an_urgent_wait_for_what_is_in_the_batch_hurries(
    acks: Acks, state: ProducerState
) -> None:
    acks.wait(envelope(b"a"), wait(5), state, 0.0)
    state.watermark = 5
    assert not acks.hurry()
    acks.wait(envelope(b"b"), wait(5, urgent=True), state, 0.0)
    assert acks.hurry()
    state.committed()
    assert not acks.hurry()


def test_resume_is_told_once_a_gap(acks: Acks, state: ProducerState) -> None:
    commit(state, 3)
    state.refused_to = 9
    acks.wait(envelope(), wait(9), state, 0.0)
    (reply,) = acks.due(0.0)
    assert ack(reply.content)[:3] == (wire.RESUME, RUN, 3)
    acks.wait(envelope(), wait(9), state, 0.0)
    assert acks.due(0.0) == []


def test_resume_is_told_again_when_nothing_has_come_of_it_for_a_while(
    acks: Acks, state: ProducerState
) -> None:
    """The answer, or what was sent again, may have been lost."""
    commit(state, 3)
    state.refused_to = 9
    statuses = []
    for now in range(20):
        acks.wait(envelope(), wait(9), state, now)
        replies = [*acks.due(now), *acks.due(now + 0.5)]
        statuses += [ack(reply.content).status for reply in replies]
    assert statuses[0] == wire.RESUME
    assert 2 <= statuses.count(wire.RESUME) <= 10


def test_resume_waits_for_the_commit_of_what_is_before_the_gap(
    acks: Acks, state: ProducerState
) -> None:
    """It says where to go on: at what is committed, for that is all an ack may say."""
    state.watermark = 3
    state.refused_to = 9
    acks.wait(envelope(), wait(9), state, 0.0)
    assert acks.due(0.1) == []
    assert acks.hurry(), "the producer cannot go on before"
    state.committed()
    assert ack(acks.due(0.1)[0].content)[:3] == (wire.RESUME, RUN, 3)


def test_a_wait_for_drops_waits_for_their_commit(acks: Acks, state: ProducerState) -> None:
    commit(state, 3)
    acks.wait(envelope(), wait(3, dropped=2), state, 0.0)
    assert acks.due(0.1) == []
    state.dropped = 2
    state.committed()
    (reply,) = acks.due(0.1)
    assert ack(reply.content)[:5] == (wire.COMMITTED, RUN, 3, 9, 2)


def test_outcomes_are_asked_for_only_where_somebody_wants_them(
    acks: Acks, state: ProducerState, outcomes: Outcomes
) -> None:
    commit(state, 5)
    acks.wait(envelope(), wait(4), state, 0.0)
    answer = ack(acks.due(0.0)[0].content)
    assert (answer.outcomes_to, answer.runs, answer.dead) == (4, [], [])
    assert outcomes.asked == []
    acks.wait(envelope(), wait(4, from_seq=2), state, 0.0)
    answer = ack(acks.due(0.0)[0].content)
    assert (answer.outcomes_to, answer.runs, answer.dead) == (5, [[1, 5, 101]], [])
    assert outcomes.asked == [(7, 2, 4)]


def test_a_want_beyond_what_is_committed_asks_nothing(
    acks: Acks, state: ProducerState, outcomes: Outcomes
) -> None:
    commit(state, 5)
    acks.wait(envelope(), wait(9, from_seq=6), state, 0.0)
    acks.due(1.0)
    assert outcomes.asked == []


def test_nobody_waiting_means_no_deadline(acks: Acks) -> None:
    assert acks.next_deadline() is None
    assert acks.due(1e9) == []


# --- what was refused, and what was there already ---


def answer_to(acks: Acks, asked: wire.Wait, state: ProducerState) -> wire.Ack:
    """What is said when a wait's time is up."""
    acks.wait(envelope(), asked, state, 0.0)
    (reply,) = acks.due(wire.WAIT_S)
    return ack(reply.content)


def test_a_wait_brings_how_the_producer_is_doing(acks: Acks, state: ProducerState) -> None:
    acks.wait(envelope(), wait(1), state, 0.0)
    assert state.report == wire.Report(9, 8, 7, 6)


def test_an_ack_and_a_welcome_say_how_much_was_refused(
    acks: Acks, state: ProducerState, refused: Refused
) -> None:
    commit(state, 5)
    assert answer_to(acks, wait(5), state).refusals == refused.answer
    acks.greet(envelope(), state, 0.0)
    _, content = wire.unpack_reply(acks.due(0.0)[0].content)
    assert wire.welcome_of(content).refusals == refused.answer
    assert refused.asked == [7, 7]


def test_of_a_producer_without_a_row_nothing_was_refused(
    acks: Acks, state: ProducerState, refused: Refused
) -> None:
    acks.greet(envelope(), state, 0.0)
    _, content = wire.unpack_reply(acks.due(0.0)[0].content)
    assert wire.welcome_of(content).refusals == wire.Refusals()
    assert answer_to(acks, wait(5), state).refusals == wire.Refusals()
    assert refused.asked == [], "its id is given, but not in the database yet"


def test_a_stranger_learns_nothing_of_refusals(acks: Acks, refused: Refused) -> None:
    _, content = wire.unpack_reply(acks.welcome_stranger())
    assert wire.welcome_of(content).refusals == wire.Refusals()
    assert refused.asked == []


def test_an_ack_says_how_much_was_there_already(acks: Acks, state: ProducerState) -> None:
    commit(state, 5)
    state.duplicates = 3
    assert answer_to(acks, wait(5), state).duplicates == 3
    assert answer_to(acks, wait(5), state).duplicates == 3


def notice(seq: int) -> wire.Notice:
    return wire.Notice(seq, "orphan", "task.done", "task 'T' is not registered")


def test_notices_are_told_until_the_producer_has_seen_their_numbers(
    acks: Acks, state: ProducerState
) -> None:
    commit(state, 6)
    state.notices.extend(map(notice, (2, 4, 6)))
    assert answer_to(acks, wait(6), state).notices == list(map(notice, (2, 4, 6)))
    assert answer_to(acks, wait(6, seen=1), state).notices == list(map(notice, (2, 4, 6)))
    assert answer_to(acks, wait(6, seen=4), state).notices == [notice(6)]
    assert answer_to(acks, wait(6, seen=6), state).notices == []
    assert not state.notices


def test_a_pending_answer_tells_notices_too(acks: Acks, state: ProducerState) -> None:
    commit(state, 6)
    state.notices.append(notice(2))
    answer = answer_to(acks, wait(9), state)
    assert (answer.status, answer.notices) == (wire.PENDING, [notice(2)])
