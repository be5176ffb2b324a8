"""What a verification finds: the verdicts, findings in words, and the report. Pure.

What is found where is not decided here; what verdict follows from it is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from hansard_writer.proof.checkpoint import encode_root

FINDINGS_NAMED_MAX: Final = 20

NOT_PROVEN: Final = (
    "dead letters",
    "host, pid and start of producers",
    "the tables of tasks, runs, calls and meta",
    "derived fields, full text and the other indexes",
    "your own tables, views and triggers",
)
"""What no proof covers: whoever can write the file can change it, and `verify` says nothing."""


class Verdict(StrEnum):
    """What a verification comes to."""

    INTACT = "intact"
    """Every entry is as it was entered, and the history is that of every checkpoint."""
    PRUNED = "pruned"
    """The same, but for a beginning that an entry ``hansard.pruned`` accounts for."""
    ALTERED = "altered"
    """Something is not as it was entered or signed; the findings say what."""
    FORKED = "forked"
    """The log is at one with itself, and has another history than a signed checkpoint says."""
    TRUNCATED = "truncated"
    """The log is smaller than a signed checkpoint says."""


class Finding(NamedTuple):
    """Something that is wrong; with the entries, if it is wrong with some."""

    what: str
    first: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        if self.first is None:
            return self.what
        if self.last in (None, self.first):
            return f"entry {self.first}: {self.what}"
        return f"entries {self.first} to {self.last}: {self.what}"


class Findings:
    """Findings, the first ones kept and all of them counted."""

    def __init__(self) -> None:
        self.named: list[Finding] = []
        self.count = 0

    def add(
        self, what: str, first: int | None = None, last: int | None = None, *, count: int = 1
    ) -> None:
        """Note a finding, which may count for several."""
        self.count += count
        if len(self.named) < FINDINGS_NAMED_MAX:
            self.named.append(Finding(what, first, last))


class Fork(NamedTuple):
    """Where another history begins: behind ``fits``, the size of the last signed checkpoint before
    it that fits (0 if none does), and not behind ``differs``, that of the first that does not."""

    fits: int
    differs: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found.

    ``size`` is how many entries the log has or ever had, ``root`` that of its tree (32 bytes).
    ``since``: the size up to which nothing was recomputed, because a checkpoint stood for it;
    ``entries``: how many were recomputed. ``pruned``: how many are gone from the beginning;
    ``redacted``: how many of those recomputed have lost their payload. ``checkpoints``: how many
    were checked; ``covered``: the size of the largest that is signed by a trusted key and fits.
    ``findings`` are the first `FINDINGS_NAMED_MAX` of ``findings_count``, on entries, and on
    checkpoints. ``signed_size``: where the log is truncated, what it should have. ``keys``: the
    verifier keys that all trust began with, and whether they are the given ones.
    ``verified_at``: ns since 1970 UTC.
    """

    verdict: Verdict
    size: int
    root: bytes
    since: int
    entries: int
    pruned: int
    redacted: int
    checkpoints: int
    covered: int
    findings: tuple[Finding, ...]
    findings_count: int
    fork: Fork | None
    signed_size: int | None
    remarks: tuple[str, ...]
    keys: tuple[str, ...]
    keys_are_given: bool
    verified_at: int
    seconds: float
    not_proven: tuple[str, ...] = NOT_PROVEN

    @property
    def is_good(self) -> bool:
        """Whether the log is what it should be."""
        return self.verdict in (Verdict.INTACT, Verdict.PRUNED)

    @property
    def not_covered_yet(self) -> int:
        """How many entries stand behind the last checkpoint: nobody has signed them yet."""
        return max(self.size - self.covered, 0)

    def as_dict(self) -> dict[str, Any]:
        """All of it, of values that JSON has."""
        facts: dict[str, Any] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return facts | {
            "verdict": str(self.verdict),
            "root": encode_root(self.root),
            "findings": [each._asdict() for each in self.findings],
            "fork": self.fork and self.fork._asdict(),
            "not_covered_yet": self.not_covered_yet,
        }


def verdict_of(
    *,
    altered: int,
    leaves_too_many: bool,
    forked: bool,
    truncated: bool,
    unsound: int,
    pruned: bool,
) -> Verdict:
    """The verdict, the gravest first. ``altered`` counts findings on entries and tree, without the
    one that the tree has leaves of entries that are not there: a signed checkpoint beyond the end
    makes that a truncation. ``unsound`` are those on checkpoints, keys and schema."""
    if altered or (leaves_too_many and not truncated):
        return Verdict.ALTERED
    if forked:
        return Verdict.FORKED
    if truncated:
        return Verdict.TRUNCATED
    if unsound:
        return Verdict.ALTERED
    return Verdict.PRUNED if pruned else Verdict.INTACT
