"""The wire format, version 1: what client and writer say to each other, as bytes.

It knows no sockets, files or clocks. Two directions:

* PUSH → PULL carries *frames*: a header and a body, two parts of one message. The header is
  msgpack ``[1, producer_id, first_seq, count, crc_before, [dropped, first_at, last_at]]``; the
  body is ``count`` msgpack arrays ``[kind, created_at_ns, event_type, level, actor, task_id,
  payload_json]``, one after the other.
* REQ → ROUTER carries *requests*: one msgpack array, version and verb first. A reply is a msgpack
  array, version and verb first, or ``[1, "error", reason]``.

msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgpack

from hansard.errors import ProtocolMismatch

WIRE_VERSION: Final = 1

KIND_EVENT: Final = 0
KIND_TASK: Final = 1  # registers its task_id; the payload holds the attributes
JOINED: Final = 16  # added to the kind: this event and the next are entered together or not at all

TASK_REGISTERED: Final = "hansard.task_registered"  # the event type of that kind, and of no other
ORPHAN: Final = "orphan"  # the reason of a dead letter whose task is not registered

# Limits of one event. The client refuses what exceeds them; the writer dead-letters it.
EVENT_TYPE_CHARS_MAX: Final = 255
EVENT_TYPE_PATTERN: Final = r"[A-Za-z][A-Za-z0-9_.:/-]*"
LEVELS: Final = frozenset({"debug", "info", "warning", "error", "critical"})
ACTOR_BYTES_MAX: Final = 1_024
TASK_ID_BYTES_MAX: Final = 1_024
EVENT_BYTES_MAX: Final = 1 << 20
JSON_DEPTH_MAX: Final = 64
INT64_MAX: Final = (1 << 63) - 1

# Limits of one frame: small, so that nobody waits behind a bulk producer's megabytes.
FRAME_EVENTS_MAX: Final = 1_000
FRAME_EVENTS_CUT: Final = 250  # what a producer puts into one: a sync caller's waits its turn
FRAME_BYTES_MAX: Final = 256 << 10  # unless one event, or one run of joined events, is larger
RUN_BYTES_MAX: Final = 1 << 20  # of joined events, which travel in one frame
MESSAGE_BYTES_MAX: Final = 2 << 20  # larger than one event or run of any legal size in its frame
PIPE_MESSAGES_MAX: Final = 4

WAIT_S: Final = 0.25  # the writer answers every `wait` within this time
RUNS_PER_REPLY_MAX: Final = 1_000

PRODUCER_ID_BYTES: Final = 16

CALL_ID_BYTES: Final = 16
CALL_VALUE_BYTES_MAX: Final = (1 << 20) - 1_024  # params or result: room for what goes around it


class WireError(ValueError):
    """Bytes that are no message of this wire version. Says which rule they break."""


class Drops(NamedTuple):
    """What a producer could not keep: events so far, and when (ns) the unreported ones fell."""

    total: int = 0
    first_at: int = 0
    last_at: int = 0


class Frame(NamedTuple):
    """A run of consecutive events of one producer.

    ``crc_before`` is the CRC-32 over all event bytes of the producer before ``first_seq``.
    """

    producer_id: bytes
    first_seq: int
    event_count: int
    crc_before: int
    drops: Drops
    body: bytes

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.event_count - 1


class Hello(NamedTuple):
    """A producer introduces itself. ``first_seq`` is the lowest number that it still holds
    (or will give next), ``crc_before`` its CRC before that; ``log_id`` is None before the
    producer has met a log."""

    producer_id: bytes
    first_seq: int
    crc_before: int
    host: str
    pid: int
    started_at: int
    log_id: bytes | None


class Refusals(NamedTuple):
    """What the log could not enter of a producer, in numbers: how many ever, how many of them
    were entered later, and how many wait as orphans for their task."""

    refused: int = 0
    returned: int = 0
    orphaned: int = 0


class Welcome(NamedTuple):
    """The answer to a hello: which log and run this is, and what of the producer is committed."""

    log_id: bytes
    run_id: bytes
    epoch: int
    watermark: int
    crc: int
    dropped: int
    refusals: Refusals
    limits: Mapping[str, int]


class Report(NamedTuple):
    """How a producer is doing: the highest number that it has given, the bytes of what waits, and
    how many events it sent again and connections it lost."""

    recorded_seq: int = 0
    spool_bytes: int = 0
    resent: int = 0
    send_failures: int = 0


class Wait(NamedTuple):
    """Asks for an answer when ``target_seq`` is committed. ``from_seq`` is the lowest number
    whose outcome somebody wants to know, 0 for nobody; ``seen_seq`` the highest that the producer
    knows to be committed. An urgent wait hurries the commit."""

    producer_id: bytes
    from_seq: int
    target_seq: int
    seen_seq: int
    dropped: int
    urgent: bool
    report: Report


COMMITTED: Final = "committed"
PENDING: Final = "pending"
RESUME: Final = "resume"


class Notice(NamedTuple):
    """One refused event, for a warning where it was recorded."""

    producer_seq: int
    reason: str
    event_type: str
    detail: str


class Ack(NamedTuple):
    """The answer to a wait: ``status`` is committed, pending or resume (send again from
    ``watermark + 1``). ``runs`` are ``(first producer_seq, count, first seq)`` and ``dead``
    ``(first producer_seq, count, reason)``; they cover the wanted numbers up to
    ``outcomes_to``. ``duplicates`` counts what was dropped because it was there already;
    ``notices`` are some of what was refused behind the wait's ``seen_seq``."""

    status: str
    run_id: bytes
    watermark: int
    crc: int
    dropped: int
    outcomes_to: int
    duplicates: int
    refusals: Refusals
    runs: Sequence[Sequence[int]]
    dead: Sequence[tuple[int, int, str]]
    notices: Sequence[Notice]


