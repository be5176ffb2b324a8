"""The figures as a table for people. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.measuring.figures import Figure


def table(machine: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """The figures, one a line, under the machine's facts."""
    rows = [("part", "workload", "what", "value", "unit", "reach"), *map(_row, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([_machine(machine), "", *lines])


def number(value: float) -> str:
    """As many digits as a figure is worth."""
    if value >= 1_000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.1f}" if value >= 100 else f"{value:,.2f}"


def reach(figure: Figure) -> str:
    """What it should be: "at most 2", "at least 15", or nothing."""
    if figure.reach_max is not None:
        return f"at most {figure.reach_max:,.4g}"
    return "" if figure.reach_min is None else f"at least {figure.reach_min:,.4g}"


def _machine(machine: Mapping[str, Any]) -> str:
    memory_gib = machine["memory_bytes"] / (1 << 30)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory_gib:.0f} GiB, "
        f"{machine['file_system']}, Linux {machine['kernel']}, load {machine['load_before']:.1f}\n"
        f"Python {machine['python']}, SQLite {machine['sqlite']}, libzmq {machine['libzmq']}, "
        f"hansard {machine['hansard']}, {machine['at']}"
    )


def _row(figure: Figure) -> tuple[str, ...]:
    verdict = reach(figure)
    if figure.is_reached is not None:
        verdict += ": reached" if figure.is_reached else ": missed"
    return (figure.part, figure.workload, figure.name, number(figure.value), figure.unit, verdict)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    part, workload, what, value, unit, verdict = (
        cell.rjust(width) if index == 3 else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{part}  {workload}  {what}  {value} {unit}  {verdict}".rstrip()
