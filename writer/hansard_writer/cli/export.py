"""``hansard export``: entries for other programs, to stdout or as a file."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import click

from hansard.wording import counted
from hansard_writer import exporting
from hansard_writer.cli.exits import AnswerIsNo, Failed, Unusable
from hansard_writer.cli.options import NUMBER, log_directory_option
from hansard_writer.cli.progress import rated_bar
from hansard_writer.cli.selecting import (
    as_entries,
    kind_asked_for,
    query_options,
    reading_beside_a_writer,
)
from hansard_writer.exporting import Exported, Progress
from hansard_writer.exporting.comma_separated import EscapedFormulas
from hansard_writer.exporting.destination import Write, is_compressed
from hansard_writer.proof.checkpoint import encode_root, read_checkpoint

DEFAULT_FORMAT: Final = "jsonl"


@click.command(
    name="export",
    epilog="""\b
Examples:
  hansard export --to 2026.jsonl.gz --since 2026-01-01 --until 2027-01-01
  hansard export --to log.parquet && duckdb -c "SELECT count(*) FROM 'log.parquet'"
  hansard export --status failed --workflow-id nightly --format csv > failed.csv
  hansard export --format cloudevents --after-id 168 | collector
  hansard export --to today.ocsf.gz --since 2026-01-31
""",
)
@log_directory_option
@click.option(
    "--to",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A new file instead of stdout; of a text format, compressed where it ends with .gz.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@click.option(
    "--format",
    type=click.Choice(list(exporting.FORMATS)),
    help="How entries are written. [default: by FILE's suffix, jsonl on stdout]",
)
@click.option(
    "--escape-formulas",
    is_flag=True,
    help="In csv for a spreadsheet: an apostrophe before text that it would take for a formula.",
)
@query_options
@click.option("--limit", type=NUMBER, default=0, help="At most, of the oldest. [default: all]")
def command(
    directory: Path,
    to: Path | None,
    force: bool,
    format: str | None,  # noqa: A002 - the option's name
    escape_formulas: bool,
    operations: bool,
    refusals: bool,
    limit: int,
    no_rest: bool,
    **conditions: Any,
) -> None:
    """Write entries for other programs, oldest first.

    Which, is said as to `hansard query`; all by default, up to the last that the log has when the
    command begins. Every entry is written whole, whatever it was chosen by: all columns of the view
    events in jsonl, csv and parquet (typed; it needs pyarrow), or an event a line: a CloudEvent of
    version 1.0, or an OCSF event of the class API Activity, version 1.8.0.

    --to makes a file that is there whole and durable, or not at all. On stderr the command says
    what the export holds and which checkpoint covers it; with --after-id the next one goes on from
    there. Entries that were redacted or pruned are not brought back.

    While a writer runs it is as considerate as a query, and never holds the log for longer than a
    page of entries. Exits with 1 when no entry meets the conditions, or some were removed before
    they were read; what was written stays.
    """
    name = _format(format, to)
    encoder: Any = name
    if escape_formulas:
        if name != "csv":
            raise click.UsageError(f"--escape-formulas goes with csv, and this is {name}.")
        encoder = EscapedFormulas
    event_type = as_entries(kind_asked_for(operations, refusals, conditions), conditions)
    with (
        reading_beside_a_writer(directory, rests=not no_rest) as reader,
        _destination(to, directory, replace=force) as write,
        _progress(shown=to is not None) as progress,
    ):
        exported = exporting.export(
            reader,
            encoder,
            write,
            event_type=event_type,
            limit=limit or None,
            progress=progress,
            **conditions,
        )
        sys.stdout.flush()
        covering = reader.checkpoint_covering(exported.last)
    _say(exported, covering)


def _format(given: str | None, to: Path | None) -> str:
    """The format that is meant; raises UsageError where it cannot be had so."""
    name = given or (exporting.format_of(to) if to else DEFAULT_FORMAT)
    if name is None:
        suffixes = ", ".join(f".{each}" for each in exporting.FORMATS)
        raise click.UsageError(f"Say --format, or give {to} one of the suffixes {suffixes}.")
    if name == "parquet" and to is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is nothing for a terminal: say --to FILE, or use a pipe.")
    if name == "parquet" and to is not None and is_compressed(to):
        raise click.UsageError("Parquet is compressed in itself: leave out .gz.")
    return name


def _destination(
    to: Path | None, directory: Path, *, replace: bool
) -> AbstractContextManager[Write]:
    if to is None:
        return nullcontext(sys.stdout.buffer.write)
    if to.exists() and not to.is_file():
        raise Unusable(f"{to} is no file: leave out --to, and redirect stdout")
    if not to.parent.is_dir():
        raise Unusable(f"there is no directory {to.parent}: make it, or name a file elsewhere")
    if to.resolve().is_relative_to(directory.resolve()):
        raise Unusable(f"{to} is in the log's own directory: name a place outside")
    return _file(to, replace=replace)


@contextmanager
def _file(to: Path, *, replace: bool) -> Iterator[Write]:
    try:
        with exporting.destination(to, replace=replace) as write:
            yield write
    except FileExistsError as error:
        raise Failed(f"{to} exists: name another file, or replace it with --force") from error
    except OSError as error:
        raise Failed(f"cannot write {to}: {error.strerror or error}") from error


# --- words ---


def _say(exported: Exported, covering: str | None) -> None:
    """What the export holds, on stderr; raises `AnswerIsNo` where it is not what was asked for."""
    extent = exported.extent
    if extent.pruned_to:
        _tell(f"Entries up to {extent.pruned_to:,} were pruned: the log begins behind them.")
    if not exported.entries:
        raise AnswerIsNo(f"No entry of the log's {extent.last_id:,} meets these conditions.")
    _tell(
        f"Exported {counted(exported.entries, 'entry', 'entries')}, {exported.first:,} to "
        f"{exported.last:,}, of the log as it was at {extent.last_id:,}."
    )
    if covering is None:
        _tell("No checkpoint covers them yet: `hansard checkpoint` takes one.")
    else:
        checkpoint = read_checkpoint(covering)
        _tell(
            f"Covered by the checkpoint of {counted(checkpoint.size, 'entry', 'entries')}, "
            f"root {encode_root(checkpoint.root)}."
        )
    if exported.missing:
        raise AnswerIsNo(
            f"{counted(exported.missing, 'entry is', 'entries are')} missing between them: "
            + _why(exported)
        )
    if exported.pruned_to > extent.pruned_to:
        _tell(
            f"Meanwhile entries up to {exported.pruned_to:,} were pruned, perhaps before they "
            "were looked at."
        )


def _why(exported: Exported) -> str:
    if exported.pruned_to > exported.extent.pruned_to:
        return "they were pruned before they were read; export once more."
    return "they were removed, and not by pruning; see `hansard verify`."


def _tell(message: str) -> None:
    click.echo(message, err=True)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Progress]:
    """A bar on stderr with rate and time left, where that is a terminal."""
    if not (shown and sys.stderr.isatty()):
        yield lambda _through, _of, _written: None
        return
    with rated_bar(1, "exporting") as bar:

        def progress(through: int, of: int, written: int) -> None:
            bar.length = of
            bar.update(through - bar.pos, written)

        yield progress
