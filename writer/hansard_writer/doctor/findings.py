"""A finding: what was seen, how much it matters, and what to do about it. Pure."""

from enum import StrEnum
from typing import NamedTuple


class Severity(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    """As it should be: it is told so that one knows that it was looked at."""
    NOTE = "note"
    """Worth knowing; nobody has to do anything now."""
    ACTION = "needs action"
    """It does not mend itself, or something gets lost or stays unseen meanwhile."""


class Finding(NamedTuple):
    """``do`` is a step or an exact command, which stands between backticks; empty only if all is
    well."""

    area: str
    severity: Severity
    seen: str
    do: str = ""


def ok(area: str, seen: str) -> Finding:
    """All is well."""
    return Finding(area, Severity.OK, seen)


def note(area: str, seen: str, do: str) -> Finding:
    """Worth knowing."""
    return Finding(area, Severity.NOTE, seen, do)


def action(area: str, seen: str, do: str) -> Finding:
    """Somebody must do something."""
    return Finding(area, Severity.ACTION, seen, do)