class Lookup(NamedTuple):
    """Asks what became of one event, by its key."""

    producer_hash: bytes
    producer_seq: int


class LookupReply(NamedTuple):
    """``status`` is committed, rejected, orphaned or unknown; ``seq`` the id when committed."""

    status: str
    seq: int
    event_type: str
    created_at: int


class Replay(NamedTuple):
    """An administrator asks to enter dead letters after all, in pieces: those with ids behind
    ``after_id``, with this reason (None: any), and among ``ids`` (None: all). A dry run tells
    what would happen, and changes nothing."""

    after_id: int
    reason: str | None
    ids: Sequence[int] | None
    dry_run: bool


class Replayed(NamedTuple):
    """What became of a piece: events entered, events refused again, letters that nobody can
    enter, and the last id that was looked at; ``is_last`` when there are no more."""

    entered: int
    refused: int
    hopeless: int
    last_id: int
    is_last: bool


class Call(NamedTuple):
    """Asks for a named operation to be run, once, and not after ``deadline`` (ns since 1970 UTC).
    ``params`` are msgpack."""

    call_id: bytes
    name: str
    params: bytes
    deadline: int


class LookupCall(NamedTuple):
    """Asks what became of one call."""

    call_id: bytes


REJECTED: Final = "rejected"
QUEUED: Final = "queued"
UNKNOWN: Final = "unknown"


class CallReply(NamedTuple):
    """``status`` is committed, with the result as msgpack, or rejected, with the reason. A lookup
    may also hear queued or unknown, with nothing."""

    status: str
    value: bytes | str | None


def producer_hash(producer_id: bytes) -> bytes:
    """The public name of a producer: SHA-256 of its secret id, 32 bytes."""
    return hashlib.sha256(producer_id).digest()


def array_header(count: int) -> bytes:
    """The msgpack header of an array of ``count`` elements, at most 65,535."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def pack_header(frame: Frame) -> bytes:
    """The first part of a frame's message."""
    return _pack(
        (
            WIRE_VERSION,
            frame.producer_id,
            frame.first_seq,
            frame.event_count,
            frame.crc_before,
            frame.drops,
        )
    )


def unpack_frame(header: bytes, body: bytes) -> Frame:
    """The frame of a message; raises `WireError` when its header breaks a rule."""
    fields = _unpack_array(header)
    if len(fields) != 6 or fields[0] != WIRE_VERSION or type(fields[0]) is not int:
        raise WireError(f"a header has 6 fields and version {WIRE_VERSION}")
    _, producer_id, first_seq, count, crc_before, drops = fields
    if type(producer_id) is not bytes or len(producer_id) != PRODUCER_ID_BYTES:
        raise WireError(f"producer_id is {PRODUCER_ID_BYTES} bytes")
    if not (_is_natural(first_seq) and first_seq >= 1):
        raise WireError("first_seq is a number from 1")
    if not (_is_natural(count) and count <= FRAME_EVENTS_MAX):
        raise WireError(f"count is a number up to {FRAME_EVENTS_MAX}")
    if first_seq + count > INT64_MAX:
        raise WireError("producer_seq is below 2^63")
    if not (_is_natural(crc_before) and crc_before < 1 << 32):
        raise WireError("crc_before has 32 bits")
    if type(drops) is not list or len(drops) != 3 or not all(map(_is_natural, drops)):
        raise WireError("dropped, first_at and last_at are natural numbers")
    return Frame(producer_id, first_seq, count, crc_before, Drops(*drops), body)


def pack_request(request: Hello | Wait | Lookup | Replay | Call | LookupCall) -> bytes:
    """The message of a request."""
    return _pack((WIRE_VERSION, _VERBS[type(request)], *request))


