"""``hansard redact``: takes content out of the log, for good."""

import sys
from pathlib import Path

import click

from hansard.redaction import TIMEOUT_S, Redaction, redact
from hansard.served_by import writer_of
from hansard.wording import counted
from hansard_writer.cli.exits import AnswerIsNo
from hansard_writer.cli.options import SECONDS, TEXT, directory_option


class Seqs(click.ParamType):  # type: ignore[type-arg]  # older clicks have no argument
    """Ids of entries: ``7``, ``7,9`` and ``7-9``."""

    name = "n[,n-m…]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[tuple[int, int]]:
        pairs = []
        for each in str(value).split(","):
            first, dash, last = each.partition("-")
            try:
                pairs.append((int(first), int(last if dash else first)))
            except ValueError:
                self.fail(f"{each!r} is no id, and no range of ids like 7-9.", param, ctx)
        return pairs


@click.command(
    name="redact",
    epilog="""\b
Examples:
  hansard redact --seq 168,170-175 --reason 'a password on the command line'
  hansard redact --workflow nightly --reason 'GDPR request 12' --dry-run
""",
)
@directory_option
@click.option("--seq", type=Seqs(), multiple=True, help="These entries, by their ids.")
@click.option("--workflow", "workflow_id", type=TEXT, help="All operations of this workflow.")
@click.option("--task", "task_id", type=TEXT, help="All entries of this task.")
@click.option("--reason", type=TEXT, required=True, help="Why; it is kept in the log.")
@click.option("--by", type=TEXT, help="Who says so. [default: user@host]")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option(
    "--timeout",
    type=SECONDS,
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds to wait for what keeps the files from being wiped.",
)
def command(
    directory: Path,
    seq: tuple[list[tuple[int, int]], ...],
    workflow_id: str | None,
    task_id: str | None,
    reason: str,
    by: str | None,
    dry_run: bool,
    timeout: float,
) -> None:
    """Take payloads out of the log for good; nothing is asked. The entries stay, and stay provable.

    Gone with a payload are what was made from it (full text, a task's attributes) and the dead
    letters of that task or workflow. An entry `hansard.redacted` says who, what and why. Then the
    log's files are wiped: the command is done when none of them holds a byte of it any more.

    Exits with 1 when there was nothing to redact, and when something keeps the files from being
    wiped: it says what. Repeat it then: what is redacted already is passed over, and the files are
    looked at again. Copies elsewhere (backups, exports, proofs) are yours to find, and outcomes of
    calls are no entries: they are forgotten after an hour.
    """
    if [seq or None, workflow_id, task_id].count(None) != 2:
        raise click.UsageError("Name entries by one of --seq, --workflow and --task.")
    writer = writer_of(directory)
    redaction = redact(
        writer,
        seq=[pair for pairs in seq for pair in pairs] if seq else None,
        workflow_id=workflow_id,
        task_id=task_id,
        reason=reason,
        by=by,
        dry_run=dry_run,
        timeout=timeout,
        progress=_show,
    )
    _tell_of_passed_over(redaction)
    would = "would be " if dry_run else ""
    letters = f", {counted(redaction.letters, 'dead letter')} too" if redaction.letters else ""
    click.echo(f"{counted(redaction.entries, 'entry', 'entries')} {would}redacted{letters}")
    if not (redaction.entries or redaction.letters or redaction.before):
        raise AnswerIsNo("There was nothing to redact.")
    if not (redaction.done or dry_run):
        what = "\n  ".join(redaction.held_up_by)
        raise AnswerIsNo(
            "The entries are redacted, but bytes of them remain in the files until this is out of "
            f"the way:\n  {what}\nThen repeat the command."
        )
    if not dry_run:
        click.echo(f"No file {writer.whose} holds any of it any more.", err=True)


def _tell_of_passed_over(redaction: Redaction) -> None:
    for count, what in (
        (redaction.before, "redacted before"),
        (redaction.own, "of the log's own, which are not redacted"),
        (redaction.empty, "without a payload"),
        (redaction.missing, "not in the log (any more)"),
    ):
        if count:
            click.echo(f"Passed over: {count:,} {what}.", err=True)


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"  {progress} …\x1b[K\r", nl=False, err=True)
