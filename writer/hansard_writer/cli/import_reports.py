"""What ``hansard import`` says on stderr, and on stdout of a dry run: progress, refusals, sums."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from hansard import directory as layout
from hansard.refusals import timestamp
from hansard.wording import counted
from hansard_writer import importing
from hansard_writer.cli.progress import rated_bar

SHOWN_MAX: Final = 10  # refused rows, unless all are asked for
_SAMPLE_CHARS: Final = 500
_CLEAR_LINE: Final = "\r\x1b[K"


class Progress(importing.Observer):
    """Reports on stderr, and a bar where that is a terminal. ``shown_max``: how many refusals are
    told one by one, None for all."""

    def __init__(self, bar: Any, directory: Path, wait: float, shown_max: int | None) -> None:
        self._bar = bar
        self._directory = directory
        self._wait = wait
        self._shown_max = shown_max
        self._through = 0
        self.causes: Counter[str] = Counter()

    def refused(self, path: Path, place: importing.Place, reason: str) -> None:
        self.causes[importing.cause_of(reason)] += 1
        if self._shown_max is None or self.causes.total() <= self._shown_max:
            self._interject(f"{click.format_filename(path)}:{place}: {reason}")

    def through(self, lines: int) -> None:
        self._through += lines
        if self._bar:
            self._bar.update(lines, self._through)

    def unanswered(self) -> None:
        state = "is slow" if layout.a_writer_lives(self._directory) else "is away"
        self._interject(f"the writer of {self._directory} {state}: waiting up to {self._wait:g} s")

    def _interject(self, message: str) -> None:
        say(_CLEAR_LINE + message if self._bar else message)
        if self._bar:
            self._bar.render_progress()


@contextmanager
def progress(
    total: int, directory: Path, wait: float = 0.0, shown_max: int | None = None
) -> Iterator[Progress]:
    """Within, somebody who is told of an import's course."""
    if sys.stderr.isatty():
        with rated_bar(total, "importing", "records") as bar:
            yield Progress(bar, directory, wait, shown_max)
    else:
        yield Progress(None, directory, wait, shown_max)


def summary(reports: Sequence[importing.Report], noun: str, seconds: float) -> str:
    """What became of all, in one line."""
    entered = sum(report.entered for report in reports)
    already = sum(report.already for report in reports)
    refused = sum(report.refused for report in reports)
    orphaned = sum(report.orphaned for report in reports)
    total = sum(report.total for report in reports)
    left = max(total - entered - already - refused, 0)
    return (
        f"{counted(total, noun)}: {entered:,} entered, {already:,} already there, "
        f"{refused:,} refused"
        + (f", {left:,} not committed" if left else "")
        + f"; {seconds:.1f} s, {entered / max(seconds, 1e-9):,.0f} events/s"
        + (f"; {orphaned:,} of them wait for their tasks as dead letters" if orphaned else "")
    )


def by_cause(causes: Counter[str], shown_max: int | None) -> str:
    """How many rows do not fit, and why."""
    most_first = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
    hidden = 0 if shown_max is None else causes.total() - shown_max
    return most_first + ("; --verbose shows all of them" if hidden > 0 else "")


def sample(source: Path, place: importing.Place, event: importing.Event) -> str:
    """An event as it would be entered."""
    at = "now" if event.created_at is None else timestamp(event.created_at)
    who = "".join(
        f" {name}={value}"
        for name, value in (("actor", event.actor), ("task", event.task_id))
        if value is not None
    )
    payload = "" if event.payload is None else event.payload.decode()
    shown = payload if len(payload) <= _SAMPLE_CHARS else f"{payload[:_SAMPLE_CHARS]}…"
    head = f"{click.format_filename(source)}:{place}: {at} {event.level} {event.event_type}{who}"
    return f"{head}\n  {shown}"


def say(message: str) -> None:
    """On stderr."""
    click.echo(message, err=True)
