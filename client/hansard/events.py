"""One event: its rules, and its bytes on the wire.

Encoding happens once, here; nothing behind it encodes again. The rules hold for the writer too,
which checks them once more with the same functions.
"""

import dataclasses
import json
import re
import struct
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from datetime import time as time_of_day
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgpack
import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.wording import kind_of

Payload = Mapping[str, Any] | orjson.Fragment | None

# Of the wire's, as names of this module: the hot path looks them up for each event.
_KIND_EVENT: Final = wire.KIND_EVENT
_dumps = orjson.dumps
_join = b"".join
_pack_head = struct.Struct(">3sQ").pack
_LEVELS: Final[dict[str, bytes]] = {level: msgpack.packb(level) for level in wire.LEVELS}
_EVENT_BYTES_MAX: Final = wire.EVENT_BYTES_MAX

OWN_EVENT_TYPES: Final = "hansard."

_KNOWN_TEXTS_MAX: Final = 4_096  # checked actors and tasks remembered, before starting over
# A dict's text of so many bytes has no room for a level too many: {"":[[…]]} is the shortest.
_SHALLOW_BYTES_MAX: Final = 2 * wire.JSON_DEPTH_MAX + len('{"":}') - 1
_SMALL_BYTES: Final = 512  # of text: such an event is far from its limit
_HEAD: Final = bytes((0x97, wire.KIND_EVENT, 0xCF))  # an array of 7, the kind; uint 64 follows
_NIL: Final = msgpack.packb(None)
# What the packer writes before a text of so many bytes. Made by hand: `packb` takes 1 us a time.
_TEXT_HEADS: Final = (
    *(bytes((0xA0 | size,)) for size in range(32)),
    *(bytes((0xDA, size >> 8, size & 0xFF)) for size in range(32, _SMALL_BYTES)),
)
_OPENING_BRACKET: Final = ord("[")  # an int, because `b"[" in text` takes three times as long
_ALIKE: Final = bytes.maketrans(b"[]", b"{}")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b'{}[]"'))


class EventEncoder:
    """Checks events and encodes them. Keeps what it has checked, to check it once.

    ``event_types``: the only types allowed, None for all that follow the pattern.
    """

    def __init__(self, event_types: tuple[str, ...] | None, actor: str | None) -> None:
        self._allowed = None if event_types is None else frozenset(event_types)
        for event_type in self._allowed or ():
            check_event_type(event_type)
        # use_bin_type=False: payload bytes from orjson go out as msgpack str without a copy.
        self._pack = msgpack.Packer(use_bin_type=False).pack
        self._types: dict[str, bytes] = {}  # as they are packed, like the texts
        self._texts: dict[str | None, bytes] = {None: _NIL}
        self._actor = actor
        if actor is not None:
            self._check_text(self._texts, "actor", actor, wire.ACTOR_BYTES_MAX)

    def encode(  # noqa: C901 - the hot path: a function more is 80 ns an event
        self,
        event_type: str,
        payload: Payload,
        level: str,
        actor: str | None,
        task_id: str | None,
        created_at: int,
    ) -> bytes:
        """The event's wire bytes; raises `InvalidEvent` naming the argument and the rule."""
        types, texts = self._types, self._texts
        try:
            if event_type not in types:
                self._check_new_type(types, event_type)
            if level not in _LEVELS:
                raise InvalidEvent(f"level is {level!r}: it must be one of {_LEVELS_SHOWN}")
            if actor is None:
                actor = self._actor
            if actor not in texts:
                self._check_text(texts, "actor", actor, wire.ACTOR_BYTES_MAX)
            if task_id not in texts:
                self._check_text(texts, "task_id", task_id, wire.TASK_ID_BYTES_MAX)
            text: bytes | None
            if type(payload) is dict:
                try:
                    text = _dumps(payload, _plain)
                except orjson.JSONEncodeError:
                    text = _encode_slowly(payload)
                size = len(text)
                if size > _SHALLOW_BYTES_MAX and (text.rfind(b"{") or _OPENING_BRACKET in text):
                    _check_payload(text, payload)
                if size < _SMALL_BYTES:  # to join what is packed already: 5 % less of a `record()`
                    return _join(
                        (
                            _pack_head(_HEAD, created_at),
                            types[event_type],
                            _LEVELS[level],
                            texts[actor],
                            texts[task_id],
                            _TEXT_HEADS[size],
                            text,
                        )
                    )
            else:
                text = None if payload is None else encode_payload(payload)
            data: bytes = self._pack(
                (_KIND_EVENT, created_at, event_type, level, actor, task_id, text)
            )
        except TypeError:  # unhashable, or equal to a string without being one
            raise _no_strings(
                event_type=event_type, level=level, actor=actor, task_id=task_id
            ) from None
        if len(data) > _EVENT_BYTES_MAX:
            raise _too_large(data)
        return data

    def encode_task(self, task_id: str, attributes: Mapping[str, Any], created_at: int) -> bytes:
        """The wire bytes of a task's registration; raises `InvalidEvent`."""
        if not isinstance(task_id, str):
            raise InvalidEvent(f"task_id is {kind_of(task_id)}: it must be a string")
        if not task_id:
            raise InvalidEvent("task_id is empty: name the task")
        check_text("task_id", task_id, wire.TASK_ID_BYTES_MAX)
        try:
            text = encode_payload(attributes) if attributes else None
        except InvalidEvent as error:
            raise InvalidEvent(f"attributes of the task: {error}") from error
        event = (wire.KIND_TASK, created_at, wire.TASK_REGISTERED, "info")
        data: bytes = self._pack((*event, self._actor, task_id, text))
        if len(data) > _EVENT_BYTES_MAX:
            raise _too_large(data)
        return data

    # Both put it into the mapping that they are given, full or not: their caller goes on with it.

    def _check_new_type(self, known: dict[str, bytes], event_type: str) -> None:
        check_event_type(event_type)
        if self._allowed is not None and event_type not in self._allowed:
            allowed = ", ".join(sorted(self._allowed))
            raise InvalidEvent(f"event_type {event_type!r} is not among the allowed: {allowed}")
        known[event_type] = self._pack(event_type)
        if len(known) >= _KNOWN_TEXTS_MAX:
            self._types = {}

    def _check_text(
        self, known: dict[str | None, bytes], name: str, value: str | None, bytes_max: int
    ) -> None:
        check_text(name, value, bytes_max)
        known[value] = self._pack(value)
        if len(known) >= _KNOWN_TEXTS_MAX:
            self._texts = {None: _NIL}


