"""``verify`` of a far end: which of its logs are looked at, and whether any is not there at all.

What one log comes to, `one_log` finds out.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.key_chain import KeyChain
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.proof.verifying.findings import Finding, Report
from hansard_writer.proof.verifying.trust import log_of
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.target import TargetRefused
from hansard_writer.shipping.verifying.one_log import OneLog

UNVERIFIED: Final = "unverified"
MISSING: Final = "missing"

Progress = Callable[[str, int, int], None]
"""Called with an origin, how much of it is done, and how much there is to do."""


@dataclass(frozen=True, slots=True)
class LogReport:
    """What was found of one log. ``report`` is None for one that was not looked at; ``why`` says
    why not."""

    origin: str
    report: Report | None
    verdict: str
    why: str = ""

    @property
    def is_good(self) -> bool:
        """Whether it is what it should be."""
        return self.report is not None and self.report.is_good

    def as_dict(self) -> dict[str, Any]:
        """All of it, of values that JSON has."""
        facts: dict[str, Any] = {"origin": self.origin, "verdict": self.verdict}
        if self.report is None:
            return facts | {"findings": [Finding(self.why)._asdict()], "findings_count": 1}
        return facts | self.report.as_dict()


@dataclass(frozen=True, slots=True)
class FarReport:
    """What was found of all logs of a target, in the order of their origins."""

    target: str
    logs: tuple[LogReport, ...]
    remarks: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        """Whether there are logs, and all are what they should be."""
        return bool(self.logs) and all(each.is_good for each in self.logs)

    def as_dict(self) -> dict[str, Any]:
        """All of it, of values that JSON has."""
        return {
            "target": self.target,
            "is_good": self.is_good,
            "remarks": list(self.remarks),
            "logs": [each.as_dict() for each in self.logs],
        }


def verify_far(
    far: FarEnd,
    keys: Sequence[VerifierKey],
    checkpoints: Sequence[str | bytes] = (),
    origins: Collection[str] = (),
    progress: Progress = lambda _origin, _done, _all: None,
) -> FarReport:
    """Recompute the proof of what is kept at a far end, and say what is not as it should be.

    ``keys`` are verifier keys that somebody else has kept, of each log one at least: a log without
    any is not looked at, and a key of a log that is not there is a log that is missing.
    ``checkpoints`` are notes that somebody else has kept. ``origins`` are the only ones to look at.

    A log that the far end refuses to read is told, and the others are looked at. Raises as `FarEnd`
    does else, and `NoteError` for a checkpoint that is none.
    """
    found: list[LogReport] = []
    chains: dict[str, KeyChain] = {}
    there = far.origins()
    for origin in [each for each in there if not origins or each in origins]:
        own_keys = [key for key in keys if key.name == origin]
        if not own_keys:
            found.append(LogReport(origin, None, UNVERIFIED, _no_key(origin, keys)))
            continue
        given = [note for note in checkpoints if log_of(_origin(note)) == log_of(origin)]

        def went(done: int, all_: int, origin: str = origin) -> None:
            progress(origin, done, all_)

        one = OneLog(far, origin, own_keys, given, went)
        try:
            report = one.run()
        except TargetRefused as error:  # a file that cannot be read is one log's
            found.append(LogReport(origin, None, UNVERIFIED, str(error)))
            continue
        found.append(LogReport(origin, report, str(report.verdict)))
        if one.chain is not None:
            chains[origin] = one.chain
    remarks: list[str] = []
    for origin, why in _expected(keys, checkpoints, origins):
        if origin in there:
            continue
        sizes = [read_checkpoint(note).size for note in checkpoints if _origin(note) == origin]
        successor = _successor(origin, sizes, chains)
        if successor and origin not in origins:
            remarks.append(f"nothing of {origin} is there; {successor} has its beginning")
        else:
            found.append(LogReport(origin, None, MISSING, f"nothing of it is there, and {why}"))
    found.sort(key=lambda each: each.origin)
    return FarReport(far.name, tuple(found), tuple(remarks))


def _origin(note: str | bytes) -> str:
    return read_checkpoint(note).origin


def _no_key(origin: str, keys: Sequence[VerifierKey]) -> str:
    others = sorted({key.name for key in keys if log_of(key.name) == log_of(origin)})
    if others:
        return (
            f"no given key is of {origin}, and so nothing of it was looked at; of this log there "
            f"is one of {', '.join(others)}: since it lost its key, or went back in time, it has "
            "another one"
        )
    return "no given key is of it, and so nothing of it was looked at: give its writer.pub"


def _expected(
    keys: Sequence[VerifierKey], checkpoints: Sequence[str | bytes], origins: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The origins that should be there, each once, and why."""
    why = dict.fromkeys(origins, "it was asked for")
    if not origins:
        why |= dict.fromkeys(map(_origin, checkpoints), "a checkpoint of it was given")
        why |= {key.name: "a key of it was given" for key in keys}
    yield from sorted(why.items())


def _successor(origin: str, sizes: Sequence[int], chains: dict[str, KeyChain]) -> str | None:
    """The origin under which a log goes on that is there, and had this one before, at these sizes
    too."""
    for later, chain in chains.items():
        is_earlier = any(link.origin == origin for link in chain.links)
        if is_earlier and all(chain.at(size).origin == origin for size in sizes):
            return later
    return None
