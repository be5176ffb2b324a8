"""``hansard verify TARGET``: the logs that were shipped to a target, verified there."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

import click
import orjson

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.cli.collector import without_collector
from hansard_writer.cli.exits import NO
from hansard_writer.cli.output import printable
from hansard_writer.cli.progress import Phases
from hansard_writer.cli.verify_report import fact, fitted, lines_of
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.shipping.targets import far_end_named, kind_of, path_of
from hansard_writer.shipping.verifying import FarReport, verify_far

_VERIFYING: Final = "verifying"

KEYS_WANTED: Final = (
    "TARGET is verified against keys that were kept elsewhere: give the writer.pub of each log "
    "with --key, or all that `hansard keys list --format jsonl | jq -r .verifier_key` prints "
    "where the log is, one a line."
)


def verify_target(
    target: str,
    keys: Sequence[VerifierKey],
    notes: Sequence[bytes],
    origins: Collection[str],
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Verify a target, print the report, and exit with 1 where not all is well."""
    _refuse_what_keeps_no_log(target)
    if not keys:
        raise click.UsageError(KEYS_WANTED)
    far = far_end_named(target)
    try:
        with without_collector(), Phases({_VERIFYING: ("entries", 1.0)}) as phases:
            report = verify_far(far, keys, notes, origins, _Progress(phases))
    finally:
        far.close()
    if format == "json":
        click.echo(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
    else:
        for line in _lines(report):
            click.echo(fitted(printable(line)))
    if not report.is_good:
        raise click.exceptions.Exit(NO)


class _Progress:
    """One bar for all logs, as long as those that have begun."""

    def __init__(self, phases: Phases) -> None:
        self._phases = phases
        self._origin = ""
        self._before = self._last = 0

    def __call__(self, origin: str, done: int, all_: int) -> None:
        if origin != self._origin:
            self._origin, self._before = origin, self._before + self._last
        self._last = all_
        self._phases(_VERIFYING, self._before + done, self._before + all_)


def _refuse_what_keeps_no_log(target: str) -> None:
    kind = kind_of(target)
    if kind == "nats":
        raise click.UsageError(
            "What passes through NATS is verified where it is kept: name the PostgreSQL database "
            "or the directory that it is shipped on to."
        )
    if kind == "parquet" and (path_of(target) / layout.DATABASE).exists():
        raise click.UsageError(
            f"{target} is a log's own directory: verify it with --dir {target}, without TARGET."
        )


def _lines(report: FarReport) -> Iterator[str]:
    """All logs, one block each, and what they come to together."""
    for log in report.logs:
        if log.report is None:
            yield f"{log.origin}: {log.verdict}: {log.why}"
            continue
        headline, *facts = lines_of(log.report)
        yield f"{log.origin}: {headline}"
        yield from facts
    for remark in report.remarks:
        yield fact("note", remark)
    if len(report.logs) != 1:
        yield _in_one_sentence(report)


def _in_one_sentence(report: FarReport) -> str:
    if not report.logs:
        return f"nothing: no log was shipped to {report.target}"
    good = sum(each.is_good for each in report.logs)
    size = sum(each.report.size for each in report.logs if each.report)
    of_all = f"{good:,} of {counted(len(report.logs), 'log')} in {report.target}"
    verb = "is as it" if good == 1 else "are as they"
    return f"{of_all} {verb} should be, with {counted(size, 'entry', 'entries')} in all"
