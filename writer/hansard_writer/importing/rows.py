"""From a row of another system's table to an event. Pure: values in, values out.

The payload is the text of a JSON column, or made of the other columns; at its end it says which
row it comes from.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from hansard.errors import InvalidEvent
from hansard.events import check_event_type
from hansard.operations import LEVELS
from hansard.outcomes import PAYLOAD_BYTES_MAX, Outcome
from hansard.texts import encode_payload
from hansard_writer.importing import letters
from hansard_writer.importing.fields import Event, Place, parse_object, text_of
from hansard_writer.importing.letters import ORIGIN, Unfit
from hansard_writer.importing.levels import level_of
from hansard_writer.importing.old_database import Undecodable
from hansard_writer.json_path import Number
from hansard_writer.moments import parse_time

FIELDS: Final = ("event_type", "level", "actor", "task_id", "created_at", "payload")
_GOOD_TYPES_MAX: Final = 1_000  # remembered, so that each is checked once
OPERATION_COLUMNS: Final = (
    "workflow_id", "node_id", "version_id", "operation", "status", "stdout", "stderr", "exit_code",
    "duration_ms", "metadata",
)  # fmt: skip


class RowReading:
    """Reads the rows of one table, as `Reading`; an item is a key and the values of the columns.

    ``fields``: which column is which of `FIELDS`; ``event_type`` where no column says a valid one.
    ``key`` names the columns that need not be in the payload, because its origin has them.
    """

    def __init__(
        self,
        *,
        source: str,
        table: str,
        columns: tuple[str, ...],
        key: tuple[str, ...],
        fields: Mapping[str, str],
        event_type: str | None = None,
        are_operations: bool = False,
    ) -> None:
        self._named = {"source": source, "table": table}
        self._columns = columns
        self._fields = dict(fields)
        self._event_type = event_type
        self._are_operations = are_operations
        self._at = [columns.index(fields[name]) if name in fields else None for name in FIELDS]
        mapped = {*fields.values(), *key}
        self._others = [(name, at) for at, name in enumerate(columns) if name not in mapped]
        self._good_types: set[Any] = set()

    def event(self, item: Sequence[Any]) -> Event:
        """As `Reading`."""
        key, values = item
        if Undecodable in map(type, values):
            bad = [name for name, value in self._named_values(values) if _is_bad(value)]
            raise Unfit(letters.ENCODING, f"{bad[0]} is text that is no UTF-8")
        origin = orjson.dumps({ORIGIN: self._origin(key)})
        event_type, level, actor, task_id, created_at, payload = (
            None if at is None else values[at] for at in self._at
        )
        if self._are_operations:
            row = {name.casefold(): value for name, value in self._named_values(values)}
            text, said_level = _operation(row, origin)
        else:
            others = {name: values[at] for name, at in self._others if values[at] is not None}
            text, said_level = _payload(payload, others, origin), level_of(level)
        return Event(
            self._checked_type(event_type),
            text,
            _text(actor, "actor"),
            _text(task_id, "task_id"),
            self._time(created_at),
            said_level,
        )

    def letter(self, place: Place, item: Sequence[Any], reason: str, now_ns: int) -> bytes:  # noqa: ARG002
        """As `Reading`."""
        key, values = item
        row = {
            name: value.data if isinstance(value, Undecodable) else value
            for name, value in self._named_values(values)
        }
        named = self._fields.get("event_type"), self._fields.get("task_id")
        event_type, task_id = (None if name is None else row[name] for name in named)
        origin = self._origin(key)
        return letters.letter(origin, reason, row, now_ns, event_type or self._event_type, task_id)

    def identity(self, values: Sequence[Any]) -> Sequence[Any]:
        """What of a row nobody changes later: by it a table is known again."""
        row = dict(self._named_values(values))
        lasting = (self._fields.get("event_type"), self._fields.get("created_at"))
        names = [name for name in lasting if name is not None]
        return [row[name] for name in names or self._columns]

    def _named_values(self, values: Sequence[Any]) -> Iterable[tuple[str, Any]]:
        return zip(self._columns, values, strict=True)

    def _origin(self, key: Any) -> dict[str, Any]:
        return {**self._named, "key": shown(key)}

    def _checked_type(self, value: Any) -> str:
        if type(value) is str and value in self._good_types:
            return value
        try:
            check_event_type(value)
        except InvalidEvent as error:
            if self._event_type is None:
                raise Unfit(letters.EVENT_TYPE, str(error)) from None
            return self._event_type
        if len(self._good_types) < _GOOD_TYPES_MAX:
            self._good_types.add(value)
        return str(value)

    def _time(self, value: Any) -> int | None:
        if "created_at" not in self._fields:
            return None
        try:
            return parse_time(Number(repr(value)) if isinstance(value, float) else value)
        except (ValueError, ArithmeticError) as error:
            raise Unfit(letters.TIME, f"{error} (in {self._fields['created_at']})") from None


def shown(key: Any) -> Any:
    """A key as JSON has it: a blob as hex, several columns as a list."""
    if isinstance(key, tuple):
        return list(map(shown, key))
    if isinstance(key, bytes):
        return {"hex": key.hex()}
    return key


def _payload(text: Any, others: dict[str, Any], origin: bytes) -> bytes:
    """A payload's own text, with what it lacks of the other columns; or these alone."""
    if text is None:
        return _joined(encode_payload(others), origin)
    if isinstance(text, str):
        text = text.encode()
    if not isinstance(text, bytes):
        raise Unfit(letters.PAYLOAD, f"{text!r:.100} is no JSON object")
    text = text.strip()
    try:
        document = parse_object(text)
    except InvalidEvent as error:
        raise Unfit(letters.PAYLOAD, str(error)) from None
    if ORIGIN in document:  # of an import before this one
        origin = origin.replace(ORIGIN.encode(), f"{ORIGIN}_here".encode(), 1)
    lacking = {name: value for name, value in others.items() if name not in document}
    if lacking:
        text = _joined(text, encode_payload(lacking))
    return _joined(text, origin)


