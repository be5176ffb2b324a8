"""The spool of a dead producer: locked for adoption, and read in frames. Nothing is written to it
but the name of the log that takes it."""

import fcntl
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hansard.spool.layout import (
    LENGTH,
    RECORD,
    RECORD_BYTES_MAX,
    RECORDS_AT,
    WRAP,
    SpoolDamaged,
    pack_state,
    read_identity,
    read_newest_state,
    read_state,
    unpack_length,
)
from hansard.wire import FRAME_BYTES_MAX, FRAME_EVENTS_CUT, FRAME_EVENTS_MAX, Frame

WINDOW_BYTES: Final = 256 << 10


class Position(NamedTuple):
    """Between two records: where the next one begins, the number and CRC of the last event."""

    offset: int
    seq: int
    crc: int
    has_wrapped: bool = False


class Orphan:
    """A dead producer's spool, locked for adoption. Close it, or remove it when it is entered."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.damage = ""  # why its events end where they do, once `frames` is through
        self._descriptor = descriptor
        try:
            self._size = os.fstat(descriptor).st_size
            header = self._read(0, RECORDS_AT)
            if len(header) < RECORDS_AT:
                raise SpoolDamaged(f"{len(header)} bytes are too few for a spool")
            self.identity = read_identity(header)
            self.state = read_state(header, self._size)
        except BaseException:
            os.close(descriptor)
            raise

    @property
    def beginning(self) -> Position:
        """In front of its first event."""
        return Position(self.state.head, self.state.base_seq, self.state.base_crc)

    def frames(self, behind: Position | None = None) -> Iterator[Frame]:
        """Its events, as the producer would have sent them; ends at a torn tail, or at damage."""
        begin = end = behind or self.beginning
        parts: list[bytes] = []
        room = FRAME_BYTES_MAX
        for position, record in self.records(begin):
            is_full = len(record) > room or position.seq - begin.seq > FRAME_EVENTS_CUT
            if parts and is_full:
                yield self._frame(begin, end, parts)
                begin, parts, room = end, [], FRAME_BYTES_MAX
            parts.append(record)
            room -= len(record)
            end = position
        yield self._frame(begin, end, parts)

    def records(self, behind: Position) -> Iterator[tuple[Position, bytes]]:
        """Each record, and where it ends; once they are through, ``damage`` says why they end."""
        read = _Window(self._descriptor).read
        while True:
            offset, seq, crc, has_wrapped = behind
            data, count = _record(read, offset, seq + 1, crc)
            if count:
                end = offset + RECORD.size + len(data)
                behind = Position(end, seq + count, zlib.crc32(data, crc), has_wrapped)
                yield behind, data
            elif not has_wrapped and self._wraps(offset):
                behind = Position(RECORDS_AT, seq, crc, has_wrapped=True)
            else:
                self.damage = self._damage_at(offset)
                return

    def join(self, log_id: bytes) -> None:
        """Write down which log its events enter, where it knew none: should it not be removed
        behind their commit, no other log takes them. Raises OSError."""
        header = self._read(0, RECORDS_AT)
        generation, state = read_newest_state(header, self._size)
        at, packed = pack_state(generation + 1, state._replace(log_id=log_id))
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.path.samestat(os.fstat(descriptor), os.fstat(self._descriptor)):
                os.pwrite(descriptor, packed, at)
        finally:
            os.close(descriptor)

    def close(self, *, remove: bool = False) -> None:
        """Unlock the file; ``remove`` it when all of it is committed."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _read(self, offset: int, size: int) -> bytes:
        """By read, not by map: a file that is cut short meanwhile would kill the process."""
        return os.pread(self._descriptor, size, offset)

    def _frame(self, begin: Position, end: Position, parts: list[bytes]) -> Frame:
        body, count = b"".join(parts), end.seq - begin.seq
        producer_id, drops = self.identity.producer_id, self.state.drops
        return Frame(producer_id, begin.seq + 1, count, begin.crc, drops, body)

    def _damage_at(self, offset: int) -> str:
        """Why what is no whole record is no proper end either. A proper one is a length that was
        not written yet, or an old record, freed but not zeroed when the producer was killed."""
        head = self._read(offset, RECORD.size)
        if len(head) < RECORD.size:
            return f"it was cut short, to {self._size:,} bytes"
        length, record_seq, _ = RECORD.unpack(head)
        if not length or record_seq <= self.state.base_seq:
            return ""
        return f"its record at {offset:,} is broken"

    def _wraps(self, offset: int) -> bool:
        return self._read(offset, LENGTH.size) == LENGTH.pack(WRAP)


class _Window:
    """A piece of the file, which nobody writes to, for who reads it from front to back: a call of
    the system for many records."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes, self._at = b"", 0

    def read(self, offset: int, size: int) -> bytes:
        start = offset - self._at
        if start < 0 or start + size > len(self._bytes):
            self._bytes = os.pread(self._descriptor, max(size, WINDOW_BYTES), offset)
            self._at, start = offset, 0
        return self._bytes[start : start + size]


def _record(
    read: Callable[[int, int], bytes], offset: int, seq: int, crc: int
) -> tuple[bytes, int]:
    """The bytes of a record and how many events they are; none where it is not whole."""
    nothing = b"", 0
    head = read(offset, RECORD.size)
    if len(head) < RECORD.size:
        return nothing
    length, record_seq, record_crc = RECORD.unpack(head)
    size, count = unpack_length(length)
    if not 0 < size <= RECORD_BYTES_MAX or count > FRAME_EVENTS_MAX or record_seq != seq:
        return nothing
    data = read(offset + RECORD.size, size)
    if len(data) < size or zlib.crc32(data, crc) != record_crc:
        return nothing
    return data, count


def _require_file(facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise SpoolDamaged("it is no regular file")


def is_abandoned(path: Path) -> bool:
    """Whether nobody holds the lock of a file: who makes a spool has it from the first moment."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


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
    except OSError:
        _require_file(path.lstat())  # a link, a socket
        raise
    try:
        _require_file(os.fstat(descriptor))
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
