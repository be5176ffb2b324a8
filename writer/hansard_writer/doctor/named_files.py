"""Files in findings: as people read them, and as arguments of a command. Pure."""

import shlex
from collections.abc import Sequence
from typing import Final

from hansard_writer.doctor.facts import Facts, FileFacts

NAMED_MAX: Final = 5


def listed(files: Sequence[FileFacts]) -> str:
    """The first ones, with their modes, and how many more there are."""
    named = [f"{each.name} ({each.mode:04o})" for each in files[:NAMED_MAX]]
    more = len(files) - len(named)
    return ", ".join(named) + (f" and {more:,} more" if more else "")


def paths(facts: Facts, files: Sequence[FileFacts]) -> str:
    """The same ones, for a shell."""
    return " ".join(shlex.quote(str(facts.directory / each.name)) for each in files[:NAMED_MAX])
