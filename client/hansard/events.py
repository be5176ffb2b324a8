"""One event: its rules, and its bytes on the wire.

Encoding happens once, here; nothing behind it encodes again. The rules hold for the writer too,
which checks them once more with the same functions.
"""

import re
import struct
import sys
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Any, Final

import msgpack
import orjson

from hansard import wire
from hansard.context import OPENTELEMETRY, bound_now, with_span
from hansard.errors import InvalidEvent
from hansard.masking import NO_MASK, Fields, Mask
from hansard.texts import Payload, check_payload, check_text, encode_payload, encode_slowly, plain
from hansard.wording import kind_of

# Of the wire's, as names of this module: the hot path looks them up for each event.
_KIND_EVENT: Final = wire.KIND_EVENT
_dumps = orjson.dumps
_join = b"".join
_pack_head = struct.Struct(">3sQ").pack
_LEVELS: Final[dict[str, bytes]] = {level: msgpack.packb(level) for level in wire.LEVELS}
_EVENT_BYTES_MAX: Final = wire.EVENT_BYTES_MAX
_modules = sys.modules

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
_OPENING_BRACE: Final = ord("{")
_OPENING_BRACKET: Final = ord("[")  # an int, because `b"[" in text` takes three times as long


class EventEncoder:
    """Checks events and encodes them. Keeps what it has checked, to check it once.

    ``event_types``: the only types allowed, None for all that follow the pattern. ``masked``: the
    fields whose values are not to be seen.
    """

    def __init__(
        self, event_types: tuple[str, ...] | None, actor: str | None, masked: Fields = NO_MASK
    ) -> None:
        self._allowed = None if event_types is None else frozenset(event_types)
        for event_type in self._allowed or ():
            check_event_type(event_type)
        # use_bin_type=False: payload bytes from orjson go out as msgpack str without a copy.
        self._pack = msgpack.Packer(use_bin_type=False).pack
        self._types: dict[str, bytes] = {}  # as they are packed, like the texts
        self._texts: dict[str | None, bytes] = {None: _NIL}
        self._mask = Mask(masked)
        self._are_clean = self._mask.clean.issuperset
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
        """The event's wire bytes, with what is bound in this context; raises `InvalidEvent` naming
        the argument and the rule."""
        types, texts = self._types, self._texts
        context = bound_now()
        if OPENTELEMETRY in _modules:
            context = with_span(context)
        if context is not None:
            actor = context.who() if actor is None else actor
            task_id = context.task_id if task_id is None else task_id
        if actor is None:
            actor = self._actor
        try:
            try:
                head, tail = types[event_type], texts[task_id]
                level_text, actor_text = _LEVELS[level], texts[actor]
            except KeyError:
                self._check_new(types, texts, event_type, level, actor, task_id)
                head, tail = types[event_type], texts[task_id]
                level_text, actor_text = _LEVELS[level], texts[actor]
            text: bytes | None
            if type(payload) is dict:
                names: Container[str] | None = payload
                try:
                    text = _dumps(payload, plain)
                    is_nested = _OPENING_BRACE in text.removeprefix(b"{")
                    # What is flat, and has names that were looked at before, has nothing to mask.
                    are_clean = self._are_clean  # not called as a method, which takes 60 ns more
                    if is_nested or not are_clean(payload):
                        text = self._mask.masked(text, payload)
                except orjson.JSONEncodeError:
                    text, names = self._mask.masked_text(encode_slowly(payload)), None
                    is_nested = True
                size = len(text)
                if size > _SHALLOW_BYTES_MAX and (is_nested or _OPENING_BRACKET in text):
                    check_payload(text, payload)
                if context is not None:
                    text = context.merged(text, self._mask, names)
                    size = len(text)
                if size < _SMALL_BYTES:  # to join what is packed already: 5 % less of a `record()`
                    return _join(
                        (
                            _pack_head(_HEAD, created_at),
                            head,
                            level_text,
                            actor_text,
                            tail,
                            _TEXT_HEADS[size],
                            text,
                        )
                    )
            elif payload is not None:
                text = self._mask.masked_text(encode_payload(payload))
                if context is not None:
                    text = context.merged(text, self._mask)
            else:
                text = None if context is None else context.alone(self._mask)
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
            text = self._mask.masked_text(encode_payload(attributes)) if attributes else None
        except InvalidEvent as error:
            raise InvalidEvent(f"attributes of the task: {error}") from error
        event = (wire.KIND_TASK, created_at, wire.TASK_REGISTERED, "info")
        data: bytes = self._pack((*event, self._actor, task_id, text))
        if len(data) > _EVENT_BYTES_MAX:
            raise _too_large(data)
        return data

    def _check_new(
        self,
        types: dict[str, bytes],
        texts: dict[str | None, bytes],
        event_type: str,
        level: str,
        actor: str | None,
        task_id: str | None,
    ) -> None:
        """One of these is not known yet; what is remembered goes into the mappings given."""
        if event_type not in types:
            self._check_new_type(types, event_type)
        if level not in _LEVELS:
            raise InvalidEvent(f"level is {level!r}: it must be one of {_LEVELS_SHOWN}")
        if actor not in texts:
            self._check_text(texts, "actor", actor, wire.ACTOR_BYTES_MAX)
        if task_id not in texts:
            self._check_text(texts, "task_id", task_id, wire.TASK_ID_BYTES_MAX)

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
