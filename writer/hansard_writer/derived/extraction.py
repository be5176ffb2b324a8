"""Drawing a field's value out of a payload: the first of its paths at which a value of its type is.

Pure, and it never fails: what is drawn is a value, or the cause why there is none.
"""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, TypeAlias

import orjson

from hansard import wire
from hansard_writer.derived.definitions import DerivedField
from hansard_writer.json_path import Number, Path, parse_exactly
from hansard_writer.moments import parse_time

TEXT_BYTES_MAX: Final = 1_024  # of a text field: it is a key of an index
EXACT_CHARS_MAX: Final = 16 << 10  # of a payload that is parsed again for a float's digits: 3 ms

Value: TypeAlias = str | int | float


class Cause(StrEnum):
    """Why an entry has no value of a field."""

    MISSING = "missing"  # nothing, or null, at each of the paths
    ANOTHER_TYPE = "another type"
    BROKEN_TIMESTAMP = "broken timestamp"
    TOO_LONG = "too long"
    NO_PAYLOAD = "no payload"  # never had one, or it is redacted
    INVALID_JSON = "invalid JSON"


class Payload:
    """A payload that several fields are drawn from: it is parsed once."""

    __slots__ = ("_exact", "_text", "cause", "document")

    def __init__(self, text: str | bytes | None) -> None:
        self._text, self._exact = text, None
        self.cause: Cause | None = None
        try:
            self.document = orjson.loads(text)  # type: ignore[arg-type]  # refused below
        except orjson.JSONDecodeError:
            self.document = None
            self.cause = Cause.NO_PAYLOAD if text is None else self._cause()

    @property
    def exact(self) -> Any:
        """The document with its numbers as they are written: a float may hold fewer digits."""
        if self._exact is None:
            text = self._text or b""
            self._exact = parse_exactly(text if isinstance(text, bytes) else text.encode())
        return self._exact

    def digits(self, path: Path, number: float) -> Any:
        """The number at a path as it is written, unless that would take long."""
        if len(self._text or b"") > EXACT_CHARS_MAX:
            return Number(repr(number))
        return path.follow(self.exact)

    def _cause(self) -> Cause | None:
        """Why orjson refuses it; the standard library takes all that JSON allows."""
        try:
            self.document = self.exact
        except (ValueError, RecursionError):
            return Cause.INVALID_JSON
        return None


class Extractor:
    """Draws one field."""

    def __init__(self, field: DerivedField) -> None:
        self.field = field
        paths = [Path(path) for path in field.paths]
        self._paths = [(path.first_name, path.is_name, path) for path in paths]
        self._read = _READERS[field.type]
        self._needs_digits = field.type == "timestamp"

    def draw(self, payload: Payload) -> Value | Cause:
        """The value, or why there is none: the first cause that is not just missing."""
        if payload.cause is not None:
            return payload.cause
        found: Cause = Cause.MISSING
        document, read = payload.document, self._read
        if type(document) is not dict:
            document = {}  # no payload of ours
        for name, is_all, path in self._paths:
            given = document.get(name)
            if given is not None and not is_all:
                given = path.follow_rest(given)
            if given is None:
                continue
            if type(given) is float and self._needs_digits:
                given = payload.digits(path, given)
            value = read(given)
            if type(value) is not Cause:
                return value
            if found is Cause.MISSING:
                found = value
        return found


def _text(given: Any) -> Value | Cause:
    if not isinstance(given, str) or isinstance(given, Number):
        return Cause.ANOTHER_TYPE
    try:
        return Cause.TOO_LONG if len(given.encode()) > TEXT_BYTES_MAX else given
    except UnicodeEncodeError:  # a lone surrogate is no text to SQLite
        return Cause.ANOTHER_TYPE


def _integer(given: Any) -> Value | Cause:
    if isinstance(given, Number):
        try:
            given = int(given)
        except ValueError:
            return Cause.ANOTHER_TYPE
    if type(given) is not int or not -wire.INT64_MAX - 1 <= given <= wire.INT64_MAX:
        return Cause.ANOTHER_TYPE
    return given


def _real(given: Any) -> Value | Cause:
    if type(given) not in {int, float, Number}:
        return Cause.ANOTHER_TYPE
    try:
        value = float(given)
    except OverflowError:
        return Cause.ANOTHER_TYPE
    return value if math.isfinite(value) else Cause.ANOTHER_TYPE


def _boolean(given: Any) -> Value | Cause:
    return int(given) if type(given) is bool else Cause.ANOTHER_TYPE


def _timestamp(given: Any) -> Value | Cause:
    if type(given) is not str and (type(given) is bool or not isinstance(given, int | str)):
        return Cause.ANOTHER_TYPE
    try:
        return parse_time(given)
    except ValueError:
        return Cause.BROKEN_TIMESTAMP


_READERS: Final[Mapping[str, Callable[[Any], Value | Cause]]] = {
    "text": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
    "timestamp": _timestamp,
}
