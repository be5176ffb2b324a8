"""The bytes of a spool file: where things are, and how they are packed. No file is opened here.

Little-endian; a header page and a ring of records:

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

import mmap
import struct
import zlib
from typing import Final, NamedTuple

import msgpack

from hansard.wire import EVENT_BYTES_MAX, INT64_MAX, RUN_BYTES_MAX, Drops, WireError, hello_of

SUFFIX: Final = ".spool"
TEMPORARY_SUFFIX: Final = ".tmp"

MAGIC: Final = b"HANSARD-SPOOL-1\n"
IDENTITY_BYTES_MAX: Final = 2_048
RECORDS_AT: Final = 4_096
RECORD: Final = struct.Struct("<IQI")
LENGTH: Final = struct.Struct("<I")
WRAP: Final = 0xFFFF_FFFF
SIZE_BITS: Final = 21
SIZE_MASK: Final = (1 << SIZE_BITS) - 1

RECORD_BYTES_MAX: Final = max(EVENT_BYTES_MAX, RUN_BYTES_MAX)

_IDENTITY: Final = struct.Struct("<II")  # length and CRC of the map behind the magic
STATE: Final = struct.Struct("<QQQI16sQqq")
STATE_CRC: Final = struct.Struct("<I")
SLOTS: Final = (2_048, 3_072)
NO_LOG: Final = bytes(16)


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


def unpack_length(length: int) -> tuple[int, int]:
    """Bytes and number of events of a record."""
    return length & SIZE_MASK, (length >> SIZE_BITS) + 1


def write_identity(memory: mmap.mmap, identity: Identity) -> None:
    packed: bytes = msgpack.packb(tuple(identity))
    start = len(MAGIC) + _IDENTITY.size
    memory[: len(MAGIC)] = MAGIC
    _IDENTITY.pack_into(memory, len(MAGIC), len(packed), zlib.crc32(packed))
    memory[start : start + len(packed)] = packed


def read_identity(memory: bytes) -> Identity:
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


def pack_state(generation: int, state: SpoolState) -> tuple[int, bytes]:
    """Where a state goes, and its bytes."""
    packed = STATE.pack(
        generation,
        state.head,
        state.base_seq,
        state.base_crc,
        state.log_id or NO_LOG,
        *state.drops,
    )
    return SLOTS[generation % 2], packed + STATE_CRC.pack(zlib.crc32(packed))


def read_state(memory: bytes, size: int) -> SpoolState:
    return read_newest_state(memory, size)[1]


def read_newest_state(memory: bytes, size: int) -> tuple[int, SpoolState]:
    """The state, and its generation."""
    newest: tuple[int, SpoolState] | None = None
    for at in SLOTS:
        packed = memory[at : at + STATE.size]
        if STATE_CRC.unpack_from(memory, at + STATE.size)[0] != zlib.crc32(packed):
            continue
        generation, head, base_seq, base_crc, log_id, *drops = STATE.unpack(packed)
        if generation and (newest is None or generation > newest[0]):
            log = None if log_id == NO_LOG else log_id
            newest = (generation, SpoolState(head, base_seq, base_crc, log, Drops(*drops)))
    if newest is None:
        raise SpoolDamaged("both copies of the state in its header are broken")
    generation, state = newest
    if generation > INT64_MAX:
        raise SpoolDamaged("the generation in its header is beyond any")
    room = INT64_MAX - size  # every record has a number
    if not RECORDS_AT <= state.head < size or state.base_seq > room:
        raise SpoolDamaged("the state in its header is out of bounds")
    if not all(0 <= number <= INT64_MAX for number in state.drops):
        raise SpoolDamaged("the drops in its header are out of bounds")
    return newest
