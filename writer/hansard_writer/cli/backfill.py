"""``hansard backfill``: derived fields of entries that were made before they were declared."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import orjson

from hansard.errors import WriterUnavailable
from hansard.reader.derived import shown
from hansard.reader_connection import ReadConnection
from hansard.settings import load_settings
from hansard.wording import counted
from hansard_writer.backfilling import (
    AnotherBackfill,
    Backfill,
    BackfillLock,
    NoSuchField,
    Observer,
    Tally,
    preview,
    verification,
)
from hansard_writer.backfilling.looking import PIECE_ENTRIES_MAX
from hansard_writer.backfilling.preview import Preview
from hansard_writer.backfilling.run import BATCH_ENTRIES, PATIENCE_S
from hansard_writer.cli.backfill_verify import print_verification
from hansard_writer.cli.collector import without_collector
from hansard_writer.cli.exits import Failed, Interrupted, NoWriter, Taken, Unusable
from hansard_writer.cli.options import TEXT, Number, log_directory_option, report_format_option
from hansard_writer.cli.output import printable
from hansard_writer.cli.progress import rated_bar
from hansard_writer.cli.selecting import step_back
from hansard_writer.derived.definitions import BUILT_IN, TYPES, read_declared
from hansard_writer.running_writer import a_writer


def _built_in() -> str:
    """The built-in fields with their paths, in their order."""
    lines = []
    for field in BUILT_IN:
        lines.append(f"  {field.name} ({field.type}; event types {', '.join(field.event_types)})")
        lines += [f"    {number}. {path}" for number, path in enumerate(field.paths, start=1)]
    return "\n".join(lines)


_HELP: Final = f"""Fill derived fields of earlier entries, and check them.

A derived field is drawn out of the payload for fast queries: entries to come have it when they are
entered, earlier ones through this command. Which fields there are is declared in hansard.toml; the
writer looks at it anew, so that a new field needs no restart. Built in are, each with the paths at
which a value is looked for, in this order:

\b
{_built_in()}

\b
One of your own, in hansard.toml, below all settings:
  [derived.lane]
  paths = ["lane", "job.lane"]          # the first with a value; default: NAME
  type = "text"                         # default; or {", ".join(TYPES[1:])}
  event_types = ["job.*", "task.done"]  # default: all

The view derived(id, field, value) has the values, a timestamp in ns since 1970 UTC; task_audits
shows those built in.

\b
A timestamp is ISO 8601 (without a zone: UTC), or a number of seconds, ms, µs
or ns since 1970 UTC, told apart by its size:
  2024-01-01T12:00:00Z  2024-01-01 14:00:00.5+02:00  20240101T120000  2024-01-01
  1704110400  1704110400.25  1704110400000  1704110400000000  1704110400000000000

An entry whose payload has no value for a field is counted by cause: missing, another type, broken
timestamp, too long, no payload (there never was one, or it is redacted), invalid JSON.

It works while the log is in use, in pieces so small that nobody waits for it; without a writer it
starts one for the time. It may be interrupted or killed at any moment: the same command goes on
where the writer has got to. What is filled is passed over.

With --verify nothing is filled: it says how complete the fields are, and whether they are what the
payloads say, and exits with 1 if not.
"""


@click.command(
    name="backfill",
    help=_HELP,
    epilog="""\b
Examples:
  hansard backfill --dry-run --verbose
  hansard backfill
  hansard backfill --field source_event_ts --batch-size 5000
  hansard backfill --verify
