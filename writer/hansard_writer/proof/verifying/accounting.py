"""What is missing from the log, against what its own entries say was taken out of it. Pure."""

from typing import Final

from hansard_writer.proof.verifying.findings import Findings
from hansard_writer.proof.verifying.statements import PRUNED, REDACTED, Ranges, Statements

REDACTED_UNSAID: Final = f"redacted, and no entry {REDACTED} says so"
PUT_BACK: Final = f"an entry {REDACTED} names it, and it has its payload"
PRUNED_UNSAID: Final = f"missing, and no entry {PRUNED} says so"
PRUNED_UNSIGNED: Final = f"missing, and no checkpoint covers the entry {PRUNED} that says so"


def is_accounted_for(said: Statements, redacted: Ranges, gone_to: int, size: int) -> bool:
    """Whether the first ``size`` entries say of all that is missing that it was taken out."""
    unsaid = next(redacted.without(said.redacted), None)
    return unsaid is None and gone_to <= said.pruned_to(size)


def check_put_back(said: Statements, redacted: Ranges, begin: int, findings: Findings) -> None:
    """What entries say is redacted is, behind ``begin``. MUST be asked before more entries are
    heeded than there were when the rows were read: what is redacted later was still there."""
    for first, last in said.redacted.without(redacted):
        if last > begin:
            _add(findings, PUT_BACK, max(first, begin + 1), last)


def check_accounts(
    said: Statements,
    redacted: Ranges,
    gone_to: int,
    size: int,
    covered: int,
    findings: Findings,
    hint: str = "",
) -> None:
    """Note what is missing unsaid, with a hint at why. What is pruned MUST be said by an entry that
    a checkpoint covers: the writer deletes nothing earlier, and without the key nobody can make one
    up."""
    for first, last in redacted.without(said.redacted):
        _add(findings, REDACTED_UNSAID + hint, first, last)
    accounted = said.pruned_to(covered)
    if accounted < gone_to:
        is_said = gone_to <= said.pruned_to(size)
        words = PRUNED_UNSIGNED if is_said else PRUNED_UNSAID + hint
        _add(findings, words, accounted + 1, gone_to)


def _add(findings: Findings, words: str, first: int, last: int) -> None:
    findings.add(words, first, last, count=last - first + 1)
