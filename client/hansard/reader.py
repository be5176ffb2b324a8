"""The read side: what is in a log, for any number of readers in any process.

Needs apsw, so it is imported by itself. It never writes, and keeps no read transaction open
between two pages, because a long one would stop the WAL from shrinking.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, starmap
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self, TypedDict, Unpack

from hansard.events import created_at_ns
from hansard.reader_connection import ReadConnection
from hansard.settings import log_directory
from hansard.wire import INT64_MAX

PAGE_ROWS: Final = 100  # read in one transaction, and held in memory
INDEXED_IDS_MAX: Final = 10_000  # of one type; a commoner one is found by reading in order
FOLLOW_INTERVAL_S: Final = 0.1

Moment = str | datetime | int


class Conditions(TypedDict, total=False):
    """What entries may be asked for; all that is given must hold, None counts as not given.

    ``since`` (inclusive) and ``until`` (exclusive) are ISO 8601 text, UTC where it names no zone,
    a datetime with a zone, or ns since 1970 UTC.
    """

    task_id: str | None
    actor: str | None
    level: str | None
    since: Moment | None
    until: Moment | None
    after_id: int | None


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log.

    ``created_at`` is ISO 8601 UTC, cut to microseconds; ``created_at_ns`` is exact. ``payload``
    is the JSON text as it was recorded, None where there is none. ``producer`` is the hash of
    the producer's id, in hex; with ``producer_seq`` it is the entry's key.
    """

    id: int
    created_at: str
    created_at_ns: int
    event_type: str
    level: str
    actor: str | None
    task_id: str | None
    payload: str | None
    producer: str
    producer_seq: int
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event or frame that the writer could not enter, and why.

    It stands for ``count`` numbers from ``producer_seq`` on; both producer fields are None where
    the frame did not say whose it is. ``frame`` holds its ``frame_bytes`` bytes, None in a list.
    """

    id: int
    received_at: str
    producer: str | None
    producer_seq: int | None
    count: int
    reason: str
    detail: str
    frame_bytes: int
    frame: bytes | None = None


# S608 is silenced where SQL is put together from our own words; values are always bound.
_EVENT: Final = f"SELECT {', '.join(Event.__dataclass_fields__)} FROM events"  # noqa: S608
_DEAD_LETTER: Final = """
    SELECT d.id,
           strftime('%Y-%m-%dT%H:%M:%S', d.received_at / 1000000000, 'unixepoch')
               || printf('.%06dZ', d.received_at % 1000000000 / 1000),
           nullif(lower(hex(p.producer_hash)), ''),
           d.producer_seq, d.count, d.reason, d.detail, length(d.frame), {frame}
    FROM dead_letters AS d LEFT JOIN producers AS p ON p.id = d.producer
