"""From a line to the arguments of `record()`: is it a JSON object, and what do its fields say.

Pure: bytes in, values out, the same for the same line and options. The payload is the line's own
text; what is parsed here is never encoded again.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import EventEncoder, check_event_type
from hansard_writer.importing.letters import LIMITS, Unfit
from hansard_writer.json_path import Path, parse_exactly
from hansard_writer.moments import parse_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Where the arguments of `record()` come from, as far as somebody says so.

    ``event_type`` is for all lines, or, with ``type_path``, for those that name no valid one.
    """

    event_type: str | None = None
    type_path: Path | None = None
    time_path: Path | None = None
    actor_path: Path | None = None
    task_path: Path | None = None

    def __post_init__(self) -> None:
        if self.event_type is not None:
            check_event_type(self.event_type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields(Given):
    """The same of lines of any JSON, whose type nothing else can say. A `Reading`."""

    def __post_init__(self) -> None:
        Given.__post_init__(self)
        if self.event_type is None and self.type_path is None:
            raise InvalidEvent("an event_type for all lines is needed, or the path of each line's")

    def event(self, item: bytes) -> "Event":
        """As `Reading`."""
        return read_event(item, self)

    def letter(self, place: "Place", item: bytes, reason: str, now_ns: int) -> None:
        """As `Reading`: a line that is refused is left out."""


class Event(NamedTuple):
    """The arguments of `record()`: ``payload`` is JSON text, and ``created_at`` None where the
    source is not asked for the time."""

    event_type: str
    payload: bytes | None
    actor: str | None
    task_id: str | None
    created_at: int | None
    level: str = "info"

    def check(self, encoder: EventEncoder) -> None:
        """Raises `Unfit` for what `record()` would refuse."""
        payload = None if self.payload is None else orjson.Fragment(self.payload)
        try:
            encoder.encode(
                self.event_type, payload, self.level, self.actor, self.task_id, self.created_at or 0
            )
        except InvalidEvent as error:
            raise Unfit(LIMITS, str(error)) from None


Place = int | str  # where in a source something is: a line, the key of a row


class Reading(Protocol):
    """How events are read out of the items of a source. Goes to worker processes, as a pickle."""

    def event(self, item: Any) -> Event:
        """The event that an item is; raises `InvalidEvent` with the reason why it is none."""

    def letter(self, place: Place, item: Any, reason: str, now_ns: int) -> bytes | None:
        """The dead letter that keeps what is refused, under a number of its own; None where it is
        left out, and has no number."""


def read_event(line: bytes, fields: Fields) -> Event:
    """The event that a line is; raises `InvalidEvent` with the reason why it is none."""
    document = parse_object(line)

    def value_at(path: Path | None) -> Any:
        value = None if path is None else path.follow(document)
        if isinstance(value, float):  # as it is written, which may be more than a float can hold
            value = path.follow(parse_exactly(line)) if path else None
        return value

    created_at = None
    if fields.time_path is not None:
        try:
            created_at = parse_time(value_at(fields.time_path))
        except ValueError as error:
            raise InvalidEvent(f"time at {fields.time_path.text}: {error}") from None
    return Event(
        _event_type(value_at(fields.type_path), fields),
        line,
        _text(value_at(fields.actor_path), fields.actor_path),
        _text(value_at(fields.task_path), fields.task_path),
        created_at,
    )


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object (RFC 8259) that a line is; raises `InvalidEvent`.

    Integers beyond 64 bits and escaped lone surrogates are JSON; NaN and broken UTF-8 are not.
    """
    if not line:
        raise InvalidEvent("the line is empty")
    if len(line) > wire.EVENT_BYTES_MAX:
        raise InvalidEvent(f"the line is longer than {wire.EVENT_BYTES_MAX:,} bytes")
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            document = parse_exactly(line)
        except (ValueError, RecursionError):
            raise InvalidEvent(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidEvent(f"no JSON object: {line.decode()!r:.60}")
    return document


def _event_type(value: Any, fields: Fields) -> str:
    fallback = fields.event_type
    if fields.type_path is None and fallback is not None:
        return fallback
    try:
        check_event_type(value)
    except InvalidEvent:
        if fallback is None:
            raise
        return fallback
    return str(value)


def _text(value: Any, path: Path | None) -> str | None:
    return text_of(value, path.text if path else "")


def text_of(value: Any, name: str) -> str | None:
    """An actor or a task, which may be a number; raises `InvalidEvent` naming what it is."""
    if value is None or isinstance(value, str):
        return value if value is None else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InvalidEvent(f"{name} is {value!r:.100}: it must be text, a number or null")
