"""What changed from look to look: rates, and how long commits and answers took lately. Pure.

Counts of a run begin anew with the next one: only looks at the same run are compared.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate
from math import inf
from typing import Any, Final, NamedTuple

from hansard_writer.glance.snapshot import Snapshot

LOOKS_MAX: Final = 240
LATELY_S: Final = 10.0  # what a rate or a quantile is over, for a number that can be read


class Rates(NamedTuple):
    """A second, between two looks; by event type too."""

    entries: float
    bytes: float
    commits: float
    by_type: Mapping[str, float]


class _Observed(NamedTuple):
    """What a histogram has seen, as `hansard_writer.tallies` tells it."""

    bounds: Sequence[float]
    counts: Sequence[int]
    sum: float


class History:
    """The looks so far, the newest last, and the rates between them."""

    def __init__(self) -> None:
        self._looks: deque[Snapshot] = deque(maxlen=LOOKS_MAX)
        self._rates: deque[Rates | None] = deque(maxlen=LOOKS_MAX)

    def add(self, snapshot: Snapshot) -> None:
        """The newest look."""
        if self._looks:
            self._rates.append(rates_between(self._looks[-1], snapshot))
        self._looks.append(snapshot)

    @property
    def newest(self) -> Snapshot:
        """There MUST have been one."""
        return self._looks[-1]

    def now(self) -> Rates | None:
        """The rates lately, None where there is nothing to compare."""
        return rates_between(self._earlier(), self.newest)

    def entry_rates(self) -> list[float]:
        """From look to look, 0 where nothing is known."""
        return [each.entries if each else 0.0 for each in self._rates]

    def type_rates(self, event_type: str) -> list[float]:
        """The same of one type."""
        return [each.by_type.get(event_type, 0.0) if each else 0.0 for each in self._rates]

    def quantiles(self, histogram: str, *shares: float) -> list[float | None]:
        """Of a histogram among the figures, lately; since the writer's start where it has observed
        nothing lately; None where it never has."""
        seen = self._observed(histogram)
        if seen is None:
            return [None] * len(shares)
        return [quantile(seen.bounds, seen.counts, share) for share in shares]

    def mean(self, histogram: str) -> float | None:
        """Of the same."""
        seen = self._observed(histogram)
        return seen.sum / sum(seen.counts) if seen and any(seen.counts) else None

    def _observed(self, histogram: str) -> "_Observed | None":
        newest, earlier = self.newest.figures, self._earlier().figures
        if newest is None:
            return None
        of_run = _Observed(**newest[histogram])
        if earlier is None:
            return of_run
        before = _Observed(**earlier[histogram])
        counts = [a - b for a, b in zip(of_run.counts, before.counts, strict=True)]
        if not any(counts):
            return of_run
        return _Observed(of_run.bounds, counts, of_run.sum - before.sum)

    def _earlier(self) -> Snapshot:
        """The look that is `LATELY_S` old, or the oldest of this run."""
        newest = self.newest
        found = newest
        for each in reversed(self._looks):
            if not _is_same_run(each.figures, newest.figures):
                break
            found = each
            if newest.at - each.at >= LATELY_S:
                break
        return found


def rates_between(before: Snapshot, after: Snapshot) -> Rates | None:
    """None where no writer answered, or another one, or no time has passed."""
    earlier, later, seconds = before.figures, after.figures, after.at - before.at
    if earlier is None or later is None or not _is_same_run(earlier, later) or seconds <= 0:
        return None

    def rate(name: str) -> float:
        return float(max(later[name] - earlier[name], 0) / seconds)

    types_before = earlier["entered_by_type"]
    by_type = {
        name: (count - types_before.get(name, 0)) / seconds
        for name, count in later["entered_by_type"].items()
    }
    return Rates(rate("entries"), rate("event_bytes"), rate("commits"), by_type)


def _is_same_run(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    return one is not None and other is not None and one["run_id"] == other["run_id"]


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that a share of all is at most, by straight lines within buckets, as Prometheus has
    it; beyond the last bound that bound, None of nothing."""
    total = sum(counts)
    if not total:
        return None
    wanted, low, reached = share * total, 0.0, 0
    for bound, cumulative in zip((*bounds, inf), accumulate(counts), strict=True):
        if cumulative >= wanted and cumulative > reached:
            inside = (wanted - reached) / (cumulative - reached)
            return low if bound == inf else low + (bound - low) * inside
        low, reached = (low if bound == inf else bound), cumulative
    return low
