"""Options that several commands share, and the types of their values."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.served_by import require_log_here
from hansard.settings import log_directory

FORMATS: Final = ("table", "json", "jsonl", "csv")
STANDARDS: Final = ("cloudevents", "ocsf")
"""Formats of whole entries, which have no columns."""

Function = TypeVar("Function", bound=Callable[..., Any])


class Text(click.ParamType):  # type: ignore[type-arg]  # older clicks have no argument
    """Text that UTF-8 can hold; an argument may be any bytes."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.fail(f"{value!r} is no UTF-8.", param, ctx)
        return str(value)


class Time(click.ParamType):  # type: ignore[type-arg]
    """A time as ns since 1970 UTC, from ISO 8601 text."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from hansard.reader import nanoseconds

        try:
            return nanoseconds(value)
        except InvalidEvent:
            self.fail(f"{value!r} is not between the years 1970 and 2262.", param, ctx)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


class Number(click.ParamType):  # type: ignore[type-arg]
    """A whole number between two others."""

    name = "n"

    def __init__(self, least: int = 0, most: int = wire.INT64_MAX) -> None:
        self._least = least
        self._most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = int(value)
        except ValueError:
            self.fail(f"{value!r} is no whole number.", param, ctx)
        if number < self._least:
            self.fail(f"{number} is too small: it must be at least {self._least}.", param, ctx)
        if number > self._most:
            self.fail(f"{number} is too large: it must be at most {self._most}.", param, ctx)
        return number


class Seconds(click.ParamType):  # type: ignore[type-arg]
    """A time that somebody may wait."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf:
            self.fail(f"{value!r} is no number of seconds from 0 on.", param, ctx)
        return seconds


class Directory(click.Path):
    """A directory's path. An empty one, as of a variable that is not set, is none."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, readable=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("'' is no path.", param, ctx)
        return super().convert(value, param, ctx)


class SourceFile(click.Path):
    """A file that is read twice: once to know it again, once for its lines."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        if not Path(os.fsdecode(path)).is_file():
            self.fail(
                f"{os.fsdecode(path)!r} is a pipe or a device, and what is imported is read twice: "
                "put it into a regular file first.",
                param,
                ctx,
            )
        return path


TEXT: Final = Text()
TIME: Final = Time()
NUMBER: Final = Number()
LEVEL: Final = click.Choice(["debug", "info", "warning", "error", "critical"])
SECONDS: Final = Seconds()
DIRECTORY: Final = Directory()
SOURCE_FILE: Final = SourceFile()


def directory_option(function: Function) -> Function:
    """``--dir``: passes ``directory``, a `Path`, wherever it comes from."""
    return _directory_option(log_directory)(function)


def log_directory_option(function: Function) -> Function:
    """The same for what reads the log itself: refused where that is on another host."""

    def found(given: Path | None) -> Path:
        directory = log_directory(given)
        require_log_here(directory)
        return directory

    return _directory_option(found)(function)


def _directory_option(find: Callable[[Path | None], Path]) -> Callable[[Function], Function]:
    return click.option(
        "--dir",
        "directory",
        type=DIRECTORY,
        callback=lambda _context, _parameter, value: find(value),
        help="The log's directory. [default: HANSARD_DIR, else ~/.local/state/hansard]",
    )


def format_option(function: Function) -> Function:
    """``--format``: passes ``format``, a table on a terminal and jsonl in a pipe."""
    return _format_option(FORMATS)(function)


def entry_format_option(function: Function) -> Function:
    """The same for what prints entries: `STANDARDS` besides."""
    return _format_option((*FORMATS, *STANDARDS))(function)


def _format_option(names: Sequence[str]) -> Callable[[Function], Function]:
    return click.option(
        "--format",
        type=click.Choice(names),
        callback=lambda _context, _parameter, value: (
            value or ("table" if sys.stdout.isatty() else "jsonl")
        ),
        help="How rows are printed. [default: table on a terminal, jsonl in a pipe]",
    )


def report_format_option(function: Function) -> Function:
    """``--format``: passes ``format``, for a command that prints one report and no rows."""
    return click.option(
        "--format",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="How the report is printed.",
    )(function)
