"""The demonstration: `run` records files and counts what arrives, `run_commands` records commands,
`tamper` changes a copy of the log, and verifies both.

It prints nothing.
"""

from hansard_writer.demo.commands import SEARCHED, Commands, run_commands
from hansard_writer.demo.files import EventSet, Outcome, lost_and_doubled, run
from hansard_writer.demo.tampering import Tampered, tamper

__all__ = [
    "SEARCHED",
    "Commands",
    "EventSet",
    "Outcome",
    "Tampered",
    "lost_and_doubled",
    "run",
    "run_commands",
    "tamper",
]
