"""Sources whose rows have keys: tables of old databases, and files of other systems' records.

It makes chunks of what the ledger does not have yet. Who enters them is `run`'s business.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from hansard.errors import InvalidEvent
from hansard_writer.importing.appending import EVENTS_MAX
from hansard_writer.importing.documents import records
from hansard_writer.importing.drawing import Drawing
from hansard_writer.importing.fields import Reading
from hansard_writer.importing.ledger import Keyed, Ledger, known_as
from hansard_writer.importing.letters import cause_of
from hansard_writer.importing.old_database import OldDatabase, Table
from hansard_writer.importing.presets import RECORDS
from hansard_writer.importing.rows import RowReading, shown
from hansard_writer.importing.run import ImportFailed, Part, Report
from hansard_writer.importing.source import Content

CHUNK_ROWS_MAX: Final = EVENTS_MAX
CHUNK_BYTES_MAX: Final = 1 << 20  # unless one row is larger: JSON may make six bytes of one
CLAIMS_MAX: Final = 16  # chunks that are claimed together
TRIED_MIN: Final = 100  # rows of which not one fits, and then the options are wrong


class KeyedSource(Protocol):
    """What has rows with keys. ``rows`` come with the name of the collection that they are of."""

    @property
    def path(self) -> Path: ...
    @property
    def reading(self) -> Reading: ...
    def count(self) -> int:
        """How many rows there are."""

    def rows(self) -> Iterator[tuple[str, Keyed]]: ...
    def mark(self, row: Any) -> str:
        """A hash of what of a row nobody changes later."""

    def mark_at(self, key: Any) -> str | None:
        """The same of the row with a key; None where there is none, or nobody can say."""


@dataclass(frozen=True, slots=True)
class TableSource:
    """A table of an old database."""

    database: OldDatabase
    table: Table
    reading: RowReading

    @property
    def path(self) -> Path:
        return self.database.path

    def count(self) -> int:
        return self.database.count(self.table)

    def rows(self) -> Iterator[tuple[str, Keyed]]:
        for page in self.database.pages(self.table):
            for key, values in page:
                place = key if isinstance(key, int | str) else f"{shown(key)}"
                yield self.table.name, Keyed(known_as(key), place, (key, values))

    def mark(self, row: Any) -> str:
        values = self.reading.identity(row[1])
        return hashlib.sha256(repr(values).encode("utf-8", "replace")).hexdigest()[:16]

    def mark_at(self, key: Any) -> str | None:
        values = self.database.row(self.table, key)
        return None if values is None else self.mark((key, values))


@dataclass(frozen=True, slots=True)
class RecordSource:
    """A file of records of another system."""

    content: Content
    reading: Drawing

    @property
    def path(self) -> Path:
        return self.content.path

    def count(self) -> int:
        return sum(1 for _ in records(self.content, RECORDS[self.reading.preset_name].lists))

    def rows(self) -> Iterator[tuple[str, Keyed]]:
        preset = self.reading.preset_name
        of_file = f"{preset} {self.content.sha256.hex()}"
        found = records(self.content, RECORDS[preset].lists)
        for number, (line, text) in enumerate(found, 1):
            key = self.reading.key_of(text)
            if key is None:
                yield of_file, Keyed(number, line, text)
            else:
                yield preset, Keyed(known_as(key), f"{line} ({key:.100})", text)

    def mark(self, row: Any) -> str:  # noqa: ARG002 - an id is enough
        return ""

    def mark_at(self, key: Any) -> str | None:  # noqa: ARG002
        return None


class Ledgers:
    """The ledgers of one source, each read when it is first asked for. ``wait``: None where
    nothing is to be entered."""

    def __init__(self, directory: Path, source: str, wait: Callable[[], None] | None) -> None:
        self._directory = directory
        self.source = source
        self._wait = wait
        self._ledgers: dict[str, Ledger] = {}

    def of(self, collection: str, source: KeyedSource) -> Ledger:
        """A collection's. Raises `Forgotten`, and `ImportFailed` where it is another table's."""
        if collection not in self._ledgers:
            ledger = Ledger(self._directory, self.source, collection)
            ledger.read()
            if not ledger.recognises(source.mark_at):
                raise ImportFailed(
                    f"the log has rows of another {collection} under the name {self.source}: give "
                    f"the one in {source.path} a name of its own with --source"
                )
            if self._wait:
                ledger.take_over(self._wait)
            self._ledgers[collection] = ledger
        return self._ledgers[collection]

    def parts(
        self, source: KeyedSource, report: Report, passed_over: Callable[[int], None]
    ) -> Iterator[Part]:
        """What the log lacks of a source, in chunks that are claimed; what it has is counted as
        such, and told to ``passed_over``. Raises as `of`, and `ImportFailed`."""
        assert self._wait, "to look needs no chunks"
        open_chunks: dict[str, _Gathering] = {}
        for collection, keyed in source.rows():
            ledger = self.of(collection, source)
            gathering = open_chunks.get(collection)
            if gathering is None:
                gathering = open_chunks[collection] = _Gathering(ledger, source, self._wait)
            if keyed.key in ledger or not gathering.add(keyed):
                report.already += 1
                passed_over(1)
                continue
            if gathering.is_full:
                yield from gathering.claimed(report, but=1)
        for gathering in open_chunks.values():
            yield from gathering.claimed(report)


class _Gathering:
    """Chunks that are not claimed yet, a few more each time, so that workers begin at once."""

    def __init__(self, ledger: Ledger, source: KeyedSource, wait: Callable[[], None]) -> None:
        self._ledger = ledger
        self._source = source
        self._wait = wait
        self._is_tried = not ledger.is_new
        self._chunks: list[list[Keyed]] = []
        self._keys: set[Any] = set()
        self._room = 0
        self._claims_max = 1

    def add(self, keyed: Keyed) -> bool:
        """Take one more; false where it has its key already."""
        if keyed.key in self._keys:
            return False
        size = size_of(keyed.row)
        if not self._chunks or len(self._chunks[-1]) == CHUNK_ROWS_MAX or size > self._room:
            self._chunks.append([])
            self._room = CHUNK_BYTES_MAX
        self._chunks[-1].append(keyed)
        self._room -= size
        self._keys.add(keyed.key)
        return True

    @property
    def is_full(self) -> bool:
        """Whether there are enough whole chunks; the last has just begun."""
        return len(self._chunks) > self._claims_max

    def claimed(self, report: Report, but: int = 0) -> Iterator[Part]:
        """Claim what is gathered, but for so many of the last chunks."""
        whole = len(self._chunks) - but
        chunks, self._chunks = self._chunks[:whole], self._chunks[whole:]
        self._keys = {each.key for chunk in self._chunks for each in chunk}
        if not chunks:
            return
        if not self._is_tried:
            self._is_tried = True
            require_that_some_fit(self._source, chunks[0])
        self._claims_max = min(2 * self._claims_max, CLAIMS_MAX)
        for each in self._ledger.claim(chunks, self._source.mark, self._wait):
            yield Part(each, self._source.reading, report)


def require_that_some_fit(source: KeyedSource, rows: Iterable[Keyed]) -> None:
    """Raises `ImportFailed` where of many rows none is an event: what does not fit counts as done,
    so options that are wrong must not get that far."""
    reason, tried = "", 0
    for tried, each in enumerate(rows, 1):  # noqa: B007
        try:
            source.reading.event(each.row)
        except InvalidEvent as error:
            reason = reason or str(error)
        else:
            return
    if tried >= TRIED_MIN:
        raise ImportFailed(
            f"of the first {tried} rows of {source.path} none fits, the first because of its "
            f"{cause_of(reason)} ({reason}): nothing was entered; see what --dry-run says, and "
            "change the options"
        )


def size_of(row: Any) -> int:
    """About as many bytes as a row has on its way."""
    if isinstance(row, bytes | str):
        return len(row)
    if isinstance(row, tuple):
        return 8 + sum(map(size_of, row))
    return 8
