"""Entries that the writer itself makes in transactions of its own, beside the batches'."""

from collections.abc import Callable
from typing import Any

from hansard_writer.entering import Entering
from hansard_writer.intake import ProducerState, own_run
from hansard_writer.store import Store


class OwnEntries:
    """``own`` is the writer as a producer. MUST NOT be used while a batch holds what is not
    committed; a transaction has one `enter` at most, and behind its commit `committed`."""

    def __init__(self, store: Store, own: ProducerState, clock_ns: Callable[[], int]) -> None:
        self._store = store
        self._own = own
        self._clock_ns = clock_ns

    def enter(self, event_type: str, level: str, facts: dict[str, Any], entering: Entering) -> None:
        """An entry, in the transaction of ``entering``."""
        own = self._own
        seq = own.watermark + 1
        entering.enter(own.id, own.hash, own_run(seq, event_type, level, facts, self._clock_ns()))
        self._store.connection.execute(
            "UPDATE producers SET watermark = ? WHERE id = ?", (seq, own.id)
        )

    def committed(self) -> None:
        """The transaction is."""
        self._own.watermark += 1
        self._own.committed()
