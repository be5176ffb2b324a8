"""From a frame's body to columns of checked events. Pure: bytes in, values out.

The events of a frame are decoded by one call and checked column by column, because a Python
object or a loop an event would cost more than the insert. A frame that fails a check anywhere is
looked at again event by event, so that a bad one costs only itself.
"""

import itertools
import zlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import check_depth, check_event_type, check_text

UNDECODABLE: Final = "undecodable"
INVALID: Final = "invalid"

_KNOWN_TYPES_MAX: Final = 10_000
_SURE_TEXT_CHARS: Final = 256  # at most 1,024 bytes in UTF-8
_SURE_JSON_CHARS: Final = 2 * wire.JSON_DEPTH_MAX  # too short to be nested too deep
_TEXTS: Final = frozenset({str, type(None)})
_LEVELS: Final = set(wire.LEVELS)
_EVENTS: Final = {wire.KIND_EVENT}
_INT: Final = {int}
_TUPLE: Final = {tuple}


class Run(NamedTuple):
    """Consecutive events of one producer, as columns of equal length: created_at, event_type,
    level, actor, task_id, payload."""

    first_seq: int
    columns: tuple[Sequence[Any], ...]

    @property
    def length(self) -> int:
        return len(self.columns[0])


class Refused(NamedTuple):
    """Numbers that cannot be entered, why, and their bytes."""

    first_seq: int
    numbers: int
    reason: str
    detail: str
    data: bytes


class Decoder:
    """Decodes frames; remembers the event types that it has checked."""

    def __init__(self) -> None:
        self._known_types: set[str] = set()

    def decode(self, frame: wire.Frame, skip: int = 0) -> tuple[list[Run], list[Refused]]:
        """The events of a frame behind the first ``skip``, in runs without a gap, and what is
        refused of them. A body that is not ``event_count`` events is refused as a whole."""
        try:
            events = _unpack(frame)
        except Exception as error:  # noqa: BLE001 - msgpack raises a dozen unrelated types
            detail = f"{type(error).__name__} while unpacking"
            first_seq, numbers = frame.first_seq + skip, frame.event_count - skip
            return [], [Refused(first_seq, numbers, UNDECODABLE, detail, frame.body)]
        new = events[skip:]
        try:
            kinds, *columns = zip(*new, strict=True)
            if (
                set(map(type, new)) == _TUPLE
                and len(columns) == 6
                and self._all_good(kinds, columns, len(frame.body))
            ):
                return [Run(frame.first_seq + skip, tuple(columns))], []
        except (TypeError, ValueError):
            pass  # unhashable values, events of different lengths: one by one says which
        return self._one_by_one(frame, skip, events)

    def _all_good(self, kinds: Sequence[Any], columns: list[Any], body_bytes: int) -> bool:
        """Whether every event is good beyond doubt; what is doubtful is looked at one by one."""
        created, types, levels, actors, tasks, payloads = columns
        types_seen = set(types)
        if not types_seen <= self._known_types:
            self._learn_types(types_seen)
        names = set(actors)
        names.update(tasks)
        names.discard(None)
        return (
            set(kinds) == _EVENTS
            and set(map(type, kinds)) == _INT
            and set(map(type, created)) == _INT
            and min(created) >= 0
            and max(created) <= wire.INT64_MAX
            and types_seen <= self._known_types
            and set(levels) <= _LEVELS
            and set(map(type, names)) <= _TEXTS
            and max(map(len, names), default=0) <= _SURE_TEXT_CHARS
            and set(map(type, payloads)) <= _TEXTS
            and body_bytes <= wire.EVENT_BYTES_MAX
            and _is_clean([*names, *filter(None, payloads)])
            and _is_flat(payloads)
        )

    def _learn_types(self, types_seen: set[Any]) -> None:
        if len(self._known_types) >= _KNOWN_TYPES_MAX:
            self._known_types.clear()
        for event_type in types_seen:
            try:
                check_event_type(event_type)
            except InvalidEvent:
                continue
            self._known_types.add(event_type)

    def _one_by_one(
        self, frame: wire.Frame, skip: int, events: Sequence[Any]
    ) -> tuple[list[Run], list[Refused]]:
        rows: list[tuple[Any, ...]] = []
        bad: dict[int, str] = {}
        for index, event in enumerate(events[skip:]):
            try:
                rows.append(_checked(event))
            except InvalidEvent as error:
                bad[index] = str(error)[:500]
                rows.append((None,) * 6)
        run = Run(frame.first_seq + skip, tuple(zip(*rows, strict=True)))
        runs, refused = without(run, bad)
        spans = _spans(frame)[skip:]
        return runs, [
            each._replace(data=frame.body[slice(*spans[each.first_seq - run.first_seq])])
            for each in refused
        ]


