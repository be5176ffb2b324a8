"""How many entries of each type there were, in each of some equal stretches of time.

Counted by the index where that is soon done, and else estimated from entries here and there, which
is said. It reads through a connection that is given.
"""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from hansard.reader_connection import ReadConnection
from hansard_writer.viewing.finding import TYPES_MAX, event_types

COUNTED_MAX: Final = 400_000  # entries that are counted one by one
PLACES: Final = 1_500  # of a sample
NEIGHBOURS: Final = 8  # entries that are looked at in each place: they are on one page of the file

_OF_TYPE: Final = "FROM entries WHERE event_type = ? AND created_at >= ? AND created_at < ?"
_MANY: Final = f"SELECT count(*) FROM (SELECT 1 {_OF_TYPE} LIMIT ?)"  # noqa: S608 - our own words
_COUNT: Final = f"SELECT (created_at - ?) / ? AS stretch, count(*) {_OF_TYPE} GROUP BY stretch"
_ENDS: Final = (
    "SELECT (SELECT created_at FROM entries WHERE event_type = ?1 ORDER BY 1 LIMIT 1),"
    " (SELECT created_at FROM entries WHERE event_type = ?1 ORDER BY 1 DESC LIMIT 1)"
)
_IDS: Final = (
    "SELECT (SELECT seq FROM entries ORDER BY seq LIMIT 1),"
    " (SELECT seq FROM entries ORDER BY seq DESC LIMIT 1)"
)
_AT: Final = "SELECT created_at FROM entries WHERE seq >= ? ORDER BY seq LIMIT 1"
_SAMPLE: Final = (
    "SELECT event_type, created_at FROM entries WHERE seq IN (SELECT value FROM json_each(?))"
)


@dataclass(frozen=True, slots=True)
class Rates:
    """``counts`` by type: one number for each stretch of ``width_ns``, from ``since_ns`` on.
    ``one_in`` is how many entries one that was looked at stands for: 1 where all were counted."""

    since_ns: int
    until_ns: int
    width_ns: int
    counts: dict[str, list[int]]
    one_in: float


def ends(log: ReadConnection) -> tuple[int, int] | None:
    """The earliest and the latest time of any entry, None in an empty log."""
    found = [log.rows(_ENDS, each)[0] for each in event_types(log)]
    if not found:
        return None
    return min(first for first, _ in found), max(last for _, last in found)


def rates(
    log: ReadConnection, since_ns: int, until_ns: int, stretches: int, event_type: str | None = None
) -> Rates:
    """Of one type or of all, from ``since_ns`` on and before ``until_ns``."""
    width_ns = max(1, -(-(until_ns - since_ns) // stretches))
    types = [event_type] if event_type else event_types(log)[:TYPES_MAX]
    left = COUNTED_MAX
    for each in types:
        left -= log.rows(_MANY, each, since_ns, until_ns, left + 1)[0][0]
        if left < 0:
            return _estimated(log, since_ns, until_ns, width_ns, stretches, set(types))
    counts = {}
    for each in types:
        found = log.rows(_COUNT, since_ns, width_ns, each, since_ns, until_ns)
        if found:
            counts[each] = _filled(dict(found), stretches)
    return Rates(since_ns, until_ns, width_ns, counts, 1.0)


def _estimated(
    log: ReadConnection,
    since_ns: int,
    until_ns: int,
    width_ns: int,
    stretches: int,
    types: set[str],
) -> Rates:
    """From a sample of the part of the log that has these times: entries are in the order of time,
    but for a few."""
    first, last = log.rows(_IDS)[0]
    low = _id_at(log, since_ns, first, last)
    high = _id_at(log, until_ns, low, last + 1)
    ids = sample_of(low, high)
    one_in = max(1.0, (high - low) / max(1, len(ids)))
    seen: Counter[tuple[str, int]] = Counter()
    for event_type, at in log.rows(_SAMPLE, json.dumps(ids)):
        if event_type in types and since_ns <= at < until_ns:
            seen[event_type, (at - since_ns) // width_ns] += 1
    counts: dict[str, dict[int, int]] = {}
    for (event_type, stretch), count in seen.items():
        counts.setdefault(event_type, {})[stretch] = round(count * one_in)
    filled = {each: _filled(counts[each], stretches) for each in sorted(counts)}
    return Rates(since_ns, until_ns, width_ns, filled, one_in)


def sample_of(low: int, high: int) -> list[int]:
    """Ids from ``low`` to before ``high``: some neighbours in places that are equally far apart."""
    if high - low <= PLACES * NEIGHBOURS:
        return list(range(low, high))
    apart = (high - low) / PLACES
    starts = (low + int(place * apart) for place in range(PLACES))
    return [start + each for start in starts for each in range(NEIGHBOURS)]


def _id_at(log: ReadConnection, at_ns: int, low: int, high: int) -> int:
    """The first id from which on entries are of that time or later, about."""
    while low < high:
        middle = (low + high) // 2
        found = log.rows(_AT, middle)
        if found and found[0][0] < at_ns:
            low = middle + 1
        else:
            high = middle
    return low


def _filled(counts: dict[int, Any], stretches: int) -> list[int]:
    return [counts.get(stretch, 0) for stretch in range(stretches)]
