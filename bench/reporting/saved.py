"""A run as JSON: everything that its figures must be read with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measuring.figures import Curve, Figure, Found

FORMAT: Final = 1  # of the file; another one is not read


class NoRun(Exception):
    """A file that holds no run as this bench saves it. Says which file, and why."""


class Saved(NamedTuple):
    """A run: the machine's facts, what it was asked for, and what it found."""

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    found: Found


def write(path: Path, run: Saved) -> None:
    """Write a run, one figure or curve a line, so that runs can be compared with diff."""
    content = {
        "format": str(FORMAT),
        "machine": json.dumps(run.machine, indent=2, ensure_ascii=False),
        "settings": json.dumps(run.settings, ensure_ascii=False),
        "figures": _lines([figure._asdict() for figure in run.found.figures]),
        "curves": _lines([curve._asdict() for curve in run.found.curves]),
        "notes": _lines(run.found.notes),
        "failed": _lines(run.found.failed),
        "wrong": _lines(run.found.wrong),
    }
    text = ",\n".join(f"{json.dumps(name)}: {value}" for name, value in content.items())
    path.write_text(f"{{\n{text}\n}}\n")


def read(path: Path) -> Saved:
    """A run that `write` has written. Raises `NoRun`."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise NoRun(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise NoRun(f"{path} is no JSON, so no saved run") from None
    found_format = content.get("format") if isinstance(content, dict) else None
    if found_format != FORMAT:
        raise NoRun(
            f"{path} is no run of this bench, or one of another release "
            f"(format {found_format}, where {FORMAT} is read): save it anew with --json"
        )
    try:
        found = Found(
            [_figure(row) for row in content["figures"]],
            [_curve(row) for row in content["curves"]],
            [str(note) for note in content["notes"]],
            [str(each) for each in content.get("failed", ())],  # which runs did not outlive once
            [str(each) for each in content.get("wrong", ())],
        )
        return Saved(dict(content["machine"]), dict(content["settings"]), found)
    except (KeyError, TypeError, ValueError) as error:
        raise NoRun(f"{path} is a damaged run: {error!r}") from None


def _figure(row: dict[str, Any]) -> Figure:
    figure = Figure(**row)
    if not isinstance(figure.value, int | float):
        raise TypeError(f"the value of {figure.name!r} is {figure.value!r}")
    return figure


def _curve(row: dict[str, Any]) -> Curve:
    return Curve(row["plot"], row["name"], [(float(x), float(y)) for x, y in row["points"]])


def _lines(values: list[Any]) -> str:
    rows = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"[\n{rows}\n]" if rows else "[]"