def crc_behind(frame: wire.Frame, events: int | None = None) -> int:
    """The producer's running CRC behind the first ``events`` of a frame, by default all.

    Raises what msgpack raises when that many cannot be told apart.
    """
    if events is None:
        return zlib.crc32(frame.body, frame.crc_before)
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=wire.MESSAGE_BYTES_MAX)
    unpacker.feed(frame.body)
    for _ in range(events):
        unpacker.skip()
    return zlib.crc32(frame.body[: unpacker.tell()], frame.crc_before)


def without(run: Run, bad: dict[int, str]) -> tuple[list[Run], list[Refused]]:
    """A run without the events at the indexes in ``bad`` (index → detail), and these, refused."""
    runs, refused, start = [], [], 0
    for index in [*sorted(bad), run.length]:
        if index > start:
            columns = tuple(column[start:index] for column in run.columns)
            runs.append(Run(run.first_seq + start, columns))
        if index < run.length:
            event = [wire.KIND_EVENT, *(column[index] for column in run.columns)]
            data = msgpack.packb(event)
            refused.append(Refused(run.first_seq + index, 1, INVALID, bad[index], data))
        start = index + 1
    return runs, refused


def last_event(frame: wire.Frame) -> tuple[Any, ...] | None:
    """The fields of a frame's last event behind its kind, None where there is no good one."""
    try:
        return _checked(_unpack(frame)[-1])
    except Exception:  # noqa: BLE001 - msgpack raises a dozen unrelated types
        return None


def _is_clean(texts: list[str]) -> bool:
    """Whether no text holds a NUL, where SQLite would stop reading. Raises UnicodeEncodeError for
    a lone surrogate, which stands for broken UTF-8."""
    return b"\0" not in "".join(texts).encode()


def _is_flat(payloads: Sequence[Any]) -> bool:
    """Whether no payload is nested too deep; few brackets spare the closer look."""
    for text in payloads:
        if text is None or len(text) <= _SURE_JSON_CHARS:
            continue
        if not text.rfind("{") and "[" not in text:
            continue  # its first brace is its only one
        if text.count("{") + text.count("[") > wire.JSON_DEPTH_MAX:
            try:
                check_depth(text.encode())
            except InvalidEvent:
                return False
    return True


def _unpack(frame: wire.Frame) -> Sequence[Any]:
    """The events of a body. Broken UTF-8 becomes lone surrogates, which no check lets through:
    an Unpacker that raised in the middle would lose its place, and the events behind it."""
    events: Sequence[Any] = msgpack.unpackb(
        wire.array_header(frame.event_count) + frame.body,
        use_list=False,
        strict_map_key=False,
        unicode_errors="surrogateescape",
    )
    return events


def _spans(frame: wire.Frame) -> list[tuple[int, int]]:
    """Where each event of a body that can be decoded begins and ends."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=wire.MESSAGE_BYTES_MAX)
    unpacker.feed(frame.body)
    ends = [0]
    for _ in range(frame.event_count):
        unpacker.skip()
        ends.append(unpacker.tell())
    return list(itertools.pairwise(ends))


def _checked(event: Any) -> tuple[Any, ...]:
    """The fields of an event behind its kind; raises `InvalidEvent`."""
    if type(event) is not tuple or len(event) != 7:
        raise InvalidEvent("an event is an array of 7 fields")
    kind, created_at, event_type, level, actor, task_id, payload = event
    if type(kind) is not int or kind != wire.KIND_EVENT:
        raise InvalidEvent("the kind of event is not known")
    if type(created_at) is not int or not 0 <= created_at <= wire.INT64_MAX:
        raise InvalidEvent("created_at is nanoseconds since 1970 UTC")
    check_event_type(event_type)
    if type(level) is not str or level not in wire.LEVELS:
        raise InvalidEvent("the level is not known")
    for name, value, most in (
        ("actor", actor, wire.ACTOR_BYTES_MAX),
        ("task_id", task_id, wire.TASK_ID_BYTES_MAX),
        ("payload", payload, wire.EVENT_BYTES_MAX),
    ):
        if value is not None:
            check_text(name, value, most)
    if payload is not None:
        check_depth(payload.encode())
    return event[1:]
