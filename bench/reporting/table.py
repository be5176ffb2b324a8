"""The figures as a table for people, part by part, for a terminal of 100 columns. Pure."""

import textwrap
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from bench.measuring.figures import Figure
from bench.reporting import wording
from bench.reporting.saved import Saved

WIDTH: Final = 100
NAME_WIDTH_MAX: Final = 56  # of a figure with its workload; a longer one takes two lines
_INDENT: Final = "  "


class Column(NamedTuple):
    """What stands beside each figure: a heading, and a figure's cell. ``is_number``s are aligned
    at their right."""

    heading: str
    cell: Callable[[Figure], str]
    is_number: bool = False


VALUE: Final = Column("value", lambda figure: wording.number(figure.value), is_number=True)
UNIT: Final = Column("", lambda figure: figure.unit)
REACH: Final = Column("reach", wording.verdict)


def table(run: Saved, beside: Sequence[Column] = (REACH,)) -> str:
    """The figures under the machine's facts; behind them the notes, what failed or is wrong, and
    what misses its reach."""
    figures = _by_part(run.found.figures)
    machine = textwrap.wrap(wording.machine(run.machine), WIDTH)
    sections = [machine, _figures(figures, (VALUE, UNIT, *beside))]
    sections += [[*run.found.broken, *run.found.notes], wording.misses(figures)]
    return "\n\n".join("\n".join(section) for section in sections if section)


def _by_part(figures: Sequence[Figure]) -> list[Figure]:
    """The same, with those of a part together, where its first one is."""
    parts = list(dict.fromkeys(figure.part for figure in figures))
    return sorted(figures, key=lambda figure: parts.index(figure.part))


def _figures(figures: Sequence[Figure], columns: Sequence[Column]) -> list[str]:
    """A heading, and under the name of each part its figures."""
    names = _names(figures)
    rows = [tuple(column.cell(figure) for column in columns) for figure in figures]
    headings = tuple(column.heading for column in columns)
    widths = [max(map(len, cells)) for cells in zip(headings, *rows, strict=True)]
    name_width = max((len(line) for name in names for line in name), default=0)

    def line(name: str, cells: Sequence[str]) -> str:
        aligned = [
            cell.rjust(width) if column.is_number else cell.ljust(width)
            for column, cell, width in zip(columns, cells, widths, strict=True)
        ]
        return f"{name:{name_width}}  {'  '.join(aligned)}".rstrip()

    lines, part = [line("", headings)], ""
    for figure, name, cells in zip(figures, names, rows, strict=True):
        if figure.part != part:
            part = figure.part
            lines += ["", part]
        lines += [*name[:-1], line(name[-1], cells)]
    return lines


def _names(figures: Sequence[Figure]) -> list[list[str]]:
    """The lines of each figure's name. Where a part tells workloads apart, they are its first
    column."""
    widths: dict[str, int] = {}
    for figure in figures:
        widths[figure.part] = max(widths.get(figure.part, 0), len(figure.workload))
    names = []
    for figure in figures:
        width = widths[figure.part]
        workload = f"{_INDENT}{figure.workload:{width}}{_INDENT}" if width else _INDENT
        further = " " * len(workload) + _INDENT
        names.append(
            textwrap.wrap(
                figure.name,
                NAME_WIDTH_MAX,
                initial_indent=workload,
                subsequent_indent=further,
            )
        )
    return names
