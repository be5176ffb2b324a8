"""Whether the clock can be trusted with what cannot be undone: deleting what is too old by it.

A clock that jumps ahead makes everything old at once, and so does one that is wrong when the
machine starts. Either the writer has run long enough with it, or the log bears witness to it: a
checkpoint was signed some time ago, and not much longer. It sets no clock, and reads none.
"""

from typing import Final

from hansard.reader.paging import Rows
from hansard.refusals import timestamp

_NEWEST: Final = "SELECT coalesce(max(size), 0) FROM checkpoints"
_AT_OR_BELOW: Final = (
    "SELECT size, created_at FROM checkpoints WHERE size <= ? ORDER BY size DESC LIMIT 1"
)


class TrustedClock:
    """Of one log, in one run of its writer. ``settle_s`` is how long a time has to be known,
    ``slack_s`` by how much two may differ without anybody's wonder."""

    def __init__(self, rows: Rows, settle_s: float, slack_s: float) -> None:
        self._rows = rows
        self._settle_s = settle_s
        self._slack_s = slack_s
        self._seen: tuple[float, int] | None = None
        self._since = 0.0  # by the clock that does not jump

    def doubt(self, now: float, now_ns: int) -> str:
        """Why the clock (``now_ns``, since 1970 UTC) is not trusted, empty where it is. ``now`` is
        by a clock that does not jump; MUST be called every few minutes, or less is seen."""
        if self._seen is None or self._has_jumped(*self._seen, now, now_ns):
            self._since = now
        self._seen = (now, now_ns)
        if now - self._since >= self._settle_s or self._has_witness(now_ns):
            return ""
        return (
            f"the clock says {timestamp(now_ns)}, and no checkpoint bears witness to it (a jump, "
            "or a log that nobody used): nothing is pruned by age before the writer has run for "
            f"{self._settle_s:,.0f} s with it"
        )

    # --- inside ---

    def _has_jumped(self, then: float, then_ns: int, now: float, now_ns: int) -> bool:
        return abs((now_ns - then_ns) / 1e9 - (now - then)) > self._slack_s

    def _has_witness(self, now_ns: int) -> bool:
        """Whether the newest checkpoint that is as old as a time has to be is not much older.
        Checkpoints are in the order of their times, but where the clock was set back."""
        latest = now_ns - round(self._settle_s * 1e9)
        low, high, found = 0, self._rows(_NEWEST)[0][0], 0
        while low < high:
            middle = (low + high + 1) // 2
            rows = self._rows(_AT_OR_BELOW, middle)
            if not rows:
                low = middle
            elif rows[0][1] > latest:
                high = rows[0][0] - 1
            else:
                low, found = middle, rows[0][1]
        return found >= latest - round(self._slack_s * 1e9) and found > 0
