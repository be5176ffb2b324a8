"""A report of `verify` for people, in lines. What the facts are, others have found."""

import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import Final

from hansard import directory as layout
from hansard.wording import counted
from hansard_writer.proof.checkpoint import encode_root
from hansard_writer.proof.merkle_hash_tree import EMPTY_ROOT
from hansard_writer.proof.verifying import Report
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX

_WIDTH: Final = 13


def lines_of(report: Report) -> Iterator[str]:
    """The report on one log, line by line."""
    yield f"{report.verdict}: {_in_one_sentence(report)}"
    yield fact("entries", _entries(report))
    if report.root != EMPTY_ROOT or not report.size:  # else nobody knows it
        yield fact("root", encode_root(report.root))
    yield fact("checkpoints", _checkpoints(report))
    yield fact("trusting", ", ".join(report.keys) + _whose(report) if report.keys else "no key")
    if report.redacted:
        yield fact("redacted", counted(report.redacted, "entry", "entries"))
    for remark in report.remarks:
        yield fact("note", remark)
    for finding in report.findings:
        yield fact("found", str(finding))
    if report.findings_count > len(report.findings) >= FINDINGS_NAMED_MAX:
        yield fact("found", f"{report.findings_count:,} in all: these are the first")
    yield fact("not proven", ", ".join(report.not_proven))
    yield fact("took", f"{report.seconds:.1f} s")


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


def fact(name: str, value: str) -> str:
    """A line of a report."""
    return f"  {name:<{_WIDTH}}{value}"


def fitted(line: str) -> str:
    """The line, broken between words where that is for a terminal, and every word has room."""
    indent, columns = " " * (2 + _WIDTH), shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or max(map(len, line.split())) > columns - len(indent):
        return line
    return textwrap.fill(line, columns, subsequent_indent=indent, break_on_hyphens=False)
