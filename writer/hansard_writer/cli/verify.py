"""``hansard verify``: whether a log is what was entered and signed, here or at a target."""

from functools import partial
from pathlib import Path
from typing import Final

import click
import orjson

from hansard import directory as layout
from hansard_writer.cli.collector import without_collector
from hansard_writer.cli.exits import NO, Unusable
from hansard_writer.cli.given_files import read_given
from hansard_writer.cli.options import Number, directory_option, report_format_option
from hansard_writer.cli.output import printable
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.selecting import step_back
from hansard_writer.cli.verifier_keys import keys_in, keys_option
from hansard_writer.cli.verify_report import fitted, lines_of
from hansard_writer.cli.verify_target import verify_target
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, MalformedNote
from hansard_writer.proof.verifying import verify
from hansard_writer.proof.verifying.kept_verdict import keep_verdict

NOTE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_VERIFYING: Final = "verifying"


@click.command(
    name="verify",
    epilog="""\b
Examples:
  hansard verify
  hansard verify --checkpoint kept-checkpoint --key kept.pub
  hansard verify --dir /backup/log --since 1000000 --format json
  hansard verify postgresql://audit@db.example/audit --key host-a.pub --key host-b.pub
""",
)
@click.argument("target", required=False)
@directory_option
@click.option(
    "--checkpoint",
    "checkpoint_files",
    multiple=True,
    type=NOTE,
    metavar="FILE",
    help="A checkpoint that was kept elsewhere: the log must still be its history. (repeatable)",
)
@keys_option
@click.option(
    "--since",
    type=Number(1),
    metavar="SIZE",
    help="Recompute only what is behind a checkpoint of this size, or the next smaller one.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Of TARGET, only the log of this origin: hansard/… (repeatable)",
)
@report_format_option
@click.pass_context
def command(
    context: click.Context,
    target: str | None,
    directory: Path,
    checkpoint_files: tuple[Path, ...],
    key_files: tuple[Path, ...],
    since: int | None,
    origins: tuple[str, ...],
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Check that nobody has altered a log, here or at a TARGET.

    Every hash is recomputed from the entries, and every signature is checked.

    The verdict is one of: intact; pruned (intact, but for a beginning that the log itself says was
    pruned); altered, with the entries that are; forked, another history than a signed checkpoint
    says; truncated, smaller than one says. Exits with 1 for the last three.

    Who can write the log's files and has its key can rewrite all of it, so that only a checkpoint
    shows it that was kept elsewhere (`hansard checkpoint --watch`): give it with --checkpoint, and
    the key with --key. Without --key the directory's own writer.pub is believed.

    The log may be in use; beside its writer, the command has the lowest priority. It changes
    nothing but DIR/verified, where it leaves its report.

    \b
    TARGET is where `hansard ship` has shipped logs to:
      postgresql://USER@HOST/DATABASE   its tables
      /mnt/archive                      Parquet files

    All logs in it are verified against their own checkpoints and the keys that --key gives, so
    that whoever keeps it need not be trusted. A log without a key is not looked at, and one that
    has a key or a checkpoint given and is not there is missing; both are the answer no.
    """
    keys, notes = keys_in(key_files), [_note(path) for path in checkpoint_files]
    if key_files and not keys:
        raise Unusable("The files of --key hold no key.")
    if target is not None:
        _refuse_beside_a_target(context)
        verify_target(target, keys, notes, origins, format)
        return
    if origins:
        raise click.UsageError("--origin is for a TARGET, which has several logs.")
    if layout.a_writer_lives(directory):
        step_back()
    with without_collector(), Phases({_VERIFYING: ("entries", 1.0)}) as phases:
        progress = partial(phases, _VERIFYING)
        report = verify(directory, keys=keys, checkpoints=notes, since=since, progress=progress)
    keep_verdict(directory, report)
    if format == "json":
        click.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in lines_of(report):
            click.echo(fitted(printable(line)))
    if not report.is_good:
        raise click.exceptions.Exit(NO)


def _refuse_beside_a_target(context: click.Context) -> None:
    """What is about a log's directory has no meaning for a target."""
    for name, option in (("directory", "--dir"), ("since", "--since")):
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{option} is about a log in its own directory: leave TARGET or {option} out."
            )


def _note(path: Path) -> bytes:
    """The note in a file."""
    note = read_given(path, NOTE_BYTES_MAX)
    try:
        read_checkpoint(note)
    except MalformedNote as error:
        raise Unusable(f"{path} is no checkpoint: {error}") from error
    return note
