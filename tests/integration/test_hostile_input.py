"""Whatever arrives, the writer goes on, and good traffic beside it is complete."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frames import Chain, event, fields, parts
from hansard import wire
from stepped import Log, Worker

ENVELOPE = [b"somebody", b"\0\0\0\1", b""]
DEEP = b"\x91" * 1_020 + b"\xc0"


def welcomed(log: Log, chain: Chain) -> Chain:
    """A hand-made producer that the writer knows."""
    ask(log, wire.pack_request(chain.hello()))
    return chain


def ask(log: Log, message: bytes) -> tuple[str, Any]:
    """A request's answer, given at once or after some time."""
    log.link.requests.append((ENVELOPE, message))
    for _ in range(100):
        log.step()
        for reply in log.link.replies:
            if reply[0] == ENVELOPE:
                log.link.replies.remove(reply)
                _, verb, content = msgpack.unpackb(reply[1])
                return verb, content
        log.pass_time(0.01)
    raise AssertionError("no answer")


def push(log: Log, *messages: list[bytes]) -> None:
    log.link.frames.extend(messages)
    log.step()
    log.pass_time(1)
    log.step()


def watermark(log: Log, chain: Chain) -> int:
    rows = log.query("SELECT watermark FROM producers WHERE producer_hash = ?", chain.hash)
    return int(rows[0][0]) if rows else 0


def test_a_body_that_cannot_be_decoded_is_one_dead_letter_and_the_watermark_moves(
    log: Log,
) -> None:
    chain = welcomed(log, Chain())
    good = chain.frame(event())
    body = event() + b"\xc1garbage"
    bad = chain.frame(body)._replace(event_count=7)
    chain.seq = 8
    push(log, parts(good), parts(bad), parts(chain.frame(event())))
    assert log.dead_letters() == [(2, 7, "undecodable")]
    assert watermark(log, chain) == 9
    assert log.query("SELECT producer_seq FROM entries ORDER BY seq") == [(1,), (9,)]
    assert log.query("SELECT frame FROM dead_letters") == [(body,)]


@pytest.mark.parametrize("claimed", [1, 3, wire.FRAME_EVENTS_MAX])
def test_a_wrong_count_is_one_dead_letter_of_so_many_numbers(log: Log, claimed: int) -> None:
    chain = welcomed(log, Chain())
    push(log, parts(chain.frame(event(), event())._replace(event_count=claimed)))
    assert log.dead_letters() == [(1, claimed, "undecodable")]
    assert watermark(log, chain) == claimed


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda message: [b"\xc1" + message[0], message[1]], id="no msgpack"),
        pytest.param(lambda message: [b"", message[1]], id="an empty header"),
        pytest.param(lambda message: [message[0]], id="one part"),
        pytest.param(lambda message: [message[0], message[1], message[1]], id="three parts"),
        pytest.param(lambda message: [message[1], message[0]], id="parts exchanged"),
        pytest.param(lambda message: [message[0] + b"\0", message[1]], id="a byte too many"),
        pytest.param(lambda message: [DEEP, message[1]], id="a header that is deeply nested"),
        pytest.param(lambda message: [DEEP + b"\0", message[1]], id="and a byte behind it"),
        pytest.param(lambda message: [b"\x96" + DEEP * 6, message[1]], id="deeply nested fields"),
        pytest.param(lambda message: [b"x" * (1 << 20), message[1]], id="a large one"),
    ],
)
def test_a_bad_header_is_a_dead_letter_and_nothing_moves(
    log: Log, spoil: Callable[[list[bytes]], list[bytes]]
) -> None:
    chain = welcomed(log, Chain())
    message = parts(chain.frame(event()))
    push(log, spoil(message))
    assert log.dead_letters() == [(None, 0, "bad_header")]
    assert log.query("SELECT length(frame) <= 65536 FROM dead_letters") == [(1,)]
    assert watermark(log, chain) == 0
    push(log, message)
    assert watermark(log, chain) == 1


