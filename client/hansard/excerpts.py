"""What a record keeps of any value: JSON, of bounded depth and size, and nothing of it run.

Of a value that JSON does not know its type's name is kept, never its `repr`, which may hold
secrets that have no name to be masked by, or megabytes. Masking comes later, by the names.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from itertools import islice
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

DEPTH_MAX: Final = 8
TEXT_CHARS_MAX: Final = 2_000
NAME_CHARS_MAX: Final = 200
ITEM_BYTES: Final = 8  # that any value takes, at least
MESSAGE_CHARS_MAX: Final = 2_000
_SHARE_BYTES_MIN: Final = 200  # less than this of each says nothing: rather some, and no more
_INT_BITS_MAX: Final = 1_024
_MORE: Final = "\N{HORIZONTAL ELLIPSIS}"


def excerpt(value: Any, bytes_max: int) -> Any:
    """What is kept of a value: about ``bytes_max`` bytes of JSON at most.

    Longer texts end with an ellipsis and their length, longer lists and mappings with how many
    items there are more. Dataclasses, named tuples, pydantic's models and attrs' classes become
    mappings of their fields.
    """
    return _Excerpt(bytes_max).of(value, 0)


def excerpt_of_error(error: BaseException) -> dict[str, str]:
    """An exception's type and message."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else _full_name(kind)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - a class of the caller's may do anything
        message = "its message could not be made"
    return {"type": name, "message": _cut(message, MESSAGE_CHARS_MAX)}


class _Excerpt:
    """One excerpt in the making, with the room that is left."""

    def __init__(self, bytes_max: int) -> None:
        self._room = bytes_max

    def of(self, value: Any, depth: int) -> Any:
        self._room -= ITEM_BYTES
        try:
            return self._of(value, depth)
        except Exception:  # noqa: BLE001 - values of the caller's may do anything
            return _kind(value)

    def _of(self, value: Any, depth: int) -> Any:
        if value is None or type(value) is bool or type(value) is float:
            return value
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Enum):
            return self.of(value.value, depth)
        if type(value) is int and value.bit_length() <= _INT_BITS_MAX:
            return value
        if depth < DEPTH_MAX:
            fields = fields_of(value)
            if fields is not None:
                return self._mapping(fields, depth)
            if isinstance(value, list | tuple | set | frozenset):
                return self._list(value, len(value), depth)
        return self._text(_words(value))

    def _text(self, text: str) -> str:
        kept = _cut(text, max(min(TEXT_CHARS_MAX, self._room), 0))
        self._room -= len(kept)
        return kept

    def _mapping(self, fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for done, (name, value) in enumerate(islice(fields.items(), len(fields))):
            if self._room <= 0:
                kept[_MORE] = f"{len(fields) - done:,} more"
                break
            if isinstance(name, Enum):
                name = name.value  # noqa: PLW2901
            name = _cut(name, NAME_CHARS_MAX) if isinstance(name, str) else _key(name)  # noqa: PLW2901
            self._room -= len(name)
            kept[name] = self._part(value, len(fields) - done, depth)
        return kept

    def _list(self, items: Iterable[Any], count: int, depth: int) -> list[Any]:
        kept: list[Any] = []
        for item in islice(items, count):
            if self._room <= 0:
                kept.append(f"{_MORE} {count - len(kept):,} more")
                break
            kept.append(self._part(item, count - len(kept), depth))
        return kept

    def _part(self, value: Any, left: int, depth: int) -> Any:
        """The next of so many that are left, in its share of the room: a large one leaves some to
        those behind it."""
        room = self._room
        if type(value) is str and len(value) <= min(room // left, TEXT_CHARS_MAX):
            self._room = room - len(value) - ITEM_BYTES  # as most are, without the way around
            return value
        share = max(room // left, min(room, _SHARE_BYTES_MIN))
        part = _Excerpt(share)
        kept = part.of(value, depth + 1)
        self._room -= share - part._room
        return kept


def fields_of(value: Any) -> Mapping[Any, Any] | None:
    """What has names within a value; None for what has none. Of a dataclass, as in any payload,
    without those that begin with an underscore."""
    if isinstance(value, dict | MappingProxyType):
        return value
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        all_names = (each.name for each in dataclasses.fields(kind))
        names: Iterable[str] = [name for name in all_names if not name.startswith("_")]
    elif isinstance(value, tuple) and hasattr(kind, "_fields"):
        names = kind._fields
    elif isinstance(getattr(kind, "model_fields", None), Mapping):  # pydantic's
        names = kind.model_fields
    elif isinstance(getattr(kind, "__attrs_attrs__", None), tuple):  # attrs'
        names = [each.name for each in kind.__attrs_attrs__]
    else:
        return None
    return {name: getattr(value, name, None) for name in names}


def _words(value: Any) -> str:
    """What is kept of a single value that JSON does not know."""
    if isinstance(value, bytes | bytearray):
        return f"<{type(value).__name__} of {len(value):,}>"
    if isinstance(value, datetime | date | UUID | PurePath) or type(value).__name__ == "Decimal":
        return str(value)
    return _kind(value)


def _cut(text: str, chars_max: int) -> str:
    """The text, cut where it is longer. What a subclass makes of itself does not count."""
    size = str.__len__(text)
    if size <= chars_max:
        return str.__getitem__(text, slice(None))
    return f"{str.__getitem__(text, slice(chars_max))}{_MORE} ({size:,} characters)"


def _key(name: Any) -> str:
    if name is None or type(name) in (int, float, bool):
        return f"{name}"[:NAME_CHARS_MAX]
    return _kind(name)


def _kind(value: Any) -> str:
    return f"<{_full_name(type(value))}>"


def _full_name(kind: type) -> str:
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"[:NAME_CHARS_MAX]
