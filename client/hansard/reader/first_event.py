"""What the bytes of a dead letter say of its first event, as far as they can be decoded.

Pure, and it takes any bytes: nothing here says whether an event is a good one.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgpack

from hansard.refusals import timestamp
from hansard.wire import EVENT_TYPE_CHARS_MAX, INT64_MAX

FIELDS: Final = 7  # of an event: its kind, and what follows
EVENT_TYPE_WITHIN_BYTES: Final = 32 + 4 * EVENT_TYPE_CHARS_MAX  # from the frame's beginning


class FirstEvent(NamedTuple):
    """As it was recorded; None for what is not there, or is nothing that could be entered."""

    created_at: str | None = None
    event_type: str | None = None
    level: str | None = None
    actor: str | None = None
    task_id: str | None = None
    payload: str | None = None


def first_event(frame: bytes) -> FirstEvent:
    """The first event of a frame's body, of which the end may be missing."""
    _, created_at, *texts = [*_fields(frame), *[None] * FIELDS][:FIELDS]
    return FirstEvent(_time(created_at), *(_text(each) for each in texts))


def _fields(frame: bytes) -> Iterator[Any]:
    """The fields up to the first that cannot be decoded."""
    unpacker = msgpack.Unpacker(
        unicode_errors="backslashreplace", max_buffer_size=max(len(frame), 1)
    )
    try:
        unpacker.feed(frame)
        if unpacker.read_array_header() == FIELDS:
            for _ in range(FIELDS):
                yield unpacker.unpack()
    except Exception:  # noqa: BLE001 - msgpack raises a dozen unrelated types
        return


def _time(value: object) -> str | None:
    if type(value) is not int or not 0 <= value <= INT64_MAX:
        return None
    return timestamp(value)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
