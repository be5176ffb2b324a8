"""Progress bars on stderr, where that is a terminal; never wider than 80 columns."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Final, Self

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


class Phases:
    """Bars for work that has several parts, one after the other: called with what is being done,
    how much of it is done, and of how much. Of those in ``units`` the rate is shown, in a unit of
    so many parts. ``end`` leaves the line, for whoever has something to say in between."""

    def __init__(self, units: Mapping[str, tuple[str, float]] = MappingProxyType({})) -> None:
        self._units = units
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, done: int, all_: int) -> None:
        if not sys.stderr.isatty():
            return
        if what != self._what or self._bar is None:
            self.end()
            self._what = what
            self._bar = self._begun(what)
            self._bar.__enter__()
        self._bar.length = max(all_, 1)
        self._bar.update(done - self._bar.pos, done)

    def _begun(self, what: str) -> Any:
        if what in self._units:
            return rated_bar(1, what, *self._units[what])
        return click.progressbar(length=1, label=what, file=sys.stderr)

    def end(self) -> None:
        """Of the bar that is shown, if any."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
