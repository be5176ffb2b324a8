"""How many of a frame's events a log has, as they are: only what is certain counts."""

from typing import Any

import msgpack
import pytest

from hansard import wire
from hansard_writer.comparing import held, holds

PRODUCER = 7


def event(number: int, kind: int = 0, **changed: Any) -> tuple[Any, ...]:
    facts = {"type": "step.done", "level": "info", "payload": f'{{"n":{number}}}', **changed}
    return (kind, number, facts["type"], facts["level"], None, None, facts["payload"])


def frame_of(*events: Any, first_seq: int = 1) -> wire.Frame:
    body = b"".join(map(msgpack.packb, events))
    return wire.Frame(b"p" * 16, first_seq, len(events), 0, wire.Drops(), body)


class Log:
    """What is committed of one producer: entries by their runs, dead letters by their numbers."""

    def __init__(self, *events: Any, first_seq: int = 1) -> None:
        self.runs = [(first_seq, len(events), 101)] if events else []
        self.entries: list[tuple[Any, ...] | None] = [(*each[1:], False) for each in events]
        self.pruned_before = 0
        self.letters: dict[int, bytes] = {}

    def outcomes(
        self, producer: int, first: int, last: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str, str]], int]:
        assert producer == PRODUCER
        return self.runs, [(number, 1, "invalid", "") for number in self.letters], last

    def entered(self, seq: int, count: int) -> list[tuple[Any, ...] | None]:
        return self.entries[seq - 101 : seq - 101 + count]

    def letter(self, producer: int, number: int) -> bytes:
        return self.letters[number]


ONE, TWO, THREE = map(event, (1, 2, 3))


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        pytest.param([ONE], 1, id="fewer"),
        pytest.param([ONE, TWO, THREE], 3, id="the same"),
        pytest.param([ONE, TWO, THREE, event(4)], 3, id="more"),
        pytest.param([ONE, event(7), THREE], 1, id="another in the middle"),
        pytest.param([event(7), TWO, THREE], 0, id="another at first"),
        pytest.param([ONE, event(2, level="error")], 1, id="another level"),
    ],
)
def test_events_count_up_to_the_first_that_is_another(sent: list[Any], count: int) -> None:
    assert held(Log(ONE, TWO, THREE), PRODUCER, frame_of(*sent)) == count


def test_a_frame_in_the_middle_of_a_run_is_compared_with_its_own_numbers() -> None:
    log = Log(ONE, TWO, THREE)
    assert held(log, PRODUCER, frame_of(TWO, THREE, first_seq=2)) == 2
    assert held(log, PRODUCER, frame_of(ONE, TWO, first_seq=2)) == 0


def test_a_number_of_which_the_log_has_nothing_does_not_count() -> None:
    assert held(Log(), PRODUCER, frame_of(ONE)) == 0
    assert held(Log(TWO, first_seq=2), PRODUCER, frame_of(ONE, TWO)) == 0
    assert holds(Log(), PRODUCER, 1, ONE), "it may be a letter that was not kept"


def test_a_dead_letter_counts_if_it_is_that_very_event() -> None:
    bad = event(1, level="loud")
    log = Log(TWO, first_seq=2)
    log.letters[1] = msgpack.packb(bad)
    assert held(log, PRODUCER, frame_of(bad, TWO)) == 2
    assert held(log, PRODUCER, frame_of(event(1, level="louder"), TWO)) == 0
    log.letters[1] = b"\xc1"
    assert held(log, PRODUCER, frame_of(bad, TWO)) == 0, "what it was cannot be told"


def test_joined_events_count_together_or_not_at_all() -> None:
    joined = [event(1), event(2, wire.JOINED), event(3, wire.JOINED), event(4)]
    assert held(Log(*joined), PRODUCER, frame_of(*joined)) == 4
    assert held(Log(*joined[:3]), PRODUCER, frame_of(*joined)) == 1


def test_of_a_body_that_cannot_be_told_apart_nothing_counts() -> None:
    broken = frame_of(ONE, TWO)._replace(event_count=3)
    assert held(Log(ONE, TWO), PRODUCER, broken) == 0


def test_an_event_under_a_pruned_number_counts_if_it_is_as_old_as_what_was_pruned() -> None:
    """Nobody can tell any more what it was; an old spool's must not come back."""
    log = Log(ONE, TWO, THREE)
    log.entries[:2] = [None, None]
    log.pruned_before = 2
    assert held(log, PRODUCER, frame_of(ONE, THREE)) == 1, "the second is newer"
    log.pruned_before = 3
    assert held(log, PRODUCER, frame_of(ONE, TWO, THREE)) == 3
    assert held(log, PRODUCER, frame_of(event(1), event(2, wire.JOINED), event(7))) == 1
    assert holds(log, PRODUCER, 1, ONE)
    assert not holds(log, PRODUCER, 2, THREE)
    for strange in (7, (), (0,), (0, "now"), (0, True)):
        assert not holds(log, PRODUCER, 1, strange)
