"""What an event may hold, and what becomes of it on the wire."""

import json
import math
import re
import sys
from collections import OrderedDict, UserString, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgpack
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.events import EventEncoder, check_event_type, created_at_ns, joined
from hansard.texts import check_depth, check_text, encode_payload

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=100)

BIG = 1 << 70  # beside it orjson gives up, and the stdlib's encoder takes over
UUID_TEXT = "12345678-1234-5678-1234-567812345678"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Word(StrEnum):
    YES = "yes"


class Place(Enum):
    HOME = PurePosixPath("/home")


class Text(str):
    __slots__ = ()


class Number(int):
    pass


@dataclass
class Box:
    content: Any


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is what is tested


def encode(**changes: Any) -> bytes:
    """The bytes of a good event, but for the arguments that are given."""
    good: dict[str, Any] = {
        "event_type": "task.created",
        "payload": {"n": 1},
        "level": "info",
        "actor": None,
        "task_id": None,
        "created_at": 5,
    }
    return EventEncoder(None, None).encode(**(good | changes))


def decoded(payload: Any) -> Any:
    """The payload as who reads the log sees it."""
    return json.loads(encode_payload(payload))


def nested(depth: int) -> dict[str, Any]:
    """A mapping of ``depth`` levels."""
    payload: dict[str, Any] = {}
    for _ in range(depth - 1):
        payload = {"a": payload}
    return payload


# --- the bytes of an event ---


@pytest.mark.parametrize("size", [8, 31, 32, 33, 132, 133, 255, 256, 511, 512, 513, 70_000])
def test_an_event_of_any_size_has_the_bytes_that_msgpack_gives_it(size: int) -> None:
    """A small one is put together from parts that are packed already."""
    encoder = EventEncoder(None, None)
    payload = {"": "x" * (size - len('{"":""}'))}
    event = ("task.created", "info", "agent:1", "t" * 40)
    text = orjson.dumps(payload)
    expected = msgpack.packb((0, 1 << 60, *event, text), use_bin_type=False)
    event_type, level, actor, task_id = event
    for _ in range(2):  # with parts that are new, and that are known
        assert encoder.encode(event_type, payload, level, actor, task_id, 1 << 60) == expected


def test_an_event_without_a_task_or_an_actor_has_none() -> None:
    expected = (0, 1 << 60, "task.created", "info", None, None, '{"n":1}')
    assert tuple(msgpack.unpackb(encode(created_at=1 << 60))) == expected


def test_more_texts_than_are_remembered_are_encoded_all_the_same() -> None:
    encoder = EventEncoder(None, "agent:default")
    for number in range(10_000):
        data = encoder.encode(f"type.{number}", {}, "info", None, f"T{number}", 1)
        assert msgpack.unpackb(data)[2:6] == [
            f"type.{number}",
            "info",
            "agent:default",
            f"T{number}",
        ]
    assert len(encoder._texts) <= 4_096
    assert len(encoder._types) <= 4_096


@pytest.mark.parametrize(
    "wrong",
    [{"level": "loud"}, {"event_type": ["x"]}, {"actor": 5}, {"task_id": ["T"]}, {"task_id": 5}],
)
def test_a_small_event_is_checked_like_any_other(wrong: dict[str, Any]) -> None:
    for payload in ({"n": 1}, {"n": "x" * 600}, None):
        with pytest.raises(InvalidEvent, match=next(iter(wrong))):
            encode(payload=payload, **wrong)


# --- payloads that are JSON already ---

json_texts = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(1 << 64, 1 << 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | json_texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(json_texts, inner, max_size=4),
    max_leaves=20,
)


@repeatable
@given(st.dictionaries(json_texts, json_values, max_size=5))
@example({"lone": "\ud800", "\udfff": 1})
@example({"control": "\0\x01\x1f\x7f\u2028\n"})
@example({"numbers": [2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**100, 1e308, 5e-324, -0.0]})
def test_json_comes_out_as_it_went_in(payload: dict[str, Any]) -> None:
    assert decoded(payload) == payload


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63) - 1, 10**4_000])
def test_an_integer_beyond_64_bits_is_exact(number: int) -> None:
    assert encode_payload({"n": number}) == b'{"n":%d}' % number


