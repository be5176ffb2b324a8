"""The public face of reading: `LogReader`.

It checks what it is asked for before anything is read, and says in which order to look. How
entries are reached is `conditions`' and `paging`'s business.
"""

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice, starmap
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, Final, Self, Unpack

from hansard.operations import ENV_OPERATION
from hansard.reader import paging
from hansard.reader.conditions import (
    Conditions,
    Filters,
    OperationConditions,
    Selection,
    select,
    text,
    whole_number,
)
from hansard.reader.containment import Path
from hansard.reader.derived import Value, asked_for, shown
from hansard.reader.first_event import EVENT_TYPE_WITHIN_BYTES, first_event
from hansard.reader.paging import EVENT, PAGE_ROWS, UNLIMITED, Rows, Span
from hansard.reader.resting import RestingRows
from hansard.reader.rows import DeadLetter, Event, Extent, Operation, Refusal
from hansard.reader.search import FullTextSearch
from hansard.reader_connection import ReadConnection
from hansard.refusals import GOVERNANCE_REFUSAL
from hansard.settings import log_directory
from hansard.wire import INT64_MAX

FOLLOW_INTERVAL_S: Final = 0.1
LAST_CHARACTER: Final = "\U0010ffff"  # behind all that an event type may have

_EXTENT: Final = """
    SELECT (SELECT value FROM meta WHERE key = 'log_id'),
           (SELECT value FROM meta WHERE key = 'pruned_to'),
           (SELECT max(seq) FROM entries)
"""
_EVENT_TYPES: Final = """
    WITH RECURSIVE found(name) AS (
        SELECT min(event_type) FROM entries WHERE event_type >= ?1
        UNION ALL
        SELECT (SELECT min(event_type) FROM entries WHERE event_type > name) FROM found
        WHERE name < ?2)
    SELECT name FROM found WHERE name < ?2 LIMIT ?3
"""
_COVERING: Final = "SELECT note FROM checkpoints WHERE size >= ? ORDER BY size LIMIT 1"
_DERIVED_FIELDS: Final = (
    "SELECT name, definition ->> '$.type' FROM derived_fields WHERE is_current ORDER BY id"
)
_DERIVED: Final = (
    "SELECT f.name, f.definition ->> '$.type', v.value FROM derived_fields AS f"
    " CROSS JOIN derived_values AS v ON v.field = f.id AND v.seq = ?"
    " WHERE f.is_current ORDER BY f.id"
)
_DEAD_LETTER: Final = """
    SELECT d.id,
           strftime('%Y-%m-%dT%H:%M:%S', d.received_at / 1000000000, 'unixepoch')
               || printf('.%06dZ', d.received_at % 1000000000 / 1000),
           nullif(lower(hex(p.producer_hash)), ''),
           d.producer_seq, d.count, d.reason, d.detail, d.task_id, d.attempts, d.replayed_as,
           length(d.frame), {frame},
           substr(d.frame, 1, {head}), (SELECT event_type FROM events WHERE id = d.replayed_as)
    FROM dead_letters AS d LEFT JOIN producers AS p ON p.id = d.producer
"""


