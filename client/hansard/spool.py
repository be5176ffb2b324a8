"""The spool: a producer's memory-mapped file of events that are not yet committed.

It survives ``kill -9`` of its process at the price of a memcpy. It decides nothing: what to send,
when to free and what to do when it is full is the producer's business.

File layout (little-endian), a header page and a ring of records:

* bytes 0 to 2,048: identity: magic, length and CRC of a msgpack map (producer_id, host, pid,
  started_at);
* two slots at 2,048 and 3,072: the state, written alternately, each with generation and CRC, so
  that a kill in the middle of one leaves the other;
* from 4,096: records, each ``length u32, producer_seq u64, running CRC-32 u32, event bytes``: one
  event, or a run of joined ones, which is there wholly or not at all. The lower 21 bits of the
  length are bytes, the upper 11 the number of events less one; producer_seq is the first event's,
  the CRC that behind the last. The length is written last and the space behind the newest record
  is zero, so a torn tail is an end. A length of 2^32 - 1 sends the reader back to 4,096.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import stat
import struct
import threading
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgpack

from hansard.wire import (
    EVENT_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_EVENTS_CUT,
    FRAME_EVENTS_MAX,
    INT64_MAX,
    RUN_BYTES_MAX,
    Drops,
    Frame,
    WireError,
    hello_of,
)

SUFFIX: Final = ".spool"
TEMPORARY_SUFFIX: Final = ".tmp"

MAGIC: Final = b"HANSARD-SPOOL-1\n"
IDENTITY_BYTES_MAX: Final = 2_048
RECORDS_AT: Final = 4_096
RECORD: Final = struct.Struct("<IQI")
LENGTH: Final = struct.Struct("<I")
_pack_record = RECORD.pack_into
_pack_length = LENGTH.pack_into
WRAP: Final = 0xFFFF_FFFF
SIZE_BITS: Final = 21
SIZE_MASK: Final = (1 << SIZE_BITS) - 1

RECORD_BYTES_MAX: Final = max(EVENT_BYTES_MAX, RUN_BYTES_MAX)

_IDENTITY: Final = struct.Struct("<II")  # length and CRC of the map behind the magic
_STATE: Final = struct.Struct("<QQQI16sQqq")
_STATE_CRC: Final = struct.Struct("<I")
_SLOTS: Final = (2_048, 3_072)
_NO_LOG: Final = bytes(16)


# A fork waits for a spool that is being made, and for its owner to know it: a child that inherited
# a descriptor which nobody knows of could not close it, and the parent's flock would outlive it.
making = threading.RLock()
os.register_at_fork(
    before=making.acquire, after_in_parent=making.release, after_in_child=making.release
)


class SpoolDamaged(ValueError):
    """The file is no spool, or its header is broken. Says what is wrong with it."""


class Identity(NamedTuple):
    """Whose spool it is."""

    producer_id: bytes
    host: str
    pid: int
    started_at: int
    numbers_are_the_sources: bool = False  # another process may go on under the same id


class SpoolState(NamedTuple):
    """Where the records begin, and what came before them."""

    head: int = RECORDS_AT
    base_seq: int = 0  # the highest number that was freed
    base_crc: int = 0  # the producer's CRC up to it
    log_id: bytes | None = None
    drops: Drops = Drops()


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
        self._offsets = array("Q")  # where the record of each event that is held begins
        self._has_runs = False  # since it was last empty: some events share a record
        self._note_offset = self._offsets.append
        self._descriptor = _allocate(self._temporary, size_bytes, mode)
        try:
            self._map = mmap.mmap(self._descriptor, size_bytes)
            _write_identity(self._map, identity)
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
        _pack_record(memory, offset, 0, producer_seq, crc)
        memory[offset + 16 : end] = data
        _pack_length(memory, offset, size | more)
        self._note_offset(offset)
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
        size, count = _unpack_length(LENGTH.unpack_from(self._map, offset)[0])
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
        state = self._state
        packed = _STATE.pack(
            self._generation,
            state.head,
            state.base_seq,
            state.base_crc,
            state.log_id or _NO_LOG,
            *state.drops,
        )
        at = _SLOTS[self._generation % 2]
        self._map[at : at + len(packed)] = packed
        _STATE_CRC.pack_into(self._map, at + len(packed), zlib.crc32(packed))


class Orphan:
    """A dead producer's spool, locked for adoption. Close it, or remove it when it is entered."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        try:
            self._size = os.fstat(descriptor).st_size
            header = self._read(0, RECORDS_AT)
            if len(header) < RECORDS_AT:
                raise SpoolDamaged(f"{len(header)} bytes are too few for a spool")
            self.identity = _read_identity(header)
            self.state = _read_state(header, self._size)
        except BaseException:
            os.close(descriptor)
            raise

    def frames(self) -> Iterator[Frame]:
        """Its events, as the producer would have sent them; ends at a torn tail."""
        offset, seq, crc = self.state.head, self.state.base_seq + 1, self.state.base_crc
        frame = Frame(self.identity.producer_id, seq, 0, crc, self.state.drops, b"")
        parts: list[bytes] = []
        events, room = 0, FRAME_BYTES_MAX
        wrapped = False
        while True:
            record, count = self._record(offset, seq, crc)
            if not count and not wrapped and self._wraps(offset):
                offset, wrapped = RECORDS_AT, True
                continue
            if not count or len(record) > room or events + count > FRAME_EVENTS_CUT:
                if parts or not count:
                    yield frame._replace(event_count=events, body=b"".join(parts))
                if not count:
                    return
                frame = frame._replace(first_seq=seq, crc_before=crc)
                parts, events, room = [], 0, max(FRAME_BYTES_MAX, len(record))
            parts.append(record)
            room -= len(record)
            crc = zlib.crc32(record, crc)
            offset += RECORD.size + len(record)
            seq, events = seq + count, events + count

    def close(self, *, remove: bool = False) -> None:
        """Unlock the file; ``remove`` it when all of it is committed."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _read(self, offset: int, size: int) -> bytes:
        """By read, not by map: a file that is cut short meanwhile would kill the process."""
        return os.pread(self._descriptor, size, offset)

    def _record(self, offset: int, seq: int, crc: int) -> tuple[bytes, int]:
        """The bytes of a record and how many events they are; none where it is not whole."""
        nothing = b"", 0
        head = self._read(offset, RECORD.size)
        if len(head) < RECORD.size:
            return nothing
        length, record_seq, record_crc = RECORD.unpack(head)
        size, count = _unpack_length(length)
        if not 0 < size <= RECORD_BYTES_MAX or count > FRAME_EVENTS_MAX or record_seq != seq:
            return nothing
        data = self._read(offset + RECORD.size, size)
        if len(data) < size or zlib.crc32(data, crc) != record_crc:
            return nothing
        return data, count

    def _wraps(self, offset: int) -> bool:
        return self._read(offset, LENGTH.size) == LENGTH.pack(WRAP)


def _unpack_length(length: int) -> tuple[int, int]:
    """Bytes and number of events of a record."""
    return length & SIZE_MASK, (length >> SIZE_BITS) + 1


def lock_orphan(path: Path) -> Orphan | None:
    """The spool of a dead producer, locked; None if its producer lives, or it is gone.

    A producer names its file only once it is locked, and removes it before it unlocks it. So a
    lock that is free and a name that still leads to the same inode mean a dead producer.
    Raises `SpoolDamaged` for a file that is no readable spool, and OSError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        same = path.stat().st_ino == os.fstat(descriptor).st_ino
    except (BlockingIOError, FileNotFoundError):
        same = False
    except BaseException:
        os.close(descriptor)
        raise
    if not same:
        os.close(descriptor)
        return None
    return Orphan(path, descriptor)


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


