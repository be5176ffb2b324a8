"""How events reach a log in memory: in the caller's own thread, before its call returns.

A producer and a sender as `hansard.audit_log` knows them, without a spool, a thread or a socket.
What to send when, and what an answer means, is `hansard.transmission`'s here too.
"""

import os
from typing import Final

from hansard.complaints import Complaints
from hansard.keeping import Keeper
from hansard.memory_queue import MemoryQueue
from hansard.memory_writer import MemoryWriter
from hansard.producer import Producer
from hansard.source import Source
from hansard.spool import Identity, SpoolState
from hansard.transmission import Transmission
from hansard.wire import Drops

ROUNDS_MAX: Final = 16  # of sending and asking; more than two are an interruption's
_DUE: Final = 1.0  # a moment in which no wait is too early: no time passes here
_AT_ONCE: Final = 0.0


class _Keeper(Keeper):
    """Keeps in memory, on purpose, and complains of no spool."""

    def open(
        self,
        source: Source,
        log_id: bytes | None,
        drops: Drops,
        *,
        named: bool = True,  # noqa: ARG002 - of a spool
        or_memory: bool = True,  # noqa: ARG002 - the same
    ) -> MemoryQueue:
        """An empty queue whose first event follows ``source``."""
        host, pid = os.uname().nodename[:255], os.getpid()
        identity = Identity(source.producer_id, host, pid, self.started_at)
        state = SpoolState(
            base_seq=source.watermark, base_crc=source.crc, log_id=log_id, drops=drops
        )
        return MemoryQueue(self._size_bytes, identity, state)


class _Afterwards(Complaints):
    """Keeps what there is to complain of until the lock is given back: a handler may record."""

    def __init__(self, complaints: Complaints) -> None:
        super().__init__()
        self._complaints = complaints

    def warn(self, cause: str, message: str, *args: object) -> None:
        """Remember it."""
        self._complaints.later(cause, message, *args)


class MemoryProducer(Producer):
    """A producer that delivers what it keeps, too."""

    def begin(self, writer: MemoryWriter) -> None:
        """Meet the log. MUST be called before anything is recorded."""
        self._keeper = _Keeper(
            self._directory,
            self._settings.spool_bytes,
            self._complaints,
            numbers_are_the_sources=False,
        )
        self._writer = writer
        self._delivers = False
        self.transmission = Transmission(self, _Afterwards(self._complaints))
        self.deliver()

    def deliver(self) -> None:
        """Have all that is kept entered, and all that is waited for settled. For any thread; who
        interrupts it leaves that to it."""
        is_inside = self._lock._is_owned()  # type: ignore[attr-defined] # as in `append`
        with self._lock:
            if self._delivers:
                return
            self._delivers = True
            try:
                self._converse()
            finally:
                self._delivers = False
        if not is_inside:
            self._complaints.say()

    def _converse(self) -> None:
        transmission, writer = self.transmission, self._writer
        if not transmission.welcomed:
            transmission.on_reply(writer.answer(transmission.greeting()), _AT_ONCE)
        for _ in range(ROUNDS_MAX):
            while (frame := transmission.next_frame()) is not None:
                writer.take(frame)
                transmission.pushed(frame)
            wait = transmission.next_wait(_DUE)
            if wait is None:
                return
            transmission.on_reply(writer.answer(wait), _AT_ONCE)


class MemorySender:
    """The face of `hansard.sender.Sender`, for a producer that needs none."""

    started = served = True
    refusal = ""

    def __init__(self, producer: MemoryProducer) -> None:
        self._producer = producer
        self.transmission = producer.transmission

    def wake(self) -> None:
        """Deliver, here and now."""
        self._producer.deliver()

    def stop(self, timeout: float) -> bool:  # noqa: ARG002 - there is nothing to wait for
        """Nothing runs."""
        return True

    def finish_adopting(self, timeout: float) -> None:
        """Nobody is adopted."""

    def abandon_after_fork(self) -> None:
        """Nothing is shared with the parent."""
