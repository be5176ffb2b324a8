"""Progress bars on stderr, where that is a terminal; never wider than 80 columns."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import click

Advance = Callable[[int], None]

_RATED_COLUMNS: Final = 20  # of the bar itself: a line that wraps is a new one at every update


@contextmanager
def progress_bar(length: int, label: str) -> Iterator[Advance]:
    """Within, what to call with how much more of ``length`` is done."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update


def rated_bar(length: int, label: str, unit: str = "entries", unit_size: float = 1.0) -> Any:
    """click's bar, with a rate behind it: the second argument of ``update`` is how much is done
    so far, in parts of which ``unit_size`` are one ``unit``. For a terminal only."""
    began = time.monotonic()

    def rate(done: int | None) -> str:
        seconds = max(time.monotonic() - began, 1e-9)
        return f"{(done or 0) / unit_size / seconds:,.0f} {unit}/s"

    return click.progressbar(
        length=length,
        label=label,
        width=_RATED_COLUMNS,
        file=sys.stderr,
        item_show_func=rate,
    )
