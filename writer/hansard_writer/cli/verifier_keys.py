"""``--key FILE``: whose signatures are trusted."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from hansard_writer.cli.exits import Unusable
from hansard_writer.cli.given_files import read_given
from hansard_writer.cli.options import Function
from hansard_writer.proof.signed_note import MalformedKey, VerifierKey

KEYS_BYTES_MAX: Final = 65_536


def keys_option(function: Function) -> Function:
    """Passes ``key_files``, for `keys_in`."""
    return click.option(
        "--key",
        "key_files",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        metavar="FILE",
        help="Verifier keys to trust, one a line: the log's writer.pub. (repeatable)",
    )(function)


def keys_in(paths: Iterable[Path]) -> list[VerifierKey]:
    """The verifier keys in files. Raises `Unusable` for a line that is none."""
    return [key for path in paths for key in _keys(path)]


def _keys(path: Path) -> Iterator[VerifierKey]:
    data = read_given(path, KEYS_BYTES_MAX)
    if len(data) > KEYS_BYTES_MAX:
        raise Unusable(f"{path} has more than {KEYS_BYTES_MAX:,} bytes: it is no file of keys")
    lines = data.decode(errors="backslashreplace").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            try:
                yield VerifierKey.parse(line)
            except MalformedKey as error:
                raise Unusable(f"{path}:{number}: {error}") from error
