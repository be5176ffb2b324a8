"""The export of ``hansard checkpoint --export``, and what a terminal sees of it."""

from contextlib import closing
from pathlib import Path

import click

from hansard.reader_connection import ReadConnection
from hansard.wording import counted
from hansard_writer.cli.exits import Failed
from hansard_writer.cli.progress import Phases
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.tile_export import export_tiles


def export(directory: Path, note: str, place: Path) -> None:
    """Write the tree of a checkpoint of the log to ``place``, or what it lacks, and say so."""
    with closing(ReadConnection(directory)) as log:
        try:
            size = read_checkpoint(note).size
            with Phases() as phases:
                exported = export_tiles(
                    log, note, place, lambda entry: phases("exporting", entry, size)
                )
        except OSError as error:
            raise Failed(f"cannot write to {place}: {error.strerror}") from error
    said = (
        f"{place}: {counted(exported.size, 'entry', 'entries')}, {exported.new_entries:,} of them "
        f"new; {counted(exported.files, 'file')} written"
    )
    if exported.minimum_index:
        said += f"; entries themselves from {exported.minimum_index + 1:,} on, for pruning"
    click.echo(said, err=True)
