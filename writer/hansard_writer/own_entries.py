"""Entries of the writer's own, in transactions beside the batches'.

What they say, and when, others decide.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from hansard_writer.entering import Entering
from hansard_writer.intake import ProducerState, own_run
from hansard_writer.store import Store


class OwnEntries:
    """The writer as a producer: ``own``. Its numbers go on where the last transaction ended."""

    def __init__(self, store: Store, own: ProducerState) -> None:
        self._store = store
        self._own = own
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

    def enter(
        self, entering: Entering, event_type: str, level: str, facts: dict[str, Any], now_ns: int
    ) -> int:
        """Enter one, with a payload; its seq."""
        self._number += 1
        run = own_run(self._number, event_type, level, facts, now_ns)
        return entering.enter(self._own.id, self._own.hash, run)
