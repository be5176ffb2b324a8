"""The health of a log: a look at it, and what follows from what was seen.

`gathering` looks, and changes nothing; the checks are functions from facts to findings, and look at
nothing else. How a diagnosis is printed is the command's business.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from hansard_writer.doctor.content_checks import check_database, check_entries, check_upkeep
from hansard_writer.doctor.directory_checks import check_directory, check_leftovers
from hansard_writer.doctor.facts import Facts
from hansard_writer.doctor.findings import Finding, Severity
from hansard_writer.doctor.gathering import gather
from hansard_writer.doctor.loss_checks import check_letters, check_losses
from hansard_writer.doctor.mode_checks import check_modes
from hansard_writer.doctor.proof_checks import check_proof
from hansard_writer.doctor.shipping_checks import check_shipping
from hansard_writer.doctor.system_checks import (
    check_clock,
    check_place,
    check_settings,
    check_software,
)
from hansard_writer.doctor.writer_checks import check_spools, check_wal, check_writer

__all__ = ["CHECKS", "Diagnosis", "Facts", "Finding", "Severity", "diagnose", "examine"]

CHECKS: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    check_directory,
    check_leftovers,
    check_modes,
    check_place,
    check_writer,
    check_database,
    check_wal,
    check_entries,
    check_proof,
    check_letters,
    check_losses,
    check_spools,
    check_shipping,
    check_upkeep,
    check_settings,
    check_clock,
    check_software,
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was seen of a log, and what it comes to: findings by area, as a page has them."""

    facts: Facts
    findings: tuple[Finding, ...]

    @property
    def needs_action(self) -> bool:
        """Whether anything does not mend itself."""
        return any(each.severity is Severity.ACTION for each in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """All of it, of values that JSON has."""
        return {
            "directory": str(self.facts.directory),
            "needs_action": self.needs_action,
            "findings": [each._asdict() for each in self.findings],
            "facts": _plain(self.facts),
        }


def examine(directory: Path, timeout: float, *, is_deep: bool = False) -> Diagnosis:
    """Look at the log in a directory, as `gather` does, and judge it. Never raises for its sake."""
    return diagnose(gather(directory, timeout, is_deep=is_deep))


def diagnose(facts: Facts) -> Diagnosis:
    """What follows from facts."""
    return Diagnosis(facts, tuple(found for check in CHECKS for found in check(facts)))


def _plain(value: Any) -> Any:
    """As JSON has it: what has names is an object, what has none a list, paths are text."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
