"""``hansard verify``: whether a log is what was entered and signed."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click
import orjson

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.cli.collector import without_collector
from hansard_writer.cli.exits import NO, Unusable
from hansard_writer.cli.given_files import read_given
from hansard_writer.cli.options import Number, directory_option, report_format_option
from hansard_writer.cli.output import printable
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.selecting import step_back
from hansard_writer.cli.verifier_keys import keys_in, keys_option
from hansard_writer.proof.checkpoint import encode_root, read_checkpoint
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, MalformedNote
from hansard_writer.proof.verifying import Report, verify
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX
from hansard_writer.proof.verifying.kept_verdict import keep_verdict

NOTE: Final = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_VERIFYING: Final = "verifying"
_WIDTH: Final = 13


@click.command(
    name="verify",
    epilog="""\b
Examples:
  hansard verify
  hansard verify --checkpoint kept-checkpoint --key kept.pub
  hansard verify --dir /backup/log --since 1000000 --format json
""",
)
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
@report_format_option
def command(
    directory: Path,
    checkpoint_files: tuple[Path, ...],
    key_files: tuple[Path, ...],
    since: int | None,
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Check that nobody has altered the log.

    Every hash is recomputed from the entries, and every signature is checked.

    The verdict is one of: intact; pruned (intact, but for a beginning that the log itself says was
    pruned); altered, with the entries that are; forked, another history than a signed checkpoint
    says; truncated, smaller than one says. Exits with 1 for the last three.

    Who can write the log's files and has its key can rewrite all of it, so that only a checkpoint
    shows it that was kept elsewhere (`hansard checkpoint --watch`): give it with --checkpoint, and
    the key with --key. Without --key the directory's own writer.pub is believed.

    The log may be in use; beside its writer, the command has the lowest priority. It changes
    nothing but DIR/verified, where it leaves its report.
    """
    keys, notes = keys_in(key_files), [_note(path) for path in checkpoint_files]
    if key_files and not keys:
        raise Unusable("The files of --key hold no key.")
    if layout.a_writer_lives(directory):
        step_back()
    with without_collector(), Phases({_VERIFYING: ("entries", 1.0)}) as phases:
        progress = partial(phases, _VERIFYING)
        report = verify(directory, keys=keys, checkpoints=notes, since=since, progress=progress)
    keep_verdict(directory, report)
    if format == "json":
        click.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(report):
            click.echo(_fitted(printable(line)))
    if not report.is_good:
        raise click.exceptions.Exit(NO)


def _note(path: Path) -> bytes:
    """The note in a file."""
    note = read_given(path, NOTE_BYTES_MAX)
    try:
        read_checkpoint(note)
    except MalformedNote as error:
        raise Unusable(f"{path} is no checkpoint: {error}") from error
    return note


# --- the report, for people ---


def _lines(report: Report) -> Iterator[str]:
    yield f"{report.verdict}: {_in_one_sentence(report)}"
    yield _fact("entries", _entries(report))
    yield _fact("root", encode_root(report.root))
    yield _fact("checkpoints", _checkpoints(report))
    yield _fact("trusting", ", ".join(report.keys) + _whose(report) if report.keys else "no key")
    if report.redacted:
        yield _fact("redacted", counted(report.redacted, "entry", "entries"))
    for remark in report.remarks:
        yield _fact("note", remark)
    for finding in report.findings:
        yield _fact("found", str(finding))
    if report.findings_count > len(report.findings) >= FINDINGS_NAMED_MAX:
        yield _fact("found", f"{report.findings_count:,} in all: these are the first")
    yield _fact("not proven", ", ".join(report.not_proven))
    yield _fact("took", f"{report.seconds:.1f} s")


def _in_one_sentence(report: Report) -> str:
    pruned = f"entries up to {report.pruned:,} were pruned, "
    if report.since <= report.pruned:
        good = ("every entry is as it was entered", f"{pruned}the others are as entered")
    elif report.entries:
        behind = f"every entry behind {report.since:,} is as it was entered"
        good = (behind, f"{pruned}{behind}")
    else:
        behind = f"no entry is behind {report.since:,}, and none was recomputed"
        good = (behind, f"{pruned}{behind}")
    findings = counted(report.findings_count, "finding")
    said = {
        "intact": good[0],
        "pruned": good[1],
        "altered": f"it is not all as it was entered and signed; {findings}",
    }
    if report.fork:
        fits, differs = report.fork
        where = f"entry {differs:,}"
        if differs > fits + 1:
            where = f"one of the entries {fits + 1:,} to {differs:,}"
        said["forked"] = f"another history than was signed, from {where} on"
    if report.signed_size:
        said["truncated"] = f"a signed checkpoint says that there were {report.signed_size:,}"
    unsigned = report.not_covered_yet if report.is_good else 0
    return said[report.verdict] + (f"; nobody has signed the last {unsigned:,}" if unsigned else "")


def _entries(report: Report) -> str:
    first = max(report.since, report.pruned) + 1
    if report.size < first:
        return f"{report.size:,}, none to recompute"
    return f"{report.size:,}, recomputed from {first:,} on"


def _checkpoints(report: Report) -> str:
    checked = f"{report.checkpoints:,} checked"
    if report.covered:
        checked += f", the last that fits is of size {report.covered:,}"
    return f"{checked}; not covered yet: {report.not_covered_yet:,}"


def _whose(report: Report) -> str:
    return " (given)" if report.keys_are_given else f" ({layout.PUBLIC_KEY})"


def _fact(name: str, value: str) -> str:
    return f"  {name:<{_WIDTH}}{value}"


def _fitted(line: str) -> str:
    """The line, broken between words where that is for a terminal, and every word has room."""
    indent, columns = " " * (2 + _WIDTH), shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or max(map(len, line.split())) > columns - len(indent):
        return line
    return textwrap.fill(line, columns, subsequent_indent=indent, break_on_hyphens=False)
