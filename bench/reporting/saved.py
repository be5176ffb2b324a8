"""A run as JSON: everything that its figures must be read with."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.measuring.figures import Curve, Figure, Found


def write(
    path: Path, machine: Mapping[str, Any], settings: Mapping[str, Any], found: Found
) -> None:
    """Write a run, one figure or curve a line, so that runs can be compared with diff."""
    figures = [figure._asdict() for figure in found.figures]
    curves = [curve._asdict() for curve in found.curves]
    content = {
        "machine": json.dumps(machine, indent=2, ensure_ascii=False),
        "settings": json.dumps(settings, ensure_ascii=False),
        "figures": _lines(figures),
        "curves": _lines(curves),
    }
    text = ",\n".join(f"{json.dumps(name)}: {value}" for name, value in content.items())
    path.write_text(f"{{\n{text}\n}}\n")


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], Found]:
    """The machine's facts, the settings, and what was found."""
    content = json.loads(path.read_text())
    curves = [
        Curve(curve["plot"], curve["name"], [(x, y) for x, y in curve["points"]])
        for curve in content["curves"]
    ]
    found = Found([Figure(**figure) for figure in content["figures"]], curves)
    return content["machine"], content["settings"], found


def _lines(values: list[dict[str, Any]]) -> str:
    rows = ",\n".join(json.dumps(value, ensure_ascii=False) for value in values)
    return f"[\n{rows}\n]" if rows else "[]"
