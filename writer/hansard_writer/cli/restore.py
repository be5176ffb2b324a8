"""``hansard restore``: a backup becomes the log again."""

import shlex
import sys
from pathlib import Path
from typing import Final

import click

from hansard.settings import SETTINGS_FILE
from hansard.whoami import whoami
from hansard.wording import counted
from hansard_writer.backups.restoring import Prospect, Restored, foresee, restore
from hansard_writer.cli.exits import AnswerIsNo, Unusable
from hansard_writer.cli.options import TEXT, log_directory_option
from hansard_writer.cli.output import printable
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.verifier_keys import keys_in, keys_option

WIDTH: Final = 10


@click.command(
    name="restore",
    epilog="""\b
Examples:
  hansard restore /mnt/backup/audit.db --dry-run
  hansard restore /mnt/backup/audit.db
  hansard restore audit.db --dir /srv/audit --key kept.pub --yes
""",
)
@click.argument("file", type=click.Path(path_type=Path))
@log_directory_option
@click.option("--dry-run", is_flag=True, help="Check FILE, say what would happen, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--no-verify", is_flag=True, help="Do not verify FILE.")
@keys_option
@click.option(
    "--accept-lost-key",
    is_flag=True,
    help="Where the log's key is not to be had any more: make a new one, and say so in the log.",
)
@click.option("--by", type=TEXT, help="Who, for the log. [default: user@host]")
def command(
    file: Path,
    directory: Path,
    dry_run: bool,
    yes: bool,
    no_verify: bool,
    key_files: tuple[Path, ...],
    accept_lost_key: bool,
    by: str | None,
) -> None:
    """Put a backup in place of the log, or where there is none.

    The writer must be stopped. FILE is copied beside the log and verified; then you are asked;
    then the present log (log.db, its -wal and -shm) is put aside, all of it, in
    DIR/before-restore-TIME/, and the copy takes its place. FILE itself is not changed.

    What was recorded since the backup is not in the log then. The log says so itself: in an entry
    hansard.rollback (what was restored, when, by whom), with which a new origin of its checkpoints
    begins, and, for each producer whose events are gone, in an entry hansard.lost once it records
    again. What producers still hold in their spools is entered. A plain `hansard serve` follows.

    If it is cut short at any point, no writer starts on what is there: the same command finishes
    it, and asks nothing.

    On another machine the log's key is needed: DIR/writer.key, or FILE.key (backup --with-key).
    Another log's backup is refused where there is a log. Exits with 4 while a writer serves DIR.
    """
    given = keys_in(key_files)
    if key_files and not given:
        raise Unusable("The files of --key hold no key.")
    with Phases() as progress:
        if dry_run:
            prospect = foresee(directory, file, given, verifies=not no_verify, progress=progress)
            progress.end()
            _say(prospect, err=False)
            return

        def confirm(prospect: Prospect) -> bool:
            progress.end()
            _say(prospect, err=True)
            return yes or prospect.present is None or _confirmed()

        restored = restore(
            directory,
            file,
            given,
            by=by or whoami(),
            verifies=not no_verify,
            accept_lost_key=accept_lost_key,
            confirm=confirm,
            progress=progress,
        )
    if restored is None:
        raise AnswerIsNo("Nothing was changed.")
    _tell(restored, directory)


def _confirmed() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Unusable("Nobody can be asked here: say --yes. Nothing was changed.")
    return click.confirm("Put it in place of the present log?", default=False, err=True)


def _say(prospect: Prospect, *, err: bool) -> None:
    """What will happen, before it does; it is what a dry run is asked for."""
    backup, report = prospect.backup, prospect.report
    for name, value in (
        ("backup", f"{prospect.file}: {counted(backup.entries, 'entry', 'entries')}"),
        ("log", backup.log_id),
        ("verified", "no: --no-verify" if report is None else str(report.verdict)),
        ("trusting", prospect.trusting),
        ("replaces", _replaced(prospect)),
        ("lost", _lost(prospect)),
    ):
        click.echo(f"  {name:<{WIDTH}}{printable(value)}", err=err)


def _replaced(prospect: Prospect) -> str:
    present = prospect.present
    if present is None:
        return "nothing: there is no log yet"
    if present.entries is None:
        return f"a log that cannot be read: {present.why}"
    return f"the present log, {counted(present.entries, 'entry', 'entries')}, which is put aside"


def _lost(prospect: Prospect) -> str:
    present, kept = prospect.present, prospect.backup.entries
    if present is None:
        return "nothing here; whatever was recorded since the backup was made"
    if present.has_another_history:
        return "all that the present log has behind the beginning that it shares with the backup"
    if present.entries is None:
        return "whatever was recorded since the backup was made"
    if not prospect.lost:
        return "no entry"
    return f"{counted(prospect.lost, 'entry', 'entries')}: {kept + 1:,} to {present.entries:,}"


def _tell(restored: Restored, directory: Path) -> None:
    """What was done, and what is to be done now."""
    click.echo(
        f"Restored {directory}: {counted(restored.entries, 'entry', 'entries')} with the one that "
        f"says so; its checkpoints are of {restored.origin} from here on."
    )
    if restored.aside:
        click.echo(
            f"The log that was there is in {restored.aside}: it can be read with --dir. Nothing "
            "is redacted there, and no redaction of the log is done while it is: delete it with "
            f"`rm -r {shlex.quote(str(restored.aside))}` once you do not need it.",
            err=True,
        )
    elif not (directory / SETTINGS_FILE).exists():
        click.echo(
            f"There is no {SETTINGS_FILE} in {directory}, and none in a backup: if the log had "
            "settings or derived fields of its own, put a copy of it there first.",
            err=True,
        )
    click.echo(
        "What was redacted since the backup is in the log again: redact it again. Start the "
        f"writer: `hansard serve --dir {shlex.quote(str(directory))}`.",
        err=True,
    )