class LogReader:
    """One read-only connection to the log in ``directory``, which is found as `AuditLog` finds it.

    It belongs to one thread; open as many as you like. Raises `ConfigError` when there is no log
    or it cannot be read; a log that turns out to be damaged raises `AuditLogError`. An argument
    that breaks a rule raises `ValueError` naming both, when the method is called.

    What iterates holds a page of entries at a time, and no transaction between two pages; what is
    committed after the first entry was read is not among them.

    ``considerate``: whoever goes through much of a log beside busy workers rests four fifths of
    the time between pages, so that they do not wait for a processor.

    A ``limit`` of None is none at all, and 0 gives nothing (``--limit 0`` of the command is the
    former).

    Another user's log whose writer is stopped is read as immutable: a writer that starts waits
    until this reader is closed, or waits in `follow`.
    """

    def __init__(
        self, directory: str | os.PathLike[str] | None = None, *, considerate: bool = False
    ) -> None:
        self.directory: FilePath = log_directory(directory).absolute()
        self._connection = ReadConnection(self.directory)
        rows = self._connection.rows
        self._rows: Rows = RestingRows(rows) if considerate else rows

    # --- the log ---

    def extent(self) -> Extent:
        """Which log it is, and which entries it has now."""
        (row,) = self._rows(_EXTENT)
        log_id, pruned_to, last_id = row
        return Extent((log_id or b"").hex(), pruned_to or 0, last_id or pruned_to or 0)

    def checkpoint_covering(self, id: int) -> str | None:  # noqa: A002 - the column's name
        """The smallest checkpoint that covers the entry with this id, as the note that was signed;
        None while there is none. What it says is for `hansard verify` and others to check."""
        rows = self._rows(_COVERING, whole_number("id", id))
        return rows[0][0] if rows else None

    # --- entries ---

    def get(self, id: int) -> Event | None:  # noqa: A002 - the column's name
        """The entry with this id, None if there is none."""
        rows = self._rows(f"{EVENT} WHERE id = ?", whole_number("id", id))
        return Event.of(*rows[0]) if rows else None

    def events(
        self,
        event_type: str | None = None,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Event]:
        """The entries that meet all conditions, in the order of their ids."""
        return self._events(self.selection(event_type, conditions), _limit(limit), newest_first)

    def by_task(
        self,
        task_id: str,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        after_id: int | None = None,
        **conditions: Unpack[Filters],
    ) -> Iterator[Event]:
        """The entries of one task, in the order of their ids."""
        given = {**conditions, "task_id": text("task_id", task_id), "after_id": after_id}
        return self._events(self.selection(None, given), _limit(limit), newest_first)

    def where(
        self,
        path: Path,
        value: object,
        *,
        event_type: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Event]:
        """The entries whose payload contains ``value`` at ``path``: names with dots between them
        (a backslash makes a dot part of a name), or a sequence of names.

        Containment is PostgreSQL's: a scalar is there, or in a list that is there; of a list, each
        element is contained in one there; of a mapping, each name with what its value contains.
        Values are compared by JSON type: 1 is neither "1" nor true, and None is null.

        No index helps: give an ``event_type`` or a time too where the log is large.
        """
        conditions["where"] = [*(conditions.get("where") or ()), (path, value)]
        return self._events(self.selection(event_type, conditions), _limit(limit), newest_first)

    def search(
        self,
        query: str,
        *,
        event_type: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Event]:
        """The entries whose text matches: of operations stderr and the error in the metadata, of
        the types that the writer's setting ``fts_event_types`` names the whole payload, names
        and values.

        ``query`` is FTS5's: words, stemmed as English, with AND, OR, NOT and parentheses; "a
        phrase"; the beginning of a word as numpy*. What was committed before the first entry is
        asked for is never missed, however far behind the writer's index is.
        """
        conditions["search"] = text("query", query)
        return self._events(self.selection(event_type, conditions), _limit(limit), newest_first)

    def searched_event_types(self) -> list[str]:
        """The types whose whole payload `search` looks at."""
        types: list[str] = json.loads(self._rows("SELECT event_types FROM full_text_state")[0][0])
        return types

    def count(self, event_type: str | None = None, **conditions: Unpack[Conditions]) -> int:
        """How many entries meet all conditions."""
        return self._count(self.selection(event_type, conditions))

    def count_by_type(self) -> dict[str, int]:
        """How many entries each event type has, by name."""
        return dict(self._rows("SELECT event_type, count(*) FROM events GROUP BY event_type"))

    def event_types(self, *, begin: str = "", limit: int | None = None) -> list[str]:
        """The names of the event types there are, sorted; those that begin so. It leaps from one to
        the next, so that it takes no longer for many entries."""
        begin = text("begin", begin)
        found = self._rows(_EVENT_TYPES, begin, begin + LAST_CHARACTER, _limit(limit))
        return [name for (name,) in found]

    def follow(
        self,
        after_id: int | None = None,
        *,
        interval: float = FOLLOW_INTERVAL_S,
        event_type: str | None = None,
        task_id: str | None = None,
        **conditions: Unpack[Filters],
    ) -> Iterator[Event]:
        """The entries behind ``after_id``, then each new one as it is committed; it never ends.

        Only those that meet the conditions, where there are some. Without ``after_id`` it begins
        with what is committed after this call. While it waits it looks for commits every
        ``interval`` seconds, and holds neither a transaction nor a lock.
        """
        if not (isinstance(interval, int | float) and 0 <= interval < math.inf):
            raise ValueError(f"interval is {interval!r:.100}: it must be seconds, from 0")
        selection = self.selection(event_type, {**conditions, "task_id": task_id})
        last_id = self._last_id() if after_id is None else whole_number("after_id", after_id)
        return self._follow(selection, last_id, interval)

    def selection(self, event_type: str | None, conditions: Mapping[str, Any]) -> Selection:
        """The conditions as they are looked for; raises `ValueError` and `TypeError` as all that
        takes them."""
        if conditions.get("derived") is not None:
            derived = asked_for(self.derived_fields(), conditions["derived"])
            conditions = {**conditions, "derived": derived or None}
        return select(event_type, conditions)

    # --- derived fields ---

    def derived_fields(self) -> dict[str, str]:
        """The types of the log's derived fields, by name: what entries may be asked for with
        ``derived``."""
        return dict(self._rows(_DERIVED_FIELDS))

    def derived(self, id: int) -> dict[str, Value | bool]:  # noqa: A002 - the column's name
        """The values of the entry with this id, by field; timestamps are ISO 8601 UTC."""
        rows = self._rows(_DERIVED, whole_number("id", id))
        return {name: shown(kind, value) for name, kind, value in rows}

    # --- operations and refusals ---

    def operation(self, id: int) -> Operation | None:  # noqa: A002 - the column's name
        """The operation that is the entry with this id, None if there is none."""
        event = self.get(id)
        return Operation.of(event) if event and event.event_type == ENV_OPERATION else None

    def operations(
        self,
        *,
        limit: int | None = None,
        newest_first: bool = True,
        **conditions: Unpack[OperationConditions],
    ) -> Iterator[Operation]:
        """The operations that meet all conditions; ``metadata`` must be contained in theirs, as
        `where` says."""
        found = self._events(self.selection(ENV_OPERATION, conditions), _limit(limit), newest_first)
        return map(Operation.of, found)

    def failed_operations(
        self,
        workflow_id: str | None = None,
        *,
        limit: int | None = None,
        newest_first: bool = True,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Operation]:
        """The operations that failed, of one workflow or of all."""
        given = {**conditions, "workflow_id": workflow_id, "status": "failed"}
        found = self._events(self.selection(ENV_OPERATION, given), _limit(limit), newest_first)
        return map(Operation.of, found)

    def count_operations(self, **conditions: Unpack[OperationConditions]) -> int:
        """How many operations meet all conditions."""
        return self._count(self.selection(ENV_OPERATION, conditions))

    def refusals(
        self,
        agent_id: str | None = None,
        *,
        limit: int | None = None,
        newest_first: bool = True,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Refusal]:
        """The refusals that meet all conditions, of one agent or of all."""
        selection = self.selection(GOVERNANCE_REFUSAL, _by_agent(agent_id, conditions))
        return map(Refusal.of, self._events(selection, _limit(limit), newest_first))

    def count_refusals(self, agent_id: str | None = None, **conditions: Unpack[Conditions]) -> int:
        """How many refusals meet all conditions."""
        return self._count(self.selection(GOVERNANCE_REFUSAL, _by_agent(agent_id, conditions)))

    # --- dead letters ---

    def dead_letters(
        self, reason: str | None = None, *, returned: bool = False, limit: int | None = None
    ) -> Iterator[DeadLetter]:
        """What could not be entered, newest first, without the frames; with ``returned`` also
        what was entered later."""
        reason = None if reason is None else text("reason", reason)
        return islice(self._dead_letters(reason, returned=returned), _limit(limit))

    def count_dead_letters(self, *, returned: bool = False) -> dict[str, int]:
        """How many dead letters each reason has, by reason; with ``returned`` also of what was
        entered later."""
        sql = "SELECT reason, count(*) FROM dead_letters WHERE ? OR replayed_as IS NULL GROUP BY 1"
        return dict(self._rows(sql, returned))

    def dead_letter(self, id: int) -> DeadLetter | None:  # noqa: A002 - the column's name
        """The dead letter with this id and its frame, None if there is none."""
        sql = _DEAD_LETTER.format(frame="d.frame", head=EVENT_TYPE_WITHIN_BYTES) + "WHERE d.id = ?"
        rows = self._rows(sql, whole_number("id", id))
        return _dead_letter(*rows[0]) if rows else None

    def close(self) -> None:
        """End. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        connection = self._connection
        state = "closed" if connection.closed else "immutable" if connection.immutable else "open"
        return f"<LogReader {str(self.directory)!r} {state}>"

    # --- asking ---

    def _last_id(self) -> int:
        rows = self._rows("SELECT id FROM events ORDER BY id DESC LIMIT 1")
        return rows[0][0] if rows else 0

    def _events(self, selection: Selection, limit: int, newest_first: bool) -> Iterator[Event]:
        search = self._search(selection)  # a bad query is refused now, not at the first entry
        return self._read(selection, search, limit, newest_first=newest_first)

    def _read(
        self,
        selection: Selection,
        search: FullTextSearch | None,
        limit: int,
        *,
        newest_first: bool,
    ) -> Iterator[Event]:
        high = min(self._last_id(), selection.up_to_id) + 1
        span = Span(selection.after_id, high, newest_first=newest_first)
        if search is None:
            yield from paging.events(self._rows, selection, span, limit)
        else:
            yield from search.events(selection, span, limit)

    def _count(self, selection: Selection) -> int:
        if selection.search is not None:
            return sum(1 for _ in self._events(selection, UNLIMITED, newest_first=False))
        where = selection.through_index()
        sql = f"SELECT count(*) FROM events WHERE {where.sql} AND +id > ? AND +id <= ?"  # noqa: S608
        edges = (selection.after_id, selection.up_to_id)
        count: int = self._rows(sql, *where.arguments, *edges)[0][0]
        return count

    def _search(self, selection: Selection) -> FullTextSearch | None:
        if selection.search is None:
            return None
        return FullTextSearch(self._connection, selection.search)

    def _follow(self, selection: Selection, after_id: int, interval: float) -> Iterator[Event]:
        connection = self._connection
        search = self._search(selection)
        while True:
            version = connection.data_version()  # before the look: nothing falls between
            high = self._last_id() + 1
            span = Span(after_id, high, newest_first=False)
            if search is None:
                yield from paging.in_order(self._rows, selection, span)
            else:
                yield from search.events(selection, span, UNLIMITED)
            after_id = max(after_id, high - 1)
            if connection.immutable:
                connection.wait_while_immutable(interval)
                continue
            while connection.data_version() == version:
                time.sleep(interval)

    def _dead_letters(self, reason: str | None, *, returned: bool) -> Iterator[DeadLetter]:
        sql = (
            _DEAD_LETTER.format(frame="NULL", head=EVENT_TYPE_WITHIN_BYTES)
            + "WHERE d.id < ? AND d.reason = coalesce(?, d.reason)"
            + " AND (? OR d.replayed_as IS NULL) ORDER BY d.id DESC LIMIT ?"
        )
        below = INT64_MAX
        while rows := self._rows(sql, below, reason, returned, PAGE_ROWS):
            yield from starmap(_dead_letter, rows)
            below = rows[-1][0]


def _limit(limit: Any) -> int:
    return UNLIMITED if limit is None else whole_number("limit", limit)


def _dead_letter(*columns: Any) -> DeadLetter:
    """What was entered has no bytes any more, but its entry says what it is."""
    *facts, frame, head, entered_as = columns
    event_type = entered_as or first_event(head or b"").event_type
    return DeadLetter(*[*facts, event_type, frame])


def _by_agent(agent_id: str | None, conditions: Conditions) -> Conditions:
    """A refusal's agent is its entry's actor."""
    if agent_id is None:
        return conditions
    return {**conditions, "actor": text("agent_id", agent_id)}