def _operation(row: Mapping[str, Any], origin: bytes) -> tuple[bytes, str]:
    """The payload that `AuditLog.operation` would have made, and the level; output that makes it
    too large is cut as there."""
    status = row.get("status")
    if status not in LEVELS:
        raise Unfit(letters.STATUS, f"{status!r:.100} is neither success nor failed")
    exit_code: Any = row.get("exit_code")
    duration_ms: Any = row.get("duration_ms")
    for name, value in (("exit_code", exit_code), ("duration_ms", duration_ms)):
        if value is not None and not isinstance(value, int | float):
            raise Unfit(letters.PAYLOAD, f"{name} is {value!r:.100}: it must be a number")
    outcome = Outcome(status, None, exit_code, _output(row, "stdout"), _output(row, "stderr"))
    names = {
        name: _text(row.get(name), name)
        for name in ("workflow_id", "node_id", "version_id", "operation")
    }
    metadata: Any = orjson.Fragment(_metadata(row.get("metadata")))
    kept = PAYLOAD_BYTES_MAX - len(origin)
    text = outcome.payload(names, duration_ms, metadata, kept)
    others = {
        name: value
        for name, value in row.items()
        if name not in {*OPERATION_COLUMNS, "id", "created_at"} and value is not None
    }
    return _joined(_joined(text, encode_payload(others)), origin), LEVELS[status]


def _output(row: Mapping[str, Any], name: str) -> bytes | None:
    value = row.get(name)
    if value is None or isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise Unfit(letters.PAYLOAD, f"{name} is {value!r:.100}: it must be text")
    return value.encode()


def _metadata(value: Any) -> bytes:
    if value is None or value == "":
        return b"{}"
    try:
        text = value.encode() if isinstance(value, str) else bytes(value)
        parse_object(text)
    except (InvalidEvent, TypeError) as error:
        raise Unfit(letters.PAYLOAD, f"metadata: {error}") from None
    return text


def _joined(text: bytes, more: bytes) -> bytes:
    """One object of two, each as it is written."""
    if more == b"{}":
        return text
    head = text[:-1].rstrip()
    return head + (b"" if head == b"{" else b",") + more[1:]


def _is_bad(value: Any) -> bool:
    return isinstance(value, Undecodable)


def _text(value: Any, name: str) -> str | None:
    if value is None or type(value) is str:
        return value
    try:
        return text_of(repr(value) if isinstance(value, float) else value, name)
    except InvalidEvent as error:
        raise Unfit(letters.PAYLOAD, str(error)) from None
