"""One look at a log: what its writer says, and what its files say. Values, no I/O."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from hansard.reader import Event
from hansard_writer.doctor.facts import Verified


class Snapshot(NamedTuple):
    """``at`` is of a clock that only goes on (s), ``now_ns`` Unix time. Without an answer there are
    no ``figures``, and ``silence`` says why. ``entries`` are the newest, newest first; where the
    log cannot be read ``unread`` says why."""

    at: float
    now_ns: int
    figures: Mapping[str, Any] | None = None
    silence: str = ""
    entries: tuple[Event, ...] = ()
    unread: str = ""
    last_id: int = 0
    verified: Verified | None = None
    shipping: tuple[Mapping[str, Any], ...] = ()

    @property
    def size(self) -> int:
        """How many entries the log has, as far as that is known."""
        return max(self.figures["entries"] if self.figures else 0, self.last_id)
