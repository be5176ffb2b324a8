"""The export of ``hansard checkpoint --export``, and what a terminal sees of it."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from hansard.reader_connection import ReadConnection
from hansard.wording import counted
from hansard_writer.cli.exits import Failed
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.tile_export import Progress, export_tiles


def export(directory: Path, note: str, place: Path) -> None:
    """Write the tree of a checkpoint of the log to ``place``, or what it lacks, and say so."""
    with closing(ReadConnection(directory)) as log:
        try:
            with _progress(read_checkpoint(note).size) as progress:
                exported = export_tiles(log, note, place, progress)
        except OSError as error:
            raise Failed(f"cannot write to {place}: {error.strerror}") from error
    said = (
        f"{place}: {counted(exported.size, 'entry', 'entries')}, {exported.new_entries:,} of them "
        f"new; {counted(exported.files, 'file')} written"
    )
    if exported.minimum_index:
        said += f"; entries themselves from {exported.minimum_index + 1:,} on, for pruning"
    click.echo(said, err=True)


@contextmanager
def _progress(size: int) -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=size, label="exporting", file=sys.stderr) as bar:
        yield lambda entry: bar.update(entry - bar.pos)
