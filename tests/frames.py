"""Events, frames and hellos made by hand, for tests that stand in for a producer."""

import zlib
from typing import Any

import msgpack

from hansard import wire

PRODUCER = b"p" * wire.PRODUCER_ID_BYTES
NO_DROPS = wire.Drops()


def fields(payload: object = '{"n":1}', **changed: Any) -> list[Any]:
    """An event's seven fields, good ones except where the test says otherwise."""
    good = {
        "kind": wire.KIND_EVENT,
        "created_at": 1_700_000_000_000_000_000,
        "event_type": "task.done",
        "level": "info",
        "actor": "agent:7",
        "task_id": "T1",
    }
    return [*{**good, **changed}.values(), payload]


def event(payload: object = '{"n":1}', **changed: Any) -> bytes:
    """The same as bytes."""
    packed: bytes = msgpack.packb(fields(payload, **changed))
    return packed


class Chain:
    """A producer by hand: it numbers what it is given, and keeps the running CRC."""

    def __init__(self, producer_id: bytes = PRODUCER) -> None:
        self.producer_id = producer_id
        self.hash = wire.producer_hash(producer_id)
        self.seq = self.crc = 0

    def frame(self, *events: bytes, drops: wire.Drops = NO_DROPS) -> wire.Frame:
        """The next frame, of these events."""
        body = b"".join(events)
        frame = wire.Frame(self.producer_id, self.seq + 1, len(events), self.crc, drops, body)
        self.seq += len(events)
        self.crc = zlib.crc32(body, self.crc)
        return frame

    def hello(self, first_seq: int = 1, crc_before: int = 0, **changed: Any) -> wire.Hello:
        """How it introduces itself."""
        hello = wire.Hello(self.producer_id, first_seq, crc_before, "host", 7, 1, None)
        return hello._replace(**changed)


def parts(frame: wire.Frame) -> list[bytes]:
    """The two parts of a frame's message."""
    return [wire.pack_header(frame), frame.body]
