"""What a producer and its writer say about frames: `Hello` and `Welcome`, `Wait` and `Ack`,
`Compare`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from hansard.entry import COMMITTED
from hansard.wire.frames import Drops, Frame, check_span
from hansard.wire.values import WireError, check_producer_id, is_natural, naturals


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
    """The answer to a hello: which log and run this is, and what of the producer is committed.
    ``suspended`` is why the writer takes nothing in now, empty while it does."""

    log_id: bytes
    run_id: bytes
    epoch: int
    watermark: int
    crc: int
    dropped: int
    refusals: Refusals
    limits: Mapping[str, int]
    suspended: str = ""


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
    ``(first producer_seq, count, reason, detail)``; they cover the wanted numbers up to
    ``outcomes_to``. ``duplicates`` counts what was dropped because it was there already;
    ``notices`` are some of what was refused behind the wait's ``seen_seq``; ``suspended`` is as
    in `Welcome`."""

    status: str
    run_id: bytes
    watermark: int
    crc: int
    dropped: int
    outcomes_to: int
    duplicates: int
    refusals: Refusals
    runs: Sequence[Sequence[int]]
    dead: Sequence[tuple[int, int, str, str]]
    notices: Sequence[Notice]
    suspended: str = ""


class Compare(NamedTuple):
    """Asks how many of a frame's events the log has as they are, from the first on: what another
    sent under this producer's id may be its own, out of a copy of its spool.

    The answer is an `Ack`, of these events only: its ``watermark`` is the number up to which the
    log has them, ``first_seq - 1`` for none; ``crc`` is that of what was sent, up to there."""

    producer_id: bytes
    first_seq: int
    event_count: int
    crc_before: int
    body: bytes


def compare_of(arguments: list[Any]) -> Frame:
    """The frame of a checked `Compare`; raises `WireError`."""
    if len(arguments) != len(Compare._fields):
        raise WireError(f"compare takes {len(Compare._fields)} arguments")
    compare = Compare(*arguments)
    check_span(*compare[:4])
    if type(compare.body) is not bytes:
        raise WireError("body is bytes")
    return Frame(*compare[:4], Drops(), compare.body)


def hello_of(arguments: list[Any]) -> Hello:
    """A checked `Hello`; raises `WireError`."""
    if len(arguments) != len(Hello._fields):
        raise WireError(f"hello takes {len(Hello._fields)} arguments")
    hello = Hello(*arguments)
    check_producer_id(hello.producer_id)
    if not (is_natural(hello.first_seq) and hello.first_seq >= 1):
        raise WireError("first_seq is a number from 1")
    if not (is_natural(hello.crc_before) and hello.crc_before < 1 << 32):
        raise WireError("crc_before has 32 bits")
    if type(hello.host) is not str or len(hello.host) > 255:
        raise WireError("host is a string of at most 255 characters")
    if not (is_natural(hello.pid) and is_natural(hello.started_at)):
        raise WireError("pid and started_at are natural numbers")
    if hello.log_id is not None and type(hello.log_id) is not bytes:
        raise WireError("log_id is bytes or nil")
    return hello


def wait_of(arguments: list[Any]) -> Wait:
    """A checked `Wait`; raises `WireError`."""
    if len(arguments) != len(Wait._fields):
        raise WireError(f"wait takes {len(Wait._fields)} arguments")
    wait = Wait(*arguments)
    check_producer_id(wait.producer_id)
    if not all(map(is_natural, wait[1:5])) or type(wait.urgent) is not bool:
        raise WireError("wait takes four natural numbers and a boolean")
    return wait._replace(report=Report(*naturals("report", wait.report, len(Report._fields))))


def welcome_of(content: Any) -> Welcome:
    """The `Welcome` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Welcome._fields):
        raise WireError(f"a welcome has {len(Welcome._fields)} fields")
    welcome = Welcome(*content)
    if type(welcome.log_id) is not bytes or type(welcome.run_id) is not bytes:
        raise WireError("log_id and run_id are bytes")
    if not all(map(is_natural, welcome[2:6])) or type(welcome.limits) is not dict:
        raise WireError("epoch, watermark, crc and dropped are natural numbers, limits a map")
    if type(welcome.suspended) is not str:
        raise WireError("suspended is a string")
    return welcome._replace(refusals=Refusals(*naturals("refusals", welcome.refusals, 3)))


def ack_of(content: Any) -> Ack:
    """The `Ack` of a reply's content; raises `WireError`."""
    if type(content) is not list or len(content) != len(Ack._fields):
        raise WireError(f"an ack has {len(Ack._fields)} fields")
    ack = Ack(*content)
    if ack.status not in (COMMITTED, PENDING, RESUME) or type(ack.run_id) is not bytes:
        raise WireError("an ack has a status and a run_id")
    if not all(map(is_natural, ack[2:7])):
        raise WireError("watermark, crc, dropped, outcomes_to and duplicates are natural numbers")
    if type(ack.suspended) is not str:
        raise WireError("suspended is a string")
    for rows, size in ((ack.runs, 3), (ack.dead, 4), (ack.notices, 4)):
        if type(rows) is not list or any(type(row) is not list or len(row) != size for row in rows):
            raise WireError("runs are lists of three, dead letters and notices of four")
    return ack._replace(
        refusals=Refusals(*naturals("refusals", ack.refusals, 3)),
        notices=[Notice(*row) for row in ack.notices],
    )