def test_an_integer_that_python_itself_will_not_print_is_refused() -> None:
    digits = sys.get_int_max_str_digits()
    with pytest.raises(InvalidEvent, match="payload cannot be encoded"):
        encode_payload({"n": 10 ** (digits + 1)})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_becomes_null(value: float) -> None:
    assert decoded({"v": value, "in": [value, {"v": value}]}) == {
        "v": None,
        "in": [None, {"v": None}],
    }
    assert decoded({"v": value, "in": (value, Box(value)), "big": BIG}) == {
        "v": None,
        "in": [None, {"content": None}],
        "big": BIG,
    }


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udcff\0"])
def test_a_lone_surrogate_is_kept(text: str) -> None:
    assert decoded({"v": text, text: [text]}) == {"v": text, text: [text]}
    encode_payload({"v": text}).decode()  # and what goes out is UTF-8


def test_a_nul_in_a_payloads_string_is_kept() -> None:
    assert decoded({"a\0": "\0b"}) == {"a\0": "\0b"}


def test_text_is_not_escaped_without_need() -> None:
    assert encode_payload({"ä": "日本"}) == '{"ä":"日本"}'.encode()


def test_an_empty_payload_is_an_object() -> None:
    assert encode_payload({}) == b"{}"


# --- payloads that become JSON ---

DECIDED: dict[str, tuple[Any, Any]] = {
    "datetime": (datetime(2026, 1, 2, 3, 4, 5, 6), "2026-01-02T03:04:05.000006"),  # noqa: DTZ001
    "datetime with a zone": (
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-7))),
        "2026-01-02T00:00:00-07:00",
    ),
    "date": (date(2026, 1, 2), "2026-01-02"),
    "time": (time(1, 2, 3), "01:02:03"),
    "UUID": (UUID(UUID_TEXT), UUID_TEXT),
    "Decimal": (Decimal("1.10"), "1.10"),
    "Decimal without a value": (Decimal("NaN"), "NaN"),
    "Path": (Path("/a/ä"), "/a/ä"),
    "bytes": (b"\xff\0", "/wA="),
    "bytearray": (bytearray(b"ab"), "YWI="),
    "memoryview": (memoryview(b"ab"), "YWI="),
    "set": ({1}, [1]),
    "frozenset": (frozenset({"a"}), ["a"]),
    "set of paths": ({Path("/a")}, ["/a"]),
    "Enum": (Colour.RED, "red"),
    "IntEnum": (Size.LARGE, 3),
    "StrEnum": (Word.YES, "yes"),
    "Enum of a path": (Place.HOME, "/home"),
    "dataclass": (Box(1), {"content": 1}),
    "dataclass of a Decimal": (Box(Decimal("1.5")), {"content": "1.5"}),
    "dataclass of a dataclass": (Box(Box([b"a"])), {"content": {"content": ["YQ=="]}}),
    "tuple": ((1, 2), [1, 2]),
    "namedtuple": (Point(1, 2), [1, 2]),
    "mapping": (MappingProxyType({"a": 1}), {"a": 1}),
    "ordered mapping": (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    "string of a class of its own": (Text("a"), "a"),
    "integer of a class of its own": (Number(7), 7),
    "Fragment": (orjson.Fragment(b'{"a": 1}'), {"a": 1}),
}


@pytest.mark.parametrize(("value", "expected"), DECIDED.values(), ids=DECIDED)
def test_a_type_has_its_decided_form(value: Any, expected: Any) -> None:
    assert decoded({"v": value}) == {"v": expected}


@pytest.mark.parametrize(("value", "expected"), DECIDED.values(), ids=DECIDED)
def test_a_type_has_the_same_form_beside_a_large_integer(value: Any, expected: Any) -> None:
    assert decoded({"v": value, "in": [value], "big": BIG}) == {
        "v": expected,
        "in": [expected],
        "big": BIG,
    }


@pytest.mark.parametrize("content", [BIG, "\ud800", {"n": [BIG]}, {1: 2}], ids=repr)
def test_a_dataclass_may_hold_whatever_a_payload_may(content: Any) -> None:
    expected = {"1": 2} if content == {1: 2} else content
    assert decoded({"v": Box(content)}) == {"v": {"content": expected}}


@pytest.mark.parametrize(
    ("key", "text"), [(1, "1"), (BIG, str(BIG)), (1.5, "1.5"), (True, "true"), (None, "null")]
)
def test_a_key_that_json_knows_becomes_its_text(key: Any, text: str) -> None:
    assert decoded({key: "v", "in": {key: "v"}}) == {text: "v", "in": {text: "v"}}


