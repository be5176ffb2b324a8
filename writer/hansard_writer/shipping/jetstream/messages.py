"""Batches as messages of a stream: subjects, headers, and what is cut in parts. Pure.

All messages of a log have one subject. A message is a batch, packed, and compressed where that
pays; one that does not fit into a message is cut into parts, one behind the other. A header says
where the log's tree has got to with the message, so that the stream alone says where shipping goes
on: behind a whole batch its edge, and in a part that others follow the edge in front of it, since
what is not whole is begun anew.
"""

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgpack

from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge
from hansard_writer.shipping.batch import Batch, MalformedBatch, pack_batch, unpack_batch

SUBJECTS: Final = "hansard.entries.>"
HEADER_BYTES_MAX: Final = 16 << 10  # of a message; an edge of 2 ** 40 entries takes 7 KiB
PARTS_MAX: Final = 256
PACKED_BYTES_MAX: Final = 64 << 20  # of a batch; 5,000 entries of the longest texts are 20 MiB

MESSAGE_ID: Final = "Nats-Msg-Id"
EXPECTED_LAST: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_STREAM: Final = "Nats-Expected-Stream"
EDGE: Final = "Hansard-Edge"
PART: Final = "Hansard-Part"
ENCODING: Final = "Hansard-Encoding"

_PREFIX: Final = SUBJECTS.removesuffix(">")
_ZLIB: Final = "zlib"
_ZLIB_LEVEL: Final = 1  # less than half is left; level 6 takes three times as long for 10 %
_PAYS_BELOW: Final = 0.9
_ORIGIN: Final = re.compile(r"hansard/([0-9a-f]+)(?:/([0-9]+))?", re.ASCII)
_PART: Final = re.compile(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", re.ASCII)


class Outgoing(NamedTuple):
    """A message to be published."""

    subject: str
    headers: dict[str, str]
    data: bytes


class Message(NamedTuple):
    """A message of a stream, and its number there. ``handle`` is the reader's own."""

    number: int
    subject: str
    headers: Mapping[str, str]
    data: bytes
    pending: int = 0  # messages behind it that have not come yet
    handle: Any = None


def subject_of(origin: str) -> str:
    """The subject of a log: its id, and behind an underscore which of its origins this is, from the
    second on. Origins that are none of ours are hashed."""
    found = _ORIGIN.fullmatch(origin)
    token = "_".join(filter(None, found.groups())) if found else _hashed(origin)
    return _PREFIX + token


def _hashed(origin: str) -> str:
    return "x" + hashlib.sha256(origin.encode()).hexdigest()


def covers(pattern: str, subject: str) -> bool:
    """Whether all that matches one pattern of subjects matches another."""
    wide, narrow = pattern.split("."), subject.split(".")
    for at, part in enumerate(wide):
        if part == ">":
            return len(narrow) > at
        if at >= len(narrow) or narrow[at] == ">" or part not in ("*", narrow[at]):
            return False
    return len(wide) == len(narrow)


# --- out ---


def outgoing(
    batch: Batch, edge_before: Edge, edge: Edge, *, expected_last: int, message_bytes_max: int
) -> list[Outgoing]:
    """The messages of a batch, behind the one with the number ``expected_last``: one, unless it is
    too large. The numbers that the later ones expect are up to who publishes them."""
    data, headers = pack_batch(batch), dict[str, str]()
    squeezed = zlib.compress(data, _ZLIB_LEVEL)
    if len(squeezed) < _PAYS_BELOW * len(data):
        data, headers[ENCODING] = squeezed, _ZLIB
    subject, id_ = subject_of(batch.origin), f"{batch.origin}/{batch.last}"
    room = message_bytes_max - HEADER_BYTES_MAX
    pieces = [data[at : at + room] for at in range(0, len(data), room)]
    if len(pieces) == 1:
        headers |= {MESSAGE_ID: id_, EDGE: edge_text(edge)}
        return [Outgoing(subject, headers, data)]
    # One that is begun anew has to be stored, so its id has to be another one.
    return [
        Outgoing(
            subject,
            headers
            | {
                MESSAGE_ID: f"{id_}.{number}-{len(pieces)}.{expected_last}",
                PART: f"{number}/{len(pieces)}",
                EDGE: edge_text(edge if number == len(pieces) else edge_before),
            },
            piece,
        )
        for number, piece in enumerate(pieces, 1)
    ]


def edge_text(edge: Edge) -> str:
    """An edge as a header has it."""
    return base64.b64encode(msgpack.packb([edge.size, edge.rows])).decode()


def edge_of(headers: Mapping[str, str] | None) -> Edge | None:
    """The edge that headers have; None where they have none."""
    try:
        data = base64.b64decode((headers or {}).get(EDGE, ""), validate=True)
        size, rows = msgpack.unpackb(data, use_list=False)
    except (binascii.Error, TypeError, ValueError, msgpack.UnpackException):
        return None
    if type(size) is not int or size < 0 or not isinstance(rows, tuple):
        return None
    if not all(isinstance(row, bytes) and len(row) % HASH_BYTES == 0 for row in rows):
        return None
    return Edge(size, rows)


# --- in ---


class Joined(NamedTuple):
    """What a message has completed: the packed batch, and all messages that are done with it. The
    last of ``messages`` is the one that has come."""

    data: bytes
    messages: list[Message]


class Joiner:
    """Joins parts, subject by subject, in the order in which they are in the stream. Parts that are
    never completed are done with the next message of their subject that is complete."""

    def __init__(self) -> None:
        self._held: dict[str, list[Message]] = {}
        self._parts: dict[str, list[bytes]] = {}

    def take(self, message: Message) -> Joined | None:
        """What the message completes, if anything. Raises `MalformedBatch` for a part that comes
        behind none; it is done with then."""
        number, of = _part(message.headers)
        parts = self._parts.pop(message.subject, [])
        if number == 1:
            parts = []
        if len(parts) != number - 1 or sum(map(len, parts)) > PACKED_BYTES_MAX:
            raise MalformedBatch(f"part {number} of {of} does not come behind the one before it")
        self._held.setdefault(message.subject, []).append(message)
        parts.append(message.data)
        if number < of:
            self._parts[message.subject] = parts
            return None
        return Joined(b"".join(parts), self._held.pop(message.subject))


def read_batch(joined: Joined) -> Batch:
    """The batch of a message, or of all its parts. Raises `MalformedBatch`."""
    last = joined.messages[-1]
    batch = unpack_batch(_unsqueezed(joined.data, last.headers))
    if subject_of(batch.origin) != last.subject:
        raise MalformedBatch(f"a batch of {batch.origin!r:.200} is on the subject of another log")
    return batch


def _part(headers: Mapping[str, str]) -> tuple[int, int]:
    text = headers.get(PART, "1/1")
    found = _PART.fullmatch(text)
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of <= PARTS_MAX:
        raise MalformedBatch(f"{text!r:.40} is no part of a batch")
    return number, of


def _unsqueezed(data: bytes, headers: Mapping[str, str]) -> bytes:
    encoding = headers.get(ENCODING)
    if encoding is None:
        return data
    if encoding != _ZLIB:
        raise MalformedBatch(f"a batch encoded with {encoding!r:.40}: upgrade hansard here")
    reader = zlib.decompressobj()
    try:
        unsqueezed = reader.decompress(data, PACKED_BYTES_MAX)
    except zlib.error as error:
        raise MalformedBatch(f"this is no batch: {error}") from error
    if reader.unconsumed_tail or not reader.eof:
        raise MalformedBatch("a batch that is cut off, or longer than any")
    return unsqueezed
