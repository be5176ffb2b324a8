"""Entries as CloudEvents 1.0, in the JSON event format: a structured event a line. Pure.

Sources: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, its
formats/json-format.md, and its extension "sequence". Lines rather than the batch format, which is
one array: a line is an event of its own, of the media type application/cloudevents+json.

``source`` is ``urn:hansard:`` and the log's id, ``type`` the event type, ``time`` when it was
recorded, to the nanosecond, ``subject`` the task, ``data`` the payload as it was recorded.
Extensions: ``sequence``, the entry's id, with zeros in front so that the text sorts as the numbers
do (no ``sequencetype``: its "Integer" has 32 bits); ``level``; ``actor``; ``producer`` and
``producerseq``, which are the entry's key; ``host`` and ``pid`` of the producer; ``redacted``,
true where the payload is gone, else not there. What is null in the log is not there at all.

``id`` is made of the key and the time. The sequence would not do: a log that was put back from a
backup gives its numbers anew, and the writer's own entries then get known keys too. An event that
is entered again out of a spool keeps its ``id``, and so is the duplicate that it is.

An attribute must not hold control characters or noncharacters; in a task's or an actor's name
they are written as JSON would escape them. An empty task has no ``subject``, which must not be
empty.
"""

import re
from typing import Final

from hansard.reader import Event, Extent
from hansard_writer.spliced_json import json_line

SPEC_VERSION: Final = "1.0"
SOURCE: Final = "urn:hansard:"
CONTENT_TYPE: Final = "application/json"
SEQUENCE_DIGITS: Final = 19  # of 2^63 - 1
PRODUCER_DIGITS: Final = 16  # of the hash, in an id
INTEGER_MAX: Final = (1 << 31) - 1

_DISALLOWED: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)


class CloudEvents:
    """An `Encoder`."""

    def __init__(self, extent: Extent) -> None:
        self._source = SOURCE + extent.log_id

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        attributes: dict[str, object] = {
            "specversion": SPEC_VERSION,
            "id": event_uid(event),
            "source": self._source,
            "type": event.event_type,
            "time": exact_time(event),
            "sequence": f"{event.id:0{SEQUENCE_DIGITS}}",
            "level": event.level,
            "producer": event.producer,
            "producerseq": str(event.producer_seq),
        }
        if event.task_id:
            attributes["subject"] = _allowed(event.task_id)
        if event.actor is not None:
            attributes["actor"] = _allowed(event.actor)
        if event.host:
            attributes["host"] = _allowed(event.host)
        if 0 < event.pid <= INTEGER_MAX:
            attributes["pid"] = event.pid
        if event.redacted:
            attributes["redacted"] = True
        if event.payload is not None:
            attributes["datacontenttype"] = CONTENT_TYPE
            attributes["data"] = event.payload
        return json_line(attributes, "data")

    def end(self) -> bytes:
        return b""


def event_uid(event: Event) -> str:
    """What an event is called outside its log, and stays called if it is entered again."""
    return f"{event.producer[:PRODUCER_DIGITS]}-{event.producer_seq}-{event.created_at_ns}"


def exact_time(event: Event) -> str:
    """RFC 3339, UTC, to the nanosecond."""
    return f"{event.created_at[:-1]}{event.created_at_ns % 1_000:03}Z"


def _allowed(text: str) -> str:
    return _DISALLOWED.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    """As JSON has it: beyond U+FFFF a pair of surrogates."""
    pair = match[0].encode("utf-16-be").hex()
    return "".join(rf"\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))
