"""Bars on stderr for work that has several parts, one after the other; none but on a terminal."""

import sys
from types import TracebackType
from typing import Any, Self

import click


class Phases:
    """A `hansard_writer.backups.Progress`: called with what is being done, how much of it is done,
    and of how much. ``end`` leaves the line, for whoever has something to say in between."""

    def __init__(self) -> None:
        self._what = ""
        self._bar: Any = None

    def __call__(self, what: str, done: int, all_: int) -> None:
        if not sys.stderr.isatty():
            return
        if what != self._what or self._bar is None:
            self.end()
            self._what = what
            self._bar = click.progressbar(length=1, label=what, file=sys.stderr)
            self._bar.__enter__()
        self._bar.length = max(all_, 1)
        self._bar.update(done - self._bar.pos)

    def end(self) -> None:
        """Of the bar that is shown, if any."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
