"""``hansard backup``: the log as one file, as of one moment, while it is recorded into."""

from pathlib import Path
from typing import Final

import click

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.backups import Backup, BackupFailed, back_up
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import log_directory_option
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.selecting import step_back

WIDTH: Final = 12


@click.command(
    name="backup",
    epilog="""\b
Examples:
  hansard backup --to /mnt/backup/audit-$(date +%F).db
  hansard backup --dir /var/lib/myapp/audit --to audit.db --with-key
""",
)
@log_directory_option
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The file to make, in a directory that is there.",
)
@click.option(
    "--with-key",
    is_flag=True,
    help="Write the private key, writer.key, to FILE.key too: whoever has that file can sign in "
    "the log's name, so keep it apart from the backup.",
)
@click.option("--no-verify", is_flag=True, help="Do not verify what was copied.")
@click.option("--force", is_flag=True, help="Replace FILE (and FILE.key) if it is there.")
def command(directory: Path, to: Path, with_key: bool, no_verify: bool, force: bool) -> None:
    """Copy the log into one file, while it is recorded into.

    It is the log as of one moment: a prefix of what there will be, up to whatever was committed
    then, in a plain SQLite database that needs no other file. `hansard restore FILE` puts it back.
    It gets its name once it is whole, on the disk, and verified with the newest checkpoint that
    the writer has signed; an old FILE is there until then.

    Workers and writer go on. The WAL keeps what is recorded while the pages are copied, so that it
    grows by that, and shrinks again. Nothing of what was redacted before is in FILE; what is
    redacted later stays in it: that is yours to delete.

    Without the key nobody can sign as this log: keep writer.key in another place once, or use
    --with-key. writer.pub and checkpoint are not needed: FILE holds what they say. hansard.toml is
    not in it: keep a copy of that too, or the fields that it declares are gone after a restore
    elsewhere, until it is there again and `hansard backfill` has run.

    Exits with 1, and leaves no FILE, when the copy is not intact.
    """
    alone = not layout.a_writer_lives(directory)
    with Phases() as progress:
        try:
            made = back_up(
                directory,
                to,
                with_key=with_key,
                verify=not no_verify,
                force=force,
                progress=progress,
                let_go=(lambda: None) if alone else step_back,
            )
        except BackupFailed as error:
            if error.report is None:
                raise
            raise AnswerIsNo(str(error)) from error
    _say(made)


def _say(made: Backup) -> None:
    def fact(name: str, value: str) -> None:
        click.echo(f"  {name:<{WIDTH}}{value}")

    click.echo(f"{made.path}: {counted(made.entries, 'entry', 'entries')}, {made.bytes:,} bytes")
    fact("log", made.log_id)
    fact("checkpoint", _checkpoint(made))
    fact("verified", _verdict(made))
    if made.key_path:
        click.echo(
            f"{made.key_path} is the private key: keep it in another place than the backup. Who "
            "has both can write a log that verifies.",
            err=True,
        )


def _checkpoint(made: Backup) -> str:
    if made.checkpoint is None:
        return "none: nobody has signed this log yet"
    behind = made.entries - made.checkpoint
    more = f"; {counted(behind, 'entry', 'entries')} behind it" if behind else ""
    return f"of {counted(made.checkpoint, 'entry', 'entries')}{more}"


def _verdict(made: Backup) -> str:
    if made.report is None:
        return "no: --no-verify"
    return f"{made.report.verdict}, in {made.report.seconds:.1f} s"
