"""Spool files of the dead, good ones and bad ones: garbage, mutated, truncated, with lies in them.

The bytes of a spool are made here by hand, as `hansard.spool.layout` describes them.
"""

import os
import random
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from faults.checker import Noted
from frames import event
from hansard import wire
from hansard.spool import MAGIC, RECORD, RECORDS_AT, SUFFIX
from hansard.spool.layout import SIZE_BITS, SLOTS, STATE, STATE_CRC

FILE_BYTES = 16 << 10
EVENTS = 20
NUMBERS = (0, 1, 2, 1 << 31, 1 << 40, wire.INT64_MAX - 1, wire.INT64_MAX, (1 << 64) - 1)


class Facts(NamedTuple):
    """What a spool's header says."""

    identity: Any
    head: int = RECORDS_AT
    base_seq: int = 0
    base_crc: int = 0
    log_id: bytes = bytes(16)
    drops: tuple[int, int, int] = (0, 0, 0)
    generation: int = 1


def packed(facts: Facts, events: list[bytes]) -> bytearray:
    """The file's bytes, with each CRC as it should be."""
    content = bytearray(FILE_BYTES)
    identity = msgpack.packb(facts.identity)
    at = len(MAGIC)
    content[:at] = MAGIC
    struct.pack_into("<II", content, at, len(identity), zlib.crc32(identity))
    content[at + 8 : at + 8 + len(identity)] = identity
    state = STATE.pack(
        facts.generation, facts.head, facts.base_seq, facts.base_crc, facts.log_id, *facts.drops
    )
    content[SLOTS[1] : SLOTS[1] + len(state)] = state
    STATE_CRC.pack_into(content, SLOTS[1] + len(state), zlib.crc32(state))
    offset, crc = RECORDS_AT, facts.base_crc
    for number, data in enumerate(events, facts.base_seq + 1):
        crc = zlib.crc32(data, crc)
        RECORD.pack_into(content, offset, len(data), number & wire.INT64_MAX, crc)
        offset += RECORD.size
        content[offset : offset + len(data)] = data
        offset += len(data)
    return content


def place(spools: Path, content: bytes | bytearray) -> None:
    """Put a file among the spools, at once as a whole."""
    temporary = spools.parent / "hostile.part"
    temporary.write_bytes(content)
    temporary.rename(spools / (os.urandom(16).hex() + SUFFIX))


def good(chance: random.Random, worker: str) -> tuple[bytearray, list[Noted]]:
    """A dead worker's, whose events must all be entered."""
    producer_id = chance.randbytes(wire.PRODUCER_ID_BYTES)
    events = [
        event(f'{{"w":"{worker}","n":{number}}}', task_id=None) for number in range(1, EVENTS + 1)
    ]
    producer_hash = wire.producer_hash(producer_id)
    noted = [Noted(worker, number, producer_hash, number) for number in range(1, EVENTS + 1)]
    return packed(Facts((producer_id, "host", 7, 1)), events), noted


def bad(chance: random.Random, ids: list[bytes]) -> bytes:
    """Anything else. Its events carry no worker's name."""
    kind = chance.randrange(8)
    if kind == 0:
        return chance.randbytes(chance.choice((0, 1, 100, RECORDS_AT, FILE_BYTES)))
    facts = Facts((chance.choice([*ids, chance.randbytes(16)]), "host", 7, 1))
    events = [event(task_id=None) for _ in range(EVENTS)]
    if kind < 4:
        facts = (_lying_state, _lying_drops, _no_identity)[kind - 1](chance, facts)
    if kind == 4:  # events that break rules, in a good file
        events = [chance.randbytes(chance.randint(1, 60)) for _ in range(EVENTS)]
    content = packed(facts, events)
    if kind == 5:  # length and count of a record
        at = RECORDS_AT + chance.randrange(3) * (RECORD.size + len(events[0]))
        count = chance.choice((1, 999, 1_000, 1_001, 2_047))
        length = chance.choice((0, 1, len(events[0]), 1 << 20, (1 << SIZE_BITS) - 1))
        struct.pack_into("<I", content, at, count << SIZE_BITS | length)
    elif kind == 6:
        for _ in range(chance.randint(1, 20)):
            content[chance.randrange(RECORDS_AT + 2_000)] = chance.randrange(256)
    elif kind == 7:
        del content[chance.randrange(len(content)) :]
    return bytes(content)


def _lying_state(chance: random.Random, facts: Facts) -> Facts:
    field = chance.choice(("head", "base_seq", "base_crc", "generation"))
    bits = 32 if field == "base_crc" else 64
    return facts._replace(**{field: chance.choice(NUMBERS) & (1 << bits) - 1})


def _lying_drops(chance: random.Random, facts: Facts) -> Facts:
    signed = chance.choice((0, -1, wire.INT64_MAX, -(1 << 63)))
    facts = facts._replace(drops=(chance.choice(NUMBERS), signed, signed))
    return facts._replace(log_id=chance.randbytes(16)) if chance.random() < 0.2 else facts


def _no_identity(chance: random.Random, facts: Facts) -> Facts:
    producer_id = facts.identity[0]
    identity = chance.choice(
        (
            None,
            [],
            {},
            [producer_id],
            (b"", "h", 1, 1),
            (producer_id, "h" * 300, 1, 1),
            (producer_id, "h", -1, 1),
            (producer_id, "h", 1, 1, 7),
            (producer_id, b"", 1, 1),
            (producer_id, "h", 1, 1 << 63, True),
        )
    )
    return facts._replace(identity=identity)
