"""``hansard query``: entries that meet conditions."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import click

from hansard.reader import Conditions, Event, LogReader
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import LEVEL, NUMBER, TEXT, TIME, directory_option, format_option
from hansard_writer.cli.output import Row, print_rows

LIMIT: Final = 20
COLUMNS: Final = ("id", "created_at", "event_type", "level", "actor", "task_id", "payload")
ALL_COLUMNS: Final = tuple(Event.__dataclass_fields__)


def columns_for(format: str) -> tuple[str, ...]:  # noqa: A002 - the option's name
    """What a person wants to see, or all that there is."""
    return COLUMNS if format == "table" else ALL_COLUMNS


def rows_of(events: Iterable[Event]) -> Iterator[Row]:
    """Events as rows."""
    values = attrgetter(*ALL_COLUMNS)
    return (dict(zip(ALL_COLUMNS, values(event), strict=True)) for event in events)


@click.command(
    name="query",
    epilog="Example: hansard query --event-type user.login --since 2026-01-31 --limit 5",
)
@directory_option
@click.option("--event-type", type=TEXT, help="Only this type.")
@click.option("--task-id", type=TEXT, help="Only this task's.")
@click.option("--actor", type=TEXT, help="Only by this actor.")
@click.option("--level", type=LEVEL, help="Only of this level.")
@click.option("--since", type=TIME, help="ISO 8601, UTC unless it names a zone; inclusive.")
@click.option("--until", type=TIME, help="The same, exclusive.")
@click.option("--after-id", type=NUMBER, help="Only entries behind this id.")
@click.option("--limit", type=NUMBER, default=LIMIT, show_default=True, help="At most; 0 for all.")
@click.option("--oldest-first", is_flag=True, help="Begin at the beginning of the log.")
@click.option("--count", is_flag=True, help="Print only how many there are, without a limit.")
@format_option
def command(
    directory: Path,
    event_type: str | None,
    limit: int,
    oldest_first: bool,
    count: bool,
    format: str,  # noqa: A002 - the option's name
    **conditions: Any,
) -> None:
    """Print entries, newest first. Exits with 1 when there are none."""
    given: Conditions = conditions  # type: ignore[assignment]  # click passes them by these names
    with LogReader(directory) as reader:
        if count:
            found = reader.count(event_type, **given)
            click.echo(found)
        else:
            events = reader.events(
                event_type, limit=limit or None, newest_first=not oldest_first, **given
            )
            found = print_rows(rows_of(events), columns_for(format), format)
    if not found:
        raise AnswerIsNo("No entry meets these conditions.")