@pytest.mark.parametrize(
    "header",
    [
        [2, b"p" * 16, 1, 1, 0, [0, 0, 0]],
        [True, b"p" * 16, 1, 1, 0, [0, 0, 0]],
        [1, b"p" * 15, 1, 1, 0, [0, 0, 0]],
        [1, "p" * 16, 1, 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 0, 1, 0, [0, 0, 0]],
        [1, b"p" * 16, -1, 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1.0, 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1, wire.FRAME_EVENTS_MAX + 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1, (1 << 64) - 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1, -1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1, None, 0, [0, 0, 0]],
        [1, b"p" * 16, wire.INT64_MAX, 1, 0, [0, 0, 0]],
        [1, b"p" * 16, 1, 1, 1 << 32, [0, 0, 0]],
        [1, b"p" * 16, 1, 1, 0, None],
        [1, b"p" * 16, 1, 1, 0, [0, 0]],
        [1, b"p" * 16, 1, 1, 0, [1 << 63, 0, 0]],
        [1, b"p" * 16, 1, 1, 0, [0, 0, msgpack.Timestamp(1, 0)]],
        [1, b"p" * 16, 1, 1, 0],
        {"version": 1},
        7,
    ],
)
def test_a_header_with_a_bad_field_moves_nothing(log: Log, header: object) -> None:
    chain = welcomed(log, Chain())
    push(log, [msgpack.packb(header), event()])
    assert log.dead_letters() == [(None, 0, "bad_header")]
    assert watermark(log, chain) == 0


def test_a_producer_that_said_no_hello_is_not_taken_in(log: Log) -> None:
    push(log, parts(Chain(b"u" * 16).frame(event())))
    assert log.dead_letters() == [(None, 0, "unknown_producer")]
    assert log.query("SELECT count(*) FROM entries") == [(0,)]
    assert log.query("SELECT count(*) FROM producers") == [(1,)]


def test_a_bad_string_costs_its_own_event_only(log: Log) -> None:
    chain = welcomed(log, Chain())
    bad = event().replace(b"agent:7", b"agen\xff\xfe7")
    push(log, parts(chain.frame(event(), bad, event())))
    assert log.dead_letters() == [(2, 1, "invalid")]
    assert log.query("SELECT producer_seq FROM entries ORDER BY seq") == [(1,), (3,)]


@pytest.mark.parametrize(
    "payload",
    ["[1]", '"text"', "1", "null", "true", "", " ", "{", '{"a":}', "nonsense", '{"a":"\0"}',
     '{"a":1}x', "{}{}", '{"a":1}\0and more', "{a:1}", "{'a':1}", '{"a":NaN}', '{"a":1,}',
     "\ufeff{}"],
)  # fmt: skip
def test_a_payload_that_is_no_json_object_costs_its_own_event_only(log: Log, payload: str) -> None:
    chain = welcomed(log, Chain())
    push(log, parts(chain.frame(event('{"n":1}'), event(payload), event('{"n":3}'))))
    assert log.dead_letters() == [(2, 1, "invalid")]
    assert log.query("SELECT producer_seq, payload FROM entries ORDER BY seq") == [
        (1, '{"n":1}'),
        (3, '{"n":3}'),
    ]
    assert watermark(log, chain) == 3


def test_bad_payloads_of_several_producers_in_one_batch_are_told_apart(log: Log) -> None:
    chains = [welcomed(log, Chain(bytes([number]) * 16)) for number in range(1, 4)]
    push(log, *(parts(chain.frame(event("{}"), event("[]"), event("{}"))) for chain in chains))
    assert log.dead_letters() == [(2, 1, "invalid")] * 3
    assert log.query("SELECT producer_seq FROM entries ORDER BY seq") == [(1,), (3,)] * 3
    assert [watermark(log, chain) for chain in chains] == [3, 3, 3]
    log.assert_all_is_in()


