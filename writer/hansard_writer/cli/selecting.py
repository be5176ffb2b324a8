"""Options that say which entries are meant, and the priority of who goes through many of them."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard.reader import LogReader
from hansard_writer.cli.exits import Unusable
from hansard_writer.cli.options import LEVEL, TEXT, TIME, Function

READER_NICENESS: Final = 19


class Where(click.ParamType):  # type: ignore[type-arg]  # older clicks have no argument
    """A condition on the payload, ``PATH=VALUE``, as a pair of path and value."""

    name = "where"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        path, equals, text = TEXT.convert(value, param, ctx).partition("=")
        if not equals:
            self.fail(f"{value!r} is no condition: write PATH=VALUE.", param, ctx)
        try:
            return path, json.loads(text)
        except (ValueError, RecursionError):
            return path, text


def entry_options(function: Function) -> Function:
    """What an entry may be chosen by; passes each under the name that `LogReader` has for it."""
    options = [
        click.option("--event-type", type=TEXT, help="Only this type."),
        click.option("--task-id", type=TEXT, help="Only this task's."),
        click.option("--actor", type=TEXT, help="Only by this actor."),
        click.option("--level", type=LEVEL, help="Only of this level."),
        click.option("--since", type=TIME, help="ISO 8601, UTC unless it names a zone; inclusive."),
        click.option("--until", type=TIME, help="The same, exclusive."),
        click.option(
            "--where",
            type=Where(),
            multiple=True,
            metavar="PATH=VALUE",
            help="Only if the payload's value there is VALUE, or contains it. Repeatable.",
        ),
        click.option(
            "--search",
            type=TEXT,
            metavar="QUERY",
            help='Only if the text matches: words, AND, OR, NOT, "a phrase", begin*. The text is '
            "stderr and error of operations, and the payload of types in fts_event_types.",
        ),
    ]
    return _applied(options, function)


def operation_options(function: Function) -> Function:
    """What an operation may be chosen by besides."""
    options = [
        click.option(
            "--operations", is_flag=True, help="Environment operations, column by column."
        ),
        click.option("--workflow-id", type=TEXT, help="Only this workflow's operations."),
        click.option("--node-id", type=TEXT, help="Only this node's operations."),
        click.option("--version-id", type=TEXT, help="Only this version's operations."),
        click.option("--operation", type=TEXT, help="Only operations of this name, as add_deps."),
        click.option(
            "--status",
            type=click.Choice(["success", "failed"]),
            help="Only operations that ended so.",
        ),
    ]
    return _applied(options, function)


def _applied(options: list[Callable[[Any], Any]], function: Function) -> Function:
    for option in reversed(options):
        function = option(function)
    return function


@contextmanager
def reading_considerately(
    directory: Path, *, steps_back: bool = True, rests: bool = True
) -> Iterator[LogReader]:
    """A reader that gets what nobody else wants of the processor, and rests besides, because a
    question about the log must not slow down what is logged. What it refuses is bad usage."""
    if steps_back:
        step_back()
    try:
        with LogReader(directory, considerate=rests) as reader:
            yield reader
    except ValueError as error:
        raise Unusable(str(error)) from error


def reading_beside_a_writer(directory: Path, *, rests: bool) -> AbstractContextManager[LogReader]:
    """The same for a question that ends: where no writer lives as it begins, it slows down
    nobody, so it goes on as fast as it can."""
    is_recorded = layout.a_writer_lives(directory)
    return reading_considerately(directory, steps_back=is_recorded, rests=rests and is_recorded)


def step_back() -> None:
    """Give this process the lowest priority that there is."""
    os.nice(READER_NICENESS)
    if hasattr(os, "SCHED_IDLE"):  # Linux
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
