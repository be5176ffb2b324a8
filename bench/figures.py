"""What a part of the bench found: one number with its unit, and what it should reach. Pure."""

from collections.abc import Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured number. ``reach_max`` is what it should not exceed; missing it is shown, and
    is no error: machines differ, counts do not."""

    part: str
    name: str
    value: float
    unit: str
    reach_max: float | None = None


def percentile(values: Sequence[int], share: float) -> int:
    """The value that ``share`` of all are at or below; ``values`` MUST be sorted."""
    return values[min(int(len(values) * share), len(values) - 1)]


def distribution(part: str, what: str, durations_ns: Sequence[int]) -> list[Figure]:
    """p50, p99 and the maximum of durations, in µs."""
    ordered = sorted(durations_ns)
    return [
        Figure(part, f"{what} p50", percentile(ordered, 0.50) / 1e3, "µs"),
        Figure(part, f"{what} p99", percentile(ordered, 0.99) / 1e3, "µs"),
        Figure(part, f"{what} max", ordered[-1] / 1e3, "µs"),
    ]
