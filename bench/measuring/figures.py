"""What a part of the bench found: numbers with their units and what they should reach, and curves.
Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

QUANTILES_A_DECADE: Final = 8  # of a latency curve: 0.9 to 0.99 is one decade


class Figure(NamedTuple):
    """One measured number, of one workload ("" where there is none to tell apart).

    ``reach_max`` is what it should not exceed, ``reach_min`` what it should be at least; to miss
    it is shown, and is no error: machines differ, counts do not.
    """

    part: str
    name: str
    value: float
    unit: str
    reach_max: float | None = None
    reach_min: float | None = None
    workload: str = ""

    @property
    def is_reached(self) -> bool | None:
        """None where nothing is to be reached."""
        if self.reach_max is not None:
            return self.value <= self.reach_max
        return None if self.reach_min is None else self.value >= self.reach_min


class Curve(NamedTuple):
    """One line of a plot. ``plot`` names the picture that it belongs to, as "record latency";
    ``points`` are (quantile from 0 up to below 1, µs) for latencies, (x, y) for all others."""

    plot: str
    name: str
    points: list[tuple[float, float]]


@dataclass(slots=True)
class Found:
    """All that a part has found.

    * ``notes``: what it could not measure, and why, a sentence each.
    * ``failed``: what broke while it was measured.
    * ``wrong``: counts or contents that are not what was recorded. No README is made from those.
    """

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """What is wrong and what failed, a sentence each."""
        return [
            *(f"wrong: {each}" for each in self.wrong),
            *(f"failed: {each}" for each in self.failed),
        ]

    def add(self, other: "Found") -> None:
        """What another has found too."""
        self.figures += other.figures
        self.curves += other.curves
        self.notes += other.notes
        self.failed += other.failed
        self.wrong += other.wrong


def percentile(values: Sequence[int], share: float) -> int:
    """The value that ``share`` of all are at or below; ``values`` MUST be sorted."""
    return values[min(int(len(values) * share), len(values) - 1)]


def median(values: Sequence[float]) -> float:
    """The middle one, the upper of two."""
    return sorted(values)[len(values) // 2]


def distribution(
    part: str, what: str, durations_ns: Sequence[int], workload: str = ""
) -> list[Figure]:
    """p50, p99 and the maximum of durations, in µs."""
    ordered = sorted(durations_ns)
    found = {"p50": percentile(ordered, 0.50), "p99": percentile(ordered, 0.99), "max": ordered[-1]}
    return [
        Figure(part, f"{what} {name}", ns / 1e3, "µs", workload=workload)
        for name, ns in found.items()
    ]


def latency_curve(plot: str, name: str, durations_ns: Sequence[int]) -> Curve:
    """The distribution of durations: equally many quantiles for each further nine, as far as
    there are enough values to tell."""
    ordered = sorted(durations_ns)
    decades = math.log10(max(len(ordered), 10))
    steps = range(int(decades * QUANTILES_A_DECADE) + 1)
    shares = [1 - 10 ** (-step / QUANTILES_A_DECADE) for step in steps]
    return Curve(plot, name, [(share, percentile(ordered, share) / 1e3) for share in shares])
