"""Files that a command is given to read. What is in them is for others to say."""

from pathlib import Path

import click

from hansard_writer.cli.exits import Unusable


def read_given(path: Path, bytes_max: int) -> bytes:
    """The first bytes of a file, or of standard input for ``-``: one more than ``bytes_max`` where
    there are too many. Raises `Unusable`."""
    try:
        with click.open_file(str(path), "rb") as file:
            data: bytes = file.read(bytes_max + 1)
    except OSError as error:
        raise Unusable(f"cannot read {path}: {error.strerror}") from error
    return data