@pytest.mark.parametrize("key", [UUID(UUID_TEXT), (1, 2), b"a", date(2026, 1, 2)], ids=repr)
def test_a_key_of_another_type_is_refused(key: Any) -> None:
    with pytest.raises(InvalidEvent, match="payload cannot be encoded as JSON"):
        encode_payload({key: "v"})


@pytest.mark.parametrize(
    "value",
    [object(), print, Exception("x"), 1j, (n for n in ()), time(1, tzinfo=UTC)],
    ids=["object", "function", "exception", "complex", "generator", "time with a zone"],
)
def test_a_value_that_json_has_no_place_for_is_refused(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="payload cannot be encoded as JSON"):
        encode_payload({"v": value})


def test_the_refusal_of_a_value_names_its_type() -> None:
    with pytest.raises(InvalidEvent, match="a Fraction has no place in JSON"):
        encode_payload({"v": Fraction(1, 2)})


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"v": Fraction(1, 2)}, "v"),
        ({"a": 1, "user": {"list": [1, Fraction(1, 2)], "z": Fraction(1, 3)}}, "user.list[1]"),
        ({"a": ({"b": {Fraction(1, 2)}},)}, "a[0].b"),
        ({"a": {(1, 2): "x"}}, "a"),
    ],
    ids=["at the top", "deep", "in a set", "a key"],
)
def test_the_refusal_of_a_value_says_where_it_is(payload: Any, place: str) -> None:
    with pytest.raises(InvalidEvent, match=re.escape(f" (at {place})") + "$"):
        encode_payload(payload)


def test_a_payload_that_contains_itself_is_refused_although_it_has_no_place() -> None:
    payload: dict[str, Any] = {}
    payload |= {"self": payload, "thing": object()}
    with pytest.raises(InvalidEvent, match="payload cannot be encoded as JSON"):
        encode_payload(payload)


# --- payloads that are no objects, too deep, or without end ---


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ([{"a": 1}], "list"),
        ("{}", "str"),
        (1, "int"),
        (BIG, "int"),
        (False, "bool"),
        ({1}, "set"),
        (b"{}", "bytes"),
        (orjson.Fragment(b"[{}]"), "Fragment"),
        (orjson.Fragment(b'"{}"'), "Fragment"),
        (orjson.Fragment(b""), "Fragment"),
        (orjson.Fragment(b"  "), "Fragment"),
    ],
    ids=[
        "list",
        "string",
        "integer",
        "large integer",
        "boolean",
        "set",
        "bytes",
        "fragment of a list",
        "fragment of a string",
        "fragment of nothing",
        "fragment of blanks",
    ],
)
def test_a_payload_that_is_no_object_is_refused(payload: Any, name: str) -> None:
    with pytest.raises(InvalidEvent, match=f"payload is an? {name}: it must be a JSON object"):
        encode_payload(payload)


def test_64_levels_are_allowed_and_65_are_not() -> None:
    assert decoded(nested(64)) == nested(64)
    with pytest.raises(InvalidEvent, match="payload is nested too deep: at most 64"):
        encode_payload(nested(65))


@pytest.mark.parametrize("beside", [{}, {"big": BIG}], ids=["orjson", "stdlib"])
@pytest.mark.parametrize("depth", [65, 127, 128, 129, 254, 255, 1_000, 50_000])
def test_no_depth_gets_through(depth: int, beside: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent, match="nested"):
        encode_payload(nested(depth) | beside)


def test_lists_count_as_levels_too() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = [deep]
    assert decoded({"v": deep}) == {"v": deep}
    with pytest.raises(InvalidEvent, match="nested too deep"):
        encode_payload({"v": [deep]})


@pytest.mark.parametrize("name", ["", "a", "a" * 100])
def test_a_short_event_is_not_nested_deeper_either(name: str) -> None:
    deep: Any = []
    for _ in range(62):
        deep = [deep]
    encode(payload={name: deep})
    with pytest.raises(InvalidEvent, match="nested too deep"):
        encode(payload={name: [deep]})


def test_braces_in_strings_are_not_levels() -> None:
    payload = {"[" * 300: "{" * 300, '\\"[': '"{\\' * 100}
    assert decoded(payload) == payload


def test_many_shallow_levels_are_not_deep() -> None:
    payload = {"v": [{"a": []} for _ in range(300)]}
    assert decoded(payload) == payload


def test_a_fragment_is_not_nested_deeper_either() -> None:
    with pytest.raises(InvalidEvent, match="nested too deep"):
        encode_payload(orjson.Fragment(b'{"a":' * 100 + b"1" + b"}" * 100))


