"""From a line to the arguments of `record()`: is it a JSON object, and what do its fields say.

Pure: bytes in, values out, the same for the same line and options. The payload is the line's own
text; what is parsed here is never encoded again.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import check_event_type

_STEP: Final = re.compile(r"(?:[^.\\]|\\.)+")  # of a path: a backslash makes a dot a part of a name
_EPOCH: Final = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_FRACTION: Final = re.compile(r"(?:(?<=:\d\d:\d\d)|(?<=[T ]\d{6}))[.,](\d+)")
_NS: Final = 1_000_000_000
# The unit of a bare number is told by its size: seconds reach these figures in the year 5138.
_EPOCH_UNITS: Final = ((10**11, _NS), (10**14, 10**6), (10**17, 10**3), (10**19, 1))
_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Number(str):
    """A number as it is written, digit by digit."""

    __slots__ = ()


class Path:
    """Where in an object a value is: names and list indexes with dots between, ``user.roles.0``.

    Raises ValueError for text that is no path.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        steps = _STEP.findall(text)
        if not steps or ".".join(steps) != text:
            raise ValueError(f"{text!r} is no path: names or list indexes with dots between them")
        self._steps = [re.sub(r"\\(.)", r"\1", step) for step in steps]

    def follow(self, document: Any) -> Any:
        """The value at the path, None where there is none."""
        value = document
        for step in self._steps:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                return None
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Where the arguments of `record()` come from.

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
        elif self.type_path is None:
            raise InvalidEvent("an event_type for all lines is needed, or the path of each line's")


class Event(NamedTuple):
    """The arguments of `record()`: the payload is the line, and ``created_at`` None where the line
    is not asked for its time."""

    event_type: str
    line: bytes
    actor: str | None
    task_id: str | None
    created_at: int | None


def read_event(line: bytes, fields: Fields) -> Event:
    """The event that a line is; raises `InvalidEvent` with the reason why it is none."""
    document = parse_object(line)

    def value_at(path: Path | None) -> Any:
        value = None if path is None else path.follow(document)
        if isinstance(value, float):  # as it is written, which may be more than a float can hold
            value = path.follow(_parse_exactly(line)) if path else None
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
            document = _parse_exactly(line)
        except (ValueError, RecursionError):
            raise InvalidEvent(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidEvent(f"no JSON object: {line.decode()!r:.60}")
    return document


def parse_time(value: Any) -> int:
    """Nanoseconds since 1970 UTC from ISO 8601 text, where no zone means UTC, or from a number of
    seconds, ms, µs or ns since then, told apart by its size. Raises ValueError."""
    if value is None:
        raise ValueError("there is none")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r:.100} is neither text nor a number")  # noqa: TRY004 - of a line
    if isinstance(value, int | Number) or _is_epoch(value):
        ns = _epoch_ns(Decimal(value))
    else:
        ns = _iso_ns(value)
    if not 0 <= ns <= wire.INT64_MAX:
        raise ValueError(f"{value!r:.100} is not between the years 1970 and 2262")
    return ns


def _parse_exactly(line: bytes) -> Any:
    """By the stdlib: slower, takes all that JSON allows, and keeps numbers as they are written."""
    return json.loads(
        line.decode(), parse_int=Number, parse_float=Number, parse_constant=_refuse_constant
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


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
    if value is None or isinstance(value, str):
        return value if value is None else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    shown = path.text if path else ""
    raise InvalidEvent(f"{shown} is {value!r:.100}: it must be text, a number or null")


def _is_epoch(text: str) -> bool:
    """Eight digits are a date, and four a year."""
    return len(text) > len("20240131") and _EPOCH.fullmatch(text) is not None


def _epoch_ns(number: Decimal) -> int:
    size = number.copy_abs()  # exact, whatever the exponent
    for limit, unit in _EPOCH_UNITS:
        if size < limit:
            return int(number * unit)
    return -1


def _iso_ns(text: str) -> int:
    fraction = _FRACTION.search(text)
    digits = fraction[1] if fraction else ""
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    try:
        moment = datetime.fromisoformat(whole)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH_START
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r:.100} is not ISO 8601") from None
    return since // timedelta(microseconds=1) * 1_000 + int(f"{digits:0<9}"[:9])
