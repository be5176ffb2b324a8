"""When the collector of cyclic garbage runs in the writer: by the clock, never by allocations.

A batch makes thousands of tuples that no cycle holds, and each collection would walk them all. It
decides when, and knows nothing of what the loop does.
"""

import gc
from typing import Final, Self

YOUNG_S: Final = 1.0  # between two collections of what was made lately
ALL_S: Final = 60.0  # of everything made since the start


class Collector:
    """Within its block Python collects nothing by itself; whoever runs the loop calls `run`.

    Under load too, or the rings that named operations leave behind would gather as long as that
    lasts. What was there at the start is never looked at again.
    """

    def __init__(self, now: float) -> None:
        self._young_at, self._all_at = now + YOUNG_S, now + ALL_S

    def __enter__(self) -> Self:
        gc.collect()
        gc.freeze()
        gc.disable()
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()

    def run(self, now: float) -> None:
        """Collect what is due."""
        if now < self._young_at:
            return
        if now >= self._all_at:
            self._all_at = now + ALL_S
            gc.collect()
        else:
            gc.collect(1)
        self._young_at = now + YOUNG_S
