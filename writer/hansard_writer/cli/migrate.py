"""``hansard migrate``: a log of an earlier release becomes one of this release."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from hansard.wording import counted
from hansard_writer import migrating, schema
from hansard_writer.cli.exits import Interrupted
from hansard_writer.cli.options import log_directory_option
from hansard_writer.cli.progress import Phases
from hansard_writer.migrating import Observer
from hansard_writer.migration_plan import Plan, Step

_UNITS: Final = {"backing up": ("MB", 1e6), "hashing": ("entries", 1.0)}
_EXAMPLES: Final = """\b
Examples:
  hansard migrate --dry-run
  systemctl stop hansard && hansard migrate && systemctl start hansard
  hansard migrate --dir /var/lib/myapp/audit --backup-to /mnt/backup/audit-before.db
"""


@click.command(name="migrate", epilog=_EXAMPLES)
@log_directory_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done, and what room it takes; change no byte.",
)
@click.option("--no-backup", is_flag=True, help="Keep no copy of the log as it was.")
@click.option(
    "--backup-to",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where the copy goes, a new file. [default: beside log.db, named by version and time]",
)
def command(directory: Path, dry_run: bool, no_backup: bool, backup_to: Path | None) -> None:
    """Bring a log of an earlier release to the schema of this one.

    One version after the other, each in one transaction; entries stay as they are. Killed at any
    moment, the log is whole, and the same command goes on. There is no way back but the backup,
    which is taken first, and holds all that the log holds: payloads that are redacted later stay
    in it, so remove it once all is well.

    No writer may serve the log meanwhile; workers may record, into their spools. A log that is of
    this release's schema is left alone.

    Exits with 4 while a writer serves the log, and with 1 for one that cannot be migrated.
    """
    if no_backup and backup_to is not None:
        raise click.UsageError("--no-backup and --backup-to FILE exclude each other.")
    if dry_run:
        for line in _planned(migrating.look(directory), no_backup, backup_to):
            click.echo(line)
        return
    with Phases(_UNITS) as phases:
        try:
            done = migrating.migrate(
                directory, backup=not no_backup, backup_to=backup_to, observer=_Shown(phases)
            )
        except KeyboardInterrupt:
            raise Interrupted(
                "Interrupted: the log is whole, and the same command goes on with it."
            ) from None
    plan = done.plan
    if not plan.steps:
        click.echo(_current(plan))
        return
    click.echo(f"{plan.path} has schema {schema.VERSION} now; it had {plan.version}.")
    if done.backup is not None:
        click.echo(f"Its backup is {done.backup}. To put it back, stop the writer, and")
        click.echo(f"  {_way_back(plan.path, done.backup)}")
        click.echo(f"then go on with the release that wrote it (schema {plan.version}).")


def _planned(plan: Plan, no_backup: bool, backup_to: Path | None) -> Iterator[str]:
    if not plan.steps:
        yield _current(plan)
        return
    yield f"{plan.path} has schema {plan.version}, and this release {schema.VERSION}."
    for step in plan.steps:
        entries = f" ({counted(step.entries, 'entry', 'entries')})" if step.entries else ""
        yield f"  to {step.version}    {step.summary}{entries}"
    if not no_backup:
        yield f"  backup  {plan.backup_bytes:,} bytes, {backup_to or 'beside it'}"
    yield f"  room    {plan.room_bytes:,} bytes besides, while it runs"
    yield "Nothing was changed."


def _current(plan: Plan) -> str:
    return f"{plan.path} has schema {plan.version}, which is this release's: nothing is to be done."


def _way_back(path: Path, backup: Path) -> str:
    log, copy = shlex.quote(str(path)), shlex.quote(str(backup))
    return f"rm -f {log}-wal {log}-shm && mv {copy} {log}"


class _Shown(Observer):
    """What is done, on stderr, as it is done."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases

    def progress(self, what: str, done: int, total: int) -> None:
        self._phases(what, done, total)

    def backed_up(self, backup: Path) -> None:
        self._phases.end()
        click.echo(f"backed up to {backup}", err=True)

    def migrated(self, step: Step) -> None:
        self._phases.end()
        click.echo(f"schema {step.version}: {step.summary}", err=True)
