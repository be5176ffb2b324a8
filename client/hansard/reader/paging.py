"""How many entries are read in constant memory: page by page, in the order of their ids.

Each page is a read transaction of its own, because a long one would stop the WAL from shrinking.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import starmap
from typing import Any, Final

import orjson

from hansard.reader.conditions import Selection, Where
from hansard.reader.rows import Event
from hansard.wire import INT64_MAX

PAGE_ROWS: Final = 100  # read in one transaction, and held in memory
IDS_PER_PASS_MAX: Final = 10_000  # taken out of an index at once, and sorted
IDS_BY_INDEX_MAX: Final = 200_000  # beyond, passes through the index cost more than the log's order

Rows = Callable[..., list[tuple[Any, ...]]]  # as `ReadConnection.rows`

# S608 is silenced where SQL is put together from our own words; values are always bound.
EVENT: Final = f"SELECT {', '.join(Event.__dataclass_fields__)} FROM events"  # noqa: S608


class Span:
    """The ids that are still to be looked at, both ends excluded, in one direction."""

    def __init__(self, low: int, high: int, *, newest_first: bool) -> None:
        self.low, self.high, self.newest_first = low, high, newest_first

    @property
    def order(self) -> str:
        return "DESC" if self.newest_first else "ASC"

    def __bool__(self) -> bool:
        return self.high - self.low > 1

    def pass_by(self, id: int) -> None:  # noqa: A002 - the column's name
        """All up to and including this one is done with."""
        if self.newest_first:
            self.high = min(self.high, id)
        else:
            self.low = max(self.low, id)

    def end(self) -> None:
        """All is done with."""
        self.low = self.high


def events(rows: Rows, selection: Selection, span: Span, limit: int) -> Iterator[Event]:
    """At most ``limit`` entries of the selection, in the span's order."""
    if selection.in_order or not _is_rare(rows, selection):
        return _in_order(rows, selection.in_order_of_ids(), span, limit)
    return _through_index(rows, selection.through_index(), span, limit)


def in_order(rows: Rows, selection: Selection, span: Span) -> Iterator[Event]:
    """The entries of the selection by id, without asking how rare they are: for short spans."""
    return _in_order(rows, selection.in_order_of_ids(), span, UNLIMITED)


def events_of(rows: Rows, ids: Sequence[int], where: Where, order: str) -> list[Event]:
    """The entries with these ids that meet the condition."""
    chosen = orjson.dumps(ids).decode()
    among = "id IN (SELECT value FROM json_each(?))"
    sql = f"{EVENT} WHERE {among} AND {where.sql} ORDER BY id {order}"
    return list(starmap(Event.of, rows(sql, chosen, *where.arguments)))


def _is_rare(rows: Rows, selection: Selection) -> bool:
    where = selection.by_index_alone()
    found = f"SELECT 1 FROM events WHERE {where.sql} LIMIT ?"  # noqa: S608
    counted = rows(f"SELECT count(*) FROM ({found})", *where.arguments, IDS_BY_INDEX_MAX + 1)  # noqa: S608
    return bool(counted[0][0] <= IDS_BY_INDEX_MAX)


def _in_order(rows: Rows, where: Where, span: Span, limit: int) -> Iterator[Event]:
    sql = f"{EVENT} WHERE id > ? AND id < ? AND {where.sql} ORDER BY id {span.order} LIMIT ?"
    while limit > 0:
        size = min(PAGE_ROWS, limit)
        page = rows(sql, span.low, span.high, *where.arguments, size)
        yield from starmap(Event.of, page)
        if len(page) < size:
            return
        limit -= size
        span.pass_by(page[-1][0])


def _through_index(rows: Rows, where: Where, span: Span, limit: int) -> Iterator[Event]:
    """An index that has the entries in another order gives a pass of ids at a time, sorted.

    The ids of a pass are compact; the entries are read page by page.
    """
    sql = (
        f"SELECT id FROM events WHERE {where.sql} AND +id > ? AND +id < ? "  # noqa: S608
        f"ORDER BY id {span.order} LIMIT ?"
    )
    while limit > 0:
        size = min(IDS_PER_PASS_MAX, limit)
        ids = [each for (each,) in rows(sql, *where.arguments, span.low, span.high, size)]
        for start in range(0, len(ids), PAGE_ROWS):
            yield from events_of(rows, ids[start : start + PAGE_ROWS], _ALL, span.order)
        if len(ids) < size:
            return
        limit -= size
        span.pass_by(ids[-1])


_ALL: Final = Where("1", ())
UNLIMITED: Final = INT64_MAX
