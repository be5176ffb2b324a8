"""When what the store could not do is tried again, and when no more. No clock, no store.

A lock and a full disk are waited for, however long it takes: nothing is lost meanwhile. Whatever
else may pass is tried a bounded number of times.
"""

from typing import Final

import apsw

RETRY_S: Final = 0.1
FULL_RETRY_S: Final = 1.0  # a batch is written for nothing each time
FALTERS_MAX: Final = 50  # without a success in between: about 5 s


class StoreUnready(Exception):
    """The store cannot do it now. Batch and database are as they were; try again."""


class StoreBusy(StoreUnready):
    """Another program holds SQLite's write lock."""


class StoreFull(StoreUnready):
    """The disk is full. There must be room first."""


class StoreFaltered(StoreUnready):
    """Something failed that may go through next time; the cause is SQLite's error."""


class Retries:
    """Of one thing that is tried until it succeeds. ``at`` is the moment not to try before, ``why``
    what stands in the way, empty for nothing."""

    def __init__(self) -> None:
        self.at = 0.0
        self.why = ""
        self.count = 0
        self._falters = 0

    def failed(self, error: StoreUnready, now: float) -> None:
        """Try again later. Raises the cause where it has failed too often to try again."""
        self.count += 1
        self.why = str(error)
        self.at = now + (FULL_RETRY_S if isinstance(error, StoreFull) else RETRY_S)
        self._falters += isinstance(error, StoreFaltered)
        if self._falters >= FALTERS_MAX and isinstance(error.__cause__, apsw.Error):
            raise error.__cause__

    def succeeded(self) -> None:
        """Nothing is in the way."""
        self.why, self._falters = "", 0
