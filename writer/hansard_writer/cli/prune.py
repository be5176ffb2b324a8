"""``hansard prune``: the oldest entries go, and an archive of them proves what they were."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import AuditLogError, WriterUnavailable
from hansard.reader.paging import Rows
from hansard.reader.resting import RestingRows
from hansard.reader_connection import ReadConnection
from hansard.refusals import timestamp
from hansard.settings import age_seconds
from hansard.whoami import whoami
from hansard.wording import counted
from hansard_writer import retention
from hansard_writer.cli.exits import AnswerIsNo, Failed, NoWriter
from hansard_writer.cli.options import NUMBER, SECONDS, TEXT, TIME, log_directory_option
from hansard_writer.cli.progress import progress_bar
from hansard_writer.cli.selecting import step_back
from hansard_writer.cli.vacuum import give_back, room_in, size, would_give_back
from hansard_writer.cli.verifier_keys import keys_in, keys_option
from hansard_writer.retention import Prefix

ANSWER_S: Final = 30.0  # for one question to the writer
LOOK_S: Final = 0.2  # between two
WORDS_AFTER_S: Final = 5.0  # without progress, before it is said why


class Before(click.ParamType):  # type: ignore[type-arg]  # older clicks have no argument
    """A time as ns since 1970 UTC: ISO 8601, or an age. Not in the future."""

    name = "time|age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        now = time.time_ns() // 1_000 * 1_000  # as the log says it
        age = age_seconds(str(value))
        if age is not None:
            before = now - age * 10**9
            if before < 0:
                self.fail(f"{value!r} is before 1970.", param, ctx)
            return before
        try:
            before = TIME.convert(value, param, ctx)
        except click.BadParameter as error:
            words = error.message.rstrip(".")
            self.fail(f"{words}, or an age in s, m, h, d or w, like 90d.", param, ctx)
        if before > now:
            self.fail(f"{value!r} is in the future: all entries are older.", param, ctx)
        return before


@click.command(
    name="prune",
    epilog="""\b
Examples:
  hansard prune --before 90d --dry-run
  hansard prune --before 2026-01-01 --archive 2025.jsonl.gz --reason "two years are enough"
  hansard prune --vacuum
  hansard prune --check-archive 2025.jsonl.gz --key writer.pub
