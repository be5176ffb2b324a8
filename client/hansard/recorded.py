"""Which of some entries are what a test asks for, and which come nearest. Values only.

It is for tests: a log is asked by `hansard.reader`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple, overload

from hansard.reader import Event

COLUMNS: Final = frozenset({"id", "level", "actor", "task_id"})
NEAREST_MAX: Final = 3  # in the line of an assertion, of which pytest shows some 240 characters
VALUE_CHARS_MAX: Final = 60
SHOWN_MAX: Final = 50  # in a report
PAYLOAD_CHARS_MAX: Final = 300

_MISSING: Final = object()


class Asked(NamedTuple):
    """What to look for: a type, conditions on columns, and on fields of the payload."""

    event_type: str | None
    columns: Mapping[str, Any]
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        words = [repr(self.event_type)] if self.event_type is not None else []
        conditions = {**self.columns, **self.fields}
        words += [f"{name}={_short(value)}" for name, value in conditions.items()]
        return f"recorded({', '.join(words)})"

    def distance(self, entry: Event) -> int:
        """How much of it an entry does not meet; 0 for what was asked for."""
        has_type = self.event_type is None or fnmatchcase(entry.event_type, self.event_type)
        missed = sum(not _meets(getattr(entry, name), self.columns[name]) for name in self.columns)
        data = entry.data or {} if self.fields else {}
        missed += sum(
            not _meets(data.get(name, _MISSING), wanted) for name, wanted in self.fields.items()
        )
        return missed + (not has_type) * (len(self.columns) + len(self.fields) + 1)

    def shown(self, entry: Event) -> str:
        """An entry in a few words: those that were asked about."""
        data = entry.data or {}
        words = [f"{name}={_short(getattr(entry, name))}" for name in self.columns]
        words += [
            f"{name}={_short(data[name])}" if name in data else f"no {name}" for name in self.fields
        ]
        return f"#{entry.id} {entry.event_type!r} {', '.join(words)}".rstrip()


class Recorded(Sequence[Event]):
    """The entries that were asked for, oldest first: true if there is one.

    Where there is none, its ``repr`` names those that come nearest.
    """

    def __init__(self, asked: Asked, found: list[Event], others: list[Event]) -> None:
        self._asked = asked
        self._found = found
        self._others = others

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> list[Event]: ...
    def __getitem__(self, index: int | slice) -> Event | list[Event]:
        return self._found[index]

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        asked = self._asked
        if self._found:
            shown = "; ".join(asked.shown(each) for each in self._found[:NEAREST_MAX])
            return f"<{asked}: {len(self)} found: {shown}>"
        if not self._others:
            return f"<{asked}: none, and the log is empty>"
        nearest = sorted(self._others, key=lambda each: (asked.distance(each), -each.id))
        shown = "; ".join(asked.shown(each) for each in nearest[:NEAREST_MAX])
        return f"<{asked}: none of {len(self._others)}; nearest: {shown}>"


def recorded_among(
    entries: Iterable[Event], event_type: str | None = None, **conditions: Any
) -> Recorded:
    """Those that meet the conditions, which are as for `hansard.testing.MemoryLog.recorded`."""
    fields = dict(conditions.pop("payload", None) or {})
    columns = {name: conditions.pop(name) for name in list(conditions) if name in COLUMNS}
    asked = Asked(event_type, columns, fields | conditions)
    found: list[Event] = []
    others: list[Event] = []
    for entry in entries:
        (others if asked.distance(entry) else found).append(entry)
    return Recorded(asked, found, others)


def shown(entries: Sequence[Event]) -> str:
    """Entries as lines of a report, the newest ones if there are many."""
    lines = [_line(entry) for entry in entries[-SHOWN_MAX:]]
    if len(entries) > SHOWN_MAX:
        lines.insert(0, f"… {len(entries) - SHOWN_MAX:,} before")
    return "\n".join(lines)


def _line(entry: Event) -> str:
    whose = [f"{name}={getattr(entry, name)}" for name in ("actor", "task_id")]
    words = [word for word in whose if not word.endswith("=None")]
    payload = entry.payload or ""
    if len(payload) > PAYLOAD_CHARS_MAX:
        payload = f"{payload[:PAYLOAD_CHARS_MAX]}…"
    return " ".join([f"#{entry.id}", entry.level, entry.event_type, *words, payload]).rstrip()


def _meets(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Callable):  # type: ignore[arg-type]
        return value is not _MISSING and bool(wanted(value))
    return bool(value == wanted) or (isinstance(wanted, tuple) and value == list(wanted))


def _short(value: object) -> str:
    text = getattr(value, "__name__", "") or repr(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"