def joined(events: list[bytes]) -> bytes:
    """The wire bytes of events that are entered together or not at all.

    An event is an array of 7, so its second byte is its kind.
    """
    kind = bytes((wire.KIND_EVENT | wire.JOINED,))
    *others, last = events
    return b"".join([*(data[:1] + kind + data[2:] for data in others), last])


def _too_large(data: bytes) -> InvalidEvent:
    return InvalidEvent(
        f"the event has {len(data):,} bytes: at most {wire.EVENT_BYTES_MAX:,} are allowed; "
        "record a reference to large data, not the data"
    )


def _no_strings(**arguments: object) -> InvalidEvent:
    """Names the arguments that are no strings."""
    kinds = ", ".join(
        f"{name} is {kind_of(value)}"
        for name, value in arguments.items()
        if not isinstance(value, str | None)
    )
    return InvalidEvent(f"{kinds}: it must be a string")


def check_event_type(event_type: object) -> None:
    """Raises `InvalidEvent` unless the type follows the pattern of the wire format, and is not one
    of those that the writer alone enters."""
    if not isinstance(event_type, str):
        raise InvalidEvent(f"event_type is {kind_of(event_type)}: it must be a string")
    if not _EVENT_TYPE.fullmatch(event_type):
        raise InvalidEvent(
            f"event_type is {event_type!r:.300}: it must start with a letter and go on with "
            f"letters, digits and _ . : / -, at most {wire.EVENT_TYPE_CHARS_MAX} in all"
        )
    if event_type.startswith(OWN_EVENT_TYPES):
        raise InvalidEvent(
            f"event_type is {event_type!r}: {OWN_EVENT_TYPES}* is what the log says of itself"
        )


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
        text = _dumps(payload, _plain)
    except orjson.JSONEncodeError:
        text = _encode_slowly(payload)
    _check_payload(text, payload)
    return text


def _check_payload(text: bytes, payload: Payload) -> None:
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


def created_at_ns(created_at: int | datetime) -> int:
    """An event's time in ns since 1970 UTC, from ns or from a datetime with a zone."""
    if type(created_at) is int:
        if not 0 <= created_at <= wire.INT64_MAX:
            raise InvalidEvent(
                f"created_at is {created_at}: it must be nanoseconds since 1970 UTC, before 2262"
            )
        return created_at
    if isinstance(created_at, datetime) and created_at.tzinfo is not None:
        seconds = int(created_at.replace(microsecond=0).timestamp())
        return created_at_ns(seconds * 1_000_000_000 + created_at.microsecond * 1_000)
    raise InvalidEvent(
        f"created_at is {created_at!r:.100}: it must be nanoseconds since 1970 UTC, "
        "or a datetime with a time zone"
    )


_EVENT_TYPE: Final = re.compile(
    rf"(?=.{{1,{wire.EVENT_TYPE_CHARS_MAX}}}\Z){wire.EVENT_TYPE_PATTERN}", re.DOTALL
)
_LEVELS_SHOWN: Final = "debug, info, warning, error, critical"


def _plain(value: object) -> Any:
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


def _encode_slowly(payload: object) -> bytes:
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
    return _finite(_plain(value))


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
