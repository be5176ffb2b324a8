"""Options that say which entries are meant, and the priority of who goes through many of them."""

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard.operations import ENV_OPERATION
from hansard.reader import Between, Event, LogReader, Operation, Refusal
from hansard.refusals import GOVERNANCE_REFUSAL
from hansard_writer.cli.completing import event_types
from hansard_writer.cli.exits import Unusable
from hansard_writer.cli.options import LEVEL, NUMBER, TEXT, TIME, Function

OPERATION_CONDITIONS: Final = ("workflow_id", "node_id", "version_id", "operation", "status")
READER_NICENESS: Final = 19
_DERIVED: Final = re.compile(r"([^=<>]+)(=|>=|<)(.*)", re.DOTALL)


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


class Derived(click.ParamType):  # type: ignore[type-arg]
    """A condition on a derived field, ``NAME=VALUE``, as name, operator and text."""

    name = "derived"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str, str]:
        said = _DERIVED.fullmatch(TEXT.convert(value, param, ctx))
        if not said:
            self.fail(
                f"{value!r} is no condition: write NAME=VALUE, NAME>=VALUE or NAME<VALUE.",
                param,
                ctx,
            )
        name, operator, text = said.groups()
        return name, operator, text


def _all_derived(
    _context: click.Context, _parameter: click.Parameter, said: tuple[tuple[str, str, str], ...]
) -> dict[str, str | Between] | None:
    """The conditions of all ``--derived``, as `LogReader` takes them."""
    found: dict[str, str | Between] = {}
    for name, operator, text in said:
        before = found.get(name, Between())
        bound = {">=": "least", "<": "below"}.get(operator)
        if bound is None and name not in found:
            found[name] = text
        elif bound and isinstance(before, Between) and getattr(before, bound) is None:
            found[name] = before._replace(**{bound: text})
        else:
            raise click.BadParameter(f"{name} has one value, or one bound on either side.")
    return found or None


def entry_options(function: Function) -> Function:
    """What an entry may be chosen by; passes each under the name that `LogReader` has for it."""
    options = [
        click.option("--event-type", type=TEXT, shell_complete=event_types, help="Only this type."),
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
            "--derived",
            type=Derived(),
            multiple=True,
            callback=_all_derived,
            metavar="NAME=VALUE",
            help="Only if the derived field is VALUE; or NAME>=VALUE, NAME<VALUE. By an index. "
            "Repeatable.",
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
        click.option("--operations", is_flag=True, help="Only environment operations."),
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


def query_options(function: Function) -> Function:
    """All that a question about a log that ends may choose by, and whether it rests."""
    options = [
        entry_options,
        operation_options,
        click.option("--refusals", is_flag=True, help="Only governance refusals."),
        click.option("--agent-id", type=TEXT, help="Only refusals of this agent's actions."),
        click.option("--after-id", type=NUMBER, help="Only entries behind this id."),
        click.option(
            "--no-rest",
            is_flag=True,
            help="Go on without rests, though it takes processor time from those who record.",
        ),
    ]
    return _applied(options, function)


def kind_asked_for(operations: bool, refusals: bool, conditions: dict[str, Any]) -> type:
    """What is asked for; only its own conditions are left over."""
    names = [name for name in OPERATION_CONDITIONS if conditions[name] is not None]
    of_operations = operations or bool(names)
    of_refusals = refusals or conditions.get("agent_id") is not None
    if of_operations and of_refusals:
        raise click.UsageError("An entry is an operation or a refusal, not both.")
    if (of_operations or of_refusals) and conditions.pop("event_type") is not None:
        raise click.UsageError("Operations and refusals have a type of their own.")
    if not of_operations:
        for name in OPERATION_CONDITIONS:
            del conditions[name]
    if not of_refusals:
        conditions.pop("agent_id", None)
    return Operation if of_operations else Refusal if of_refusals else Event


def as_entries(kind: type, conditions: dict[str, Any]) -> str | None:
    """The event type of the kind of row that is asked for, where all are wanted as the entries
    that they are; the conditions become those of entries."""
    if kind is Operation:
        return ENV_OPERATION
    if kind is Refusal:
        agent_id = conditions.pop("agent_id")
        conditions["actor"] = conditions["actor"] if agent_id is None else agent_id
        return GOVERNANCE_REFUSAL
    event_type: str | None = conditions.pop("event_type")
    return event_type


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
