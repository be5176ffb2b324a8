"""The spool: a producer's memory-mapped file of events that are not yet committed.

It survives ``kill -9`` of its process at the price of a memcpy. It decides nothing: what to send,
when to free and what to do when it is full is the producer's business.
"""

import contextlib
import fcntl
import mmap
import os
import struct
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from hansard.spool.layout import (
    LENGTH,
    RECORD,
    RECORD_BYTES_MAX,
    RECORDS_AT,
    SIZE_BITS,
    SUFFIX,
    TEMPORARY_SUFFIX,
    WRAP,
    Identity,
    SpoolState,
    pack_state,
    unpack_length,
    write_identity,
)
from hansard.wire import FRAME_BYTES_MAX, FRAME_EVENTS_CUT, Drops, Frame

_pack_record = RECORD.pack_into
_pack_length = LENGTH.pack_into
_SMALL_BYTES: Final = 512

# A fork waits for a spool that is being made, and for its owner to know it: a child that inherited
# a descriptor which nobody knows of could not close it, and the parent's flock would outlive it.
making = threading.RLock()
os.register_at_fork(
    before=making.acquire, after_in_parent=making.release, after_in_child=making.release
)


@cache
def _pack_small() -> tuple[Callable[..., None], ...]:
    """By its event's size, what writes a small record's head and event in one call: that saves
    4 % of a `record()`. Made with the first spool, because it takes 0.4 ms."""
    return tuple(struct.Struct(f"{RECORD.format}{size}s").pack_into for size in range(_SMALL_BYTES))


def new_name() -> str:
    """A file name that nobody else has."""
    return os.urandom(16).hex() + SUFFIX


