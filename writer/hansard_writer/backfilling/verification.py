"""Derived fields held against the payloads: all values drawn again, and compared with those kept.

It reads, a window of entries in one read transaction at a time, and changes nothing. The same
figures come from ``scripts/verify_backfill.sql``, as far as SQL can draw them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from hansard import directory as layout
from hansard.reader.resting import Rests
from hansard.reader_connection import ReadConnection
from hansard_writer.backfilling.concerned import IDS_PER_PAGE, PAGE_ENTRIES, event_types
from hansard_writer.backfilling.observing import Observer, chosen
from hansard_writer.backfilling.tally import Without
from hansard_writer.derived.definitions import BUILT_IN, read_declared
from hansard_writer.derived.deriving import Deriving, StoredField
from hansard_writer.derived.extraction import Cause, Payload, Value
from hansard_writer.derived.stored_fields import stored_fields

WRONG_NAMED_MAX: Final = 20  # of a field
SOURCE, PROCESSED = (field.name for field in BUILT_IN)

_SIZE: Final = "SELECT coalesce(max(seq), 0) FROM entries"
_ENTRIES: Final = (
    "SELECT seq, event_type, created_at, CAST(payload AS BLOB) FROM entries"
    " WHERE seq > ? AND seq <= ? AND +event_type IN (SELECT value FROM json_each(?))"
    " ORDER BY seq LIMIT ?"
)
_KEPT: Final = "SELECT seq, value FROM derived_values WHERE field = ? AND seq > ? AND seq <= ?"
_BEYOND: Final = (
    "SELECT seq FROM derived_values WHERE field = ?"
    " AND seq > (SELECT coalesce(max(seq), 0) FROM entries) LIMIT ?"
)
_BY_VALUE: Final = (
    "EXPLAIN QUERY PLAN SELECT id FROM derived WHERE field = 'source_event_ts' AND value >= 0"
)
INDEX: Final = "derived_values_by_value"


@dataclass(slots=True)
class Lag:
    """From one moment to another, in ns: the least, the sum and the greatest of so many."""

    entries: int = 0
    least: int = 0
    sum: int = 0
    greatest: int = 0

    def add(self, ns: int) -> None:
        """One more."""
        self.least = min(self.least, ns) if self.entries else ns
        self.greatest = max(self.greatest, ns) if self.entries else ns
        self.entries += 1
        self.sum += ns


@dataclass(slots=True)
class Figures:
    """Of one field. What is kept is ``equal`` to what is drawn, ``differs``, or is ``unexpected``
    where nothing is drawn, or the field concerns no such entry; what is not kept is ``missing``, or
    still ``left`` to be filled, or there is none: ``empty``, by cause. ``wrong`` names the first
    entries that are not as they should be. ``by_type`` counts entries and values."""

    stored: StoredField
    left: int = 0
    equal: int = 0
    differs: int = 0
    missing: int = 0
    unexpected: int = 0
    wrong: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    empty: dict[Cause, Without] = dataclasses.field(default_factory=dict)
    by_type: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    least: Value | None = None
    greatest: Value | None = None
    to_created_at: Lag = dataclasses.field(default_factory=Lag)

    @property
    def entries(self) -> int:
        """How many the field concerns."""
        return sum(entries for entries, _ in self.by_type.values())

    @property
    def values(self) -> int:
        """How many of those have a value."""
        return sum(values for _, values in self.by_type.values())

    @property
    def percent(self) -> float:
        """How many in a hundred have a value."""
        return round(100.0 * self.values / max(self.entries, 1), 2)

    @property
    def is_wrong(self) -> bool:
        """Whether anything is other than it was drawn."""
        return bool(self.differs or self.missing or self.unexpected)


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it. ``undeclared`` are fields of the settings file that the log does not have
    (so); ``processing`` is the lag between the two built-in moments; ``plan`` is how SQLite looks
    for a value."""

    fields: list[Figures]
    undeclared: list[str]
    processing: Lag
    plan: str

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be filled."""
        return not (self.undeclared or any(each.left for each in self.fields))

    @property
    def is_good(self) -> bool:
        """Whether it is complete, and all is as it was drawn."""
        return self.is_complete and not any(each.is_wrong for each in self.fields)

    @property
    def uses_index(self) -> bool:
        """Whether a value is looked for by its index."""
        return INDEX in self.plan


def verify(directory: Path, names: Sequence[str], observer: Observer) -> Verification:
    """Look at all entries that concern the fields of these names, or any. Raises `ConfigError`,
    and `NoSuchField`."""
    is_served = layout.a_writer_lives(directory)
    rest: Callable[[], None] = lambda: None  # noqa: E731 - a name for nothing
    if is_served:
        observer.step_back()
        rest = Rests().take
    with closing(ReadConnection(directory, leaves_no_trace=not is_served)) as log:
        stored = stored_fields(log.rows)
        fields = chosen(stored, names)
        known = {(each.field.name, each.field.definition) for each in stored}
        undeclared = [
            each.name
            for each in read_declared(directory)
            if (each.name, each.definition) not in known and (not names or each.name in names)
        ]
        comparison = _Comparison(fields)
        for entries, kept in _windows(log, fields, observer):
            comparison.compare(entries, kept)
            rest()
        for figures in comparison.figures:
            for (seq,) in log.rows(_BEYOND, figures.stored.id, WRONG_NAMED_MAX):
                comparison.unexpected(figures, seq)
        plan = "; ".join(row[3] for row in log.rows(_BY_VALUE))
    return Verification(comparison.figures, undeclared, comparison.processing, plan)


Kept = dict[int, dict[int, Value]]
"""What is kept of each field, by its id, of each entry, by its seq."""


def _windows(
    log: ReadConnection, fields: Sequence[StoredField], observer: Observer
) -> Iterator[tuple[list[tuple[Any, ...]], Kept]]:
    """The entries that concern the fields, some at a time, with all values that are kept of these
    and of those between them: both of one moment."""
    deriving = Deriving(fields)
    types = [each for each in event_types(log.rows) if deriving.extractors(each)]
    among = orjson.dumps(types).decode()
    after, size = 0, log.rows(_SIZE)[0][0]
    observer.begin(size)
    while after < size:
        end = min(after + IDS_PER_PAGE, size)
        with log.snapshot():
            entries = log.rows(_ENTRIES, after, end, among, PAGE_ENTRIES)
            if len(entries) == PAGE_ENTRIES:
                end = entries[-1][0]
            kept = {each.id: dict(log.rows(_KEPT, each.id, after, end)) for each in fields}
        yield entries, kept
        observer.through(end - after)
        after = end


class _Comparison:
    """Draws the fields again, and counts what that comes to. Pure."""

    def __init__(self, fields: Sequence[StoredField]) -> None:
        self.figures = [Figures(each) for each in fields]
        self.processing = Lag()
        self._by_id = {each.stored.id: each for each in self.figures}
        self._deriving = Deriving(fields)
        ids = {each.field.name: each.id for each in fields}
        self._source, self._processed = ids.get(SOURCE, 0), ids.get(PROCESSED, 0)

    def compare(self, entries: list[tuple[Any, ...]], kept: Kept) -> None:
        """A window of entries with what is kept of them."""
        for id_, values in kept.items():
            self._widen_range(self._by_id[id_], values)
        for seq, event_type, created_at, text in entries:
            payload = Payload(text)
            moments = {}
            for id_, extractor in self._deriving.extractors(event_type):
                figures, value = self._by_id[id_], kept[id_].pop(seq, None)
                self._judge(figures, seq, value, extractor.draw(payload))
                all_, filled = figures.by_type.get(event_type, (0, 0))
                figures.by_type[event_type] = (all_ + 1, filled + (value is not None))
                if extractor.field.type == "timestamp" and isinstance(value, int):
                    figures.to_created_at.add(created_at - value)
                    moments[id_] = value
            if self._source in moments and self._processed in moments:
                self.processing.add(moments[self._processed] - moments[self._source])
        for id_, values in kept.items():
            for seq in values:
                self.unexpected(self._by_id[id_], seq)

    def unexpected(self, figures: Figures, seq: int) -> None:
        """A value of an entry that the field does not concern, or that is not there."""
        figures.unexpected += 1
        self._name(figures, seq, "unexpected")

    def _judge(self, figures: Figures, seq: int, kept: Value | None, drawn: Value | Cause) -> None:
        if isinstance(drawn, Cause):
            if kept is None:
                figures.empty.setdefault(drawn, Without()).add(1, [seq])
            else:
                self.unexpected(figures, seq)
        elif kept is None:
            stored = figures.stored
            if stored.filled_to < seq <= stored.declared_at:
                figures.left += 1
                self._name(figures, seq, "left")
            else:
                figures.missing += 1
                self._name(figures, seq, "missing")
        elif kept == drawn and type(kept) is type(drawn):
            figures.equal += 1
        else:
            figures.differs += 1
            self._name(figures, seq, "differs")

    def _name(self, figures: Figures, seq: int, outcome: str) -> None:
        if len(figures.wrong) < WRONG_NAMED_MAX:
            figures.wrong.append((seq, outcome))

    def _widen_range(self, figures: Figures, values: dict[int, Value]) -> None:
        kind = str if figures.stored.field.type == "text" else (int, float)
        of_the_type: list[Any] = [each for each in values.values() if isinstance(each, kind)]
        if of_the_type:
            known = [each for each in (figures.least, figures.greatest) if each is not None]
            figures.least = min(of_the_type + known)
            figures.greatest = max(of_the_type + known)
