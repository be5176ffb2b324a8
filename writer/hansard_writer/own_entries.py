"""The writer's own entries beside the batches': what it did with the log, said in the log itself.

It does nothing of what they say, and does not decide when.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from hansard_writer.entering import Entering
from hansard_writer.intake import ProducerState, own_run
from hansard_writer.store import Store


class OwnEntries:
    """The writer as a producer, ``own``. MUST NOT be used while a batch holds what is not
    committed."""

    def __init__(self, store: Store, own: ProducerState, clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._clock_ns = clock_ns
        self._number = own.watermark

    @contextlib.contextmanager
    def entering(self) -> Iterator[Entering]:
        """As `Store.entering`, for `enter`; the numbers are the producer's once it is committed."""
        own = self._own
        self._number = own.watermark
        with self._store.entering() as entering:
            yield entering
            if self._number > own.watermark:
                self._store.connection.execute(
                    "UPDATE producers SET watermark = ? WHERE id = ?", (self._number, own.id)
                )
        own.watermark = self._number
        own.committed()

    def enter(self, event_type: str, level: str, facts: dict[str, Any], entering: Entering) -> int:
        """Enter one, with a payload; its seq."""
        self._number += 1
        run = own_run(self._number, event_type, level, facts, self._clock_ns())
        return entering.enter(self._own.id, self._own.hash, run)
