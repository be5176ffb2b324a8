"""Sizes, spans and moments as people read them. Knows no log."""

import time
from typing import Final

SECOND: Final = 1_000_000_000  # ns

_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SPANS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))


def size(amount: int) -> str:
    """``1.4 MiB``; ``17 bytes``."""
    for unit, name in _SIZES:
        if amount >= unit:
            return f"{amount / unit:,.1f} {name}"
    return f"{amount} bytes" if amount != 1 else "1 byte"


def span(seconds: float) -> str:
    """``3 d``, ``12 s``, ``less than 1 s``."""
    for unit, name in _SPANS:
        if seconds >= 2 * unit:
            return f"{seconds / unit:,.0f} {name}"
    return f"{seconds:,.0f} s" if seconds >= 1 else "less than 1 s"


def since(moment_ns: int, now_ns: int) -> str:
    """The span between two moments, in ns since 1970 UTC."""
    return span((now_ns - moment_ns) / SECOND)


def moment(moment_ns: int) -> str:
    """``2026-11-21 23:05:16Z``."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(moment_ns // SECOND))
