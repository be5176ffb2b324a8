"""How figures, machines and misses are said to people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.measuring.figures import Figure


def number(value: float) -> str:
    """As many digits as a figure is worth."""
    if value >= 1_000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 100 else f"{value:,.2f}"


def reach(figure: Figure) -> str:
    """What it should be: "at most 2", "at least 15", or nothing."""
    if figure.reach_max is not None:
        return f"at most {_bound(figure.reach_max)}"
    return "" if figure.reach_min is None else f"at least {_bound(figure.reach_min)}"


def verdict(figure: Figure) -> str:
    """What it should be, and whether it is."""
    if figure.is_reached is None:
        return ""
    return f"{reach(figure)}: {'reached' if figure.is_reached else 'missed'}"


def misses(figures: Sequence[Figure]) -> list[str]:
    """Which figures miss what they should reach, in words."""
    judged = [figure for figure in figures if figure.is_reached is not None]
    missed = [figure for figure in judged if not figure.is_reached]
    if not judged:
        return []
    count, of = len(missed), f"of {len(judged)} figures"
    if not missed:
        return [f"none {of} misses what it should reach"]
    says = "misses what it should reach" if count == 1 else "miss what they should reach"
    return [f"{count} {of} {says}:", *(f"  {_miss(figure)}" for figure in missed)]


def machine(facts: Mapping[str, Any]) -> str:
    """What every figure must be read with."""
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_bytes'] / (1 << 30):.0f} GiB, "
        f"{facts['file_system']}, Linux {facts['kernel']}, load {facts['load_before']:.1f}, "
        f"Python {facts['python']}, SQLite {facts['sqlite']}, libzmq {facts['libzmq']}, "
        f"hansard {facts['hansard']}, {facts['at']}"
    )


def _bound(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".")


def _miss(figure: Figure) -> str:
    where = f"{figure.part}, {figure.workload}" if figure.workload else figure.part
    return (
        f"{where}: {figure.name} is {number(figure.value)} {figure.unit}, "
        f"and should be {reach(figure)}"
    )
