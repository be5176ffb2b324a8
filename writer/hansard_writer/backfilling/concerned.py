"""The entries of a stretch that concern its fields, in the order of their ids.

It reads, a page in one read transaction at a time: a long one would keep the WAL from shrinking.
"""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from hansard.reader.paging import Rows

PAGE_ENTRIES: Final = 500  # with their payloads, in memory
IDS_PER_PAGE: Final = 10_000  # without
RARE_SHARE: Final = 8  # one of so many, or fewer: they are found by the index of types
RARE_ENTRIES_MAX: Final = 200_000  # of which all ids are held

Row = tuple[int, str, bytes | None]
"""seq, event_type, and the payload: as bytes, which may be no text at all in an old log."""

# One look into the index a type, instead of one an entry.
_TYPES: Final = """
    WITH RECURSIVE types(name) AS (
        SELECT min(event_type) FROM entries
        UNION ALL
        SELECT (SELECT min(event_type) FROM entries WHERE event_type > name) FROM types
        WHERE name IS NOT NULL
    )
    SELECT name FROM types WHERE name IS NOT NULL
"""
# S608 is silenced where SQL is put together from our own words; values are always bound.
_AMONG: Final = "event_type IN (SELECT value FROM json_each(?)) AND +seq > ? AND +seq <= ?"
_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM entries WHERE {_AMONG} LIMIT ?)"  # noqa: S608
_IDS: Final = f"SELECT seq FROM entries WHERE {_AMONG} ORDER BY +seq"  # noqa: S608
_COLUMNS: Final = "SELECT seq, event_type, CAST(payload AS BLOB) FROM entries"
_AMONG_IDS: Final = "seq IN (SELECT value FROM json_each(?))"
_BY_IDS: Final = f"{_COLUMNS} WHERE {_AMONG_IDS} ORDER BY seq"
_IN_ORDER: Final = (
    f"{_COLUMNS} WHERE seq > ? AND seq <= ? AND +event_type IN"  # noqa: S608
    " (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)


def event_types(rows: Rows) -> list[str]:
    """Those that a log has."""
    return [name for (name,) in rows(_TYPES)]


def entries(rows: Rows, types: Sequence[str], after: int, upto: int) -> Iterator[Row]:
    """The entries of these types behind ``after`` up to ``upto``."""
    if not types or upto <= after:
        return iter(())
    among = orjson.dumps(types).decode()
    rare_max = min((upto - after) // RARE_SHARE, RARE_ENTRIES_MAX)
    if rows(_COUNT, among, after, upto, rare_max + 1)[0][0] <= rare_max:
        return _by_ids(rows, array("q", (seq for (seq,) in rows(_IDS, among, after, upto))))
    return _in_order(rows, among, after, upto)


def _by_ids(rows: Rows, ids: "array[int]") -> Iterator[Row]:
    for start in range(0, len(ids), PAGE_ENTRIES):
        chosen = orjson.dumps(ids[start : start + PAGE_ENTRIES].tolist()).decode()
        yield from rows(_BY_IDS, chosen)


def _in_order(rows: Rows, among: str, after: int, upto: int) -> Iterator[Row]:
    while after < upto:
        end = min(after + IDS_PER_PAGE, upto)
        page: list[Any] = rows(_IN_ORDER, after, end, among, PAGE_ENTRIES)
        yield from page
        after = page[-1][0] if len(page) == PAGE_ENTRIES else end
