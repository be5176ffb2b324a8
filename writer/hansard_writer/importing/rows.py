"""From a row of another system's table to an event. Pure: values in, values out.

The payload is the text of a JSON column, or made of the other columns; at its end it says which
row it comes from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hansard.errors import InvalidEvent
from hansard.events import check_event_type, encode_payload
from hansard.operations import LEVELS
from hansard.outcomes import PAYLOAD_BYTES_MAX, Outcome
from hansard_writer.importing import letters
from hansard_writer.importing.fields import Event, Place, parse_object, text_of
from hansard_writer.importing.letters import ORIGIN, Unfit
from hansard_writer.importing.levels import level_of
from hansard_writer.importing.old_database import Undecodable
from hansard_writer.json_path import Number
from hansard_writer.moments import parse_time

FIELDS: Final = ("event_type", "level", "actor", "task_id", "created_at", "payload")
OPERATION_COLUMNS: Final = (
    "workflow_id", "node_id", "version_id", "operation", "status", "stdout", "stderr", "exit_code",
    "duration_ms", "metadata",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RowReading:
    """Reads the rows of one table, as `Reading`. ``fields``: which column is which of `FIELDS`;
    ``event_type`` where no column says a valid one. ``key`` names the columns that need not be in
    the payload, because its origin has them."""

    source: str
    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    fields: Mapping[str, str]
    event_type: str | None = None
    are_operations: bool = False

    def event(self, item: Sequence[Any]) -> Event:
        """As `Reading`; an item is a key and the values of the columns."""
        key, values = item
        row = dict(zip(self.columns, values, strict=True))
        for name, value in row.items():
            if isinstance(value, Undecodable):
                raise Unfit(letters.ENCODING, f"{name} is text that is no UTF-8")
        origin = encode_payload({ORIGIN: self._origin(key)})
        level = level_of(self._field(row, "level"))
        if self.are_operations:
            columns = {name.casefold(): value for name, value in row.items()}
            payload, level = _operation(columns, origin)
        else:
            payload = self._payload(row, origin)
        return Event(
            self._event_type(row),
            payload,
            _text(self._field(row, "actor"), "actor"),
            _text(self._field(row, "task_id"), "task_id"),
            self._time(row),
            level,
        )

    def letter(self, place: Place, item: Sequence[Any], reason: str, now_ns: int) -> bytes:  # noqa: ARG002
        """As `Reading`."""
        key, values = item
        row = {
            name: value.data if isinstance(value, Undecodable) else value
            for name, value in zip(self.columns, values, strict=True)
        }
        return letters.letter(
            self._origin(key),
            reason,
            row,
            now_ns,
            self._field(row, "event_type") or self.event_type,
            self._field(row, "task_id"),
        )

    def identity(self, values: Sequence[Any]) -> Sequence[Any]:
        """What of a row nobody changes later: by it a table is known again."""
        row = dict(zip(self.columns, values, strict=True))
        names = [self.fields[name] for name in ("event_type", "created_at") if name in self.fields]
        return [row[name] for name in names or self.columns]

    def _origin(self, key: Any) -> dict[str, Any]:
        return {"source": self.source, "table": self.table, "key": shown(key)}

    def _field(self, row: Mapping[str, Any], name: str) -> Any:
        column = self.fields.get(name)
        return None if column is None else row[column]

    def _event_type(self, row: Mapping[str, Any]) -> str:
        value = self._field(row, "event_type")
        try:
            check_event_type(value)
        except InvalidEvent as error:
            if self.event_type is None:
                raise Unfit(letters.EVENT_TYPE, str(error)) from None
            return self.event_type
        return str(value)

    def _time(self, row: Mapping[str, Any]) -> int | None:
        if "created_at" not in self.fields:
            return None
        value = self._field(row, "created_at")
        try:
            return parse_time(Number(repr(value)) if isinstance(value, float) else value)
        except (ValueError, ArithmeticError) as error:
            raise Unfit(letters.TIME, f"{error} (in {self.fields['created_at']})") from None

    def _payload(self, row: Mapping[str, Any], origin: bytes) -> bytes:
        mapped = {*self.fields.values(), *self.key}
        others = {
            name: value for name, value in row.items() if value is not None and name not in mapped
        }
        text = self._field(row, "payload")
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
        return _joined(_joined(text, encode_payload(lacking)), origin)


def shown(key: Any) -> Any:
    """A key as JSON has it: a blob as hex, several columns as a list."""
    if isinstance(key, tuple):
        return list(map(shown, key))
    if isinstance(key, bytes):
        return {"hex": key.hex()}
    return key


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


def _text(value: Any, name: str) -> str | None:
    try:
        return text_of(repr(value) if isinstance(value, float) else value, name)
    except InvalidEvent as error:
        raise Unfit(letters.PAYLOAD, str(error)) from None
