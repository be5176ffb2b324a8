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
        self._held: list[bytes] = []
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

    def trim_to(self, producer_seq: int) -> None:
        """Forget what an interrupted `append` may have left behind ``producer_seq``."""
        kept = producer_seq - self._state.base_seq
        del self._held[kept:], self._crcs[kept:]
        self.bytes_used = sum(map(len, self._held))

    def frame(self, first_seq: int, last_seq: int) -> Frame:
        """The largest legal frame from ``first_seq`` on, not beyond ``last_seq``."""
        index = first_seq - self._state.base_seq - 1
        stop = min(last_seq - self._state.base_seq, index + FRAME_EVENTS_CUT)
        room = FRAME_BYTES_MAX
        count = 0
        for data in self._held[index:stop]:
            room -= len(data)
            if room < 0 and count:
                break
            count += 1
        body = b"".join(self._held[index : index + count])
        crc_before = self.crc_at(first_seq - 1)
        return Frame(self._producer_id, first_seq, count, crc_before, self._state.drops, body)

    def events(self) -> Iterator[bytes]:
        """The bytes of each event that is held, oldest first."""
        return iter(self._held)

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