@repeatable
@given(st.recursive(st.just(0), lambda inner: st.lists(inner, min_size=1, max_size=3)))
def test_the_depth_of_json_text_is_its_deepest_nesting(value: Any) -> None:
    def depth_of(value: Any) -> int:
        return 1 + max(map(depth_of, value)) if isinstance(value, list) else 0

    above = wire.JSON_DEPTH_MAX - depth_of(value)
    text = b"[" * above + json.dumps(value).encode() + b"]" * above
    check_depth(text)
    with pytest.raises(InvalidEvent):
        check_depth(b"[" + text + b"]")


@pytest.mark.parametrize("kind", [dict, list, set, OrderedDict])
def test_a_payload_that_holds_itself_is_refused(kind: Callable[[], Any]) -> None:
    circle: dict[Any, Any] = {}
    inner = kind()
    if isinstance(inner, dict):
        inner["in"] = circle
    elif isinstance(inner, list):
        inner.append(circle)
    else:
        inner.add(Endless())
    circle["in"] = inner
    with pytest.raises(InvalidEvent, match="payload cannot be encoded as JSON"):
        encode_payload(circle)


class Endless:
    """A path whose text is itself."""

    def __fspath__(self) -> Any:
        return self


# --- fragments ---


@pytest.mark.parametrize(
    "text",
    [b'{ "a" : 1.10 }', b'{"n":123456789012345678901234567890}', b'\n {"a":1e2}', b'{"a":1,"a":2}'],
)
def test_a_fragment_is_taken_as_it_is(text: bytes) -> None:
    assert encode_payload(orjson.Fragment(text)) == text
    assert encode_payload(orjson.Fragment(text.decode())) == text


def test_a_fragment_inside_a_payload_is_taken_as_it_is() -> None:
    assert encode_payload({"v": orjson.Fragment(b"1.10")}) == b'{"v":1.10}'


def test_a_fragment_beside_a_large_integer_loses_nothing() -> None:
    number = 123456789012345678901234567890
    payload = {"v": orjson.Fragment(b"%d" % number), "big": BIG}
    assert decoded(payload) == {"v": number, "big": BIG}


# --- the other fields ---


def test_an_event_is_seven_fields() -> None:
    data = encode(actor="agent:7", task_id="T1", level="error", created_at=9)
    assert msgpack.unpackb(data) == [0, 9, "task.created", "error", "agent:7", "T1", '{"n":1}']


def test_an_event_without_payload_has_none() -> None:
    assert msgpack.unpackb(encode(payload=None))[-1] is None


@repeatable
@given(
    st.text(max_size=1_024),
    st.text(max_size=1_024),
    st.sampled_from(sorted(wire.LEVELS)),
    st.integers(0, wire.INT64_MAX),
)
def test_a_text_is_kept_exactly_or_refused(
    actor: str, task_id: str, level: str, created_at: int
) -> None:
    fits = all(len(text.encode()) <= 1_024 and "\0" not in text for text in (actor, task_id))
    try:
        data = encode(actor=actor, task_id=task_id, level=level, created_at=created_at)
    except InvalidEvent:
        assert not fits
    else:
        assert fits
        assert msgpack.unpackb(data)[1:6] == [created_at, "task.created", level, actor, task_id]


GOOD_TYPES = ["a", "Z9", "task.created", "a_b-c:d/e.f", "x" * 255]
BAD_TYPES = [
    "", "1a", ".a", "_a", "a b", "a\n", "a\0", "ä", "aé", "a\u0661", "x" * 256, "x" * 100_000,
    None, 5, True, b"a", ["a"], {"a": 1}, ("a",), 1.5,
]  # fmt: skip


@pytest.mark.parametrize("event_type", GOOD_TYPES)
def test_a_good_event_type_is_taken(event_type: str) -> None:
    check_event_type(event_type)
    assert msgpack.unpackb(encode(event_type=event_type))[2] == event_type


@pytest.mark.parametrize("event_type", BAD_TYPES, ids=lambda each: repr(each)[:20])
def test_a_bad_event_type_is_refused_with_the_rule(event_type: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"event_type.* must ") as refused:
        encode(event_type=event_type)
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize("level", sorted(wire.LEVELS))
def test_every_level_is_taken(level: str) -> None:
    assert msgpack.unpackb(encode(level=level))[3] == level


@pytest.mark.parametrize("level", ["INFO", "warn", "", "info ", None, 20, b"info", ["info"]])
def test_a_bad_level_is_refused_with_the_rule(level: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"level.* must be "):
        encode(level=level)


