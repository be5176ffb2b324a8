"""The texts of an event: a payload as JSON, and what any text may be.

Values only. What is made here is neither masked nor merged with anything.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from datetime import time as time_of_day
from enum import Enum
from typing import Any, Final
from uuid import UUID

import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.wording import kind_of

Payload = Mapping[str, Any] | orjson.Fragment | None

_ALIKE: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'{}[]"'))


def check_text(name: str, value: object, bytes_max: int) -> None:
    """Raises `InvalidEvent` unless ``value`` is text that SQLite and msgpack keep exactly."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{name} is {kind_of(value)}: it must be a string or None")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidEvent(f"{name} holds a lone surrogate: it must be text") from None
    if size > bytes_max:
        raise InvalidEvent(f"{name} has {size:,} bytes: at most {bytes_max:,} are allowed")
    if "\0" in value:
        raise InvalidEvent(f"{name} holds a NUL character: leave it out")


def encode_payload(payload: Payload) -> bytes:
    """The payload as JSON text in UTF-8; raises `InvalidEvent`.

    datetime, date, time, UUID, enum and dataclass values become what orjson makes of them;
    Decimal, Path and other path-likes become their text, bytes base64, sets lists. NaN and the
    infinities become null. Integers of any size and lone surrogates are kept exactly. An
    ``orjson.Fragment`` is taken as it is.
    """
    try:
        text = orjson.dumps(payload, plain)
    except orjson.JSONEncodeError:
        text = encode_slowly(payload)
    check_payload(text, payload)
    return text


def check_payload(text: bytes, payload: Payload) -> None:
    """Raises `InvalidEvent` unless the text is an object that is not nested too deep."""
    if text[:1] != b"{" and text.lstrip()[:1] != b"{":
        raise InvalidEvent(f"payload is {kind_of(payload)}: it must be a JSON object, so a mapping")
    if text.count(b"{") + text.count(b"[") > wire.JSON_DEPTH_MAX:
        check_depth(text)


def check_depth(text: bytes) -> None:
    """Raises `InvalidEvent` if JSON text is nested deeper than `wire.JSON_DEPTH_MAX`.

    Peels brackets off from the inside, level by level, so that the work is done in C: what is
    outside of strings, brackets alone, all of one kind.
    """
    text = text.replace(rb"\\", b"").replace(rb"\"", b"").translate(_ALIKE, _NO_BRACKETS)
    brackets = b"".join(text.split(b'"')[::2])
    for _ in range(wire.JSON_DEPTH_MAX):
        if not brackets:
            return
        brackets = brackets.replace(b"{}", b"")
    if brackets:
        raise InvalidEvent(
            f"payload is nested too deep: at most {wire.JSON_DEPTH_MAX} levels are allowed"
        )


def plain(value: object) -> Any:
    """What orjson and json cannot encode by themselves, as something that they can."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes | bytearray | memoryview):
        import base64

        return base64.b64encode(value).decode()
    if isinstance(value, set | frozenset):
        return list(value)
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    from decimal import Decimal

    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{kind_of(value)} has no place in JSON")


def encode_slowly(payload: object) -> bytes:
    """The stdlib's encoder: any integer, lone surrogates as escapes, keys that are no strings."""
    try:
        return _slow_text(payload).encode()
    except (TypeError, ValueError, RecursionError) as error:
        place = _place_of_fault(payload) if isinstance(error, TypeError) else ""
        at = f" (at {place:.200})" if place else ""
        raise InvalidEvent(f"payload cannot be encoded as JSON: {error}{at}") from error


def _slow_text(value: object) -> str:
    return json.dumps(_finite(value), separators=(",", ":"), default=_plain_slowly)


def _place_of_fault(value: object) -> str:
    """Where the first value is that cannot be encoded, as ``user.list[1]``; empty for the whole."""
    place = ""
    for _ in range(wire.JSON_DEPTH_MAX):
        steps: Iterable[tuple[str, object]] = ()
        if isinstance(value, Mapping):
            steps = ((f".{name}", item) for name, item in value.items() if isinstance(name, str))
        elif isinstance(value, list | tuple):
            steps = ((f"[{index}]", item) for index, item in enumerate(value))
        for step, item in steps:
            try:
                _slow_text(item)
            except (TypeError, ValueError, RecursionError):
                place, value = place + step, item
                break
        else:
            break
    return place.removeprefix(".")


def _plain_slowly(value: object) -> Any:
    """What orjson does by itself, for the stdlib's encoder."""
    if isinstance(value, Enum):
        return _finite(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _finite({each.name: getattr(value, each.name) for each in dataclasses.fields(value)})
    if isinstance(value, orjson.Fragment | datetime | date | time_of_day | UUID):
        return json.loads(orjson.dumps(value))
    return _finite(plain(value))


def _finite(value: Any, depth: int = 0) -> Any:
    """The value with NaN and infinities as None, as orjson has them."""
    if depth > 2 * wire.JSON_DEPTH_MAX:
        raise ValueError(f"nested deeper than {wire.JSON_DEPTH_MAX} levels")
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        names = [json.dumps(key) if isinstance(key, int | float | None) else key for key in value]
        if len(set(names)) < len(names):
            raise ValueError(f"two keys become the same text in {sorted(set(names))!r:.200}")
        return {key: _finite(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, depth + 1) for item in value]
    return value
