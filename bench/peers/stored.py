"""An event as the peers keep it, and whether what they hold is what was recorded. Pure but for the
clock.

All keep the same: who recorded it, as its how manieth, when, and the event's own five fields; in
the columns of one table, or as one JSON array a message or line.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from bench.measuring.entered import WrongEntries
from bench.workloads.event import Event


class Stored(NamedTuple):
    """An event that was read back: the ``seq``-th of worker ``number``."""

    number: int
    seq: int
    event: Event


def row(number: int, seq: int, event: Event) -> tuple[Any, ...]:
    """An event as columns, recorded now."""
    event_type, payload, level, actor, task_id = event
    text = orjson.dumps(payload).decode()
    return (number, seq, time.time_ns(), event_type, level, actor, task_id, text)


def from_row(columns: Sequence[Any]) -> Stored:
    """The other way round."""
    number, seq, _, event_type, level, actor, task_id, text = columns
    return Stored(number, seq, Event(event_type, orjson.loads(text), level, actor, task_id))


def message(number: int, seq: int, event: Event) -> bytes:
    """An event as one message, recorded now."""
    return orjson.dumps((number, seq, time.time_ns(), *event))


def from_message(data: bytes) -> Stored:
    """The other way round."""
    number, seq, _, *event = orjson.loads(data)
    return Stored(number, seq, Event(*event))


def check(peer: str, stored: Iterable[Stored], recorded: Mapping[int, Sequence[Event]]) -> None:
    """Raises `WrongEntries` unless each worker's events are there, in order, and no other."""
    counts = dict.fromkeys(recorded, 0)
    for number, seq, event in stored:
        count = counts.get(number, 0)
        if number not in counts or count == len(recorded[number]):
            raise WrongEntries(f"{peer} holds an event more than worker {number} recorded: {event}")
        if (seq, event) != (count + 1, recorded[number][count]):
            raise WrongEntries(
                f"event {count + 1} of worker {number} is {recorded[number][count]}, "
                f"and {peer} holds {event} as its event {seq}"
            )
        counts[number] = seq
    for number, count in counts.items():
        if count != len(recorded[number]):
            raise WrongEntries(
                f"worker {number} recorded {len(recorded[number]):,} events, "
                f"and {peer} holds {count:,} of it"
            )
