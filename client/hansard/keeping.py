"""Where a producer keeps its events: in a spool, or in memory where no spool can be had.

It opens stores and puts one in place of another. What is in them is the producer's business.
"""

import os
import time
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from hansard import directory as layout
from hansard.complaints import Complaints
from hansard.memory_queue import MemoryQueue
from hansard.source import Source
from hansard.spool import Identity, Spool, SpoolState, making
from hansard.wire import Drops

Store = Spool | MemoryQueue
Record = tuple[bytes, int]  # one event, or a run of joined ones: their bytes and their number


class Replaced(NamedTuple):
    """A new store, and the number and CRC of the last event that it took over."""

    store: Store
    seq: int
    crc: int


class Keeper:
    """Opens the stores of one producer.

    ``numbers_are_the_sources``: another process may go on under the same id.
    """

    def __init__(
        self,
        directory: Path,
        size_bytes: int,
        complaints: Complaints,
        *,
        numbers_are_the_sources: bool,
    ) -> None:
        self._directory = directory / layout.SPOOL
        self._size_bytes = size_bytes
        self._complaints = complaints
        self._numbers_are_the_sources = numbers_are_the_sources
        self.started_at = time.time_ns()
        self.seek_spool_at = 0.0  # where memory has to do

    def open(
        self,
        source: Source,
        log_id: bytes | None,
        drops: Drops,
        *,
        named: bool = True,
        or_memory: bool = True,
    ) -> Store:
        """A store whose first event follows ``source``; a complaint if it is memory only, or
        OSError where ``or_memory`` is false.

        The caller MUST hold `hansard.spool.making` until others know the store.
        """
        identity = Identity(
            source.producer_id,
            os.uname().nodename[:255],
            os.getpid(),
            self.started_at,
            self._numbers_are_the_sources,
        )
        state = SpoolState(
            base_seq=source.watermark, base_crc=source.crc, log_id=log_id, drops=drops
        )
        try:
            mode = layout.spool_file_mode(self._directory)
            return Spool(self._directory, self._size_bytes, mode, identity, state, named=named)
        except OSError as error:
            if not or_memory:
                raise
            self._complaints.later(
                "no spool",
                "no spool in %s (%s): events are kept in memory only and end with this process; "
                "mend that, and it is tried again soon",
                self._directory,
                error.strerror,
            )
            return MemoryQueue(self._size_bytes, identity, state)

    def replace(
        self,
        old: Store | None,
        source: Source,
        log_id: bytes | None,
        drops: Drops,
        records: list[Record],
        *,
        or_memory: bool,
    ) -> Replaced:
        """A store that holds ``records`` behind ``source``, as many as fit, in place of ``old``.
        Of two spools one is there at any moment; OSError leaves the old one as it was."""
        with making:
            new = self.open(source, log_id, drops, named=False, or_memory=or_memory)
            seq, crc = source.watermark, source.crc
            for data, count in records:
                if not new.append_run(seq + 1, crc32(data, crc), data, count):
                    break
                seq, crc = seq + count, crc32(data, crc)
            if isinstance(new, Spool):
                try:
                    new.publish(old if isinstance(old, Spool) else None)
                except OSError:
                    new.discard()
                    raise
            if old:
                old.close(remove=False)
            return Replaced(new, seq, crc)
