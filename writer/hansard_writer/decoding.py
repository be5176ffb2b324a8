"""From a frame's body to columns of checked events. Pure: bytes in, values out.

The events of a frame are decoded by one call and checked column by column, because a Python
object or a loop an event would cost more than the insert. A frame that fails a check anywhere is
looked at again event by event, so that a bad one costs only itself.
"""

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import check_event_type
from hansard.texts import check_depth, check_text

UNDECODABLE: Final = "undecodable"
INVALID: Final = "invalid"
WITH_OTHERS: Final = "an event that it was recorded with is refused: "

DETAIL_CHARS_MAX: Final = 500
_FIELDS: Final = 7
_KNOWN_TYPES_MAX: Final = 10_000
_SURE_TEXT_CHARS: Final = 256  # at most 1,024 bytes in UTF-8
_SURE_JSON_CHARS: Final = 2 * wire.JSON_DEPTH_MAX  # too short to be nested too deep
_TEXTS: Final = frozenset({str, type(None)})
_LEVELS: Final = set(wire.LEVELS)
_EVENTS: Final = {wire.KIND_EVENT, wire.KIND_EVENT | wire.JOINED}
_KINDS: Final = {*_EVENTS, wire.KIND_TASK}
_INT: Final = {int}
_TUPLE: Final = {tuple}


class Run(NamedTuple):
    """Consecutive events of one producer, as columns of equal length: kind; and created_at,
    event_type, level, actor, task_id, payload."""

    first_seq: int
    kinds: Sequence[int]
    columns: tuple[Sequence[Any], ...]

    @property
    def length(self) -> int:
        return len(self.kinds)

    @property
    def tasks(self) -> Iterator[tuple[str, int, str | None]]:
        """The tasks that it registers: task_id, created_at, attributes. Such an event is joined
        to no other, so it is never refused for another's sake."""
        if _EVENTS.issuperset(self.kinds):
            return
        created, _, _, _, tasks, payloads = self.columns
        rows = zip(self.kinds, tasks, created, payloads, strict=True)
        for kind, task_id, created_at, attributes in rows:
            if kind & wire.KIND_TASK:
                yield task_id, created_at, attributes


class Refused(NamedTuple):
    """Numbers that cannot be entered, why, and their bytes; for an orphan, the task it waits
    for. ``event_type`` is that of the first, where it is known."""

    first_seq: int
    numbers: int
    reason: str
    detail: str
    data: bytes
    event_type: str = ""
    task_id: str | None = None


class Fault(NamedTuple):
    """What is wrong with one event."""

    detail: str
    reason: str = INVALID
    task_id: str | None = None


class _Unfit(InvalidEvent):
    """Its producer says so itself."""


class Decoder:
    """Decodes frames; remembers the event types that it has checked."""

    def __init__(self) -> None:
        self._known_types: set[str] = set()

    def decode(self, frame: wire.Frame, skip: int = 0) -> tuple[list[Run], list[Refused]]:
        """The events of a frame behind the first ``skip``, in runs without a gap, and what is
        refused of them. A body that is not ``event_count`` events is refused as a whole, and so
        is a run of joined events if one of them is."""
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
                return [Run(frame.first_seq + skip, kinds, tuple(columns))], []
        except (TypeError, ValueError):
            pass  # unhashable values, events of different lengths: one by one says which
        return _one_by_one(frame, skip, events)

    def _all_good(self, kinds: Sequence[Any], columns: list[Any], body_bytes: int) -> bool:
        """Whether every event is good beyond doubt; what is doubtful is looked at one by one."""
        created, types, levels, actors, tasks, payloads = columns
        kinds_seen = set(kinds)
        types_seen = set(types)
        if not kinds_seen <= _EVENTS:
            if not _are_tasks(kinds, types, tasks, payloads):
                return False
            types_seen.discard(wire.TASK_REGISTERED)
        if not types_seen <= self._known_types:
            self._learn_types(types_seen)
        names = set(actors)
        names.update(tasks)
        names.discard(None)
        return (
            kinds_seen <= _KINDS
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


def behind(frame: wire.Frame, events: int) -> wire.Frame:
    """A frame without its first ``events``. Raises as `crc_behind`."""
    if not events:
        return frame
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=wire.MESSAGE_BYTES_MAX)
    unpacker.feed(frame.body)
    for _ in range(events):
        unpacker.skip()
    return frame._replace(
        first_seq=frame.first_seq + events,
        event_count=frame.event_count - events,
        crc_before=crc_behind(frame, events),
        body=frame.body[unpacker.tell() :],
    )


def without(run: Run, faults: Mapping[int, Fault]) -> tuple[list[Run], list[Refused]]:
    """A run without the events at the indexes in ``faults``, and these, refused; with each go
    those that it is joined to, as one."""
    runs, refused, start = [], [], 0
    for first, stop in _groups(run.kinds, sorted(faults)):
        if first > start:
            runs.append(part(run, start, first))
        refused.append(_refusal(part(run, first, stop), first, faults))
        start = stop
    if start < run.length:
        runs.append(part(run, start, run.length))
    return runs, refused