class Spool:
    """A live producer's spool. Holds the file's flock; appends at the tail, frees at the head.

    `append` and `free_to` MUST be called under the producer's lock; `frame` may run beside
    `append`, as long as nobody frees what it reads.
    """

    def __init__(
        self,
        directory: Path,
        size_bytes: int,
        mode: int,
        identity: Identity,
        state: SpoolState,
        *,
        named: bool = True,
    ) -> None:
        """With ``named=False`` nobody adopts it before `publish` is called."""
        self.path = directory / new_name()
        self._temporary = self.path.with_suffix(TEMPORARY_SUFFIX)
        self._producer_id = identity.producer_id
        self._size = size_bytes
        self._generation = 0
        self._state = state
        self._tail = RECORDS_AT
        self._limit = size_bytes - RECORD.size  # the record must end here at the latest
        self._wrapped = False
        self._pack_small = _pack_small()
        self._offsets = array("Q")  # where the record of each event that is held begins
        self._has_runs = False  # since it was last empty: some events share a record
        self._descriptor = _allocate(self._temporary, size_bytes, mode)
        try:
            self._map = mmap.mmap(self._descriptor, size_bytes)
            write_identity(self._map, identity)
            self._write_state()
            if named:
                self.publish()
        except BaseException:
            os.close(self._descriptor)
            self._temporary.unlink(missing_ok=True)
            raise

    def publish(self, instead_of: "Spool | None" = None) -> None:
        """Give the file its name, now that it is whole and locked: one of its own, or that of
        another spool, which at the same moment is no more."""
        if instead_of is not None:
            self.path = instead_of.path
        self._temporary.rename(self.path)

    def append(self, producer_seq: int, crc: int, data: bytes, more: int = 0) -> bool:
        """Copy an event in; False, and nothing changed, when there is no room for it.

        ``more`` is what a run of joined events adds to the record's length: see `append_run`.
        """
        size = len(data)
        offset = self._tail
        end = offset + 16 + size
        if end > self._limit:
            if not self._wrap(size):
                return False
            offset = self._tail
            end = offset + 16 + size
        memory = self._map
        if size < _SMALL_BYTES:
            self._pack_small[size](memory, offset, 0, producer_seq, crc, data)
        else:
            _pack_record(memory, offset, 0, producer_seq, crc)
            memory[offset + 16 : end] = data
        _pack_length(memory, offset, size + more)
        self._offsets.append(offset)
        self._tail = end
        return True

    def append_run(self, first_seq: int, crc: int, data: bytes, count: int) -> bool:
        """The same for ``count`` joined events, in one record; ``crc`` is that behind the last."""
        if count > 1:
            self._has_runs = True  # before they can be read: `frame` may look at any time
        if not self.append(first_seq, crc, data, (count - 1) << SIZE_BITS):
            return False
        self._offsets.extend([self._offsets[-1]] * (count - 1))
        return True

    def trim_to(self, producer_seq: int) -> None:
        """Forget what is behind ``producer_seq``, and what an interrupted `append` left there."""
        kept = producer_seq - self._state.base_seq
        reach = min(self._limit, self._tail + RECORD_BYTES_MAX) + RECORD.size
        torn = self._map[self._tail : reach]
        end = self._tail + len(torn.rstrip(b"\0"))
        start = self._offsets[kept] if len(self._offsets) > kept else self._tail
        if self._wrapped and start >= self._state.head:  # back over the end of the ring
            self._zero(RECORDS_AT, end)
            end = self._size
            self._wrapped, self._limit = False, self._size - RECORD.size
        self._tail = start  # first: interrupted here, it can be done again
        del self._offsets[kept:]
        self._zero(start, end)

    def frame(self, first_seq: int, last_seq: int) -> Frame:
        """The largest legal frame from ``first_seq`` on, not beyond ``last_seq``."""
        if self._has_runs:
            return self._frame_of_runs(first_seq, last_seq)
        index = first_seq - self._state.base_seq - 1
        begins = self._offsets[
            index : min(last_seq - self._state.base_seq, index + FRAME_EVENTS_CUT)
        ]
        first = begins[0]
        if begins[-1] < first:  # a frame ends where the ring wraps
            begins = begins[: next(i for i, begin in enumerate(begins) if begin < first)]
        memory = self._map
        ends = begins[1:]
        ends.append(begins[-1] + RECORD.size + LENGTH.unpack_from(memory, begins[-1])[0])
        count = max(1, bisect_right(ends, first + FRAME_BYTES_MAX))
        head = RECORD.size
        body = b"".join(
            [memory[begin + head : end] for begin, end in zip(begins, ends[:count], strict=False)]
        )
        crc_before = self.crc_at(first_seq - 1)
        return Frame(self._producer_id, first_seq, count, crc_before, self._state.drops, body)

    def records(self) -> Iterator[tuple[bytes, int]]:
        """The bytes of each record that is held and how many events they are, oldest first."""
        index = 0
        while index < len(self._offsets):
            data, count = self._record_at(self._offsets[index])
            yield data, count
            index += count

    def crc_at(self, producer_seq: int) -> int:
        """The running CRC behind an event that is held, or behind the last one freed."""
        index = producer_seq - self._state.base_seq - 1
        if index < 0:
            return self._state.base_crc
        crc: int = RECORD.unpack_from(self._map, self._offsets[index])[2]
        return crc

    def free_to(self, producer_seq: int) -> None:
        """Give the room of all events up to ``producer_seq`` back, zeroed."""
        freed = producer_seq - self._state.base_seq
        if freed <= 0:
            return
        crc = self.crc_at(producer_seq)
        offsets = self._offsets
        old_head = self._state.head
        if freed == len(offsets):  # empty: start over, on pages that are warm
            dirty = [(old_head, self._tail)]
            if self._wrapped:
                dirty = [(old_head, self._size), (RECORDS_AT, self._tail)]
            head, self._tail, self._wrapped = RECORDS_AT, RECORDS_AT, False
            self._has_runs = False
        else:
            head = offsets[freed]
            dirty = [(old_head, head)]
            if head < old_head:
                dirty = [(old_head, self._size), (RECORDS_AT, head)]
                self._wrapped = False
        del offsets[:freed]
        self._limit = (head if self._wrapped else self._size) - RECORD.size
        self._state = self._state._replace(head=head, base_seq=producer_seq, base_crc=crc)
        self._write_state()
        for start, end in dirty:
            self._zero(start, end)

    def is_named(self) -> bool:
        """Whether the file is still where a writer would look for it."""
        try:
            return os.path.samestat(self.path.stat(), os.fstat(self._descriptor))
        except OSError:
            return False

    def note(self, *, log_id: bytes | None = None, drops: Drops | None = None) -> None:
        """Write down which log the events belong to, or what could not be kept."""
        self._state = self._state._replace(
            log_id=log_id or self._state.log_id, drops=drops or self._state.drops
        )
        self._write_state()

    @property
    def bytes_used(self) -> int:
        """Bytes of records that are held."""
        if not self._offsets:
            return 0
        used = self._tail - self._state.head
        return used if used >= 0 else used + self._size - RECORDS_AT

    def close(self, *, remove: bool) -> None:
        """Let go of the file; a file that stays is the writer's to adopt."""
        if remove:
            with contextlib.suppress(OSError):  # one that stays is empty: the writer sweeps it
                self.path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)

    def discard(self) -> None:
        """Undo the making of a spool that was never named."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)

    def abandon_after_fork(self) -> None:
        """In a child: drop the inherited descriptors, or the parent's flock would outlive it.

        Never LOCK_UN: the lock belongs to the open file, which the parent shares.
        """
        self._map.close()
        os.close(self._descriptor)

    def _frame_of_runs(self, first_seq: int, last_seq: int) -> Frame:
        """A frame of whole records, one by one."""
        base_seq = self._state.base_seq
        parts: list[bytes] = []
        events, room = 0, FRAME_BYTES_MAX
        while first_seq + events <= last_seq:
            data, count = self._record_at(self._offsets[first_seq + events - base_seq - 1])
            if parts and (len(data) > room or events + count > FRAME_EVENTS_CUT):
                break
            parts.append(data)
            events, room = events + count, room - len(data)
        crc_before = self.crc_at(first_seq - 1)
        drops = self._state.drops
        return Frame(self._producer_id, first_seq, events, crc_before, drops, b"".join(parts))

    def _record_at(self, offset: int) -> tuple[bytes, int]:
        size, count = unpack_length(LENGTH.unpack_from(self._map, offset)[0])
        return self._map[offset + RECORD.size : offset + RECORD.size + size], count

    def _zero(self, start: int, end: int) -> None:
        self._map[start:end] = bytes(end - start)

    def _wrap(self, length: int) -> bool:
        """Move the tail to the start of the ring if a record of ``length`` fits there."""
        head = self._state.head
        if self._wrapped or RECORDS_AT + RECORD.size + length > head - RECORD.size:
            return False
        LENGTH.pack_into(self._map, self._tail, WRAP)
        self._tail, self._limit, self._wrapped = RECORDS_AT, head - RECORD.size, True
        return True

    def _write_state(self) -> None:
        self._generation += 1
        at, packed = pack_state(self._generation, self._state)
        self._map[at : at + len(packed)] = packed


def _allocate(temporary: Path, size_bytes: int, mode: int) -> int:
    """A new file, locked and fully allocated: a sparse map dies of SIGBUS on a full disk."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.fchmod(descriptor, mode)
        os.posix_fallocate(descriptor, 0, size_bytes)
    except BaseException:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)
        raise
    return descriptor
