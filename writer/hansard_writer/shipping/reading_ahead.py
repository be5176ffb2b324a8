"""The next batch, read and checked while the one before it is on its way to the target.

A thread of its own reads, over a connection of its own. What comes after which batch is not decided
here.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import Batch, Checked
from hansard_writer.shipping.log_source import LogSource


class Ready(NamedTuple):
    """A batch, and what came of checking it."""

    batch: Batch
    checked: Checked


class ReadAhead:
    """Batches of one log, one behind the other. ``bytes_max``: as `LogSource.next`."""

    def __init__(self, open_source: Callable[[], LogSource], bytes_max: int | None) -> None:
        self._bytes_max = bytes_max
        self._thread = ThreadPoolExecutor(1, "hansard-ship")  # SQLite's connection is one thread's
        try:
            self._source = self._thread.submit(open_source).result()
        except BaseException:
            self._thread.shutdown()
            raise
        self.origin = self._source.origin
        self._coming: Future[Ready | None] | None = None

    def next(self, edge: Edge) -> Ready | None:
        """The batch behind an edge, None where no checkpoint covers more; the one after it is read
        from now on. Each edge MUST be the one that the batch before came to. Raises as
        `LogSource.next` and `Batch.checked`."""
        coming, self._coming = self._coming, None
        ready = (coming or self._thread.submit(self._read, edge)).result()
        if ready is not None:
            self._coming = self._thread.submit(self._read, ready.checked.edge)
        elif coming is not None:  # more may be covered since it looked
            return self.next(edge)
        return ready

    def close(self) -> None:
        """End, behind what is being read."""
        self._thread.submit(self._source.close)
        self._thread.shutdown()

    def _read(self, edge: Edge) -> Ready | None:
        batch = self._source.next(edge.size, self._bytes_max)
        return None if batch is None else Ready(batch, batch.checked(edge))
