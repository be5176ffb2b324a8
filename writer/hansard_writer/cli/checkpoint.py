"""``hansard checkpoint``: the newest signed checkpoint, printed, or kept elsewhere."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import click

from hansard.served_by import require_log_here
from hansard_writer.anchoring import Anchor, take_newest
from hansard_writer.cli.export_tiles import export
from hansard_writer.cli.options import DIRECTORY, SECONDS, directory_option

TIMEOUT_S: Final = 5.0
INTERVAL_S: Final = 60.0
STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_EXAMPLES: Final = """\b
Examples:
  hansard checkpoint > /media/usb/checkpoint
  hansard checkpoint --watch /mnt/elsewhere/audit --interval 10
  hansard checkpoint --export /srv/www/audit
"""


@click.command(name="checkpoint", epilog=_EXAMPLES)
@directory_option
@click.option(
    "--watch",
    "place",
    type=DIRECTORY,
    help="Keep new checkpoints in this directory, until SIGTERM or Ctrl-C.",
)
@click.option(
    "--interval",
    type=SECONDS,
    default=INTERVAL_S,
    show_default=True,
    help="Seconds between two looks, with --watch.",
)
@click.option(
    "--export",
    "site",
    type=DIRECTORY,
    help="Write the log's tree and entries there, as static files (C2SP tlog-tiles).",
)
@click.option("--timeout", type=SECONDS, default=TIMEOUT_S, show_default=True, help="Seconds.")
def command(
    directory: Path, place: Path | None, interval: float, site: Path | None, timeout: float
) -> None:
    """Print the newest checkpoint: what the log holds, signed.

    It is a C2SP signed note of the log's size and Merkle root. Whoever keeps it elsewhere can hold
    the log to account.

    A writer that runs signs what is committed now. Where none runs the last checkpoint is printed,
    and stderr says how many entries are behind it.

    With --watch each new checkpoint becomes a file of its own in another directory, and
    `checkpoint` there the newest; the path of each is printed. Before it replaces one, the log's
    tree must show that it continues what was kept; else all stays as it is, and it exits with 1.

    With --export the directory gets the tree of the newest checkpoint, and the entries without
    their payloads, as files that any web server can serve; the next time only what is new.
    """
    if place is not None and site is not None:
        raise click.UsageError("--watch and --export are two things: say one at a time.")
    for option, other in (("--watch", place), ("--export", site)):
        if other is not None and other.resolve() == directory.resolve():
            raise click.UsageError(
                f"{option} names the log's own directory, which has a checkpoint of its own: name "
                "another, best where the log's owner cannot write."
            )
    if place is not None or site is not None:
        require_log_here(directory)  # or nobody could look what it holds
    if place is not None:
        _watch(directory, place, interval, timeout)
        return
    taken = take_newest(directory, timeout)
    if taken.notice:
        click.echo(_sentence(taken.notice), err=True)
    if site is not None:
        export(directory, taken.note, site)
        return
    click.echo(taken.note, nl=False)


def _watch(directory: Path, place: Path, interval_s: float, timeout_s: float) -> None:
    anchor, complaint = Anchor(place), ""
    with _stops() as stopped:
        while True:
            taken = take_newest(directory, timeout_s, must_answer=False)
            path, said = None, taken.notice
            try:
                path = anchor.keep(taken.note, directory)
            except OSError as error:
                where = error.filename or place
                said = f"cannot write {where} ({error.strerror}): it is tried again"
            if path:
                click.echo(path)
            if said and said != complaint:
                click.echo(_sentence(said), err=True)
            complaint = said
            if select.select([stopped], [], [], interval_s)[0]:
                return


@contextlib.contextmanager
def _stops() -> Iterator[int]:
    """Within, SIGTERM, SIGINT and SIGHUP end nothing: a descriptor can be read from then on."""
    reads, writes = os.pipe()
    os.set_blocking(writes, False)

    def stop(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writes, b"\0")

    before = {number: signal.signal(number, stop) for number in STOPS}
    try:
        yield reads
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reads)
        os.close(writes)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
