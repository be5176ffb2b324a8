"""Whether a process hangs, judged by the kernel's own account of it.

A writer comes round its loop every second. One whose main thread has not run at all for a minute,
though it waits for no disk, is stopped or waits for what will not come. One that computes, waits
for the disk or is being debugged is never taken for hung, however long. It ends nothing.
"""

from pathlib import Path
from typing import Final, NamedTuple

LOOK_INTERVAL_S: Final = 10.0
LOOKS_MAX: Final = 6  # in a row that find it where it was

_RESTING: Final = frozenset("ST")  # asleep, or stopped; D is the disk, t a debugger: proc(5)
_STATE: Final = "State:"
_SWITCHES: Final = ("voluntary_ctxt_switches:", "nonvoluntary_ctxt_switches:")


class Look(NamedTuple):
    """What a process is at, and how often its main thread was put on or taken off a processor."""

    state: str
    switches: int


class Stillness:
    """Decides from looks that are taken `LOOK_INTERVAL_S` apart, or more. No clock: while the one
    who looks is stopped himself, or the whole machine, nothing counts."""

    def __init__(self) -> None:
        self._before: Look | None = None
        self._still = 0

    def hangs(self, look: Look | None) -> bool:
        """Whether the process hangs, with this look; None is one that saw nothing."""
        is_still = look is not None and look == self._before and look.state in _RESTING
        self._still = self._still + 1 if is_still else 0
        self._before = look
        return self._still >= LOOKS_MAX


def look_at(pid: int) -> Look | None:
    """A look at a process's main thread; None where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split()[:2] for line in text.splitlines() if len(line.split()) > 1)
    try:
        return Look(fields[_STATE], sum(int(fields[name]) for name in _SWITCHES))
    except (KeyError, ValueError):
        return None
