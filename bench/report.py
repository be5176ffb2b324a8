"""The report: a table for people, JSON for programs. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Figure


def table(machine: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """The figures, one a line, under the machine's facts."""
    rows = [("part", "what", "value", "unit", "reach"), *map(_row, figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join([_machine(machine), "", *lines])


def as_json(
    machine: Mapping[str, Any], settings: Mapping[str, Any], figures: Sequence[Figure]
) -> str:
    """The same with everything that it must be read with."""
    content = {
        "machine": machine,
        "settings": settings,
        "figures": [figure._asdict() for figure in figures],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _machine(machine: Mapping[str, Any]) -> str:
    memory_gib = machine["memory_bytes"] / (1 << 30)
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {memory_gib:.0f} GiB, "
        f"{machine['file_system']}, Linux {machine['kernel']}, load {machine['load_before']:.1f}\n"
        f"Python {machine['python']}, SQLite {machine['sqlite']}, libzmq {machine['libzmq']}, "
        f"hansard {machine['hansard']}, {machine['at']}"
    )


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    reach = ""
    if figure.reach_max is not None:
        verdict = "reached" if figure.value <= figure.reach_max else "missed"
        reach = f"at most {figure.reach_max:g}: {verdict}"
    return figure.part, figure.name, _number(figure.value), figure.unit, reach


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:,.2f}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    part, what, value, unit, reach = (
        cell.rjust(width) if index == 2 else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{part}  {what}  {value} {unit}  {reach}".rstrip()
