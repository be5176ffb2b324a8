"""Bars on stderr for work that has several parts, one after the other; none but on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from hansard_writer.backups import Progress


@contextmanager
def phases() -> Iterator[Progress]:
    """Within, a function that shows what is being done, how much of it is done, and of how much."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _all: None
        return
    bars = _Bars()
    try:
        yield bars.show
    finally:
        bars.end()


class _Bars:
    """One at a time."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def show(self, what: str, done: int, all_: int) -> None:
        if what != self._what:
            self.end()
            self._what = what
            self._bar = click.progressbar(length=max(all_, 1), label=what, file=sys.stderr)
            self._bar.__enter__()
        self._bar.length = max(all_, 1)
        self._bar.update(done - self._bar.pos)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None
