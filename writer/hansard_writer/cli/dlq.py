"""``hansard dlq``: what could not be entered, and why."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from hansard import requester, wire
from hansard.reader import DeadLetter, LogReader
from hansard.served_by import is_log_here, require_writer
from hansard.wording import counted
from hansard_writer.cli.exits import NO, AnswerIsNo
from hansard_writer.cli.options import (
    NUMBER,
    SECONDS,
    TEXT,
    directory_option,
    format_option,
    log_directory_option,
)
from hansard_writer.cli.output import print_rows

LIMIT: Final = 20
TIMEOUT_S: Final = 30.0  # for one piece of a replay
IDS_PER_REQUEST_MAX: Final = 1_000
COLUMNS: Final = (
    "id", "received_at", "producer", "producer_seq", "count", "reason", "event_type", "task_id",
    "attempts", "replayed_as", "frame_bytes", "detail",
)  # fmt: skip
TABLE_COLUMNS: Final = (  # what a person wants to see
    "id", "received_at", "reason", "event_type", "task_id", "count", "attempts", "replayed_as",
    "detail",
)  # fmt: skip


@click.group(name="dlq", epilog="Example: hansard dlq list")
def command() -> None:
    """Show dead letters: what the writer could not enter. Try again, or give them up."""


@command.command(name="list", epilog="Example: hansard dlq list --reason invalid --limit 0")
@log_directory_option
@click.option("--reason", type=TEXT, help="Only with this reason.")
@click.option("--all", "returned", is_flag=True, help="Also those that were entered later.")
@click.option("--limit", type=NUMBER, default=LIMIT, show_default=True, help="At most; 0 for all.")
@format_option
def list_letters(
    directory: Path,
    reason: str | None,
    returned: bool,
    limit: int,
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Print the dead letters, newest first, without their bytes.

    Exits with 1 when there are none.
    """
    with LogReader(directory) as reader:
        letters = reader.dead_letters(reason, returned=returned, limit=limit or None)
        if format == "table":
            found = print_rows(map(_table_row, letters), TABLE_COLUMNS, format)
        else:
            found = print_rows(map(asdict, letters), COLUMNS, format)
        if not found:
            raise AnswerIsNo(_none_of(reason, reader.count_dead_letters(returned=returned)))


def _table_row(letter: DeadLetter) -> dict[str, Any]:
    """Without the attempts where there were none, which makes room for the reasons."""
    return asdict(letter) | {"attempts": letter.attempts or None}


def _none_of(reason: str | None, counts: Mapping[str, int]) -> str:
    if reason is None or not counts:
        return "There are no dead letters."
    most_first = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    reasons = ", ".join(f"{name} ({count:,})" for name, count in most_first)
    return f"There are none with the reason {reason!r}; there are: {reasons}."


