"""What a hostile peer says: frames and requests that are random, mutated, or lies. Bytes only.

Some frames are of producers that the writer has welcomed, so that every check behind the header is
reached; what such a producer has made the writer take, it goes on from.
"""

import random
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from frames import Chain, event, fields, parts
from hansard import wire

DEEP = b"\x91" * 1_000 + b"\xc0"
LENGTHS = (b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9")  # array, map, bin, str, ext: 32 bits follow
BOMB = b"\xdd\x00\x1f\x00\x00" + b"\x80" * (0x1F << 16)  # two million objects in two MiB
LARGE_EVERY = 500  # messages, one of a MiB
FRAMES_A_PRODUCER = 50  # then another takes its place: by then nobody knows where it stands

Message = list[bytes]


def mutated(chance: random.Random, content: bytes) -> bytes:
    """Some bytes changed, taken out or put in."""
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        change = chance.randrange(4)
        if change == 0:
            changed[at : at + 1] = chance.randbytes(1)
        elif change == 1:
            del changed[at : at + chance.randint(1, 8)]
        elif change == 2:
            changed[at:at] = chance.randbytes(chance.randint(1, 8))
        else:
            del changed[at:]
    return bytes(changed)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any value that msgpack carries."""
    kind = chance.randrange(10 if depth < 3 else 7)
    if kind >= 7:
        values = [value(chance, depth + 1) for _ in range(chance.randrange(5))]
        return {str(index): each for index, each in enumerate(values)} if kind == 9 else values
    return (
        None,
        chance.random() < 0.5,
        chance.choice((0, 1, -1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))),
        chance.random() * 10 ** chance.randint(-300, 300),
        chance.randbytes(chance.choice((0, 1, 15, 16, 17, 32))),
        chance.choice(("", "orphan", "x" * 300, "\0", "é" * 9, "hello")),
        chance.randint(0, 1 << 20),
    )[kind]


class Frames:
    """Messages for the PULL socket. ``unknown`` MUST say hello before the next is sent."""

    def __init__(self, chance: random.Random, producers: int = 4) -> None:
        self._chance = chance
        self.producers = [self._new_producer() for _ in range(producers)]
        self.unknown = list(self.producers)  # those that have said no hello yet
        self._kinds: Sequence[Callable[[], Message]] = (
            self._random_bytes,
            self._wrong_field,
            self._wrong_count,
            self._mutated_header,
            self._mutated_body,
            self._huge_length,
            self._deep,
            self._wrong_parts,
            self._somebody_else,
            self._bad_events,
            self._drops,
            self._good,
        )
        self._made = 0

    def next(self) -> Message:
        """The next message."""
        self._made += 1
        if self._made % FRAMES_A_PRODUCER == 0:
            self.unknown = [self._new_producer()]
            self.producers[self._made // FRAMES_A_PRODUCER % len(self.producers)] = self.unknown[0]
        if self._made % LARGE_EVERY == 0:
            return self._large()
        return self._chance.choice(self._kinds)()

    def _new_producer(self) -> Chain:
        return Chain(self._chance.randbytes(wire.PRODUCER_ID_BYTES))

    def _producer(self) -> Chain:
        return self._chance.choice(self.producers)

    def _events(self) -> list[bytes]:
        return [event(task_id=None) for _ in range(self._chance.randint(1, 5))]

    def _taken(self, chain: Chain, frame: wire.Frame, body: bytes, count: int) -> Message:
        """A good header before any body: the writer's watermark moves by ``count``."""
        chain.seq = frame.first_seq + count - 1
        chain.crc = zlib.crc32(body, frame.crc_before)
        return parts(frame._replace(body=body, event_count=count))

    def _frame(self) -> tuple[Chain, wire.Frame]:
        chain = self._producer()
        body = b"".join(events := self._events())
        seq, crc = chain.seq + 1, chain.crc
        return chain, wire.Frame(chain.producer_id, seq, len(events), crc, wire.Drops(), body)

    def _random_bytes(self) -> Message:
        chance = self._chance
        return [chance.randbytes(chance.randrange(80)) for _ in range(chance.randint(1, 4))]

    def _wrong_field(self) -> Message:
        chance = self._chance
        chain = self._producer()
        header: list[Any] = [1, chain.producer_id, chain.seq + 1, 1, chain.crc, [0, 0, 0]]
        # Not the drops: what is only a larger count there is no mistake.
        header[chance.randrange(5)] = chance.choice(
            (2, 0, -1, 1 << 63, True, None, "1", b"", [1], {}, 1.5, chance.randbytes(17))
        )
        return [msgpack.packb(header), event()]

    def _wrong_count(self) -> Message:
        chain, frame = self._frame()
        count = self._chance.choice((2, 7, 999, wire.FRAME_EVENTS_MAX)) + frame.event_count
        if count > wire.FRAME_EVENTS_MAX:
            return parts(frame._replace(event_count=count))
        return self._taken(chain, frame, frame.body, count)

    def _mutated_header(self) -> Message:
        _, frame = self._frame()
        header, body = parts(frame)
        return [mutated(self._chance, header), body]

    def _mutated_body(self) -> Message:
        chain, frame = self._frame()
        return self._taken(chain, frame, mutated(self._chance, frame.body), frame.event_count)

    def _huge_length(self) -> Message:
        chance = self._chance
        huge = chance.choice(LENGTHS) + chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
        if chance.random() < 0.5:
            return [chance.choice((huge, b"\x96\x01" + huge)) + chance.randbytes(20), event()]
        chain, frame = self._frame()
        return self._taken(chain, frame, b"\x97\x00" + huge, frame.event_count)

    def _deep(self) -> Message:
        chance = self._chance
        if chance.random() < 0.3:
            return [chance.choice((DEEP, DEEP * 2, b"\x96" + DEEP * 6)), event()]
        chain, frame = self._frame()
        nested = '{"a":' * chance.choice((65, 999, 5_000)) + "1"
        body = chance.choice((DEEP, event(nested), event(nested.replace("1", "1" + "}" * 65))))
        return self._taken(chain, frame, body, 1)

    def _wrong_parts(self) -> Message:
        chance = self._chance
        _, frame = self._frame()
        header, body = parts(frame)
        return chance.choice(
            (
                [header],
                [body],
                [b""],
                [b"", b""],
                [body, header],
                [header, body, body],
                [b""] * 100,
                [header, b""],
            )
        )

    def _somebody_else(self) -> Message:
        """A producer that said no hello."""
        _, frame = self._frame()
        size = self._chance.choice((0, 15, 16, 16, 16, 17, 32))
        return parts(frame._replace(producer_id=self._chance.randbytes(size)))

    def _bad_events(self) -> Message:
        """Some good, some that break a rule of events."""
        chance = self._chance
        chain, frame = self._frame()
        bad = [*fields(task_id=None)]
        bad[chance.randrange(7)] = value(chance)
        events = [event(task_id=None), msgpack.packb(bad), event(task_id=None)]
        chance.shuffle(events)
        return self._taken(chain, frame, b"".join(events), len(events))

    def _drops(self) -> Message:
        """It says of itself that it dropped events; no number moves."""
        chance = self._chance
        _, frame = self._frame()
        drops = wire.Drops(chance.randint(1, 1 << 40), 1, 2)
        return parts(frame._replace(drops=drops, event_count=0, body=b""))

    def _good(self) -> Message:
        chain, frame = self._frame()
        return self._taken(chain, frame, frame.body, frame.event_count)

    def _large(self) -> Message:
        chance = self._chance
        chain, frame = self._frame()
        size = 1 << 20
        kind = chance.randrange(5)
        if kind == 0:
            return [chance.randbytes(size), b""]
        if kind == 1:
            return [chance.randbytes(size), chance.randbytes(size)]
        if kind == 2:
            return [BOMB, b"x"]
        body = (BOMB, event('{"a":"' + "x" * size + '"}'))[kind - 3]
        return self._taken(chain, frame, body, 1)


class Requests:
    """Messages for the ROUTER socket, as a DEALER sends them: an envelope, then the content."""

    def __init__(self, chance: random.Random, known: Callable[[], Sequence[Chain]]) -> None:
        self._chance = chance
        self._known = known

    def next(self) -> Message:
        """The next message."""
        chance = self._chance
        content = self._content()
        kind = chance.randrange(12)
        if kind == 0:
            return [content]  # no envelope
        if kind == 1:
            return [chance.randbytes(chance.randrange(40)) for _ in range(chance.randint(1, 9))]
        if kind == 2:
            return [chance.randbytes(4), b"", content]  # as a correlated REQ's
        return [b"", content]

    def _content(self) -> bytes:
        chance = self._chance
        kind = chance.randrange(10)
        if kind == 0:
            return chance.randbytes(chance.randrange(80))
        if kind == 1:
            return chance.choice((DEEP, b"\x92\x01" + DEEP, LENGTHS[0] + b"\xff" * 4, b"", b"\xc1"))
        if kind == 2:
            verbs = ("hello", "wait", "lookup", "replay", "drop", "call", "stats", "error", "x")
            arguments = [value(chance) for _ in range(chance.randrange(9))]
            version, verb = chance.choice((1, 1, 2)), chance.choice(verbs)
            return bytes(msgpack.packb([version, verb, *arguments]))
        good = self._good()
        return good if kind > 5 else mutated(chance, good)

    def _good(self) -> bytes:
        """What keeps all rules: some of it lies."""
        chance = self._chance
        somebody = chance.randbytes(wire.PRODUCER_ID_BYTES)
        known = chance.choice(self._known()).producer_id
        number = chance.choice((0, 1, 7, 1 << 40, wire.INT64_MAX))
        kind = chance.randrange(12)
        if kind == 0:
            first_seq = chance.choice((1, 1, 1, 2, 1 << 40, wire.INT64_MAX))
            return wire.pack_request(wire.Hello(somebody, first_seq, 7, "é" * 255, 1, 1, None))
        if kind < 5:
            report = wire.Report(number, number, number, number)
            urgent = chance.random() < 0.5
            return wire.pack_request(wire.Wait(known, number, number, number, 0, urgent, report))
        if kind < 8:
            asked = chance.choice((wire.producer_hash(known), somebody))
            return wire.pack_request(wire.Lookup(asked, number))
        reason = chance.choice((None, "orphan", "bad_header", "undecodable"))
        ids = chance.choice((None, [1, 2, 3], [number], list(range(500))))
        if kind == 8:
            dry_run = chance.random() < 0.5
            return wire.pack_request(wire.Replay(number, reason, ids, dry_run))
        if kind == 9:
            return wire.pack_request(
                wire.DropLetters(number, reason, ids or [], chance.random() < 0.5, dry_run=False)
            )
        if kind == 10:
            return wire.pack_request(wire.Call(somebody, "no_such", b"x" * 99, wire.INT64_MAX))
        return wire.pack_stats_request()

    def large(self) -> Message:
        """One of a MiB or two, which the writer refuses."""
        if self._chance.random() < 0.1:
            return [b"", BOMB]
        call = wire.Call(self._chance.randbytes(16), "no_such", bytes(1_000_000), wire.INT64_MAX)
        return [b"", wire.pack_request(call)]
