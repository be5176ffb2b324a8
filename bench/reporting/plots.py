"""Curves as pictures: one SVG for each plot, the same bytes for the same run.

Says without matplotlib, which draws them, whether a picture was drawn from given curves: each
carries their digest. It decides nothing about what is drawn.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bench.measuring.figures import Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LATENCY: Final = "latency"  # in a plot's name: its points are quantiles and µs
OURS: Final = "Hansard"  # how the names of our own curves begin
WIDTH_INCHES: Final = 8.6
HEIGHT_INCHES_MIN: Final = 4.3
CURVE_INCHES: Final = 0.3  # of height, for each of many
QUANTILES: Final = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)
# Okabe and Ito's colours, which those who see fewer colours tell apart too; yellow is left out,
# because it is too light for a line on white.
COLOURS: Final = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
OUR_COLOURS: Final = ("#D55E00", "#8F3F00")
DASHES: Final = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
STYLE: Final[dict[str, Any]] = {
    "svg.hashsalt": "hansard",  # ids are drawn by lot otherwise
    "svg.fonttype": "none",  # text as text: half as large
    "font.size": 10.0,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": True,
}


class NoMatplotlib(Exception):
    """Pictures are wanted, and what draws them is not installed. Says how to install it."""


class _Look(NamedTuple):
    colour: str
    dashes: Any
    width: float
    above: int  # of two lines that cross, the one with more is seen


def require() -> None:
    """Raises `NoMatplotlib` unless `draw` can draw."""
    if find_spec("matplotlib") is None:
        raise NoMatplotlib("plots are drawn by matplotlib: pip install '.[bench]'")


def file_name(plot: str) -> str:
    """Of the picture of a plot."""
    return re.sub(r"[^a-z0-9]+", "-", plot.lower()) + ".svg"


def plots(curves: Iterable[Curve]) -> dict[str, list[Curve]]:
    """The curves of each plot, by its name."""
    found: dict[str, list[Curve]] = {}
    for curve in curves:
        found.setdefault(curve.plot, []).append(curve)
    return found


def stale(curves: Iterable[Curve], directory: Path) -> list[str]:
    """The files in ``directory`` that are not the pictures of these curves, or are missing."""
    wanted = {file_name(plot): digest(drawn) for plot, drawn in plots(curves).items()}
    there = {path.name: path.read_text() for path in directory.glob("*.svg")}
    return sorted(
        name
        for name in wanted.keys() | there.keys()
        if name not in wanted or wanted[name] not in there.get(name, "")
    )


def draw(curves: Iterable[Curve], directory: Path) -> list[Path]:
    """Draw each plot into ``directory``, which is made if need be; the files. Raises
    `NoMatplotlib`."""
    require()
    from matplotlib import style
    from matplotlib.figure import Figure as Picture

    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for plot, drawn in plots(curves).items():
        path = directory / file_name(plot)
        with style.context(["default", STYLE]):  # whatever a matplotlibrc says here
            size = (WIDTH_INCHES, max(HEIGHT_INCHES_MIN, CURVE_INCHES * len(drawn)))
            picture = Picture(figsize=size, layout="constrained", facecolor="white")
            _plot(picture.add_subplot(), plot, drawn)
            metadata = {"Title": plot, "Identifier": digest(drawn), "Date": None, "Creator": None}
            picture.savefig(path, format="svg", metadata=metadata)
        paths.append(path)
    return paths


def digest(drawn: Sequence[Curve]) -> str:
    """Of the curves of one plot, as a picture carries it."""
    points = {curve.name: [(float(x), float(y)) for x, y in curve.points] for curve in drawn}
    text = json.dumps(points)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _plot(axes: "Axes", plot: str, drawn: Sequence[Curve]) -> None:
    is_latency = LATENCY in plot
    for curve, look in zip(drawn, _looks(drawn), strict=True):
        xs, ys = zip(*curve.points, strict=True)
        axes.plot(
            [_nines(x) for x in xs] if is_latency else xs, ys, label=curve.name, color=look.colour,
            linestyle=look.dashes, linewidth=look.width, zorder=look.above,
            marker=None if is_latency else "o", markersize=4,
        )  # fmt: skip
    axes.set_title(plot[:1].upper() + plot[1:], loc="left", fontweight="bold")
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    (_latency_axes if is_latency else _growth_axes)(axes)
    _legend(axes, drawn)


def _looks(drawn: Sequence[Curve]) -> Iterator[_Look]:
    """Ours stand out; others are told apart by colour and by dashes."""
    ours = others = 0
    for curve in drawn:
        if curve.name.startswith(OURS):
            turn, place = divmod(ours, len(OUR_COLOURS))
            yield _Look(OUR_COLOURS[place], DASHES[turn % len(DASHES)], 2.8, 4)
            ours += 1
        else:
            turn, place = divmod(others, len(COLOURS))
            yield _Look(COLOURS[place], DASHES[(turn + place) % len(DASHES)], 1.5, 3)
            others += 1


def _nines(quantile: float) -> float:
    """Where a quantile lies: each further nine is as far as the one before."""
    return -math.log10(1 - quantile)


def _latency_axes(axes: "Axes") -> None:
    axes.set_yscale("log")
    far = axes.dataLim.x1
    ticks = [quantile for quantile in QUANTILES if _nines(quantile) <= far + 1e-9]
    axes.set_xticks([_nines(each) for each in ticks], [f"{each * 100:g}" for each in ticks])
    axes.set_xlabel("of 100 calls so many …")
    axes.set_ylabel("… take at most")
    _label(axes.yaxis, _duration)


def _growth_axes(axes: "Axes") -> None:
    axes.set_xscale("log")
    axes.set_ylim(bottom=0, top=axes.dataLim.y1 * 1.1)
    axes.set_xlabel("entries that the log holds already")
    axes.set_ylabel("events/s to the last commit")
    _label(axes.xaxis, _count)
    _label(axes.yaxis, _count)


def _label(axis: Any, text: Callable[[float], str]) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_formatter(NullFormatter())


def _duration(us: float) -> str:
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if us >= size:
            return f"{us / size:g} {unit}"
    return f"{us:g} µs"


def _count(value: float) -> str:
    return f"{value / 1e6:g} million" if value >= 1e6 else f"{value:,.0f}"


def _legend(axes: "Axes", drawn: Sequence[Curve]) -> None:
    """At the right, in the order in which the lines end there."""
    ends = [curve.points[-1][1] for curve in drawn]
    order = sorted(range(len(ends)), key=ends.__getitem__, reverse=True)
    lines = axes.get_lines()
    axes.legend(
        handles=[lines[place] for place in order],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
    )
