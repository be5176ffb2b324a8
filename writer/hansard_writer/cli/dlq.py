"""``hansard dlq``: what could not be entered, and why."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from hansard.reader import LogReader
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import NUMBER, TEXT, directory_option, format_option
from hansard_writer.cli.output import print_rows

LIMIT: Final = 20
COLUMNS: Final = (
    "id", "received_at", "producer", "producer_seq", "count", "reason", "frame_bytes", "detail",
)  # fmt: skip


@click.group(name="dlq", epilog="Example: hansard dlq list")
def command() -> None:
    """Show dead letters: what the writer could not enter."""


@command.command(name="list", epilog="Example: hansard dlq list --reason invalid --limit 0")
@directory_option
@click.option("--reason", type=TEXT, help="Only with this reason.")
@click.option("--limit", type=NUMBER, default=LIMIT, show_default=True, help="At most; 0 for all.")
@format_option
def list_letters(
    directory: Path,
    reason: str | None,
    limit: int,
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Print the dead letters, newest first, without their bytes.

    Exits with 1 when there are none.
    """
    with LogReader(directory) as reader:
        letters = reader.dead_letters(reason, limit=limit or None)
        if not print_rows(map(asdict, letters), COLUMNS, format):
            raise AnswerIsNo("There are no dead letters.")


@command.command(name="show", epilog="Example: hansard dlq show 3 --format json")
@click.argument("id", type=NUMBER)
@directory_option
@format_option
def show_letter(
    directory: Path,
    id: int,  # noqa: A002 - the argument's name
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Print one dead letter with its bytes in hex, which a table cuts.

    Exits with 1 when there is none.
    """
    with LogReader(directory) as reader:
        letter = reader.dead_letter(id)
    if letter is None:
        raise AnswerIsNo(f"There is no dead letter {id}.")
    facts = asdict(letter)
    if format != "table":
        print_rows([facts], list(facts), format)
        return
    rows = ({"key": key, "value": value} for key, value in facts.items())
    print_rows(rows, ("key", "value"), format)
