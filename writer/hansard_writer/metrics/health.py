"""Whether a writer lives, and whether it takes events: two questions, two answers. Pure.

Alive is what only a restart would mend; ready is whether events go in right now. A writer without
disk space is alive and not ready, and to restart it would help nobody.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

SILENT_S_MAX: Final = 60.0  # as the supervisor's own patience: a long operation is no death


class Verdict(NamedTuple):
    """Yes or no, and why in words."""

    is_good: bool
    words: str


def liveness(silent_s: float) -> Verdict:
    """Of a loop that has not answered for so long, 0 for one that just did."""
    if silent_s <= 0:
        return Verdict(True, "ok")
    words = f"the writer's loop has not answered for {silent_s:.1f} s"
    return Verdict(silent_s < SILENT_S_MAX, words)


def readiness(figures: Mapping[str, Any] | None) -> Verdict:
    """By what the writer says of itself now; None if it says nothing."""
    if figures is None:
        return Verdict(False, "the writer's loop does not answer in time")
    if figures["suspended"]:
        return Verdict(False, f"intake is suspended: {figures['suspended_by']}")
    if figures["held_up_by"]:
        return Verdict(False, f"nothing can be committed: {figures['held_up_by']}")
    return Verdict(True, "ok")
