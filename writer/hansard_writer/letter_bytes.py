"""What the bytes of a dead letter say, good or bad: whose events they are, and what they are about.

Pure. What cannot be told apart is held to be about all that its bytes mention.
"""

import json
from collections.abc import Sequence
from typing import Any

import msgpack

from hansard import wire
from hansard_writer.decoding import events_of

_FIELDS = 7


def frame_of_nobodys(message: bytes) -> wire.Frame | None:
    """The frame of a message from somebody unknown, whose parts lie one behind the other; None
    where its header is none."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=wire.MESSAGE_BYTES_MAX)
    unpacker.feed(message)
    try:
        unpacker.skip()
        end = unpacker.tell()
        return wire.unpack_frame(message[:end], message[end:])
    except Exception:  # noqa: BLE001 - msgpack raises a dozen unrelated types
        return None


def is_of_task(frame: wire.Frame, task_id: str) -> bool:
    """Whether one of the events is of this task."""
    events = _apart(frame)
    if events is None:
        return task_id.encode() in frame.body
    return any(event[5] == task_id for event in events)


def is_of_workflow(frame: wire.Frame, workflow_id: str) -> bool:
    """Whether one of the events has this workflow in its payload."""
    events = _apart(frame)
    if events is None:
        return workflow_id.encode() in frame.body
    return any(_has_workflow(event[6], workflow_id) for event in events)


def without_content(frame: wire.Frame) -> bytes:
    """The same number of events, of which only kind and time are left; none where they cannot be
    told apart."""
    pack = msgpack.Packer().pack
    nothing = (None,) * (_FIELDS - 2)
    return b"".join(
        pack((*(_number(field) for field in event[:2]), *nothing)) for event in _apart(frame) or ()
    )


def _apart(frame: wire.Frame) -> Sequence[tuple[Any, ...]] | None:
    events = events_of(frame)
    if not events or any(type(event) is not tuple or len(event) != _FIELDS for event in events):
        return None
    return events


def _has_workflow(payload: Any, workflow_id: str) -> bool:
    if type(payload) is not str:
        return workflow_id in str(payload)
    try:
        facts = json.loads(payload)
    except (ValueError, RecursionError):
        return workflow_id in payload
    return type(facts) is dict and facts.get("workflow_id") == workflow_id


def _number(field: Any) -> int | None:
    return field if type(field) is int and 0 <= field <= wire.INT64_MAX else None
