"""Rates by type as a plot: SVG that needs no script. Pure.

Bars that stand on each other, a type a colour, the most frequent ones; the rest is one more. Each
bar says by itself what it is, for who points at it and for who cannot see it.
"""

import math
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from markupsafe import Markup

TYPES_SHOWN: Final = 7
OTHERS: Final = "all other types"
LEFT, RIGHT, TOP, BOTTOM = 66, 8, 14, 52
TICKS: Final = 4  # of the rates

_DAY_NS: Final = 86_400 * 10**9


class Shape(NamedTuple):
    """A plot's size, in what the stylesheet's letters are measured in too."""

    name: str
    width: int
    height: int
    time_ticks: int

    @property
    def bottom(self) -> int:
        return self.height - BOTTOM

    @property
    def right(self) -> int:
        return self.width - RIGHT


WIDE: Final = Shape("wide", 960, 290, 4)
NARROW: Final = Shape("narrow", 380, 280, 2)  # on a phone the other's letters are too small


def ranked(counts: dict[str, list[int]], shown: int = TYPES_SHOWN) -> list[tuple[str, list[int]]]:
    """The types with the most entries, each with its counts; the rest as one, at the end."""
    order = sorted(counts, key=lambda each: (-sum(counts[each]), each))
    if len(order) <= shown + 1:
        return [(each, counts[each]) for each in order]
    rest = [sum(column) for column in zip(*(counts[each] for each in order[shown:]), strict=True)]
    return [*((each, counts[each]) for each in order[:shown]), (OTHERS, rest)]


def plot(rates: dict[str, Any], title: str, shape: Shape = WIDE) -> Markup:
    """The plot of what `rates` has found; ``title`` is said to who cannot see it."""
    series = ranked(rates["counts"])
    stretches = len(series[0][1]) if series else 0
    totals = [sum(each[1][stretch] for each in series) for stretch in range(stretches)]
    top = _round_up(max(totals, default=0))
    axes = [_rate_axis(top, shape, rates["width_ns"]), _time_axis(rates, shape)]
    bars = _bars(series, rates, top, shape) if top else []
    total = f"{'about ' if rates['one_in'] > 1 else ''}{sum(totals):,} entries"
    return Markup(
        '<svg class="plot {name}" viewBox="0 0 {width} {height}" role="img" '
        'aria-labelledby="t-{name} d-{name}"><title id="t-{name}">{title}</title>'
        '<desc id="d-{name}">{said}</desc>{parts}</svg>'
    ).format(
        name=shape.name,
        width=shape.width,
        height=shape.height,
        title=title,
        said=f"{total}, {_span(rates)}.",
        parts=Markup("").join([*axes, *bars]),
    )


def color_of(index: int, name: str) -> str:
    """The class that colours a type."""
    return "c-rest" if name == OTHERS else f"c{index}"


def width_said(width_ns: int) -> str:
    """How long a bar is, in words."""
    seconds = width_ns / 1e9
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            return f"{seconds / length:,.3g} {unit}{'' if seconds == length else 's'}"
    return f"{seconds:,.3g} s"


def _bars(
    series: list[tuple[str, list[int]]], rates: dict[str, Any], top: float, shape: Shape
) -> list[Markup]:
    stretches = len(series[0][1])
    step = (shape.right - LEFT) / stretches
    scale = (shape.bottom - TOP) / top
    bars = []
    for stretch in range(stretches):
        y = float(shape.bottom)
        at = _clock(rates["since_ns"] + stretch * rates["width_ns"], seconds=True)
        for index, (name, counts) in enumerate(series):
            if not counts[stretch]:
                continue
            tall = counts[stretch] * scale
            y -= tall
            bars.append(
                Markup(
                    '<rect class="{}" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}">'
                    "<title>{}</title></rect>"
                ).format(
                    color_of(index, name),
                    LEFT + stretch * step + step * 0.06,
                    y,
                    max(step * 0.88, 0.5),
                    max(tall, 0.6),
                    f"{name}: {counts[stretch]:,} from {at} on, in {width_said(rates['width_ns'])}",
                )
            )
    return bars


def _rate_axis(top: float, shape: Shape, width_ns: int) -> Markup:
    parts = []
    for tick in range(TICKS + 1):
        y = shape.bottom - (shape.bottom - TOP) * tick / TICKS
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
            ).format(LEFT, shape.right, y, y, LEFT - 6, y + 4, _short(top * tick / TICKS))
        )
    parts.append(
        Markup(
            '<text class="axis" transform="translate(13 {:.0f}) rotate(-90)" '
            'text-anchor="middle">entries in {}</text>'
        ).format((TOP + shape.bottom) / 2, width_said(width_ns))
    )
    return Markup("").join(parts)


def _time_axis(rates: dict[str, Any], shape: Shape) -> Markup:
    since, until, ticks = rates["since_ns"], rates["until_ns"], shape.time_ticks
    parts = []
    for tick in range(ticks + 1):
        x = LEFT + (shape.right - LEFT) * tick / ticks
        anchor = "start" if tick == 0 else "end" if tick == ticks else "middle"
        parts.append(
            Markup(
                '<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>'
                '<text class="tick" x="{:.1f}" y="{}" text-anchor="{}">{}</text>'
            ).format(
                x,
                x,
                shape.bottom,
                shape.bottom + 5,
                x,
                shape.bottom + 20,
                anchor,
                _tick(since + (until - since) * tick // ticks, until - since),
            )
        )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">time, UTC</text>').format(
            (LEFT + shape.right) / 2, shape.height - 6
        )
    )
    return Markup("").join(parts)


def _tick(ns: int, span_ns: int) -> str:
    at = datetime.fromtimestamp(ns // 10**9, UTC)
    if span_ns > 4 * _DAY_NS:
        return f"{at:%Y-%m-%d}"
    return f"{at:%m-%d %H:%M}" if span_ns > _DAY_NS // 24 else f"{at:%H:%M:%S}"


def _span(rates: dict[str, Any]) -> str:
    return f"from {_clock(rates['since_ns'])} to {_clock(rates['until_ns'])} UTC"


def _clock(ns: int, *, seconds: bool = False) -> str:
    at = datetime.fromtimestamp(ns // 10**9, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}" if seconds else f"{at:%Y-%m-%d %H:%M}"


def _round_up(value: int) -> float:
    """The next round number of which all ticks are whole."""
    if value <= 3 * TICKS:
        return float(math.ceil(value / TICKS) * TICKS)
    power = 10.0 ** math.floor(math.log10(value))
    return next(each * power for each in (1, 2, 4, 6, 8, 10) if each * power >= value)


def _short(value: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size * 10 or (value >= size and value % size == 0):
            return f"{value / size:,.3g}{unit}"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