""",
)
@log_directory_option
@click.option(
    "--before",
    type=Before(),
    metavar="TIME|AGE",
    help="ISO 8601, UTC unless it names a zone; or an age in s, m, h, d or w, as 90d.",
)
@click.option("--keep-last", type=NUMBER, default=0, help="Keep so many of the newest at least.")
@click.option(
    "--vacuum",
    is_flag=True,
    help="Give free space back to the file system, behind the pruning or by itself.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@click.option(
    "--archive",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write what goes to this new file first: gzip, JSON lines, provable without the log.",
)
@click.option("--reason", type=TEXT, help="Why, for the log.")
@click.option("--by", type=TEXT, help="Who, for the log. [default: user@host]")
@click.option(
    "--timeout",
    type=SECONDS,
    help="Wait so many seconds at most; it goes on without you. [default: until it is done]",
)
@click.option(
    "--check-archive",
    "checked",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Check an archive instead, with --key. It needs no log.",
)
@keys_option
def command(
    directory: Path,
    before: int | None,
    keep_last: int,
    vacuum: bool,
    dry_run: bool,
    archive: Path | None,
    reason: str | None,
    by: str | None,
    timeout: float | None,
    checked: Path | None,
    key_files: tuple[Path, ...],
) -> None:
    """Delete the log's oldest entries, up to a time.

    That is all in front of the first that is not older than TIME.

    Entries are not always in the order of their times (a spool that was found late, an import of
    old records, whose ledger is as new as the import): one that is newer keeps what is behind it.
    An entry hansard.pruned says who, why and up to where; it is signed before anything goes. What
    stays is proven as before, and so is what was proven before.

    The writer deletes piece by piece, after a restart too, and at last the words in the index of
    full text. The file does not become smaller by that: its pages are zeroed, and used again. Dead
    letters and tasks stay; an archive is not redacted.

    With --vacuum it does become smaller. The first time the log is written anew for that: nobody
    may serve it, and there must be room for it twice. From then on it goes piece by piece while
    workers record; but each event costs the writer more, a third in a log of 10 million entries.

    The settings retention_max_age and retention_max_bytes have the writer prune by itself.

    Exits with 1 when there is nothing to do, or --check-archive proves nothing.
    """
    if checked is not None:
        if before is not None or archive is not None or dry_run or vacuum:
            raise click.UsageError("--check-archive goes with --key alone.")
        _check(checked, key_files)
        return
    if key_files:
        raise click.UsageError("--key goes with --check-archive.")
    prefix = None
    deadline = None if timeout is None else time.monotonic() + timeout
    if before is not None:
        prefix = _prepare(directory, before, keep_last, archive, vacuum=vacuum, dry_run=dry_run)
        if prefix is not None and not dry_run:
            name = None if archive is None else archive.name
            request = wire.Prune(prefix.last, before, by or whoami(), reason, name)
            _prune(directory, request, prefix, deadline)
    elif not vacuum:
        raise click.UsageError("Say --before TIME, or an age as --before 90d; or --vacuum.")
    elif archive is not None or reason is not None or keep_last:
        raise click.UsageError("--archive, --reason and --keep-last go with --before.")
    if dry_run:
        click.echo(would_give_back(room_in(directory), behind_pruning=prefix is not None))
    elif vacuum:
        click.echo(give_back(directory, deadline))


def _prepare(
    directory: Path,
    before: int,
    keep_last: int,
    archive: Path | None,
    *,
    vacuum: bool,
    dry_run: bool,
) -> Prefix | None:
    """Find what goes, and write its archive, while workers go on. None where there is nothing, and
    something else is to be done."""
    if not (dry_run or layout.a_writer_lives(directory)):
        raise NoWriter(
            f"no writer runs in {directory}: start one with `hansard serve --dir {directory}`"
        )
    try:
        prefix = _found(directory, before, keep_last, None if dry_run else archive)
    except AnswerIsNo as nothing:
        if not vacuum:
            raise
        nothing.show()
        return None
    if dry_run:
        click.echo(f"Would prune {_said(prefix)}")
    return prefix


def _found(directory: Path, before: int, keep_last: int, archive: Path | None) -> Prefix:
    if archive is not None and archive.exists():
        raise Failed(f"{archive} exists: name another file, or move it away")
    with closing(ReadConnection(directory)) as log:
        rows: Rows = log.rows
        if layout.a_writer_lives(directory):
            step_back()
            rows = RestingRows(log.rows)
        prefix = retention.find_prefix(rows, before, keep_last)
        if not prefix.entries:
            raise AnswerIsNo(_nothing(prefix, keep_last))
        if archive is not None:
            if not retention.is_covered(rows, prefix.last):
                requester.ask(directory, wire.pack_request(wire.TakeCheckpoint()), ANSWER_S)
            try:
                with progress_bar(prefix.entries, "archiving") as progress:
                    retention.write_archive(rows, archive, prefix, progress)
            except OSError as error:
                raise Failed(f"cannot write {archive}: {error.strerror or error}") from error
            except AuditLogError as error:
                raise Failed(f"{error}; nothing was pruned; see `hansard verify`") from error
    return prefix


def _prune(directory: Path, request: wire.Prune, prefix: Prefix, deadline: float | None) -> None:
    """Ask for it, and wait until it is done, or the deadline (by `time.monotonic`)."""
    gone, moved_at, said = prefix.first - 1, time.monotonic(), ""
    with progress_bar(prefix.entries, "pruning") as progress:
        while gone < request.last:
            try:
                content = requester.ask_as_owner(directory, request, ANSWER_S)
            except WriterUnavailable as error:
                raise NoWriter(f"{error}; what was begun goes on when a writer runs") from error
            state = wire.prune_state_of(content)
            now, to = time.monotonic(), min(state.pruned_to, request.last)
            if to > gone:
                progress(to - gone)
                gone, moved_at = to, now
            if gone == request.last:
                break
            if deadline is not None and now >= deadline:
                why = f" ({state.held_up_by})" if state.held_up_by else ""
                raise AnswerIsNo(
                    f"{counted(request.last - gone, 'entry', 'entries')} of {prefix.entries:,} "
                    f"are still to go{why}: the writer goes on; `hansard stats` says how far it is"
                )
            if now - moved_at > WORDS_AFTER_S and state.held_up_by not in ("", said):
                said = state.held_up_by
                click.echo(f"waiting: {said}", err=True)
            time.sleep(LOOK_S)
    click.echo(f"Pruned {_said(prefix)}")


def _check(path: Path, key_files: tuple[Path, ...]) -> None:
    if not key_files:
        raise click.UsageError("--check-archive goes with --key: whose signature is to be trusted?")
    keys = keys_in(key_files)
    try:
        archived = retention.read_archive(path, keys)
    except OSError as error:
        raise Failed(f"cannot read {path}: {error.strerror or error}") from error
    except AuditLogError as error:
        raise AnswerIsNo(f"Not proven: {error}.") from error
    head, checkpoint = archived.head, archived.checkpoint
    click.echo(
        f"Proven: entries {head.first:,} to {head.last:,} were in the log of "
        f"{checkpoint.size:,} entries; {archived.redacted:,} of them redacted."
    )
    click.echo(f"  origin     {checkpoint.origin}")
    for key in archived.signers:
        click.echo(f"  signed by  {key}")


# --- words ---


def _said(prefix: Prefix) -> str:
    return (
        f"{counted(prefix.entries, 'entry', 'entries')}: {prefix.first:,} to {prefix.last:,}, "
        f"created from {timestamp(prefix.oldest)} to {timestamp(prefix.newest)}, "
        f"about {size(prefix.bytes)}."
    )


def _nothing(prefix: Prefix, keep_last: int) -> str:
    if prefix.kept_since is None:
        kept = " that is not kept by --keep-last" if keep_last else ""
        return f"There is nothing to prune: the log has no entry{kept}."
    return (
        f"There is nothing to prune: the first entry, {prefix.first:,}, is of "
        f"{timestamp(prefix.kept_since)}, and keeps what is behind it."
    )
