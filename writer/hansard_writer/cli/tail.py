"""``hansard tail``: the last entries, and those that come."""

import contextlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import click

from hansard.operations import ENV_OPERATION
from hansard.reader import Event, Operation
from hansard_writer.cli.options import (
    NUMBER,
    STANDARDS,
    entry_format_option,
    log_directory_option,
)
from hansard_writer.cli.output import print_rows
from hansard_writer.cli.query import DERIVED, columns_for, no_derived, rows_of, with_derived
from hansard_writer.cli.selecting import (
    entry_options,
    kind_asked_for,
    operation_options,
    reading_considerately,
)

LINES: Final = 10


@click.command(
    name="tail",
    epilog="""\b
Examples:
  hansard tail -n 100 --follow
  hansard tail -f --level error --search 'timeout OR refused'
  hansard tail -n 0 -f --format ocsf | collector
""",
)
@log_directory_option
@click.option(
    "-n", "--lines", type=NUMBER, default=LINES, show_default=True, help="How many to begin with."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with new entries, until Ctrl-C.")
@click.option("--show-derived", is_flag=True, help="Print each entry's derived fields, too.")
@entry_options
@operation_options
@entry_format_option
def command(
    directory: Path,
    lines: int,
    follow: bool,
    show_derived: bool,
    operations: bool,
    format: str,  # noqa: A002 - the option's name
    **conditions: Any,
) -> None:
    """Print the last entries, oldest first.

    Of those that meet all conditions, which are query's. A condition on operations, or
    --operations, prints operations by their columns; in the formats cloudevents and ocsf each is
    the whole entry that it is, an event a line, as `hansard export` writes it.
    """
    is_standard = format in STANDARDS
    if is_standard and show_derived:
        raise click.UsageError(no_derived(format))
    from hansard_writer.cli.printing_events import print_events

    kind = kind_asked_for(operations, False, conditions)
    if kind is Operation:
        conditions["event_type"] = ENV_OPERATION
    with reading_considerately(directory) as reader:
        end = next(reader.events(limit=1, newest_first=True), None)
        last = list(reader.events(limit=lines, newest_first=True, **conditions))[::-1]
        after_id = max([each.id for each in (end, *last[-1:]) if each], default=0)
        coming = _until_interrupted(reader.follow(after_id, **conditions)) if follow else iter(())
        events = chain(last, coming)
        if is_standard:
            with contextlib.suppress(KeyboardInterrupt):
                print_events(events, reader.extent(), format, at_once=follow)
            return
        found = map(Operation.of, events) if kind is Operation else events
        rows, columns = rows_of(kind, found, format), columns_for(kind, format)
        if show_derived:
            rows, columns = with_derived(reader, rows), (*columns, DERIVED)
        with contextlib.suppress(KeyboardInterrupt):
            print_rows(
                rows,
                columns,
                format,
                sample_rows=len(last),
                at_once=follow,
            )


def _until_interrupted(events: Iterator[Event]) -> Iterator[Event]:
    with contextlib.suppress(KeyboardInterrupt):
        yield from events