def _write_identity(memory: mmap.mmap, identity: Identity) -> None:
    packed: bytes = msgpack.packb(tuple(identity))
    start = len(MAGIC) + _IDENTITY.size
    memory[: len(MAGIC)] = MAGIC
    _IDENTITY.pack_into(memory, len(MAGIC), len(packed), zlib.crc32(packed))
    memory[start : start + len(packed)] = packed


def _read_identity(memory: bytes) -> Identity:
    if memory[: len(MAGIC)] != MAGIC:
        raise SpoolDamaged("the file does not begin as a spool does")
    length, crc = _IDENTITY.unpack_from(memory, len(MAGIC))
    start = len(MAGIC) + _IDENTITY.size
    packed = memory[start : start + min(length, IDENTITY_BYTES_MAX)]
    if zlib.crc32(packed) != crc:
        raise SpoolDamaged("the identity in its header is broken")
    try:
        identity = Identity(*msgpack.unpackb(packed))
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise SpoolDamaged("the identity in its header is broken") from error
    hello = [identity.producer_id, 1, 0, identity.host, identity.pid, identity.started_at, None]
    try:
        hello_of(hello)
    except WireError as error:
        raise SpoolDamaged(f"the identity in its header is broken: {error}") from error
    return identity


def _read_state(memory: bytes, size: int) -> SpoolState:
    newest: tuple[int, SpoolState] | None = None
    for at in _SLOTS:
        packed = memory[at : at + _STATE.size]
        if _STATE_CRC.unpack_from(memory, at + _STATE.size)[0] != zlib.crc32(packed):
            continue
        generation, head, base_seq, base_crc, log_id, *drops = _STATE.unpack(packed)
        if generation and (newest is None or generation > newest[0]):
            log = None if log_id == _NO_LOG else log_id
            newest = (generation, SpoolState(head, base_seq, base_crc, log, Drops(*drops)))
    if newest is None:
        raise SpoolDamaged("both copies of the state in its header are broken")
    state = newest[1]
    room = INT64_MAX - size  # every record has a number
    if not RECORDS_AT <= state.head < size or state.base_seq > room:
        raise SpoolDamaged("the state in its header is out of bounds")
    if not all(0 <= number <= INT64_MAX for number in state.drops):
        raise SpoolDamaged("the drops in its header are out of bounds")
    return state
