"""Reading considerately: whoever goes through a whole log rests most of the time.

Priorities alone do not do it: measured on two cores, a loop of the lowest priority that touches
no log triples the p99 of a synchronous caller. A processor that sleeps is there at once.
"""

import time
from typing import Any, Final

from hansard.reader.paging import Rows

REST_SHARE: Final = 4.0  # of the work's time: a fifth of a processor at most is used
WORK_S_MIN: Final = 0.0003  # of processor time before it rests: small questions never do


class Rests:
    """Rests for what was done since the last one, for one thread."""

    def __init__(self) -> None:
        self._rested_at_s = time.thread_time()

    def take(self, least_s: float = 0.0) -> None:
        """Rest now, so long at least; not at all where next to nothing was done."""
        worked_s = time.thread_time() - self._rested_at_s
        if least_s or worked_s >= WORK_S_MIN:
            time.sleep(max(REST_SHARE * worked_s, least_s))
            self._rested_at_s = time.thread_time()


class RestingRows:
    """Rows of a connection, for one thread. Before each look it rests for what was done since."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._rests = Rests()

    def __call__(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        self._rests.take()
        return self._rows(sql, *arguments)
