"""The spool's stand-in where no file can be had: the same, in memory, and gone with the process."""

from collections.abc import Iterator
from typing import Final

from hansard.spool import RECORDS_AT, Identity, SpoolState
from hansard.wire import FRAME_BYTES_MAX, FRAME_EVENTS_CUT, Drops, Frame

EVENTS_MAX: Final = 10_000  # the default bound, when no file bounds it


class MemoryQueue:
    """Uncommitted events on the heap. Same contract as `hansard.spool.Spool`."""

    def __init__(self, size_bytes: int, identity: Identity, state: SpoolState) -> None:
        self._producer_id = identity.producer_id
        self._room = size_bytes
        self._state = state._replace(head=RECORDS_AT)
        self._held: list[bytes] = []  # by event; a run's bytes are its first one's
        self._crcs: list[int] = []
        self.bytes_used = 0

    def append(self, producer_seq: int, crc: int, data: bytes) -> bool:
        """Keep an event; False when there is no room for it."""
        assert producer_seq == self._state.base_seq + len(self._held) + 1
        if self.bytes_used + len(data) > self._room:
            return False
        self._held.append(data)
        self._crcs.append(crc)
        self.bytes_used += len(data)
        return True

    def append_run(self, first_seq: int, crc: int, data: bytes, count: int) -> bool:
        """The same for ``count`` joined events; ``crc`` is that behind the last."""
        if not self.append(first_seq, crc, data):
            return False
        self._held.extend([b""] * (count - 1))
        self._crcs.extend([crc] * (count - 1))
        return True

    def trim_to(self, producer_seq: int) -> None:
        """Forget what an interrupted `append` may have left behind ``producer_seq``."""
        kept = producer_seq - self._state.base_seq
        del self._held[kept:], self._crcs[kept:]
        self.bytes_used = sum(map(len, self._held))

    def frame(self, first_seq: int, last_seq: int) -> Frame:
        """The largest legal frame from ``first_seq`` on, not beyond ``last_seq``."""
        parts: list[bytes] = []
        events, room = 0, FRAME_BYTES_MAX
        for data, count in self._records_from(first_seq, last_seq):
            if parts and (len(data) > room or events + count > FRAME_EVENTS_CUT):
                break
            parts.append(data)
            events, room = events + count, room - len(data)
        crc_before = self.crc_at(first_seq - 1)
        drops = self._state.drops
        return Frame(self._producer_id, first_seq, events, crc_before, drops, b"".join(parts))

    def records(self) -> Iterator[tuple[bytes, int]]:
        """The bytes of each record that is held and how many events they are, oldest first."""
        base_seq = self._state.base_seq
        return self._records_from(base_seq + 1, base_seq + len(self._held))

    def _records_from(self, first_seq: int, last_seq: int) -> Iterator[tuple[bytes, int]]:
        index, stop = first_seq - self._state.base_seq - 1, last_seq - self._state.base_seq
        while index < stop:
            end = index + 1
            while end < stop and not self._held[end]:
                end += 1
            yield self._held[index], end - index
            index = end

    def crc_at(self, producer_seq: int) -> int:
        """The running CRC behind an event that is held, or behind the last one freed."""
        index = producer_seq - self._state.base_seq - 1
        return self._state.base_crc if index < 0 else self._crcs[index]

    def free_to(self, producer_seq: int) -> None:
        """Forget all events up to ``producer_seq``."""
        freed = producer_seq - self._state.base_seq
        if freed > 0:
            crc = self.crc_at(producer_seq)
            self.bytes_used -= sum(map(len, self._held[:freed]))
            del self._held[:freed], self._crcs[:freed]
            self._state = self._state._replace(base_seq=producer_seq, base_crc=crc)

    def note(self, *, log_id: bytes | None = None, drops: Drops | None = None) -> None:
        """Remember which log the events belong to, or what could not be kept."""
        self._state = self._state._replace(
            log_id=log_id or self._state.log_id, drops=drops or self._state.drops
        )

    def close(self, *, remove: bool) -> None:
        """Nothing to let go of: what is not committed ends with the process."""

    def abandon_after_fork(self) -> None:
        """Nothing is shared with the parent."""
