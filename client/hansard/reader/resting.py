"""Reading considerately: whoever goes through a whole log rests most of the time.

Priorities alone do not do it: measured on two cores, a loop of the lowest priority that touches
no log triples the p99 of a synchronous caller. A processor that sleeps is there at once.
"""

import time
from typing import Any, Final

from hansard.reader.paging import Rows

REST_SHARE: Final = 4.0  # of the work's time: a fifth of a processor at most is used
WORK_S_MIN: Final = 0.0003  # of processor time before it rests: small questions never do


class RestingRows:
    """Rows of a connection, for one thread. Before each look it rests for what was done since."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._rested_at_s = time.thread_time()

    def __call__(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        worked_s = time.thread_time() - self._rested_at_s
        if worked_s >= WORK_S_MIN:
            time.sleep(REST_SHARE * worked_s)
            self._rested_at_s = time.thread_time()
        return self._rows(sql, *arguments)