"""


class LogReader:
    """One read-only connection to the log in ``directory``, which is found as `AuditLog` finds it.

    It belongs to one thread; open as many as you like. Raises `ConfigError` when there is no log
    or it cannot be read; a log that turns out to be damaged raises `AuditLogError`.

    Another user's log whose writer is stopped is read as immutable: a writer that starts waits
    until this reader is closed, or waits in `follow`.
    """

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory: Path = log_directory(directory).absolute()
        self._connection = ReadConnection(self.directory)
        self._rows = self._connection.rows

    def get(self, id: int) -> Event | None:  # noqa: A002 - the column's name
        """The entry with this id, None if there is none."""
        rows = self._rows(f"{_EVENT} WHERE id = ?", id)
        return Event(*rows[0]) if rows else None

    def events(
        self,
        event_type: str | None = None,
        *,
        limit: int | None = None,
        newest_first: bool = False,
        **conditions: Unpack[Conditions],
    ) -> Iterator[Event]:
        """The entries that meet all conditions, in the order of their ids, in constant memory.

        What is committed after the first of them was read is not among them. Raises `ValueError`
        for a time that is none.
        """
        after_id = conditions.pop("after_id", None) or 0
        where = _where(event_type, **conditions)
        indexed = None
        if event_type is not None and conditions.get("task_id") is None:
            times = Conditions(since=conditions.get("since"), until=conditions.get("until"))
            indexed = _where(event_type, by_type=True, **times)
        return self._events(where, indexed, after_id, limit, newest_first=newest_first)

    def count(self, event_type: str | None = None, **conditions: Unpack[Conditions]) -> int:
        """How many entries meet all conditions."""
        by_type = event_type is not None and conditions.get("task_id") is None
        sql, arguments = _where(event_type, by_type=by_type, **conditions)
        rows = self._rows(f"SELECT count(*) FROM events WHERE {sql}", *arguments)  # noqa: S608
        count: int = rows[0][0]
        return count

    def count_by_type(self) -> dict[str, int]:
        """How many entries each event type has, by name."""
        return dict(self._rows("SELECT event_type, count(*) FROM events GROUP BY event_type"))

    def follow(
        self, after_id: int | None = None, *, interval: float = FOLLOW_INTERVAL_S
    ) -> Iterator[Event]:
        """The entries behind ``after_id``, then each new one as it is committed; it never ends.

        Without ``after_id`` it begins with what is committed after this call. While it waits it
        looks for commits every ``interval`` seconds, and holds neither a transaction nor a lock.
        """
        return self._follow(self._last_id() if after_id is None else after_id, interval)

    def dead_letters(
        self, reason: str | None = None, *, limit: int | None = None
    ) -> Iterator[DeadLetter]:
        """What could not be entered, newest first, without the frames; in constant memory."""
        return islice(self._dead_letters(reason), limit)

    def dead_letter(self, id: int) -> DeadLetter | None:  # noqa: A002 - the column's name
        """The dead letter with this id and its frame, None if there is none."""
        rows = self._rows(_DEAD_LETTER.format(frame="d.frame") + "WHERE d.id = ?", id)
        return DeadLetter(*rows[0]) if rows else None

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

    def _events(
        self,
        where: "_Where",
        indexed: "_Where | None",
        after_id: int,
        limit: int | None,
        *,
        newest_first: bool,
    ) -> Iterator[Event]:
        """A rare type through its index, everything else in the order of ids.

        Only counting tells how common a type is, and the index is in the order of time: a common
        type's ids would all have to be sorted, however few are wanted.
        """
        end = self._last_id() + 1
        if indexed is not None:
            sql = f"SELECT id FROM events WHERE {indexed.sql} LIMIT ?"  # noqa: S608
            rows = self._rows(sql, *indexed.arguments, INDEXED_IDS_MAX + 1)
            if len(rows) <= INDEXED_IDS_MAX:
                wanted = (each for (each,) in rows if after_id < each < end)
                ids = sorted(wanted, reverse=newest_first)
                yield from islice(self._events_of(ids, where), limit)
                return
        yield from self._pages(where, after_id, end, limit, newest_first=newest_first)

    def _events_of(self, ids: list[int], where: "_Where") -> Iterator[Event]:
        for each in ids:
            yield from starmap(
                Event, self._rows(f"{_EVENT} WHERE id = ? AND {where.sql}", each, *where.arguments)
            )

    def _pages(
        self, where: "_Where", low: int, high: int, limit: int | None, *, newest_first: bool = False
    ) -> Iterator[Event]:
        """The entries between two ids, neither included, page by page."""
        sql = (
            f"{_EVENT} WHERE id > ? AND id < ? AND {where.sql} "
            f"ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?"
        )
        left = INT64_MAX if limit is None else limit
        while left > 0:
            size = min(PAGE_ROWS, left)
            rows = self._rows(sql, low, high, *where.arguments, size)
            yield from starmap(Event, rows)
            if len(rows) < size:
                return
            left -= size
            if newest_first:
                high = rows[-1][0]
            else:
                low = rows[-1][0]

    def _follow(self, after_id: int, interval: float) -> Iterator[Event]:
        connection = self._connection
        while True:
            version = connection.data_version()  # before the look: nothing falls between
            for event in self._pages(_EVERYTHING, after_id, INT64_MAX, None):
                after_id = event.id
                yield event
            if connection.immutable:
                connection.wait_while_immutable(interval)
                continue
            while connection.data_version() == version:
                time.sleep(interval)

    def _dead_letters(self, reason: str | None) -> Iterator[DeadLetter]:
        sql = (
            _DEAD_LETTER.format(frame="NULL")
            + "WHERE d.id < ? AND d.reason = coalesce(?, d.reason) ORDER BY d.id DESC LIMIT ?"
        )
        below = INT64_MAX
        while rows := self._rows(sql, below, reason, PAGE_ROWS):
            yield from starmap(DeadLetter, rows)
            below = rows[-1][0]


def nanoseconds(moment: Moment) -> int:
    """A moment as ns since 1970 UTC; raises `ValueError` for one that is none."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError(f"{moment!r} is no time: write it like 2026-01-31T23:59:00Z") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
    return created_at_ns(moment)


class _Where(NamedTuple):
    """A condition in SQL, and what its question marks stand for."""

    sql: str
    arguments: list[object]


_EVERYTHING: Final = _Where("1", [])


def _where(
    event_type: str | None = None,
    *,
    by_type: bool = False,
    task_id: str | None = None,
    actor: str | None = None,
    level: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    after_id: int | None = None,
) -> _Where:
    """The condition: through the index on type and time, or in the order of ids.

    A unary plus keeps SQLite from choosing an index by that term; tasks always have their own.
    """
    in_order, through_index = ("+", "") if by_type else ("", "+")
    terms = {
        f"{through_index}event_type = ?": event_type,
        "task_id = ?": task_id,
        "actor = ?": actor,
        "level = ?": level,
        f"{through_index}created_at_ns >= ?": None if since is None else nanoseconds(since),
        f"{through_index}created_at_ns < ?": None if until is None else nanoseconds(until),
        f"{in_order}id > ?": after_id,
    }
    given = {term: value for term, value in terms.items() if value is not None}
    return _Where(" AND ".join(given) or "1", list(given.values()))
