"""``hansard doctor``: one page on the health of a log."""

import json
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

import click

from hansard.wording import counted
from hansard_writer.cli.exits import NO
from hansard_writer.cli.options import SECONDS, log_directory_option
from hansard_writer.cli.output import printable
from hansard_writer.doctor import Diagnosis, Finding, Severity, amounts, examine

TIMEOUT_S: Final = 2.0
PAGE_COLUMNS_MAX: Final = 100
PAGE_COLUMNS_MIN: Final = 60

_MARKS: Final = {Severity.OK: "✓", Severity.NOTE: "•", Severity.ACTION: "✗"}
_COLOURS: Final = {Severity.OK: "green", Severity.NOTE: "yellow", Severity.ACTION: "red"}
_AREA_COLUMNS: Final = 13
_TO_DO: Final = "→ "
_COMMAND: Final = re.compile(r"`[^`]*`")
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


@click.command(
    name="doctor",
    epilog="""\b
Examples:
  hansard doctor
  hansard doctor --dir /var/lib/myapp/audit --quiet  # in a crontab: it mails what this prints
  hansard doctor --format json | jq '.findings[] | select(.severity == "needs action")'
""",
)
@log_directory_option
@click.option("--deep", is_flag=True, help="Have SQLite check all of the database, too.")
@click.option("--quiet", is_flag=True, help="Print only what needs action.")
@click.option(
    "--timeout",
    type=SECONDS,
    default=TIMEOUT_S,
    show_default=True,
    help="Seconds that the writer has to answer.",
)
@click.option(
    "--format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A page, or all facts and findings as one JSON object.",
)
def command(
    directory: Path,
    deep: bool,
    quiet: bool,
    timeout: float,
    format: str,  # noqa: A002 - the option's name
) -> None:
    """Tell on one page how a log is, and what is to be done.

    It looks at the directory, its modes and its disk, the writer, the database and its WAL, what is
    signed and verified, dead letters, losses, spools and their owners, settings, the clock, and
    versions. A mark stands in front of each finding: ✓ as it should be, • worth knowing, ✗ needs
    action. Exits with 1 if anything needs action.

    It changes nothing, needs no writer, and may be run beside a busy one. With --deep it reads all
    of log.db in one transaction, which keeps the WAL from being emptied meanwhile.
    """
    diagnosis = examine(directory, timeout, is_deep=deep)
    if format == "json":
        # by the stdlib: names of files are any bytes, and a lock file may hold any number
        click.echo(json.dumps(_as_json(diagnosis, quiet=quiet), indent=2))
    else:
        for line in _page(diagnosis, quiet=quiet):
            click.echo(line)
    if diagnosis.needs_action:
        raise click.exceptions.Exit(NO)


def _as_json(diagnosis: Diagnosis, *, quiet: bool) -> dict[str, object]:
    content = diagnosis.as_dict()
    if not quiet:
        return content
    kept = [each for each in content["findings"] if each["severity"] == Severity.ACTION]
    return {name: content[name] for name in content if name != "facts"} | {"findings": kept}


# --- the page ---


def _page(diagnosis: Diagnosis, *, quiet: bool) -> Iterator[str]:
    """The lines, as wide as the terminal, or as a page."""
    columns = shutil.get_terminal_size((80, 24)).columns
    columns = max(min(columns, PAGE_COLUMNS_MAX), PAGE_COLUMNS_MIN) - 1
    findings = diagnosis.findings
    if quiet:
        findings = tuple(each for each in findings if each.severity is Severity.ACTION)
    else:
        yield printable(f"{diagnosis.facts.directory}, {amounts.moment(diagnosis.facts.now)}")
        yield ""
    for area, those in groupby(_together(findings), lambda each: each.area):
        label = area
        for each in those:
            yield from _lines(label, each, columns)
            label = ""
    if not quiet:
        yield ""
        yield _in_sum(findings)


def _together(findings: Iterable[Finding]) -> list[Finding]:
    """Areas in the order in which they first come up, within one what is gravest first."""
    areas: dict[str, list[Finding]] = {}
    for each in findings:
        areas.setdefault(each.area, []).append(each)
    gravest_first = list(reversed(Severity))
    return [
        each
        for those in areas.values()
        for each in sorted(those, key=lambda found: gravest_first.index(found.severity))
    ]


def _lines(label: str, finding: Finding, columns: int) -> Iterator[str]:
    """A finding: the area where it is the first of it, the mark, what was seen, what to do."""
    mark = click.style(_MARKS[finding.severity], fg=_COLOURS[finding.severity], bold=True)
    room = columns - _AREA_COLUMNS - 2
    seen = _wrapped(finding.seen, room)
    yield f"{label:<{_AREA_COLUMNS}}{mark} {seen[0]}"
    indent = " " * (_AREA_COLUMNS + 2)
    for line in seen[1:]:
        yield indent + line
    if finding.do:
        first, *others = _wrapped(finding.do, room - len(_TO_DO))
        yield f"{indent}{_TO_DO}{first}"
        for line in others:
            yield f"{indent}{' ' * len(_TO_DO)}{line}"


def _wrapped(text: str, columns: int) -> list[str]:
    """Broken between words, but not in a command, which is to be copied: a long one is left to
    the terminal."""
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _NO_BREAK), printable(text))
    lines = textwrap.wrap(whole, columns, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_NO_BREAK, " ") for line in lines] or [""]


def _in_sum(findings: Iterable[Finding]) -> str:
    severities = [each.severity for each in findings]
    actions, notes = severities.count(Severity.ACTION), severities.count(Severity.NOTE)
    told = f"{counted(notes, 'note')}." if notes else "nothing else to say."
    if not actions:
        return click.style(f"Nothing needs action; {told}", fg="green")
    needs = "needs" if actions == 1 else "need"
    return click.style(f"{counted(actions, 'finding')} {needs} action; {told}", fg="red")