def pack_stats_request() -> bytes:
    """The message that asks for the writer's figures."""
    return _pack((WIRE_VERSION, "stats"))


def unpack_request(message: bytes) -> tuple[str, list[Any]]:
    """Verb and arguments of a request; raises `WireError` when it breaks a rule."""
    fields = _unpack_array(message)
    if len(fields) < 2 or type(fields[1]) is not str:
        raise WireError("a request is an array of version, verb and arguments")
    if type(fields[0]) is not int or fields[0] != WIRE_VERSION:
        asked = fields[0] if type(fields[0]) is int else type(fields[0]).__name__
        raise WireError(f"this writer speaks wire version {WIRE_VERSION}, not {asked}")
    return fields[1], fields[2:]


def hello_of(arguments: list[Any]) -> Hello:
    """A checked `Hello`; raises `WireError`."""
    if len(arguments) != len(Hello._fields):
        raise WireError(f"hello takes {len(Hello._fields)} arguments")
    hello = Hello(*arguments)
    _check_producer_id(hello.producer_id)
    if not (_is_natural(hello.first_seq) and hello.first_seq >= 1):
        raise WireError("first_seq is a number from 1")
    if not (_is_natural(hello.crc_before) and hello.crc_before < 1 << 32):
        raise WireError("crc_before has 32 bits")
    if type(hello.host) is not str or len(hello.host) > 255:
        raise WireError("host is a string of at most 255 characters")
    if not (_is_natural(hello.pid) and _is_natural(hello.started_at)):
        raise WireError("pid and started_at are natural numbers")
    if hello.log_id is not None and type(hello.log_id) is not bytes:
        raise WireError("log_id is bytes or nil")
    return hello


def wait_of(arguments: list[Any]) -> Wait:
    """A checked `Wait`; raises `WireError`."""
    if len(arguments) != len(Wait._fields):
        raise WireError(f"wait takes {len(Wait._fields)} arguments")
    wait = Wait(*arguments)
    _check_producer_id(wait.producer_id)
    if not all(map(_is_natural, wait[1:5])) or type(wait.urgent) is not bool:
        raise WireError("wait takes four natural numbers and a boolean")
    return wait._replace(report=Report(*_naturals("report", wait.report, len(Report._fields))))


def lookup_of(arguments: list[Any]) -> Lookup:
    """A checked `Lookup`; raises `WireError`."""
    if len(arguments) != 2 or type(arguments[0]) is not bytes or not _is_natural(arguments[1]):
        raise WireError("lookup takes a producer hash and a producer_seq")
    return Lookup(*arguments)


def replay_of(arguments: list[Any]) -> Replay:
    """A checked `Replay`; raises `WireError`."""
    if len(arguments) != len(Replay._fields):
        raise WireError(f"replay takes {len(Replay._fields)} arguments")
    replay = Replay(*arguments)
    if not _is_natural(replay.after_id) or type(replay.dry_run) is not bool:
        raise WireError("replay takes an id to begin behind, and whether it is a dry run")
    if replay.reason is not None and type(replay.reason) is not str:
        raise WireError("reason is a string or nil")
    ids = replay.ids
    if ids is not None and (type(ids) is not list or not all(map(_is_natural, ids))):
        raise WireError("ids are natural numbers, or nil")
    return replay


def call_of(arguments: list[Any]) -> Call:
    """A checked `Call`; raises `WireError`. Whether the params are msgpack is seen later."""
    if len(arguments) != len(Call._fields):
        raise WireError(f"call takes {len(Call._fields)} arguments")
    call = Call(*arguments)
    _check_call_id(call.call_id)
    if type(call.name) is not str or not re.fullmatch(EVENT_TYPE_PATTERN, call.name):
        raise WireError("the name of a call follows the pattern of an event_type")
    if len(call.name) > EVENT_TYPE_CHARS_MAX:
        raise WireError(f"the name of a call has at most {EVENT_TYPE_CHARS_MAX} characters")
    if type(call.params) is not bytes or len(call.params) > CALL_VALUE_BYTES_MAX:
        raise WireError(f"params are at most {CALL_VALUE_BYTES_MAX} bytes")
    if not _is_natural(call.deadline):
        raise WireError("deadline is a natural number")
    return call


def lookup_call_of(arguments: list[Any]) -> LookupCall:
    """A checked `LookupCall`; raises `WireError`."""
    if len(arguments) != 1:
        raise WireError("lookup_call takes a call_id")
    _check_call_id(arguments[0])
    return LookupCall(*arguments)


def pack_reply(verb: str, reply: tuple[Any, ...] | Mapping[str, Any]) -> bytes:
    """The message of a reply to ``verb``."""
    return _pack((WIRE_VERSION, verb, reply))


