"""What does not fit: why, and the dead letter that keeps it. Pure.

A letter has a number like any event, so that nobody tries again what cannot become one.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import msgpack
import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.texts import encode_payload

ORIGIN: Final = "imported_from"  # the member of a payload that says where it comes from

# Causes, as reports count them and letters name them.
PAYLOAD: Final = "payload"
EVENT_TYPE: Final = "event type"
LEVEL: Final = "level"
TIME: Final = "time"
STATUS: Final = "status"
KEY: Final = "key"
ENCODING: Final = "encoding"
LIMITS: Final = "limits"

TEXT_CHARS_MAX: Final = 64 << 10  # of one value in a letter
LETTER_BYTES_MAX: Final = wire.EVENT_BYTES_MAX - (4 << 10)  # leaves room for the other fields
_FITTING_CHARS: Final = 1_000  # of one value, where there are so many that they do not fit


class Unfit(InvalidEvent):
    """A row or record of which no event can be made. Mend it where it comes from, or the options;
    its text begins with the cause."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(f"{cause}: {detail}")


def cause_of(reason: str) -> str:
    """What reports count a reason under: what is before its first colon."""
    return reason.partition(":")[0]


def letter(
    origin: Mapping[str, Any],
    reason: str,
    content: Mapping[str, Any],
    created_at: int,
    event_type: object = None,
    task_id: object = None,
) -> bytes:
    """The wire bytes of what becomes a dead letter: ``content`` as it was found, cut where it is
    too long, with its origin and the reason. ``created_at`` is ns since 1970 UTC."""
    said = {**origin, "unfit": reason}
    text = _encoded({**_cut(content, TEXT_CHARS_MAX), ORIGIN: said})
    if len(text) > LETTER_BYTES_MAX:
        text = _encoded({**_cut(content, _FITTING_CHARS), ORIGIN: said})
    if len(text) > LETTER_BYTES_MAX:
        text = _encoded({ORIGIN: said})
    named = event_type if _is_text(event_type, wire.EVENT_TYPE_CHARS_MAX) else None
    task = task_id if _is_text(task_id, wire.TASK_ID_BYTES_MAX) else None
    data: bytes = msgpack.packb(
        (wire.KIND_UNFIT, created_at, named, None, None, task, text.decode())
    )
    return data


def _encoded(content: Mapping[str, Any]) -> bytes:
    try:
        return encode_payload(content)
    except InvalidEvent:  # nested too deep: as text it is not
        return json.dumps(
            {name: value if name == ORIGIN else repr(value) for name, value in content.items()}
        ).encode()


def _cut(content: Mapping[str, Any], chars: int) -> dict[str, Any]:
    return {name: _cut_value(value, chars) for name, value in content.items()}


def _cut_value(value: Any, chars: int) -> Any:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if isinstance(value, orjson.Fragment):
        return value
    if isinstance(value, str) and len(value) > chars:
        return f"{value[:chars]}… [cut: {len(value):,} characters in all]"
    return value


def _is_text(value: object, chars_max: int) -> bool:
    return isinstance(value, str) and len(value) <= chars_max and value.isprintable()
