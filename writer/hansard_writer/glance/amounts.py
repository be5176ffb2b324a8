"""Figures as somebody reads them at a glance: short, three digits, a unit. Pure."""

from collections.abc import Sequence
from typing import Final

UNKNOWN: Final = "—"

_BARS: Final = "▁▂▃▄▅▆▇█"
_THOUSANDS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_FROM: Final = 10  # of a unit: four digits can still be read
_LEAST: Final = 0.1  # a second, that can be said
_BYTES: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float) -> str:
    """``1,234``; ``12.3k``; ``1.23M``."""
    for unit, name in _THOUSANDS:
        if value >= _FROM * unit:
            return f"{_three_digits(value / unit)}{name}"
    return f"{value:,.0f}"


def rate(value: float | None) -> str:
    """``1,234/s``; ``0.3/s``."""
    if value is None:
        return UNKNOWN
    if 0 < value < _LEAST:
        return f"<{_LEAST}/s"
    return f"{value:.1f}/s" if 0 < value < _FROM else f"{number(value)}/s"


def size(value: float) -> str:
    """``1.4 MiB``, ``17 B``."""
    for unit, name in _BYTES:
        if value >= unit:
            return f"{_three_digits(value / unit)} {name}"
    return f"{value:.0f} B"


def latency(seconds: float | None) -> str:
    """``0.8 ms``, ``12 ms``, ``1.2 s``."""
    if seconds is None:
        return UNKNOWN
    if seconds >= 1:
        return f"{seconds:.1f} s"
    shown = seconds * 1_000
    return f"{shown:.1f} ms" if shown < 10 else f"{shown:.0f} ms"


def span(seconds: float) -> str:
    """``3 d``, ``5 min``, ``0 s``: rounded down."""
    for unit, name in _SPANS:
        if seconds >= 2 * unit:
            return f"{seconds // unit:,.0f} {name}"
    return f"{max(seconds, 0) // 1:.0f} s"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def bars(values: Sequence[float], width: int) -> str:
    """The last values as bars, the highest of them full; on the right the newest."""
    shown = list(values)[-width:] if width > 0 else []
    most = max(shown, default=0.0)
    if most <= 0:
        return _BARS[0] * len(shown)
    steps = len(_BARS) - 1
    return "".join(_BARS[min(round(value / most * steps), steps)] for value in shown)