def pack_error(reason: str) -> bytes:
    """The message that refuses a request."""
    return _pack((WIRE_VERSION, "error", reason))


def unpack_reply(message: bytes) -> tuple[str, Any]:
    """Verb and content of a reply. Raises `ProtocolMismatch` for another version and
    `WireError` for a refusal or broken bytes."""
    fields = _unpack_array(message)
    if len(fields) != 3 or fields[0] != WIRE_VERSION:
        raise ProtocolMismatch(
            f"the writer does not speak wire version {WIRE_VERSION}: "
            "install the same release of hansard for workers and writer"
        )
    if fields[1] == "error":
        if "wire version" in str(fields[2]):
            raise ProtocolMismatch(f"{fields[2]}: install the same release for workers and writer")
        raise WireError(f"the writer refused: {fields[2]}")
    return fields[1], fields[2]


def welcome_of(content: Any) -> Welcome:
    """The `Welcome` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Welcome._fields):
        raise WireError(f"a welcome has {len(Welcome._fields)} fields")
    welcome = Welcome(*content)
    if type(welcome.log_id) is not bytes or type(welcome.run_id) is not bytes:
        raise WireError("log_id and run_id are bytes")
    if not all(map(_is_natural, welcome[2:6])) or type(welcome.limits) is not dict:
        raise WireError("epoch, watermark, crc and dropped are natural numbers, limits a map")
    return welcome._replace(refusals=Refusals(*_naturals("refusals", welcome.refusals, 3)))


def ack_of(content: Any) -> Ack:
    """The `Ack` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Ack._fields):
        raise WireError(f"an ack has {len(Ack._fields)} fields")
    ack = Ack(*content)
    if ack.status not in (COMMITTED, PENDING, RESUME) or type(ack.run_id) is not bytes:
        raise WireError("an ack has a status and a run_id")
    if not all(map(_is_natural, ack[2:7])):
        raise WireError("watermark, crc, dropped, outcomes_to and duplicates are natural numbers")
    for rows, size in ((ack.runs, 3), (ack.dead, 3), (ack.notices, len(Notice._fields))):
        if type(rows) is not list or any(type(row) is not list or len(row) != size for row in rows):
            raise WireError("runs and dead letters are lists of three, notices of four")
    return ack._replace(
        refusals=Refusals(*_naturals("refusals", ack.refusals, 3)),
        notices=[Notice(*row) for row in ack.notices],
    )


def replayed_of(content: Any) -> Replayed:
    """The `Replayed` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Replayed._fields):
        raise WireError(f"a replay's answer has {len(Replayed._fields)} fields")
    replayed = Replayed(*content)
    if not all(map(_is_natural, replayed[:4])) or type(replayed.is_last) is not bool:
        raise WireError("a replay's answer has four natural numbers and a boolean")
    return replayed


def call_reply_of(content: Any) -> CallReply:
    """The `CallReply` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(CallReply._fields):
        raise WireError(f"the reply to a call has {len(CallReply._fields)} fields")
    reply = CallReply(*content)
    if type(reply.status) is not str or type(reply.value) is not _CALL_VALUES.get(reply.status):
        raise WireError("the reply to a call has a status and the value that belongs to it")
    return reply


_VERBS: Final = {
    Hello: "hello",
    Wait: "wait",
    Lookup: "lookup",
    Replay: "replay",
    Call: "call",
    LookupCall: "lookup_call",
}
_CALL_VALUES: Final = {COMMITTED: bytes, REJECTED: str, QUEUED: type(None), UNKNOWN: type(None)}


def _pack(message: tuple[Any, ...]) -> bytes:
    packed: bytes = msgpack.packb(message)
    return packed


def _unpack_array(message: bytes) -> list[Any]:
    try:
        fields = msgpack.unpackb(message)
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if type(fields) is not list:
        raise WireError("a message is a msgpack array")
    return fields


def _naturals(name: str, content: Any, count: int) -> list[int]:
    if type(content) is not list or len(content) != count or not all(map(_is_natural, content)):
        raise WireError(f"{name}: {count} natural numbers")
    return content


def _is_natural(value: object) -> bool:
    return type(value) is int and 0 <= value <= INT64_MAX


def _check_producer_id(producer_id: object) -> None:
    if type(producer_id) is not bytes or len(producer_id) != PRODUCER_ID_BYTES:
        raise WireError(f"producer_id is {PRODUCER_ID_BYTES} bytes")


def _check_call_id(call_id: object) -> None:
    if type(call_id) is not bytes or len(call_id) != CALL_ID_BYTES:
        raise WireError(f"call_id is {CALL_ID_BYTES} bytes")