@command.command(name="show", epilog="Example: hansard dlq show 3 --format json")
@click.argument("id", type=NUMBER)
@directory_option
@format_option
def show_letter(
    directory: Path,
    id: int,  # noqa: A002 - the argument's name
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Print one dead letter, with what its bytes say of its first event, and with the bytes in hex,
    which a table cuts.

    Exits with 1 when there is none.
    """
    with LogReader(directory) as reader:
        letter = reader.dead_letter(id)
    if letter is None:
        raise AnswerIsNo(f"There is no dead letter {id}.")
    facts = _facts(letter)
    if format != "table":
        one_object = {"json": "jsonl"}  # not a list of one
        print_rows([facts], list(facts), one_object.get(format, format))
        return
    rows = ({"key": key, "value": value} for key, value in facts.items())
    print_rows(rows, ("key", "value"), format)


def _facts(letter: DeadLetter) -> dict[str, Any]:
    """Its own facts, those of its first event, and its bytes at the end."""
    own = asdict(letter)
    frame = own.pop("frame")
    said = letter.first_event._asdict()
    known = {name: value for name, value in own.items() if value is not None}
    return own | said | known | {"frame": frame}


@command.command(name="replay", epilog="Example: hansard dlq replay --reason orphan --dry-run")
@click.argument("ids", type=NUMBER, nargs=-1, metavar="[ID]...")
@directory_option
@click.option("--reason", type=TEXT, help="Only with this reason.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--timeout", type=SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds.")
def replay_letters(
    ids: tuple[int, ...], directory: Path, reason: str | None, dry_run: bool, timeout: float
) -> None:
    """Try again to enter dead letters: all, those with a reason, or those with these ids.

    What is entered keeps its producer, number and time; an entry `hansard.replayed` says so.
    Exits with 1 when something was refused again, or there was nothing to try.
    """
    require_writer(directory)
    hopes = list(_that_can_be(directory, ids))
    if ids and not hopes:
        raise click.exceptions.Exit(NO)
    entered = refused = hopeless = 0
    request = wire.Replay(0, reason, None, dry_run)
    for content in _answers(directory, request, hopes, timeout):
        piece = wire.replayed_of(content)
        entered, refused = entered + piece.entered, refused + piece.refused
        hopeless += piece.hopeless
        _show(f"{entered:,} entered, {refused:,} refused again", is_last=piece.is_last)
    would = "would be " if dry_run else ""
    click.echo(
        f"{counted(entered, 'event')} {would}entered, "
        f"{counted(refused, 'event')} {would}refused again"
    )
    if hopeless:
        letters = counted(hopeless, "letter")
        click.echo(f"{letters} of nobody's, or redacted, which cannot be entered", err=True)
    if refused:
        raise AnswerIsNo("For the reasons, see `hansard dlq list`.")
    if not entered:
        raise AnswerIsNo("There was no dead letter to replay.")


@command.command(name="drop", epilog="Example: hansard dlq drop --reason bad_header --dry-run")
@click.argument("ids", type=NUMBER, nargs=-1, metavar="[ID]...")
@directory_option
@click.option("--reason", type=TEXT, help="Only with this reason.")
@click.option("--all", "everything", is_flag=True, help="All that were not entered.")
@click.option("--entered", is_flag=True, help="Those that were entered: only their rows are left.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option("--timeout", type=SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds.")
def drop_letters(
    ids: tuple[int, ...],
    directory: Path,
    reason: str | None,
    everything: bool,
    entered: bool,
    dry_run: bool,
    timeout: float,
) -> None:
    """Give up dead letters for good: those with these ids, with a reason, or all. Nothing is asked.

    Their events will never be in the log, and stay counted as dead-lettered; an entry
    `hansard.dropped` says whose they were. Exits with 1 when there was nothing to drop.
    """
    if not (ids or reason is not None or everything or entered):
        raise click.UsageError("Name letters by id or --reason, or say --all (or --entered).")
    if everything and (ids or reason is not None or entered):
        raise click.UsageError("--all goes with no id, --reason or --entered.")
    require_writer(directory)
    found = list(_that_can_be(directory, ids, entered=entered))
    if ids and not found:
        raise click.exceptions.Exit(NO)
    letters = events = 0
    request = wire.DropLetters(0, reason, None, entered, dry_run)
    for content in _answers(directory, request, found, timeout):
        piece = wire.letters_dropped_of(content)
        letters, events = letters + piece.letters, events + piece.events
        _show(f"{letters:,} dropped", is_last=piece.is_last)
    would = "would be " if dry_run else ""
    click.echo(
        f"{counted(letters, 'dead letter')} {would}dropped, {counted(events, 'event')} given up"
    )
    if not letters:
        raise AnswerIsNo("There was no dead letter to drop.")


def _answers(
    directory: Path, request: wire.Replay | wire.DropLetters, ids: Sequence[int], timeout: float
) -> Iterator[Any]:
    """The writer's answers, piece by piece: for all letters, or for these, some a request."""
    some: list[Sequence[int] | None] = [
        ids[start : start + IDS_PER_REQUEST_MAX]
        for start in range(0, len(ids), IDS_PER_REQUEST_MAX)
    ]
    for those in some or [None]:
        asked, is_last = request._replace(ids=those), False
        while not is_last:
            content: Any = requester.ask_as_owner(directory, asked, timeout)
            yield content  # who takes it checks it
            *_, last_id, is_last = content
            asked = asked._replace(after_id=last_id)


def _show(progress: str, *, is_last: bool) -> None:
    if not is_last and sys.stderr.isatty():
        click.echo(f"  {progress} …\r", nl=False, err=True)


def _that_can_be(directory: Path, ids: Sequence[int], *, entered: bool = False) -> Iterator[int]:
    """Those that a replay or a drop can be of; of the others it says why."""
    if not ids:
        return
    if not is_log_here(directory):
        yield from ids  # its writer alone knows
        return
    with LogReader(directory) as reader:
        for each in ids:
            letter = reader.dead_letter(each)
            if letter is None:
                click.echo(f"There is no dead letter {each}.", err=True)
            elif (letter.replayed_as is not None) is entered:
                yield each
            elif entered:
                click.echo(f"Dead letter {each} was not entered.", err=True)
            else:
                entry = letter.replayed_as
                click.echo(f"Dead letter {each} was entered already, as entry {entry}.", err=True)
