"""One page of entries, found within a bounded time however large the log is.

By task, and by no more than the order of the log, an index leads to them. By type and by time they
come in the order of time, because that is how the index has them. By all else entries are looked at
one after the other for a while; then the page says how far it has looked, and where to go on.

It reads through a connection that is given, in short read transactions.
"""

import heapq
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from hansard.reader import Event, paging
from hansard.reader.conditions import Selection, select
from hansard.reader.paging import Span
from hansard.reader.search import FullTextSearch
from hansard.reader_connection import ReadConnection
from hansard.wire import INT64_MAX
from hansard_writer.viewing.cursors import Cursor

LOOK_S_MAX: Final = 0.8  # then the page is shown as far as it is
PIECE_S: Final = 0.1  # what a piece of the log may take, about
PIECE_IDS_MIN: Final = 256
PIECE_IDS_MAX: Final = 1 << 20
INDEX_ROWS: Final = 200  # taken out of an index at once
FIRST_ROWS: Final = 8  # of a type: most types have none of a page's entries
TYPES_MAX: Final = 500  # beyond, the order of time is not put together from them

_FIRST_ID: Final = "SELECT seq FROM entries ORDER BY seq LIMIT 1"
_LAST_ID: Final = "SELECT seq FROM entries ORDER BY seq DESC LIMIT 1"
_NEXT_TYPE: Final = "SELECT event_type FROM entries WHERE event_type > ? ORDER BY 1 LIMIT 1"
_BY_TIME: Final = "SELECT created_at, seq FROM entries WHERE event_type = ? AND"
_BACKWARD: Final = (  # the index is entered at the pair, and left at the other bound
    f"{_BY_TIME} (created_at, seq) < (?, ?) AND created_at >= ?"
    " ORDER BY created_at DESC, seq DESC LIMIT ?"
)
_FORWARD: Final = (
    f"{_BY_TIME} (created_at, seq) > (?, ?) AND created_at < ? ORDER BY created_at, seq LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What entries a page is to show: ``size`` of them, older than ``before`` or newer than
    ``after``, else the newest. ``by_time``: in the order of time and not of the log."""

    event_type: str | None
    conditions: Mapping[str, Any]
    size: int
    before: Cursor | None = None
    after: Cursor | None = None
    by_time: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The entries of a page, newest first; where the pages beside it begin, None where there is
    none. ``looked_to``: the id where it stopped looking for want of time."""

    events: list[Event]
    older: Cursor | None
    newer: Cursor | None
    by_time: bool
    looked_to: int | None = None


def find(log: ReadConnection, asked: Asked) -> Found:
    """The page. Raises `ValueError` for a condition that breaks a rule."""
    selection = select(asked.event_type, asked.conditions)
    found: list[Event] = []
    looked_to = None
    by_time = asked.by_time and selection.search is None and not _leads(selection)
    places = _by_time if by_time else _by_log
    deadline_s = time.monotonic() + LOOK_S_MAX
    for some, reached in places(log, asked, selection):
        found += some
        if len(found) > asked.size:
            break
        if reached is not None and time.monotonic() > deadline_s:
            looked_to = reached
            break
    return _page(asked, found, looked_to, by_time=by_time)


def _page(asked: Asked, found: list[Event], looked_to: Cursor | None, *, by_time: bool) -> Found:
    """Beyond the page's own entries one more was looked for: it says whether there is another."""
    goes_on = looked_to if len(found) <= asked.size else None
    shown = found[: asked.size]
    if len(found) > asked.size:
        goes_on = _cursor(shown[-1], by_time=by_time)
    forward = asked.after is not None
    if forward:
        shown.reverse()
    came_from = asked.before or asked.after
    back = (
        _cursor(shown[-1] if forward else shown[0], by_time=by_time)
        if came_from and shown
        else came_from
    )
    older, newer = (back, goes_on) if forward else (goes_on, back)
    return Found(shown, older, newer, by_time, looked_to.id if looked_to else None)


def _cursor(event: Event, *, by_time: bool) -> Cursor:
    return Cursor(event.id, event.created_at_ns if by_time else None)


# --- in the order of the log ---


def _by_log(
    log: ReadConnection, asked: Asked, selection: Selection
) -> Iterator[tuple[list[Event], Cursor | None]]:
    """Entries, and how far has been looked for them; piece by piece, each about as long as another
    in time, where no index leads."""
    first, last = (log.rows(each) for each in (_FIRST_ID, _LAST_ID))
    if not last:
        return
    low, high = first[0][0] - 1, last[0][0] + 1  # both excluded
    forward = asked.after is not None
    if asked.before:
        high = min(high, asked.before.id)
    if asked.after:
        low = max(low, asked.after.id)
    search = FullTextSearch(log, selection.search) if selection.search is not None else None
    leads = not search and _leads(selection)
    size = INT64_MAX if leads else PIECE_IDS_MIN
    while high - low > 1:
        began_s = time.monotonic()
        size = min(size, high - low - 1)
        span = Span(low, low + size + 1, newest_first=False)
        if not forward:
            span = Span(high - size - 1, high, newest_first=True)
        low, high = (span.high - 1, high) if forward else (low, span.low + 1)
        if search:
            some = search.events(selection, span, asked.size + 1)
        elif leads:
            some = paging.events(log.rows, selection, span, asked.size + 1)
        else:
            some = paging.in_order(log.rows, selection, span)
        yield list(islice(some, asked.size + 1)), Cursor(low if forward else high)
        took_s = max(time.monotonic() - began_s, 1e-6)
        size = int(size * min(4.0, max(0.25, PIECE_S / took_s)))
        size = min(max(size, PIECE_IDS_MIN), PIECE_IDS_MAX)


def _leads(selection: Selection) -> bool:
    """Whether the entries are soon found all over the log: by an index that is about more than type
    and time, or because nothing is asked for."""
    return not selection.terms or bool(selection.index - {"event_type", "created_at"})


# --- in the order of time ---


def event_types(log: ReadConnection) -> list[str]:
    """The types that entries have, at most `TYPES_MAX` + 1, found by leaps through the index."""
    types: list[str] = []
    while len(types) <= TYPES_MAX:
        found = log.rows(_NEXT_TYPE, types[-1] if types else "")
        if not found:
            break
        types.append(found[0][0])
    return types


def _by_time(
    log: ReadConnection, asked: Asked, selection: Selection
) -> Iterator[tuple[list[Event], Cursor | None]]:
    """The types' entries, each type's in order of time, woven into one order."""
    types = [asked.event_type] if asked.event_type else event_types(log)
    if len(types) > TYPES_MAX:
        raise ValueError(f"the log has more than {TYPES_MAX} event types: name one beside the time")
    forward = asked.after is not None
    woven = heapq.merge(
        *(_of_type(log, each, asked, selection) for each in types), reverse=not forward
    )
    rest = selection.entry_by_entry()
    while places := list(islice(woven, max(INDEX_ROWS, asked.size + 1))):
        events = paging.events_of(log.rows, [each for _, each in places], rest, "ASC")
        events.sort(key=lambda each: (each.created_at_ns, each.id), reverse=not forward)
        yield events, Cursor(places[-1][1], places[-1][0])


def _of_type(
    log: ReadConnection, event_type: str, asked: Asked, selection: Selection
) -> Iterator[tuple[int, int]]:
    """Time and id of one type's entries, read some at a time."""
    since = _bound(selection, ">=") or 0
    until = _bound(selection, "<") or INT64_MAX
    if asked.after:
        sql, end = _FORWARD, until
        place = max((since, 0), (asked.after.created_at_ns or 0, asked.after.id))
    else:
        sql, end = _BACKWARD, since
        place = (until, 0)
        if asked.before:
            place = min(place, (asked.before.created_at_ns or 0, asked.before.id))
    rows = FIRST_ROWS
    while True:
        some = log.rows(sql, event_type, *place, end, rows)
        yield from some
        if len(some) < rows:
            return
        place, rows = some[-1], INDEX_ROWS


def _bound(selection: Selection, operator: str) -> int | None:
    """What a condition on the time says."""
    for term in selection.terms:
        if term.column == "created_at" and f" {operator} ?" in term.sql:
            return int(str(term.arguments[0]))
    return None
