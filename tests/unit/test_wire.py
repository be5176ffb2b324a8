"""The wire format: what goes out comes in, and what breaks a rule is refused by name."""

import hashlib
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard import wire
from hansard.errors import ProtocolMismatch

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=40)

PRODUCER = bytes(range(16))
naturals = st.integers(0, wire.INT64_MAX)
producer_ids = st.binary(min_size=16, max_size=16)
crcs = st.integers(0, (1 << 32) - 1)
hosts = st.text(max_size=255)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip

hellos = st.builds(
    wire.Hello,
    producer_ids,
    st.integers(1, wire.INT64_MAX),
    crcs,
    hosts,
    naturals,
    naturals,
    st.none() | st.binary(min_size=16, max_size=16),
)
waits = st.builds(
    wire.Wait,
    producer_ids,
    naturals,
    naturals,
    naturals,
    naturals,
    st.booleans(),
    st.builds(wire.Report, naturals, naturals, naturals, naturals),
)
replays = st.builds(
    wire.Replay,
    naturals,
    st.none() | st.text(),
    st.none() | st.lists(naturals, max_size=9),
    st.booleans(),
)
lookups = st.builds(wire.Lookup, st.binary(min_size=32, max_size=32), naturals)
frames = st.builds(
    wire.Frame,
    producer_ids,
    st.integers(1, wire.INT64_MAX - wire.FRAME_EVENTS_MAX),
    st.integers(0, wire.FRAME_EVENTS_MAX),
    crcs,
    st.builds(wire.Drops, naturals, naturals, naturals),
    st.binary(),
    st.booleans(),
)


def header(**changes: Any) -> bytes:
    """A good header, but for the fields that are given."""
    good = {
        "version": 1,
        "producer_id": PRODUCER,
        "first_seq": 1,
        "count": 2,
        "crc": 3,
        "drops": [0, 0, 0],
    }
    return msgpack.packb(list((good | changes).values()))


@repeatable
@given(frames)
def test_a_frame_comes_in_as_it_went_out(frame: wire.Frame) -> None:
    assert wire.unpack_frame(wire.pack_header(frame), frame.body) == frame


@repeatable
@given(hellos)
def test_a_hello_comes_in_as_it_went_out(hello: wire.Hello) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(hello))
    assert (verb, wire.hello_of(arguments)) == ("hello", hello)


@repeatable
@given(waits)
def test_a_wait_comes_in_as_it_went_out(wait: wire.Wait) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(wait))
    assert (verb, wire.wait_of(arguments)) == ("wait", wait)


@repeatable
@given(lookups)
def test_a_lookup_comes_in_as_it_went_out(lookup: wire.Lookup) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(lookup))
    assert (verb, wire.lookup_of(arguments)) == ("lookup", lookup)


@repeatable
@given(replays)
def test_a_replay_comes_in_as_it_went_out(replay: wire.Replay) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(replay))
    assert (verb, wire.replay_of(arguments)) == ("replay", replay)


def test_a_request_for_figures_is_a_verb_alone() -> None:
    assert wire.unpack_request(wire.pack_stats_request()) == ("stats", [])


def an_ack() -> wire.Ack:
    return wire.Ack(
        status="committed",
        run_id=b"r" * 16,
        watermark=9,
        crc=8,
        dropped=7,
        outcomes_to=6,
        duplicates=5,
        refusals=wire.Refusals(4, 3, 2),
        runs=[[1, 2, 3]],
        dead=[[4, 1, "invalid", "why"]],  # type: ignore[list-item]
        notices=[wire.Notice(4, "orphan", "task.done", "task 'T' is not registered")],
        suspended="the disk is full",
    )


def a_welcome() -> wire.Welcome:
    refusals = wire.Refusals(4, 3, 2)
    limits = {"event_bytes_max": 5}
    return wire.Welcome(b"l" * 16, b"r" * 16, 3, 2, 1, 0, refusals, limits, "the disk is full")


def test_an_ack_comes_in_as_it_went_out() -> None:
    verb, content = wire.unpack_reply(wire.pack_reply("wait", an_ack()))
    assert (verb, wire.ack_of(content)) == ("wait", an_ack())


def test_a_welcome_comes_in_as_it_went_out() -> None:
    verb, content = wire.unpack_reply(wire.pack_reply("hello", a_welcome()))
    assert (verb, wire.welcome_of(content)) == ("hello", a_welcome())


@pytest.mark.parametrize("is_last", [True, False])
def test_what_a_replay_did_comes_in_as_it_went_out(is_last: bool) -> None:
    replayed = wire.Replayed(9, 8, 7, 6, is_last)
    verb, content = wire.unpack_reply(wire.pack_reply("replay", replayed))
    assert (verb, wire.replayed_of(content)) == ("replay", replayed)