def _groups(kinds: Sequence[int], indexes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """From where to where the events at ``indexes``, in order, are joined to others."""
    stop = 0
    for index in indexes:
        if index < stop:
            continue
        first, stop = index, index + 1
        while first and kinds[first - 1] & wire.JOINED:
            first -= 1
        while stop < len(kinds) and kinds[stop - 1] & wire.JOINED:
            stop += 1
        yield first, stop


def part(run: Run, start: int, stop: int) -> Run:
    """The events of a run from one index to before another."""
    columns = tuple(column[start:stop] for column in run.columns)
    return Run(run.first_seq + start, run.kinds[start:stop], columns)


def _refusal(group: Run, first: int, faults: Mapping[int, Fault]) -> Refused:
    """Joined events that begin at the index ``first``, refused for the first fault among them
    that is lasting; an orphan only waits."""
    found = [faults[index] for index in range(first, first + group.length) if index in faults]
    lasting = [fault for fault in found if fault.reason != wire.ORPHAN]
    fault = (lasting or found)[0]
    detail = fault.detail if group.length == 1 else WITH_OTHERS + fault.detail
    event_type = group.columns[1][0]
    return Refused(
        group.first_seq,
        group.length,
        fault.reason,
        detail,
        _packed(group),
        event_type if type(event_type) is str else "",
        fault.task_id,
    )


def _packed(run: Run) -> bytes:
    pack = msgpack.Packer().pack
    return b"".join(map(pack, zip(run.kinds, *run.columns, strict=True)))


def events_of(frame: wire.Frame) -> Sequence[Any]:
    """A frame's events, good or bad; none where they cannot be told apart."""
    try:
        return _unpack(frame)
    except Exception:  # noqa: BLE001 - msgpack raises a dozen unrelated types
        return ()


def event_at(frame: wire.Frame, number: int) -> Any | None:
    """What a frame has under a number, good or bad; None where its events cannot be told apart."""
    index, events = number - frame.first_seq, events_of(frame)
    return events[index] if 0 <= index < len(events) else None


def _one_by_one(
    frame: wire.Frame, skip: int, events: Sequence[Any]
) -> tuple[list[Run], list[Refused]]:
    """A frame that holds something doubtful: its events, and what is wrong with which."""
    rows: list[tuple[Any, ...]] = []
    faults: dict[int, Fault] = {}
    for index, event in enumerate(events[skip:]):
        try:
            rows.append(_checked(event))
        except InvalidEvent as error:
            reason = wire.UNFIT if isinstance(error, _Unfit) else INVALID
            faults[index] = Fault(str(error)[:DETAIL_CHARS_MAX], reason)
            rows.append(_unchecked(event))
    kinds, *columns = zip(*rows, strict=True)
    for index, (before, kind) in enumerate(itertools.pairwise(kinds), 1):
        if kind & wire.KIND_TASK and before & wire.JOINED:
            faults.setdefault(index, Fault("what registers a task is joined to no event"))
    run = Run(frame.first_seq + skip, kinds, tuple(columns))
    runs, refused = without(run, faults)
    spans = _spans(frame)[skip:]
    return runs, [
        each._replace(data=frame.body[spans[first][0] : spans[first + each.numbers - 1][1]])
        for each in refused
        for first in [each.first_seq - run.first_seq]
    ]


def _unchecked(event: Any) -> tuple[Any, ...]:
    """In place of a bad event: its kind as far as it can be told, and its type."""
    if type(event) is not tuple or len(event) != _FIELDS:
        return (wire.KIND_EVENT, *(None,) * 6)
    kind = event[0] if type(event[0]) is int and event[0] in _KINDS else wire.KIND_EVENT
    event_type = event[2] if type(event[2]) is str and event[2].isprintable() else None
    return (kind, None, event_type, *(None,) * 4)


def _are_tasks(
    kinds: Sequence[int], types: Sequence[Any], tasks: Sequence[Any], payloads: Sequence[Any]
) -> bool:
    """Whether what registers a task is told so by kind and type alike, and nothing else is."""
    before = wire.KIND_EVENT
    for kind, event_type, task_id, payload in zip(kinds, types, tasks, payloads, strict=True):
        is_task = bool(kind & wire.KIND_TASK)
        if is_task != (event_type == wire.TASK_REGISTERED):
            return False
        if is_task and (before & wire.JOINED or task_id is None or not _is_object(payload)):
            return False
        before = kind
    return True


def _is_object(payload: str | None) -> bool:
    """Whether SQLite, too, will take a task's attributes for an object: looked at here, because
    other events go by the task's being registered."""
    if payload is None:
        return True
    try:
        return type(json.loads(payload, parse_int=str, parse_constant=_refuse)) is dict
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)


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
    if len(frame.body) > wire.FRAME_BYTES_MAX:
        wire.check_flat(frame.body, frame.event_count, _FIELDS)
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
    """The fields of an event; raises `InvalidEvent`."""
    if type(event) is not tuple or len(event) != _FIELDS:
        raise InvalidEvent("an event is an array of 7 fields")
    kind, created_at, event_type, level, actor, task_id, payload = event
    if type(kind) is int and kind == wire.KIND_UNFIT:
        raise _Unfit(_why_unfit(payload))
    if type(kind) is not int or kind not in _KINDS:
        raise InvalidEvent("the kind of event is not known")
    if type(created_at) is not int or not 0 <= created_at <= wire.INT64_MAX:
        raise InvalidEvent("created_at is nanoseconds since 1970 UTC")
    if kind & wire.KIND_TASK:
        _check_task(event_type, task_id, payload)
    else:
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
    return event


def _why_unfit(payload: Any) -> str:
    """What a producer says of what it could make no event of, as text that can be kept."""
    try:
        said = json.loads(payload)["imported_from"]["unfit"]
    except (ValueError, RecursionError, TypeError, LookupError):
        said = None
    if not isinstance(said, str):
        return "its producer could make no event of it"
    return said if said.isprintable() else f"{said!r}"


def _check_task(event_type: Any, task_id: Any, payload: Any) -> None:
    if event_type != wire.TASK_REGISTERED or type(task_id) is not str:
        raise InvalidEvent(f"what registers a task has a task_id, and type {wire.TASK_REGISTERED}")
    if type(payload) not in _TEXTS or not _is_object(payload):
        raise InvalidEvent("the attributes of a task are a JSON object")
