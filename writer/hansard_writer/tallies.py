"""Counts of one run, for dashboards: how long things took, and how often each name came up.

Pure and bounded: a histogram has a fixed row of buckets, a tally a fixed number of names.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

SECONDS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
EVENTS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
NAMES_MAX: Final = 100
OTHERS: Final = "(others)"  # no event type, nor any other name here, begins with a bracket


class Histogram:
    """How often a value was at most each bound, and above the last. ``counts`` are by bucket, not
    cumulative, so that to observe is one addition."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more of this value; what a clock that was set back makes negative is nothing."""
        value = max(value, 0.0)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def figures(self) -> dict[str, Any]:
        """As `hansard stats` has it."""
        return {
            "bounds": list(self._bounds),
            "counts": list(self._counts),
            "sum": round(self._sum, 6),
        }


class Tally:
    """How often each name came up: the first ``names_max`` of them, all further ones together,
    because a dashboard keeps each name for ever."""

    def __init__(self, names_max: int = NAMES_MAX) -> None:
        self._names_max = names_max
        self._counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """So many more of each."""
        known = self._counts
        for name, count in counts.items():
            is_known = name in known or len(known) < self._names_max
            known[name if is_known else OTHERS] += count

    def figures(self) -> dict[str, int]:
        """As `hansard stats` has it: the most frequent first."""
        return dict(self._counts.most_common())


def count_into(counts: "Counter[str]", values: Sequence[str], distinct: Collection[str]) -> None:
    """Count a column whose ``distinct`` values are known: most often it is one, and nothing has to
    be counted."""
    if len(distinct) == 1:
        (name,) = distinct
        counts[name] += len(values)
    else:
        counts.update(values)
