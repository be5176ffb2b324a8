"""What a writer's answers promise, and whether a database keeps it.

The answers are read off the wire as any client would read them; the database is read by the names
of its tables. Nothing here asks the product what it thinks of itself.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import apsw
import msgpack
import orjson

from hansard_writer.remote.rights import Peer
from stepped import Link

Key = tuple[bytes, int]  # of an event: its producer's hash, and its number


class Answer(NamedTuple):
    """One answer to a producer or a caller: what is in it must never be untrue again.

    ``at`` is how many calls had changed the disk when it was given; ``runs`` and ``dead`` are as
    in `hansard.wire.Ack`.
    """

    at: int
    log_id: bytes | None = None
    epoch: int = 0
    producer_hash: bytes = b""
    watermark: int = 0
    runs: tuple[tuple[int, int, int], ...] = ()
    dead: tuple[tuple[int, int], ...] = ()
    call_id: bytes | None = None


class Witness(Link):
    """A link that keeps each answer that goes over it, from the moment it is given."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.answers: list[Answer] = []
        self.calls = calls
        self._asked: dict[tuple[bytes, ...], bytes] = {}  # the producer's hash, or the call's id

    def request(self) -> tuple[list[bytes], bytes, Peer | None] | None:
        request = super().request()
        if request is not None:
            envelope, content, _ = request
            _, verb, *arguments = msgpack.unpackb(content)
            whose = arguments[0]
            self._asked[tuple(envelope)] = whose if verb == "call" else _sha256(whose)
        return request

    def reply(self, envelope: list[bytes], content: bytes) -> None:
        super().reply(envelope, content)
        _, verb, fields = msgpack.unpackb(content)
        answer, asked = Answer(len(self.calls)), self._asked[tuple(envelope)]
        if verb == "hello":
            log_id, _, epoch, watermark = fields[:4]
            answer = answer._replace(
                log_id=log_id, epoch=epoch, producer_hash=asked, watermark=watermark
            )
        elif verb == "wait":
            runs = tuple((first, count, seq) for first, count, seq in fields[8])
            dead = tuple((first, count) for first, count, _, _ in fields[9])
            answer = answer._replace(producer_hash=asked, watermark=fields[2], runs=runs, dead=dead)
        elif verb == "call" and fields[0] == "committed":
            answer = answer._replace(call_id=asked)
        self.answers.append(answer)


def check_kept(
    connection: apsw.Connection, answers: Iterable[Answer], recorded: Mapping[Key, dict[str, Any]]
) -> None:
    """Fails with the first thing that was answered and is not so. ``recorded`` has the payloads."""
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    watermarks = dict(connection.execute("SELECT producer_hash, watermark FROM producers"))
    outcomes = committed_calls(connection.execute)
    entries = {
        seq: ((hash_, number), payload)
        for seq, hash_, number, payload in connection.execute(
            "SELECT seq, producer_hash, producer_seq, payload FROM entries"
            " JOIN producers ON producers.id = producer"
        )
    }
    dead = set(
        connection.execute(
            "SELECT producer_hash, producer_seq, count FROM dead_letters"
            " JOIN producers ON producers.id = producer"
        )
    )
    for key, payload in entries.values():
        assert key not in recorded or orjson.loads(payload) == recorded[key], f"{key}: {payload}"
    for answer in answers:
        hash_ = answer.producer_hash
        assert answer.log_id in (None, meta["log_id"]), f"{answer}: it is another log"
        assert meta["epoch"] >= answer.epoch, f"{answer}, and now the epoch is {meta['epoch']}"
        assert watermarks.get(hash_, 0) >= answer.watermark, (
            f"{answer}, and now the watermark is {watermarks.get(hash_)}"
        )
        for first, count, seq in answer.runs:
            for number in range(count):
                key = entries.get(seq + number, (None, None))[0]
                assert key == (hash_, first + number), f"{answer}, and now {seq + number} is {key}"
        for first, count in answer.dead:
            assert (hash_, first, count) in dead, f"{answer}: no such dead letter"
        assert answer.call_id is None or answer.call_id in outcomes, (
            f"{answer}: its outcome is not that"
        )


def committed_calls(execute: Callable[[str], Iterable[Any]]) -> set[bytes]:
    """The ids of the calls that a database says were run and committed."""
    outcomes = execute("SELECT call_id, outcome FROM calls")
    return {call_id for call_id, reply in outcomes if msgpack.unpackb(reply)[0] == "committed"}


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