def test_dead_letters_are_kept_up_to_their_limit_and_counted_beyond(directory: Path) -> None:
    log = Log(directory, dead_letters_max=3).start_writer()
    chain = welcomed(log, Chain())
    for _ in range(2):
        push(log, parts(chain.frame(*[event("[]")] * 5)))
    assert log.dead_letters() == [(1, 1, "invalid"), (2, 1, "invalid"), (3, 1, "invalid")]
    assert log.query("SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(7,)]
    assert watermark(log, chain) == 10
    log.restart_writer()
    assert log.writer.figures()["dead_letters"] == 3
    welcomed(log, chain)
    push(log, parts(chain.frame(event("[]"), event("{}"))))
    assert len(log.dead_letters()) == 3
    assert log.query("SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(8,)]
    log.close()


def test_dead_letters_are_kept_up_to_their_limit_in_bytes(directory: Path) -> None:
    log = Log(directory, dead_letters_bytes_max=10_000).start_writer()
    chain = welcomed(log, Chain())
    large = event("[" + "1," * 2_000 + "1]")
    push(log, parts(chain.frame(large, large, large)))
    assert len(log.dead_letters()) == 2
    assert log.writer.figures()["dead_letter_bytes"] == 2 * len(large)
    assert log.query("SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(1,)]
    log.close()


def test_a_sync_caller_learns_that_its_event_was_rejected(log: Log) -> None:
    worker = log.worker()
    ticket = worker.ticket(worker.producer.append(event("[]")))
    beside = worker.ticket(worker.record())
    log.settle()
    assert (ticket.status, ticket.id) == ("rejected", None)
    assert (beside.status, beside.id) == ("committed", 1)


BAD_REQUESTS = {
    "no msgpack": b"\xc1",
    "nothing": b"",
    "a number": b"\x07",
    "an empty array": b"\x90",
    "an array of four billion": b"\xdd\xff\xff\xff\xff",
    "deeply nested": DEEP,
    "deeply nested, and a byte behind it": DEEP + b"\0",
    "a version that is deeply nested": b"\x92" + DEEP + b"\xa1x",
    "another version": msgpack.packb([2, "stats"]),
    "an unknown verb": msgpack.packb([1, "explode"]),
    "a verb that is a number": msgpack.packb([1, 1]),
    "a very long verb": msgpack.packb([1, "x" * 100_000]),
    "a hello without arguments": msgpack.packb([1, "hello"]),
    "a hello of nothing": msgpack.packb([1, "hello", *[None] * 7]),
    "a hello with a short id": msgpack.packb([1, "hello", b"x", 1, 0, "h", 1, 1, None]),
    "a hello from 0": msgpack.packb([1, "hello", b"x" * 16, 0, 0, "h", 1, 1, None]),
    "a hello with a number as host": msgpack.packb([1, "hello", b"x" * 16, 1, 0, 7, 1, 1, None]),
    "a hello with a long host": msgpack.packb([1, "hello", b"x" * 16, 1, 0, "h" * 256, 1, 1, None]),
    "a hello with a pid of text": msgpack.packb([1, "hello", b"x" * 16, 1, 0, "h", "1", 1, None]),
    "a hello with a log of text": msgpack.packb([1, "hello", b"x" * 16, 1, 0, "h", 1, 1, "log"]),
    "a hello with a deep log": b"\x99\x01\xa5hello\xc4\x10" + b"x" * 16 + b"\1\0\xa1h\1\1" + DEEP,
    "a wait by nobody known": msgpack.packb([1, "wait", b"x" * 16, 0, 1, 0, True]),
    "a wait with a deep id": b"\x97\x01\xa4wait" + DEEP + b"\0\1\0\xc3",
    "a wait for text": msgpack.packb([1, "wait", b"x" * 16, 0, "1", 0, True]),
    "a wait whose urgency is a number": msgpack.packb([1, "wait", b"x" * 16, 0, 1, 0, 1]),
    "a comparison by nobody known": msgpack.packb([1, "compare", b"x" * 16, 1, 1, 0, b""]),
    "a comparison of text": msgpack.packb([1, "compare", b"x" * 16, 1, 1, 0, "text"]),
    "a lookup of nothing": msgpack.packb([1, "lookup"]),
    "a lookup of text": msgpack.packb([1, "lookup", "hash", 1]),
    "a lookup below zero": msgpack.packb([1, "lookup", b"hash", -1]),
}


@pytest.mark.parametrize("message", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_answered_with_an_error(log: Log, message: bytes) -> None:
    verb, reason = ask(log, message)
    assert verb == "error"
    assert isinstance(reason, str)
    assert 0 < len(reason) < 1_000
    assert ask(log, wire.pack_stats_request())[0] == "stats"


@pytest.mark.parametrize("envelope", [[], [b"id"]])
def test_a_request_that_nobody_could_hear_the_answer_to_is_ignored(
    log: Log, envelope: list[bytes]
) -> None:
    log.link.requests.append((envelope, wire.pack_stats_request()))
    log.step()
    assert not log.link.replies


def test_the_highest_numbers_of_all_are_taken(log: Log) -> None:
    top = wire.INT64_MAX - 1
    chain = Chain()
    ask(log, wire.pack_request(chain.hello(first_seq=top)))
    chain.seq = top - 1
    push(log, parts(chain.frame(event())))
    assert watermark(log, chain) == top
    assert ask(log, wire.pack_request(wire.Lookup(chain.hash, top)))[1][0] == "committed"
    beyond = wire.Wait(
        chain.producer_id,
        from_seq=wire.INT64_MAX,
        target_seq=wire.INT64_MAX,
        seen_seq=wire.INT64_MAX,
        dropped=wire.INT64_MAX,
        urgent=True,
        report=wire.Report(*[wire.INT64_MAX] * 4),
    )
    assert ask(log, wire.pack_request(beyond))[1][0] == "pending"


def test_producers_that_lie_about_themselves_do_not_end_the_figures(log: Log) -> None:
    """Their sums are beyond what an integer of msgpack can be."""
    for number in range(4):
        chain = welcomed(log, Chain(bytes([number]) * 16))
        report = wire.Report(*[wire.INT64_MAX] * 4)
        wait = wire.Wait(chain.producer_id, 0, 0, 0, 0, urgent=False, report=report)
        assert ask(log, wire.pack_request(wait))[0] == "wait"
    assert ask(log, wire.pack_stats_request())[0] == "stats"


def test_producers_that_lie_about_the_past_do_not_end_the_figures(log: Log) -> None:
    """What they have lost and dropped is in the database for good, and beyond what it can sum."""
    for number in range(4):
        chain = Chain(bytes([number]) * 16)
        ask(log, wire.pack_request(chain.hello(first_seq=wire.INT64_MAX)))
        drops = wire.Drops(wire.INT64_MAX, 1, 2)
        push(log, parts(wire.Frame(chain.producer_id, wire.INT64_MAX, 0, 0, drops, b"")))
    verb, figures = ask(log, wire.pack_stats_request())
    assert verb == "stats"
    assert figures["dropped"] == {"by_producers": wire.INT64_MAX, "log_went_back": wire.INT64_MAX}
    assert figures["appended"] == figures["dead_lettered"] == 0


def registration(task_id: str, kind: int = wire.KIND_TASK) -> bytes:
    return event(None, kind=kind, event_type=wire.TASK_REGISTERED, task_id=task_id)


@pytest.mark.parametrize("comes_first", [True, False])
def test_a_registration_that_is_joined_to_an_event_registers_nothing(
    directory: Path, comes_first: bool
) -> None:
    """No client joins them; the wire can. It would be refused with the other one, and by then
    events would have gone by it."""
    log = Log(directory, enforce_tasks=True).start_writer()
    chain = welcomed(log, Chain())
    pair = [
        registration("A", wire.KIND_TASK | wire.JOINED),
        event(task_id=None),
    ]
    if not comes_first:
        pair = [event(task_id=None, kind=wire.JOINED), registration("A")]
    push(log, parts(chain.frame(*pair, event(task_id="A"), event(task_id=None))))
    assert sum(count for _, count, _ in log.dead_letters()) == 3 - comes_first
    assert log.query("SELECT count(*) FROM tasks") == [(0,)]
    log.close()


@pytest.mark.parametrize("depth", [1, 500, 1_000, 1_020, 1_023, 1_024, 5_000])
def test_a_deep_dead_letter_may_be_compared_with_itself(log: Log, depth: int) -> None:
    """Values nested so deep cannot always be told to be the same: then they are not."""
    chain = welcomed(log, Chain())
    frame = chain.frame(b"\x91" * depth + b"\xc0")
    push(log, parts(frame))
    assert len(log.dead_letters()) == 1
    compare = wire.Compare(frame.producer_id, 1, 1, frame.crc_before, frame.body)
    verb, content = ask(log, wire.pack_request(compare))
    assert verb == "compare"
    assert wire.ack_of(content).watermark in (0, 1)


def test_a_notice_is_short_whatever_was_refused(log: Log) -> None:
    """An ack goes to a producer's only socket, again and again until it is seen."""
    chain = welcomed(log, Chain())
    long = "t" * 900_000
    for _ in range(3):
        push(log, parts(chain.frame(event(event_type=long, level="fatal"))))
    wait = wire.Wait(chain.producer_id, 0, 3, 0, 0, urgent=False, report=wire.Report())
    ack = wire.ack_of(ask(log, wire.pack_request(wait))[1])
    assert len(ack.notices) == 3
    assert sum(len(text) for each in ack.notices for text in each[1:]) < 10_000


def test_a_hello_that_claims_to_be_far_ahead_costs_one_entry(log: Log) -> None:
    chain = Chain()
    ask(log, wire.pack_request(chain.hello(first_seq=wire.INT64_MAX)))
    assert log.query("SELECT count(*) FROM entries") == [(1,)]
    frame = wire.Frame(
        chain.producer_id, wire.INT64_MAX, 0, 0, wire.Drops(wire.INT64_MAX, 1, 2), b""
    )
    push(log, parts(frame))
    assert log.query("SELECT count(*) FROM entries") == [(2,)]
    ask(log, wire.pack_stats_request())


def test_a_flood_of_bad_messages_does_not_keep_a_sync_caller_waiting(log: Log) -> None:
    worker = log.worker()
    log.turn()
    log.turn()
    log.link.frames.extend([[b"\xc1" * 100]] * 5_000)
    ticket = worker.ticket(worker.record())
    steps = 0
    while ticket.status != "committed":
        worker.send()
        log.step()
        worker.hear()
        steps += 1
        assert steps < 10
    log.settle()


# --- anything at all ---

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.sampled_from([0, 1, 2, 1_000, 1_001, 1 << 31, 1 << 32, wire.INT64_MAX, 1 << 63])
    | st.floats()
    | st.text(max_size=10)
    | st.binary(max_size=20)
    | st.sampled_from([b"p" * 16, b"q" * 16, "task.done", "info", "hello", "wait", "lookup", "{}"])
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=4))
    | st.builds(msgpack.Timestamp, st.integers(0, 1 << 33), st.integers(0, 999_999_999))
)
_VALUES = st.recursive(
    _SCALARS,
    lambda v: st.lists(v, max_size=8) | st.dictionaries(st.text(max_size=3), v, max_size=3),
)
_REGISTRATION = fields("{}", kind=wire.KIND_TASK, event_type=wire.TASK_REGISTERED)
_JOINED_REGISTRATION = [_REGISTRATION[0] | wire.JOINED, *_REGISTRATION[1:]]
_GOOD = [
    fields(),
    fields(kind=wire.JOINED),
    fields(task_id="T2"),
    _REGISTRATION,
    _JOINED_REGISTRATION,
    [*_REGISTRATION[:5], "T2", None],
]
_EVENTS = st.sampled_from(_GOOD) | _VALUES | st.lists(_VALUES, min_size=7, max_size=7)
_BODIES = st.lists(_EVENTS, max_size=3).map(lambda each: b"".join(map(msgpack.packb, each)))
_HEADERS = st.tuples(
    st.just(1) | _SCALARS,
    st.sampled_from([b"p" * 16, b"q" * 16, b"n" * 16]) | _SCALARS,
    st.integers(1, 40) | _SCALARS,
    st.integers(0, 6) | _SCALARS,
    st.just(0) | _SCALARS,
    st.just([0, 0, 0]) | st.lists(_SCALARS, max_size=4),
).map(msgpack.packb)
_REQUESTS = st.tuples(
    st.just(1) | _VALUES,
    st.sampled_from(["hello", "wait", "compare", "lookup", "replay", "stats", "call", "error"])
    | _VALUES,
).flatmap(
    lambda head: st.lists(st.sampled_from([b"p" * 16, b"n" * 16, "h", True, 1, 0, None]) | _VALUES,
                          max_size=8).map(lambda rest: msgpack.packb([*head, *rest]))
)  # fmt: skip


def _mutated(message: bytes, seed: int) -> bytes:
    chance = random.Random(seed)
    content = bytearray(message)
    for _ in range(chance.randrange(4)):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    if chance.random() < 0.2:
        del content[chance.randrange(len(content) + 1) :]
    return bytes(content)


_SEEDS = st.integers(0, 1 << 32)
_HELLOS = st.builds(
    wire.Hello, st.sampled_from([b"p" * 16, b"q" * 16, b"n" * 16]), st.integers(1, 30),
    st.just(0) | st.integers(0, (1 << 32) - 1), st.text(max_size=5), st.integers(0, wire.INT64_MAX),
    st.integers(0, wire.INT64_MAX), st.none() | st.binary(max_size=16),
).map(wire.pack_request)  # fmt: skip
_SOMETHING = st.one_of(
    st.tuples(st.just("push"), st.lists(st.binary(max_size=60), max_size=3)),
    st.tuples(st.just("push"), st.tuples(_HEADERS, _BODIES).map(list)),
    st.tuples(
        st.just("push"),
        st.builds(lambda h, b, s: [_mutated(h, s), _mutated(b, s + 1)], _HEADERS, _BODIES, _SEEDS),
    ),
    st.tuples(st.just("ask"), st.binary(max_size=60) | _REQUESTS | _HELLOS),
    st.tuples(st.just("ask"), st.builds(_mutated, _REQUESTS | _HELLOS, _SEEDS)),
)


@pytest.mark.parametrize("enforce_tasks", [False, True])
def test_nothing_that_arrives_stops_the_writer_or_touches_another_producer(
    directory: Path, enforce_tasks: bool
) -> None:
    log = Log(directory, enforce_tasks=enforce_tasks).start_writer()
    good = log.worker("good")

    @settings(
        max_examples=100,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(_SOMETHING, min_size=1, max_size=6))
    def bombard(messages: list[tuple[str, Any]]) -> None:
        good.record(2)
        for kind, content in messages:
            if kind == "push":
                log.link.frames.append(content)
            else:
                log.link.requests.append((ENVELOPE, content))
        log.turn()

    bombard()
    log.settle()
    log.link.replies.clear()
    log.assert_all_is_in()
    log.close()


def test_frames_of_a_good_producer_that_are_mutated_on_the_way_cost_no_good_event(
    directory: Path,
) -> None:
    """A mutated frame is a conflict, a dead letter or nobody's; its neighbours are entered."""
    log = Log(directory).start_writer()
    good: Worker = log.worker("good")
    chain = welcomed(log, Chain())

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(st.integers(1, 4), _SEEDS)
    def mutate(events: int, seed: int) -> None:
        good.record()
        header, body = parts(chain.frame(*[event()] * events))
        log.link.frames.append([header, _mutated(body, seed)])
        chain.crc = 0  # whatever the writer made of it
        log.turn()

    mutate()
    log.settle()
    log.assert_all_is_in()
    log.close()
