"""The writer's own entries beside the batches': what it did with the log, said in the log itself.

It begins no transaction, and does nothing of what it says.
"""

from collections.abc import Callable
from typing import Any

from hansard_writer.entering import Entering
from hansard_writer.intake import ProducerState, own_run
from hansard_writer.store import Store


class OwnEntries:
    """The writer as a producer, ``own``, in transactions of `Store.entering`: one entry each."""

    def __init__(self, store: Store, own: ProducerState, clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._clock_ns = clock_ns

    def enter(self, event_type: str, level: str, facts: dict[str, Any], entering: Entering) -> int:
        """Enter what was done; the seq of the entry. `committed` MUST follow the commit."""
        own = self._own
        number = own.watermark + 1
        run = own_run(number, event_type, level, facts, self._clock_ns())
        seq = entering.enter(own.id, own.hash, run)
        self._store.connection.execute(
            "UPDATE producers SET watermark = ? WHERE id = ?", (number, own.id)
        )
        return seq

    def committed(self) -> None:
        """It is in the log."""
        self._own.watermark += 1
        self._own.committed()
