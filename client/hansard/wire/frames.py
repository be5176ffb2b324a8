"""Frames: a header and a body, two parts of one message from PUSH to PULL."""

from typing import Any, NamedTuple

from hansard.wire.limits import (
    FRAME_EVENTS_MAX,
    HEADER_BYTES_MAX,
    INT64_MAX,
    WIRE_VERSION,
)
from hansard.wire.values import WireError, check_producer_id, is_natural, pack, unpack_array


class Drops(NamedTuple):
    """What a producer could not keep: events so far, and when (ns) the unreported ones fell."""

    total: int = 0
    first_at: int = 0
    last_at: int = 0


class Frame(NamedTuple):
    """A run of consecutive events of one producer.

    ``crc_before`` is the CRC-32 over all event bytes of the producer before ``first_seq``. An
    ``urgent`` one is followed by an urgent `hansard.wire.Wait` for it: its commit need not await
    that. Only a writer that says so in its welcome's limits (`URGENT_FRAMES`) understands it.
    """

    producer_id: bytes
    first_seq: int
    event_count: int
    crc_before: int
    drops: Drops
    body: bytes
    urgent: bool = False

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.event_count - 1


def pack_header(frame: Frame) -> bytes:
    """The first part of a frame's message."""
    header = (WIRE_VERSION, *frame[:5])
    return pack((*header, True) if frame.urgent else header)


def unpack_frame(header: bytes, body: bytes) -> Frame:
    """The frame of a message; raises `WireError` when its header breaks a rule."""
    if len(header) > HEADER_BYTES_MAX:  # decoded, it could take fifty times the memory
        raise WireError(f"a header has at most {HEADER_BYTES_MAX} bytes")
    fields = unpack_array(header)
    urgent = len(fields) == 7 and fields[6] is True
    if urgent:
        fields.pop()
    if len(fields) != 6 or fields[0] != WIRE_VERSION or type(fields[0]) is not int:
        raise WireError(f"a header has 6 fields and version {WIRE_VERSION}, or true as a seventh")
    _, producer_id, first_seq, count, crc_before, drops = fields
    check_span(producer_id, first_seq, count, crc_before)
    if type(drops) is not list or len(drops) != 3 or not all(map(is_natural, drops)):
        raise WireError("dropped, first_at and last_at are natural numbers")
    return Frame(producer_id, first_seq, count, crc_before, Drops(*drops), body, urgent)


def check_span(producer_id: object, first_seq: Any, count: Any, crc_before: Any) -> None:
    """Raises `WireError` unless a frame's events can be these."""
    check_producer_id(producer_id)
    if not (is_natural(first_seq) and first_seq >= 1):
        raise WireError("first_seq is a number from 1")
    if not (is_natural(count) and count <= FRAME_EVENTS_MAX):
        raise WireError(f"count is a number up to {FRAME_EVENTS_MAX}")
    if first_seq + count > INT64_MAX:
        raise WireError("producer_seq is below 2^63")
    if not (is_natural(crc_before) and crc_before < 1 << 32):
        raise WireError("crc_before has 32 bits")
