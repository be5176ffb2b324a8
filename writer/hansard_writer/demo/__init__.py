"""The demonstration: `run` records files and counts what arrives, `run_commands` records commands.

It prints nothing.
"""

from hansard_writer.demo.commands import SEARCHED, Commands, run_commands
from hansard_writer.demo.files import EventSet, Outcome, lost_and_doubled, run

__all__ = ["SEARCHED", "Commands", "EventSet", "Outcome", "lost_and_doubled", "run", "run_commands"]
