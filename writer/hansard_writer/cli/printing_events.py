"""Whole entries on stdout as events of a standard, a line each, as ``hansard export`` writes them.

What they were chosen by, and in which order they come, is the caller's business.
"""

import sys
from collections.abc import Iterable

from hansard.reader import Event, Extent
from hansard_writer.exporting import FORMATS


def print_events(
    events: Iterable[Event], extent: Extent, standard: str, *, at_once: bool = False
) -> int:
    """Print the entries as they come and return how many they were."""
    encoder = FORMATS[standard](extent)
    stdout, count = sys.stdout.buffer, 0
    stdout.write(encoder.begin())
    for event in events:
        stdout.write(encoder.add(event))
        count += 1
        if at_once:
            stdout.flush()
    stdout.write(encoder.end())
    stdout.flush()
    return count