@pytest.mark.parametrize("name", ["actor", "task_id"])
@pytest.mark.parametrize("value", [5, True, b"a", 1.5, ("a",), ["a"], {"a"}], ids=repr)
def test_a_text_of_another_type_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidEvent, match=f"{name}.* must be "):
        encode(**{name: value})


@pytest.mark.parametrize("name", ["actor", "task_id"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("a\0b", "holds a NUL character"),
        ("a\ud800", "holds a lone surrogate"),
        ("a" * 1_025, "has 1,025 bytes: at most 1,024"),
        ("é" * 513, "has 1,026 bytes: at most 1,024"),
    ],
    ids=["NUL", "surrogate", "long", "long in UTF-8"],
)
def test_a_text_that_breaks_a_rule_is_refused_by_name(name: str, value: str, rule: str) -> None:
    with pytest.raises(InvalidEvent, match=f"{name} {rule}"):
        encode(**{name: value})
    with pytest.raises(InvalidEvent, match=f"{name} {rule}"):
        check_text(name, value, 1_024)


@pytest.mark.parametrize("name", ["actor", "task_id"])
@pytest.mark.parametrize("value", ["", "a" * 1_024, "é" * 512, "\n\x7f"])
def test_a_text_within_the_rules_is_taken(name: str, value: str) -> None:
    assert value in msgpack.unpackb(encode(**{name: value}))


@pytest.mark.parametrize("name", ["event_type", "level", "actor", "task_id"])
def test_what_only_resembles_a_string_is_refused_known_or_not(name: str) -> None:
    encoder = EventEncoder(None, None)
    good = ("a.b", None, "info", "someone", "T1", 0)
    encoder.encode(*good)
    index = {"event_type": 0, "level": 2, "actor": 3, "task_id": 4}[name]
    resembling: list[Any] = list(good)
    resembling[index] = UserString(good[index])
    with pytest.raises(InvalidEvent, match=name):
        encoder.encode(*resembling)


def test_a_refused_event_is_refused_again() -> None:
    encoder = EventEncoder(None, None)
    for _ in range(2):
        for bad in ({"event_type": "1"}, {"actor": "\0"}, {"task_id": "\0"}):
            arguments = {"event_type": "a", "actor": None, "task_id": None} | bad
            with pytest.raises(InvalidEvent):
                encoder.encode(payload=None, level="info", created_at=0, **arguments)


def test_what_was_checked_is_not_remembered_without_bound() -> None:
    encoder = EventEncoder(None, None)
    for number in range(10_000):
        encoder.encode(f"t{number}", None, "info", f"a{number}", None, 0)
    assert len(encoder._types) <= 4_096
    assert len(encoder._texts) <= 4_097
    assert msgpack.unpackb(encoder.encode("t1", None, "info", None, None, 0))[4] is None


def test_the_largest_event_is_taken_and_one_byte_more_is_refused() -> None:
    spare = wire.EVENT_BYTES_MAX - len(encode(payload={"v": "a" * 70_000})) + 70_000
    assert len(encode(payload={"v": "a" * spare})) == wire.EVENT_BYTES_MAX
    with pytest.raises(InvalidEvent, match=r"the event has 1,048,577 bytes: at most 1,048,576"):
        encode(payload={"v": "a" * (spare + 1)})


# --- registrations of tasks ---


def encode_task(task_id: Any, **attributes: Any) -> bytes:
    return EventEncoder(None, None).encode_task(task_id, attributes, 9)


def test_a_registration_is_an_event_of_its_own_kind_and_type() -> None:
    fields = msgpack.unpackb(encode_task("T1", repo="r", size=3))
    expected = ["hansard.task_registered", "info", None, "T1", '{"repo":"r","size":3}']
    assert fields == [wire.KIND_TASK, 9, *expected]


def test_a_registration_without_attributes_has_none() -> None:
    assert msgpack.unpackb(encode_task("T1"))[-1] is None


def test_the_actor_of_the_log_registers() -> None:
    data = EventEncoder(("a.b",), "agent:7").encode_task("T1", {}, 9)
    assert msgpack.unpackb(data)[4] == "agent:7", "whatever types are allowed"


