"""``hansard import``: files of JSON lines into a log, from worker processes."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard.settings import load_settings
from hansard.wording import counted
from hansard_writer import importing
from hansard_writer.cli.exits import AnswerIsNo, Failed, Interrupted, NoWriter
from hansard_writer.cli.options import (
    SECONDS,
    SOURCE_FILE,
    TEXT,
    Function,
    Number,
    directory_option,
)

WORKERS_MAX: Final = 256
_CLEAR_LINE: Final = "\r\x1b[K"


def _path_option(name: str, help: str) -> Callable[[Function], Function]:  # noqa: A002
    """An option that passes an `importing.Path`."""

    def parsed(
        _context: click.Context, _parameter: click.Parameter, value: str | None
    ) -> importing.Path | None:
        try:
            return None if value is None else importing.Path(value)
        except ValueError as error:
            raise click.BadParameter(f"{error}.") from error

    return click.option(name, type=TEXT, metavar="PATH", callback=parsed, help=help)


@click.command(
    name="import",
    epilog="Example: hansard import events.jsonl.gz --type-field kind --time-field meta.at",
)
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=SOURCE_FILE,
)
@directory_option
@click.option(
    "--workers",
    type=Number(1, WORKERS_MAX),
    help=f"Worker processes, at most {WORKERS_MAX}. [default: one a processor]",
)
@click.option(
    "--event-type",
    type=TEXT,
    metavar="TYPE",
    help="Type of all events; with --type-field, of those whose line names no valid one.",
)
@_path_option("--type-field", "Where a line has its event type.")
@_path_option("--time-field", "Where a line has its time. [default: now]")
@_path_option("--actor-field", "Where a line has its actor, if it has one.")
@_path_option("--task-field", "Where a line has its task id, if it has one.")
@click.option(
    "--wait",
    type=SECONDS,
    default=60.0,
    show_default=True,
    help="How long to wait for a writer that is away.",
)
def command(
    files: tuple[Path, ...],
    directory: Path,
    workers: int | None,
    event_type: str | None,
    type_field: importing.Path | None,
    time_field: importing.Path | None,
    actor_field: importing.Path | None,
    task_field: importing.Path | None,
    wait: float,
) -> None:
    """Enter the lines of JSON Lines files, plain or gzip, as events.

    A payload is the line's own text. A line that is no JSON object, or that the options find no
    type or time in, is reported as FILE:LINE on stderr and left out; the exit code is then 1.

    A PATH is a name, or names and list indexes with dots between: kind, user.id, items.0.sku. A
    backslash makes a dot part of a name. A time is ISO 8601 (without a zone: UTC), or a number of
    seconds, ms, µs or ns since 1970; actors and task ids are text or numbers.

    The key of a line is the content hash of its file and its line number. So the same command
    enters only what is missing, after an interruption or by mistake; a file under another name is
    the same file, and a file that has grown is another one. The options are no part of the key:
    what is in the log stays as it is.
    """
    if event_type is None and type_field is None:
        raise click.UsageError("Say --event-type TYPE or --type-field PATH.")
    fields = importing.Fields(
        event_type=event_type,
        type_path=type_field,
        time_path=time_field,
        actor_path=actor_field,
        task_path=task_field,
    )
    layout.prepare_for_client(directory)
    load_settings(directory)  # what is wrong with them is better said once than by each worker
    try:
        reports = _examine(files)
    except importing.Unreadable as error:
        raise Failed(str(error)) from error
    _enter(reports, fields, directory, workers or _processors(), wait)


def _examine(files: tuple[Path, ...]) -> list[importing.Report]:
    """The files to import; one whose content has come already is left out."""
    reports: dict[bytes, importing.Report] = {}
    for path in files:
        content = importing.examine(path)
        report = reports.setdefault(content.sha256, importing.Report(content))
        if report.content is not content:
            _say(f"{path}: the same content as {report.content.path}, so the same lines: left out")
    return list(reports.values())


def _enter(
    reports: list[importing.Report],
    fields: importing.Fields,
    directory: Path,
    workers: int,
    wait: float,
) -> None:
    began = time.monotonic()
    lines = sum(report.content.lines for report in reports)
    with _progress(lines, directory, wait) as observer:
        run = importing.Import(directory, workers=workers, wait_s=wait, observer=observer)
        try:
            run.run((report, fields) for report in reports)
            complaint: BaseException | None = None
        except (
            importing.NoWriter, importing.ImportFailed, importing.Unreadable, KeyboardInterrupt
        ) as error:  # fmt: skip
            complaint = error
    _say(_summary(reports, lines, time.monotonic() - began))
    if isinstance(complaint, importing.NoWriter):
        raise NoWriter(f"{complaint}: start one, and the same command continues")
    if isinstance(complaint, KeyboardInterrupt):
        raise Interrupted(
            "Interrupted: what was recorded is kept, and a writer enters it; "
            "the same command enters the rest."
        )
    if complaint:
        raise Failed(str(complaint))
    if any(report.refused for report in reports):
        raise click.exceptions.Exit(AnswerIsNo.exit_code)


def _summary(reports: list[importing.Report], lines: int, seconds: float) -> str:
    entered = sum(report.entered for report in reports)
    already = sum(report.already for report in reports)
    refused = sum(report.refused for report in reports)
    left = lines - entered - already - refused
    return (
        f"{counted(lines, 'line')}: {entered:,} entered, {already:,} already there, "
        f"{refused:,} refused"
        + (f", {left:,} not committed" if left else "")
        + f"; {seconds:.1f} s, {entered / max(seconds, 1e-9):,.0f} events/s"
    )


class _Progress(importing.Observer):
    """Reports on stderr, and a bar where that is a terminal."""

    def __init__(self, bar: Any, directory: Path, wait: float) -> None:
        self._bar = bar
        self._directory = directory
        self._wait = wait

    def refused(self, path: Path, line: int, reason: str) -> None:
        self._interject(f"{click.format_filename(path)}:{line}: {reason}")

    def through(self, lines: int) -> None:
        if self._bar:
            self._bar.update(lines)

    def unanswered(self) -> None:
        state = "is slow" if layout.a_writer_lives(self._directory) else "is away"
        self._interject(f"the writer of {self._directory} {state}: waiting up to {self._wait:g} s")

    def _interject(self, message: str) -> None:
        _say(_CLEAR_LINE + message if self._bar else message)
        if self._bar:
            self._bar.render_progress()


@contextmanager
def _progress(lines: int, directory: Path, wait: float) -> Iterator[_Progress]:
    if sys.stderr.isatty():
        with click.progressbar(length=lines, label="importing", file=sys.stderr) as bar:
            yield _Progress(bar, directory, wait)
    else:
        yield _Progress(None, directory, wait)


def _say(message: str) -> None:
    click.echo(message, err=True)


def _processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