@repeatable
@given(st.integers(0, 65_535))
def test_an_array_header_is_msgpacks_own(count: int) -> None:
    assert wire.array_header(count) == msgpack.Packer().pack_array_header(count)


@pytest.mark.parametrize("count", [0, 15, 16, 65_535])
def test_an_array_header_is_right_where_its_size_changes(count: int) -> None:
    assert wire.array_header(count) == msgpack.Packer().pack_array_header(count)


def test_a_frames_last_number_follows_from_its_first() -> None:
    assert wire.Frame(PRODUCER, 7, 3, 0, wire.Drops(), b"").last_seq == 9


def test_the_public_name_of_a_producer_does_not_give_its_id_away() -> None:
    assert wire.producer_hash(PRODUCER) == hashlib.sha256(PRODUCER).digest()


def test_the_largest_event_fits_into_a_message() -> None:
    largest = wire.Frame(
        PRODUCER,
        wire.INT64_MAX - 2,
        1,
        (1 << 32) - 1,
        wire.Drops(*[wire.INT64_MAX] * 3),
        bytes(wire.EVENT_BYTES_MAX),
    )
    assert len(wire.pack_header(largest)) + len(largest.body) <= wire.MESSAGE_BYTES_MAX


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"version": 2}, "version 1"),
        ({"version": True}, "version 1"),
        ({"version": 1.0}, "version 1"),
        ({"producer_id": PRODUCER[:15]}, "producer_id is 16 bytes"),
        ({"producer_id": PRODUCER + b"x"}, "producer_id is 16 bytes"),
        ({"producer_id": "a" * 16}, "producer_id is 16 bytes"),
        ({"first_seq": 0}, "first_seq"),
        ({"first_seq": -1}, "first_seq"),
        ({"first_seq": 1.0}, "first_seq"),
        ({"first_seq": True}, "first_seq"),
        ({"first_seq": 1 << 63}, "first_seq"),
        ({"first_seq": wire.INT64_MAX}, "below 2\\^63"),
        ({"count": -1}, "count"),
        ({"count": wire.FRAME_EVENTS_MAX + 1}, "count is a number up to 1000"),
        ({"count": None}, "count"),
        ({"crc": 1 << 32}, "crc_before has 32 bits"),
        ({"crc": -1}, "crc_before has 32 bits"),
        ({"drops": [0, 0]}, "dropped"),
        ({"drops": [0, 0, -1]}, "dropped"),
        ({"drops": [0, 0, "0"]}, "dropped"),
        ({"drops": None}, "dropped"),
        ({"one": "more"}, "6 fields"),
        ({"urgent": 1}, "6 fields"),
        ({"urgent": False}, "6 fields"),
        ({"urgent": True, "one": "more"}, "6 fields"),
    ],
)
def test_a_header_that_breaks_a_rule_is_refused_with_the_rule(
    changes: dict[str, Any], rule: str
) -> None:
    wire.unpack_frame(header(), b"")
    with pytest.raises(wire.WireError, match=rule):
        wire.unpack_frame(header(**changes), b"")


@pytest.mark.parametrize(
    "message",
    [b"", b"\xc1", b"\x91", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000, header() + b"\x00"],
    ids=["nothing", "never used", "cut short", "a length that lies", "nested deep", "too much"],
)
def test_bytes_that_are_no_msgpack_are_refused(message: bytes) -> None:
    for unpack in (wire.unpack_request, wire.unpack_reply):
        with pytest.raises(wire.WireError):
            unpack(message)
    with pytest.raises(wire.WireError):
        wire.unpack_frame(message, b"")


@repeatable
@given(st.binary() | anything.map(msgpack.packb))
def test_no_bytes_make_anything_but_a_wire_error(message: bytes) -> None:
    for take in (lambda: wire.unpack_frame(message, b""), lambda: wire.unpack_request(message)):
        try:
            take()
        except wire.WireError:
            continue
    try:
        wire.unpack_reply(message)
    except (wire.WireError, ProtocolMismatch):
        return


@repeatable
@given(st.lists(anything, max_size=8))
def test_no_arguments_make_anything_but_a_wire_error(arguments: list[Any]) -> None:
    checks = (wire.hello_of, wire.wait_of, wire.compare_of, wire.lookup_of, wire.replay_of)
    for check in checks:
        try:
            check(arguments)
        except wire.WireError:
            continue