""",
)
@log_directory_option
@click.option("--dry-run", is_flag=True, help="Say what would be filled, and change nothing.")
@click.option(
    "--batch-size",
    type=Number(1, PIECE_ENTRIES_MAX),
    default=BATCH_ENTRIES,
    show_default=True,
    help="Entries a transaction, at most; fewer while others use the log.",
)
@click.option("--field", "names", type=TEXT, multiple=True, help="Only this field. (repeatable)")
@click.option(
    "--rebuild", is_flag=True, help="Look at all entries once more, filled or not: draw all anew."
)
@click.option(
    "--verify",
    is_flag=True,
    help="Say how complete and right the fields are, and fill nothing.",
)
@click.option("--verbose", is_flag=True, help="List the first entries without a value, by cause.")
@report_format_option
@without_collector()
def command(
    directory: Path,
    dry_run: bool,
    batch_size: int,
    names: tuple[str, ...],
    rebuild: bool,
    verify: bool,
    verbose: bool,
    format: str,  # noqa: A002 - the option's name
) -> None:
    if verify and (dry_run or rebuild):
        raise click.UsageError("--verify fills nothing: it goes with --field and --format alone.")
    load_settings(directory)  # a section whose name is misspelt would declare nothing
    read_declared(directory)  # what is wrong with it is better said before a writer is started
    ReadConnection(directory, leaves_no_trace=True).close()  # as is that there is no log
    try:
        if verify:
            with _progress("verifying") as observer:
                found = verification.verify(directory, names, observer)
            print_verification(found, format)
        elif dry_run:
            with _progress("looking") as observer:
                seen = preview(directory, names, rebuild, observer)
            _print(format, seen.tallies, verbose, seen)
        else:
            _print(format, _fill(directory, names, batch_size, rebuild), verbose, None)
    except NoSuchField as error:
        raise Unusable(str(error)) from error


def _fill(directory: Path, names: tuple[str, ...], batch_size: int, rebuild: bool) -> list[Tally]:
    try:
        with BackfillLock(directory), a_writer(directory) as own, _progress("filling") as observer:
            return Backfill(
                directory,
                names,
                batch_size=batch_size,
                anew=rebuild,
                patience_s=0.0 if own else PATIENCE_S,  # nobody starts ours again
                observer=observer,
            ).run()
    except AnotherBackfill as error:
        raise Taken(str(error)) from error
    except WriterUnavailable as error:
        raise NoWriter(f"{error}; what is filled stays, and the same command goes on") from error
    except OSError as error:
        raise Failed(f"cannot write {error.filename or directory}: {error.strerror}") from error
    except KeyboardInterrupt:
        raise Interrupted(
            "Interrupted: what is filled stays, and the same command goes on."
        ) from None


# --- the report ---


def _print(format: str, tallies: list[Tally], verbose: bool, seen: Preview | None) -> None:  # noqa: A002
    if format == "json":
        report = {"dry_run": seen is not None, "fields": [_as_json(t, verbose) for t in tallies]}
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
        return
    for tally in tallies:
        for line in _lines(tally, verbose, seen):
            click.echo(printable(line))
    if seen and seen.to_be_cleared:
        values = counted(seen.to_be_cleared, "value")
        click.echo(f"{values} of definitions that were changed or taken away would be cleared")
    if seen:
        click.echo("Nothing was changed: this was a dry run.", err=True)


def _lines(tally: Tally, verbose: bool, seen: Preview | None) -> Iterator[str]:
    field, would = tally.field, "would be " if seen else ""
    if not tally.entries:
        yield f"{field.name}: nothing to fill"
        return
    yield (
        f"{field.name}: {counted(tally.entries, 'entry', 'entries')} looked at, "
        f"{tally.filled:,} {would}filled, {tally.entries - tally.filled:,} without a value"
    )
    for cause, without in tally.causes():
        yield f"  {cause:<18}{without.count:>12,}"
        if verbose:
            more = f" and {more:,} more" if (more := without.count - len(without.ids)) else ""
            yield f"    entries {', '.join(map(str, without.ids))}{more}"
    for seq, value in tally.samples if seen else ():
        event_type = seen.event_types.get(seq, "") if seen else ""
        yield f"  e.g. entry {seq} ({event_type}): {shown(field.type, value)}"


def _as_json(tally: Tally, verbose: bool) -> dict[str, Any]:
    return {
        "field": tally.field.name,
        "type": tally.field.type,
        "entries": tally.entries,
        "filled": tally.filled,
        "samples": [
            {"id": seq, "value": shown(tally.field.type, value)} for seq, value in tally.samples
        ],
        "without": {
            cause: {"entries": without.count, **({"first": without.ids} if verbose else {})}
            for cause, without in tally.causes()
        },
    }


class _Shown(Observer):
    """A bar, and words where the writer is away."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._through = 0

    def begin(self, entries: int) -> None:
        if self._bar:
            self._bar.length = entries

    def through(self, entries: int) -> None:
        if self._bar:
            self._through += entries
            self._bar.update(entries, self._through)

    def step_back(self) -> None:
        step_back()

    def away(self, why: str) -> None:
        click.echo(f"{why}; waiting up to {PATIENCE_S:g} s for one", err=True)


@contextmanager
def _progress(label: str) -> Iterator[_Shown]:
    """On a terminal a bar, with the rate and the time that is left."""
    if not sys.stderr.isatty():
        yield _Shown(None)
        return
    with rated_bar(0, label) as bar:
        yield _Shown(bar)