@pytest.mark.parametrize(
    ("task_id", "rule"),
    [
        (None, "task_id is None: it must be a string"),
        (7, "task_id is an int: it must be a string$"),
        ("", "task_id is empty: name the task"),
        ("a\0b", "task_id holds a NUL character"),
        ("\ud800", "task_id holds a lone surrogate"),
        ("é" * 513, "task_id has 1,026 bytes: at most 1,024 are allowed"),
    ],
    ids=["none", "a number", "empty", "a NUL", "a surrogate", "too long"],
)
def test_a_task_id_that_breaks_a_rule_is_refused_by_name(task_id: Any, rule: str) -> None:
    with pytest.raises(InvalidEvent, match=rule):
        encode_task(task_id)


def test_attributes_that_break_a_rule_are_refused_by_name() -> None:
    deep: dict[str, Any] = {}
    for _ in range(wire.JSON_DEPTH_MAX):
        deep = {"a": deep}
    for value in (object(), deep):
        with pytest.raises(InvalidEvent, match=r"^attributes of the task: payload "):
            encode_task("T1", value=value)


def test_the_largest_registration_is_taken_and_one_byte_more_is_refused() -> None:
    spare = wire.EVENT_BYTES_MAX - len(encode_task("T1", v="a" * 70_000)) + 70_000
    assert len(encode_task("T1", v="a" * spare)) == wire.EVENT_BYTES_MAX
    with pytest.raises(InvalidEvent, match=r"the event has 1,048,577 bytes: at most 1,048,576"):
        encode_task("T1", v="a" * (spare + 1))


# --- events that are recorded together ---


@pytest.mark.parametrize("count", [1, 2, 3, 1_000])
def test_joined_events_differ_from_single_ones_in_their_kind_alone(count: int) -> None:
    events = [encode(payload={"n": number}) for number in range(count)]
    unpacker = msgpack.Unpacker()
    unpacker.feed(joined(events))
    fields = list(unpacker)
    assert [each[0] for each in fields] == [wire.KIND_EVENT | wire.JOINED] * (count - 1) + [0]
    assert [each[1:] for each in fields] == [msgpack.unpackb(data)[1:] for data in events]
    assert len(joined(events)) == sum(map(len, events)), "what fits alone fits together"


# --- encoders with settings ---


def test_only_allowed_event_types_are_taken() -> None:
    encoder = EventEncoder(("b.two", "a.one"), None)
    encoder.encode("a.one", None, "info", None, None, 0)
    for _ in range(2):
        with pytest.raises(InvalidEvent, match=r"'c.three' is not among the allowed: a.one, b.two"):
            encoder.encode("c.three", None, "info", None, None, 0)


def test_an_actor_of_the_log_is_every_events_but_where_another_is_named() -> None:
    encoder = EventEncoder(None, "agent:7")
    assert msgpack.unpackb(encoder.encode("a", None, "info", None, None, 0))[4] == "agent:7"
    assert msgpack.unpackb(encoder.encode("a", None, "info", "me", None, 0))[4] == "me"


@pytest.mark.parametrize(
    ("event_types", "actor", "name"), [(("1a",), None, "event_type"), (None, "\0", "actor")]
)
def test_settings_that_break_a_rule_are_refused_at_once(
    event_types: tuple[str, ...] | None, actor: str | None, name: str
) -> None:
    with pytest.raises(InvalidEvent, match=name):
        EventEncoder(event_types, actor)


# --- times ---


@repeatable
@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2262, 4, 10)),  # noqa: DTZ001 - zones follow
    st.integers(-86_399, 86_399),
)
def test_a_time_with_a_zone_is_exact_to_the_microsecond(moment: datetime, offset_s: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(seconds=offset_s)))
    assert created_at_ns(moment) == (moment - EPOCH) // timedelta(microseconds=1) * 1_000


@pytest.mark.parametrize("created_at", [0, 1, wire.INT64_MAX])
def test_nanoseconds_are_taken_as_they_are(created_at: int) -> None:
    assert created_at_ns(created_at) == created_at


@pytest.mark.parametrize(
    "created_at",
    [
        -1, wire.INT64_MAX + 1, True, 1.5, "2026-01-01", None, date(2026, 1, 1),
        datetime(2026, 1, 1),  # noqa: DTZ001 - that it has no zone is the point
        EPOCH - timedelta(microseconds=1),
        datetime(2263, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=12))),
    ],
    ids=repr,
)  # fmt: skip
def test_a_time_that_is_none_is_refused_with_the_rule(created_at: Any) -> None:
    with pytest.raises(InvalidEvent, match=r"created_at is .*: it must be nanoseconds since 1970"):
        created_at_ns(created_at)