@pytest.mark.parametrize(
    ("index", "value", "rule"),
    [
        (0, b"short", "producer_id"),
        (1, 0, "first_seq"),
        (2, 1 << 32, "crc_before"),
        (3, "h" * 256, "host"),
        (3, b"host", "host"),
        (4, -1, "pid"),
        (5, 1.5, "started_at"),
        (6, "log", "log_id"),
    ],
)
def test_a_hello_that_breaks_a_rule_is_refused_with_the_rule(
    index: int, value: object, rule: str
) -> None:
    arguments: list[Any] = [PRODUCER, 1, 0, "host", 7, 8, None]
    wire.hello_of(arguments)
    arguments[index] = value
    with pytest.raises(wire.WireError, match=rule):
        wire.hello_of(arguments)


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0, b""),
        (1, -1),
        (2, None),
        (3, True),
        (3, 1 << 63),
        (4, 1 << 63),
        (5, 1),
        (5, None),
        (6, None),
        (6, 7),
        (6, [1, 2, 3]),
        (6, [1, 2, 3, 4, 5]),
        (6, [1, 2, 3, -1]),
        (6, [1, 2.0, 3, 4]),
        (6, {1: 1, 2: 2, 3: 3, 4: 4}),
    ],
)
def test_a_wait_that_breaks_a_rule_is_refused(index: int, value: object) -> None:
    arguments: list[Any] = [PRODUCER, 0, 1, 0, 0, False, [9, 8, 7, 6]]
    assert wire.wait_of(arguments).report == wire.Report(9, 8, 7, 6)
    arguments[index] = value
    with pytest.raises(wire.WireError):
        wire.wait_of(arguments)


@pytest.mark.parametrize(
    ("index", "value", "rule"),
    [
        (0, -1, "after_id is the id of the letter to begin behind: a natural number"),
        (0, None, "after_id is the id of the letter to begin behind: a natural number"),
        (1, 5, "reason is a string or nil"),
        (1, b"orphan", "reason is a string or nil"),
        (2, 7, "ids are natural numbers, or nil"),
        (2, [1, -1], "ids are natural numbers, or nil"),
        (2, ["1"], "ids are natural numbers, or nil"),
        (2, [True], "ids are natural numbers, or nil"),
        (2, {"1": 1}, "ids are natural numbers, or nil"),
        (3, 1, "dry_run is a boolean"),
        (3, None, "dry_run is a boolean"),
    ],
)
def test_a_replay_that_breaks_a_rule_is_refused_with_the_rule(
    index: int, value: object, rule: str
) -> None:
    arguments: list[Any] = [0, "orphan", [1, 2], False]
    wire.replay_of(arguments)
    arguments[index] = value
    with pytest.raises(wire.WireError, match=rule):
        wire.replay_of(arguments)


@pytest.mark.parametrize(
    ("index", "value"),
    [(0, -1), (1, None), (2, 1.0), (3, True), (3, 1 << 63), (4, 1), (4, None)],
)
def test_what_a_replay_did_is_refused_when_it_breaks_a_rule(index: int, value: object) -> None:
    content: list[Any] = [1, 2, 3, 4, True]
    wire.replayed_of(content)
    content[index] = value
    with pytest.raises(wire.WireError):
        wire.replayed_of(content)


@pytest.mark.parametrize(
    ("index", "value", "rule"),
    [
        (0, b"short", "producer_id"),
        (1, 0, "first_seq"),
        (2, 1_001, "count"),
        (3, 1 << 32, "crc_before"),
        (4, "text", "body"),
    ],
)
def test_a_comparison_is_of_a_legal_frame(index: int, value: object, rule: str) -> None:
    compare = wire.Compare(PRODUCER, 6, 2, 99, b"body")
    verb, arguments = wire.unpack_request(wire.pack_request(compare))
    frame = wire.Frame(PRODUCER, 6, 2, 99, wire.Drops(), b"body")
    assert (verb, wire.compare_of(arguments)) == ("compare", frame)
    arguments[index] = value
    with pytest.raises(wire.WireError, match=rule):
        wire.compare_of(arguments)


@pytest.mark.parametrize(
    "check", [wire.hello_of, wire.wait_of, wire.compare_of, wire.lookup_of, wire.replay_of]
)
def test_a_request_with_too_few_or_too_many_arguments_is_refused(check: Any) -> None:
    for count in (0, 1, 9):
        with pytest.raises(wire.WireError, match="takes"):
            check([PRODUCER] * count)


@pytest.mark.parametrize("message", [[], [1], [1, 2], [1, None, "hello"], {"verb": "hello"}])
def test_a_request_without_a_verb_is_refused(message: object) -> None:
    with pytest.raises(wire.WireError):
        wire.unpack_request(msgpack.packb(message))


