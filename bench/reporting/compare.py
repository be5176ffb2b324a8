"""A run beside a saved one: what each figure was, and what must be known to read that. Pure; it
judges nothing."""

from collections.abc import Mapping
from typing import Any, Final

from bench.measuring.figures import Figure
from bench.reporting import wording
from bench.reporting.saved import Saved
from bench.reporting.table import Column
from bench.reporting.table import table as figures_table

_PASSING: Final = {"at", "load_before"}  # differ from run to run, and explain nothing
_NONE: Final = "—"


def table(run: Saved, earlier: Saved) -> str:
    """The run's table, with what each figure was, and how many times that it is now."""
    sections = [figures_table(run, _columns(earlier)), "\n".join(_caveats(run, earlier))]
    return "\n\n".join(filter(None, sections))


def _columns(earlier: Saved) -> tuple[Column, Column]:
    were = {_key(figure): figure.value for figure in earlier.found.figures}

    def before(figure: Figure) -> str:
        was = were.get(_key(figure))
        return _NONE if was is None else wording.number(was)

    def quotient(figure: Figure) -> str:
        was = were.get(_key(figure))
        return f"{figure.value / was:.2f}" if was else _NONE

    return Column("before", before, is_number=True), Column("now/before", quotient, is_number=True)


def _caveats(run: Saved, earlier: Saved) -> list[str]:
    """What is not the same in both runs, beside their figures; nothing where all is."""
    differences = [
        *_differences(earlier.settings, run.settings),
        *_differences(earlier.machine, run.machine),
    ]
    if not differences:
        return []
    return [
        "the saved run is not of the same kind; compare what is a ratio (x), and times not at all:",
        *(f"  {difference}" for difference in differences),
    ]


def _differences(were: Mapping[str, Any], are: Mapping[str, Any]) -> list[str]:
    names = dict.fromkeys([*were, *are])
    return [
        f"{name} was {were.get(name, _NONE)}, and is {are.get(name, _NONE)}"
        for name in names
        if name not in _PASSING and were.get(name) != are.get(name)
    ]


def _key(figure: Figure) -> tuple[str, str, str]:
    return figure.part, figure.workload, figure.name
