"""``hansard query``: entries, operations or refusals that meet conditions."""

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import click

from hansard.reader import Event, LogReader, Operation, Refusal
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import (
    NUMBER,
    STANDARDS,
    entry_format_option,
    log_directory_option,
)
from hansard_writer.cli.output import Row, print_rows
from hansard_writer.cli.selecting import (
    as_entries,
    kind_asked_for,
    query_options,
    reading_beside_a_writer,
)

LIMIT: Final = 20
DERIVED: Final = "derived"
HOW_TO_SEARCH_MORE: Final = (
    " To search payloads, too, name their types in DIR/hansard.toml "
    '(fts_event_types = ["task.done"]) and start the writer again.'
)

# What a person wants to see; programs get all that there is.
COLUMNS: Final[Mapping[type, tuple[str, ...]]] = {
    Event: ("id", "created_at", "event_type", "level", "actor", "task_id", "payload"),
    Operation: (
        "id", "created_at", "workflow_id", "node_id", "operation", "status", "exit_code",
        "duration_ms", "error",
    ),
    Refusal: ("id", "created_at", "agent_id", "rule_id", "reason", "action"),
}  # fmt: skip


def columns_for(kind: type, format: str) -> tuple[str, ...]:  # noqa: A002 - the option's name
    """The columns of a kind of row."""
    return COLUMNS[kind] if format == "table" else tuple(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def rows_of(
    kind: type,
    found: Iterable[object],
    format: str,  # noqa: A002 - the option's name
) -> Iterator[Row]:
    """What a reader found, as rows of all columns, and those that are only for people."""
    names = dict.fromkeys((*kind.__dataclass_fields__, *COLUMNS[kind]))  # type: ignore[attr-defined]
    values = attrgetter(*names)
    rows = (dict(zip(names, values(each), strict=True)) for each in found)
    return map(_for_people, rows) if format == "table" else rows


def with_derived(reader: LogReader, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with the values of their derived fields besides."""
    return ({**row, DERIVED: reader.derived(row["id"])} for row in rows)


def no_derived(standard: str) -> str:
    """Why there is nothing to show."""
    return f"--show-derived is a column, and {standard} has none: leave out one of the two."


def _for_people(row: Row) -> Row:
    """A payload that was taken out is told from one that never was."""
    return {**row, "payload": "(redacted)"} if row.get("redacted") else row


@click.command(
    name="query",
    epilog="""\b
Examples:
  hansard query --event-type user.login --since 2026-01-31 --limit 5
  hansard query --task-id T1 --oldest-first --limit 0 --format csv
  hansard query --status failed --workflow-id nightly --search 'error AND package'
  hansard query --operation add_deps --where metadata.packages=numpy
  hansard query --refusals --agent-id agent:7 --count
  hansard query --derived 'source_event_ts>=2026-01-31T12:00:00Z' --show-derived
  hansard query --refusals --since 2026-01-31 --limit 0 --format ocsf
""",
)
@log_directory_option
@query_options
@click.option("--limit", type=NUMBER, default=LIMIT, show_default=True, help="At most; 0 for all.")
@click.option("--oldest-first", is_flag=True, help="Begin at the beginning of the log.")
@click.option("--show-derived", is_flag=True, help="Print each entry's derived fields, too.")
@click.option("--count", is_flag=True, help="Print only how many there are, without a limit.")
@entry_format_option
def command(
    directory: Path,
    operations: bool,
    refusals: bool,
    limit: int,
    oldest_first: bool,
    show_derived: bool,
    count: bool,
    no_rest: bool,
    format: str,  # noqa: A002 - the option's name
    **conditions: Any,
) -> None:
    """Print entries, newest first. Exits with 1 when there are none.

    A condition on operations, or --operations, prints operations by their columns; --agent-id, or
    --refusals, prints refusals so. All conditions must hold.

    The formats cloudevents and ocsf have no columns: there each operation and each refusal is the
    whole entry that it is, an event a line, as `hansard export` writes it.

    In --where, PATH is names with dots between them (a backslash makes a dot part of a name), and
    VALUE is JSON, or else text. It is found where it stands there itself, or in a list that
    stands there; an object or a list is found in what contains all of it.

    While a writer runs, a query has the lowest priority and rests four fifths of the time, so
    that nobody who records waits for it; see --no-rest. Without a writer it does neither.
    """
    kind = kind_asked_for(operations, refusals, conditions)
    is_standard = format in STANDARDS
    if is_standard and show_derived:
        raise click.UsageError(no_derived(format))
    with reading_beside_a_writer(directory, rests=not no_rest) as reader:
        order = {"limit": limit or None, "newest_first": not oldest_first}
        if count:
            found = _count(reader, kind, conditions)
            click.echo(found)
        elif is_standard:
            found = _print_events(reader, kind, conditions, format, order)
        else:
            rows = rows_of(kind, _READ[kind](reader, **conditions, **order), format)
            columns = columns_for(kind, format)
            if show_derived:
                rows, columns = with_derived(reader, rows), (*columns, DERIVED)
            found = print_rows(rows, columns, format)
        if not found:
            raise AnswerIsNo("No entry meets these conditions." + _searched(reader, conditions))


_READ: Final[Mapping[type, Any]] = {
    Event: LogReader.events,
    Operation: LogReader.operations,
    Refusal: LogReader.refusals,
}


def _print_events(
    reader: LogReader,
    kind: type,
    conditions: dict[str, Any],
    standard: str,
    order: Mapping[str, Any],
) -> int:
    from hansard_writer.cli.printing_events import print_events

    given = dict(conditions)
    found = reader.events(as_entries(kind, given), **given, **order)
    return print_events(found, reader.extent(), standard)


def _searched(reader: LogReader, conditions: dict[str, Any]) -> str:
    """Where what was searched for could have been found."""
    if conditions["search"] is None:
        return ""
    types = ", ".join(reader.searched_event_types())
    return (
        "\nSearched: stderr and error of operations, and the event types in fts_event_types "
        f"({types or 'none'})." + ("" if types else HOW_TO_SEARCH_MORE)
    )


def _count(reader: LogReader, kind: type, conditions: dict[str, Any]) -> int:
    if kind is Operation:
        return reader.count_operations(**conditions)
    if kind is Refusal:
        return reader.count_refusals(**conditions)
    return reader.count(**conditions)