def test_a_request_of_another_version_is_refused_with_both_versions() -> None:
    with pytest.raises(wire.WireError, match="wire version 1, not 2"):
        wire.unpack_request(msgpack.packb([2, "hello"]))


def test_a_refusal_comes_back_with_its_reason() -> None:
    with pytest.raises(wire.WireError, match="the writer refused: no such verb"):
        wire.unpack_reply(wire.pack_error("no such verb"))


@pytest.mark.parametrize("reply", [[2, "hello", []], [1, "hello"], []])
def test_a_reply_of_another_version_is_a_mismatch(reply: list[Any]) -> None:
    with pytest.raises(ProtocolMismatch, match="same release"):
        wire.unpack_reply(msgpack.packb(reply))


def test_a_refusal_for_the_version_is_a_mismatch() -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.unpack_request(msgpack.packb([2, "hello"]))
    with pytest.raises(ProtocolMismatch, match="same release"):
        wire.unpack_reply(wire.pack_error(str(refused.value)))


@pytest.mark.parametrize("read", [wire.ack_of, wire.welcome_of, wire.replayed_of])
@pytest.mark.parametrize("content", [None, [], {}, 7, ["committed"], list(range(9))], ids=repr)
def test_a_reply_of_another_shape_is_refused(read: Any, content: Any) -> None:
    with pytest.raises(wire.WireError):
        read(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "done"),
        ("status", []),
        ("status", None),
        ("run_id", "run"),
        ("watermark", -1),
        ("crc", None),
        ("dropped", 1.0),
        ("outcomes_to", True),
        ("duplicates", -1),
        ("duplicates", None),
        ("refusals", None),
        ("refusals", [1, 2]),
        ("refusals", [1, 2, 3, 4]),
        ("refusals", [1, 2, -3]),
        ("refusals", [1, True, 3]),
        ("runs", [[1, 2]]),
        ("runs", None),
        ("dead", [7]),
        ("dead", {}),
        ("notices", None),
        ("notices", [7]),
        ("notices", [[1, "orphan", "task.done"]]),
        ("notices", [[1, "orphan", "task.done", "why", "more"]]),
        ("suspended", None),
        ("suspended", True),
    ],
)
def test_an_ack_that_breaks_a_rule_is_refused(field: str, value: object) -> None:
    content: list[Any] = msgpack.unpackb(msgpack.packb(an_ack()))
    wire.ack_of(content)
    content[wire.Ack._fields.index(field)] = value
    with pytest.raises(wire.WireError):
        wire.ack_of(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("log_id", None),
        ("run_id", "run"),
        ("epoch", -1),
        ("watermark", 1 << 63),
        ("crc", None),
        ("dropped", True),
        ("refusals", None),
        ("refusals", [1, 2]),
        ("refusals", [1, 2, 1 << 63]),
        ("limits", []),
        ("suspended", b"full"),
    ],
)
def test_a_welcome_that_breaks_a_rule_is_refused(field: str, value: object) -> None:
    content: list[Any] = msgpack.unpackb(msgpack.packb(a_welcome()))
    wire.welcome_of(content)
    content[wire.Welcome._fields.index(field)] = value
    with pytest.raises(wire.WireError):
        wire.welcome_of(content)


def test_the_largest_run_fits_into_a_message() -> None:
    largest = wire.Frame(
        PRODUCER,
        wire.INT64_MAX - wire.FRAME_EVENTS_MAX,
        wire.FRAME_EVENTS_MAX,
        (1 << 32) - 1,
        wire.Drops(*[wire.INT64_MAX] * 3),
        bytes(wire.RUN_BYTES_MAX),
    )
    assert len(wire.pack_header(largest)) + len(largest.body) <= wire.MESSAGE_BYTES_MAX


# --- calls ---

calls = st.builds(
    wire.Call,
    producer_ids,
    st.from_regex(wire.EVENT_TYPE_PATTERN, fullmatch=True).filter(lambda name: len(name) < 256),
    st.binary(),
    naturals,
)


@repeatable
@given(calls)
def test_a_call_comes_in_as_it_went_out(call: wire.Call) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(call))
    assert (verb, wire.call_of(arguments)) == ("call", call)


