"""``hansard keys``: who signs a log, and since when; a new key. Clients' are in `client_keys`."""

from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard.reader_connection import ReadConnection
from hansard.served_by import require_log_here
from hansard_writer.cli import client_keys
from hansard_writer.cli.exits import AnswerIsNo, NoWriter
from hansard_writer.cli.options import SECONDS, directory_option, format_option
from hansard_writer.cli.output import print_rows
from hansard_writer.key_rotation import rotate_key
from hansard_writer.proof.key_chain import Link, read_key_chain

TIMEOUT_S: Final = 30.0
COLUMNS: Final = ("since", "reason", "verifier_key")

_LIST_EXAMPLES: Final = """\b
Examples:
  hansard keys list
  hansard keys list --format jsonl | jq -r .verifier_key > all.pub
"""


@click.group(
    name="keys",
    epilog="""\b
Examples:
  hansard keys list
  hansard keys rotate
  hansard keys new
  hansard keys allow web-1.pub --name web-1
""",
)
def command() -> None:
    """Manage the keys that sign a log, and those of other hosts.

    The two have nothing to do with each other: `list` shows the public keys that sign checkpoints,
    `allowed` the clients that may connect to `hansard serve --tcp`.
    """


for _each in (client_keys.new, client_keys.allow, client_keys.revoke, client_keys.allowed):
    command.add_command(_each)


@command.command(name="list", epilog=_LIST_EXAMPLES)
@directory_option
@format_option
def list_(directory: Path, format: str) -> None:  # noqa: A002 - the option's name
    """Print the public keys that sign the log's checkpoints, oldest first.

    `since` is the size of the log from which on a key signs: the entry with that id says why. The
    name of a key is the origin of its checkpoints. The log says so of itself: an outsider keeps
    the first key, with which `hansard verify` checks all that follow.

    A file of `verifier_key`s, one a line, is what `--key` of other commands takes. A single proof
    or archive is checked with the key that signed it, which after a rotation is a later one.
    """
    log = ReadConnection(directory)
    try:
        chain = read_key_chain(log.rows)
    finally:
        log.close()
    if chain is None:
        raise AnswerIsNo(f"{directory} was never signed: `hansard serve` makes its first key.")
    print_rows(map(_row, chain.links), COLUMNS, format)


@command.command(
    name="rotate",
    epilog="""\b
Examples:
  hansard keys rotate
  openssl genpkey -algorithm ed25519 -out new.pem && hansard keys rotate --key new.pem
""",
)
@directory_option
@click.option(
    "--key",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The new key: PEM (PKCS#8), Ed25519, mode 600. [default: a new one is made]",
)
@click.option("--timeout", type=SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds.")
def rotate(directory: Path, path: Path | None, timeout: float) -> None:
    """Have the writer sign with another key from now on; prints its public half.

    An entry hansard.key names both keys, and both sign the first checkpoint behind it: that is how
    the old key vouches for the new one. Checkpoints that others keep stay verifiable. The old key
    is overwritten; it is of no use any more, unless somebody has stolen it.

    Only who may write the log's directory can do this. Exits with 3 when no writer answers.
    """
    require_log_here(directory)
    if not layout.a_writer_lives(directory):
        raise NoWriter(
            f"no writer runs in {directory}: start one with `hansard serve --dir {directory}`"
        )
    rotated = rotate_key(directory, path, timeout)
    click.echo(f"Entry {rotated.seq} says so, and both keys have signed for it.", err=True)
    click.echo(rotated.verifier_key)


def _row(link: Link) -> dict[str, Any]:
    return {"since": link.since, "reason": link.reason, "verifier_key": str(link.key)}
