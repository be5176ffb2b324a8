"""Options that several commands share, and the types of their values."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from hansard import wire
from hansard.settings import log_directory

FORMATS: Final = ("table", "json", "jsonl", "csv")

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
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


TEXT: Final = Text()
TIME: Final = Time()
NUMBER: Final = click.IntRange(0, wire.INT64_MAX)
LEVEL: Final = click.Choice(sorted(wire.LEVELS))
SECONDS: Final = click.FloatRange(min=0)


def directory_option(function: Function) -> Function:
    """``--dir``: passes ``directory``, a `Path`, wherever it comes from."""
    return click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, readable=False, path_type=Path),
        callback=lambda _context, _parameter, value: log_directory(value),
        help="The log's directory. [default: HANSARD_DIR, else ~/.local/state/hansard]",
    )(function)


def format_option(function: Function) -> Function:
    """``--format``: passes ``format``, a table on a terminal and jsonl in a pipe."""
    return click.option(
        "--format",
        type=click.Choice(FORMATS),
        callback=lambda _context, _parameter, value: (
            value or ("table" if sys.stdout.isatty() else "jsonl")
        ),
        help="How rows are printed. [default: table on a terminal, jsonl in a pipe]",
    )(function)