@repeatable
@given(producer_ids)
def test_the_lookup_of_a_call_comes_in_as_it_went_out(call_id: bytes) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(wire.LookupCall(call_id)))
    assert (verb, wire.lookup_call_of(arguments)) == ("lookup_call", (call_id,))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "call takes 4 arguments"),
        ([b"short", "a", b"", 1], "call_id is 16 bytes"),
        ([PRODUCER, b"a", b"", 1], "pattern of an event_type"),
        ([PRODUCER, "a b", b"", 1], "pattern of an event_type"),
        ([PRODUCER, "a" * 256, b"", 1], "at most 255 characters"),
        ([PRODUCER, "a", "", 1], "params are at most"),
        ([PRODUCER, "a", bytes(1 << 20), 1], "params are at most"),
        ([PRODUCER, "a", b"", -1], "deadline is a natural number"),
        ([PRODUCER, "a", b"", 1.5], "deadline is a natural number"),
        ([PRODUCER, "a", b"", 2**63], "deadline is a natural number"),
    ],
)
def test_a_call_that_breaks_a_rule_is_refused(arguments: list[Any], rule: str) -> None:
    with pytest.raises(wire.WireError, match=rule):
        wire.call_of(arguments)


@pytest.mark.parametrize("arguments", [[], [b"short"], [None], [PRODUCER, 1]])
def test_the_lookup_of_a_call_that_breaks_a_rule_is_refused(arguments: list[Any]) -> None:
    with pytest.raises(wire.WireError, match="call_id"):
        wire.lookup_call_of(arguments)


# --- retention ---

prunes = st.builds(
    wire.Prune, naturals, naturals, st.text(max_size=99), st.none() | st.text(), st.none()
)


@repeatable
@given(prunes)
def test_a_prune_comes_in_as_it_went_out(prune: wire.Prune) -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(prune))
    assert (verb, wire.prune_of(arguments)) == ("prune", prune)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "prune takes 5 arguments"),
        ([-1, 1, "ann", None, None], "last of a prune is a natural number"),
        ([1, 2**63, "ann", None, None], "before of a prune is a natural number"),
        ([1, 1, None, None, None], "by of a prune is a string of at most 4096 bytes$"),
        ([1, 1, "ann", b"why", None], "reason of a prune is a string .* or nil"),
        ([1, 1, "ann", None, "\N{EURO SIGN}" * 1_366], "archive of a prune is a string of at most"),
    ],
)
def test_a_prune_that_breaks_a_rule_is_refused(arguments: list[Any], rule: str) -> None:
    with pytest.raises(wire.WireError, match=rule):
        wire.prune_of(arguments)


@pytest.mark.parametrize("content", [None, [], [1, 2], [1, -1, ""], [1, "2", ""], [1, 2, None]])
def test_an_answer_to_a_prune_that_breaks_a_rule_is_refused(content: object) -> None:
    assert wire.prune_state_of([7, 3, ""]) == wire.PruneState(7, 3, "")
    with pytest.raises(wire.WireError, match="a prune's answer has"):
        wire.prune_state_of(content)


def test_a_vacuum_and_its_answer_come_in_as_they_went_out() -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(wire.Vacuum(64)))
    assert (verb, wire.vacuum_of(arguments)) == ("vacuum", wire.Vacuum(64))
    vacuumed = wire.Vacuumed(64, 7, 100, "a reader")
    _, content = wire.unpack_reply(wire.pack_reply("vacuum", vacuumed))
    assert wire.vacuumed_of(content) == vacuumed


@pytest.mark.parametrize("arguments", [[], [1, 2], [-1], [True], ["1"], [None], [1.0]])
def test_a_vacuum_that_breaks_a_rule_is_refused(arguments: list[Any]) -> None:
    with pytest.raises(wire.WireError, match="vacuum takes a natural number"):
        wire.vacuum_of(arguments)


@pytest.mark.parametrize("content", [None, 7, [1, 2, 3], [1, 2, 3, None], [-1, 2, 3, ""]])
def test_an_answer_to_a_vacuum_that_breaks_a_rule_is_refused(content: object) -> None:
    with pytest.raises(wire.WireError, match="a vacuum's answer"):
        wire.vacuumed_of(content)


def test_a_request_of_the_owner_carries_his_token_in_front() -> None:
    packed = wire.pack_owners_request(b"t" * 32, wire.Prune(5, 9, "ann", None, None))
    verb, arguments = wire.unpack_request(packed)
    assert verb == wire.AS_OWNER
    token, verb, arguments = wire.owners_request_of(arguments)
    assert (token, verb) == (b"t" * 32, "prune")
    assert wire.prune_of(arguments) == wire.Prune(5, 9, "ann", None, None)
    for broken in ([], [b"t"], ["t", "prune"], [b"t", 1]):
        with pytest.raises(wire.WireError, match="as_owner takes"):
            wire.owners_request_of(broken)
