"""What is secret by its name is masked before it leaves the process, and nothing else changes."""

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgpack
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hansard
from hansard import AuditLog, ConfigError, InvalidEvent
from hansard.events import EventEncoder
from hansard.masking import MASK_FIELDS, Mask, fields_to_mask
from hansard.settings import load_settings

BIG = 1 << 70
SECRET = "hunter2"
MASKED = "[masked]"

Encode = Callable[..., str]


def encoder(*names: str) -> EventEncoder:
    return EventEncoder(None, None, fields_to_mask(names))


def text_of(payload: Any, *names: str) -> str:
    """The payload's text on the wire. Encoded twice: its names are new, then known."""
    one = encoder(*names)
    texts = [one.encode("a.b", payload, "info", None, None, 5) for _ in range(2)]
    assert texts[0] == texts[1]
    return str(msgpack.unpackb(texts[0])[-1])


def masked(payload: Any, *names: str) -> Any:
    return json.loads(text_of(payload, *names))


class Key(StrEnum):
    PASSWORD = "password"


class Kind(StrEnum):
    PLAIN = "plain"


@dataclass
class Login:
    user: str
    password: str


# --- where a field may be ---


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"password": SECRET}, {"password": MASKED}),
        ({"user": "u", "token": SECRET, "n": 1}, {"user": "u", "token": MASKED, "n": 1}),
        ({"a": {"b": [{"secret": SECRET}]}}, {"a": {"b": [{"secret": MASKED}]}}),
        ({"a": ({"secret": SECRET},)}, {"a": [{"secret": MASKED}]}),
        ({"Cookie": {"a": [SECRET, {"b": SECRET}]}, "n": 1}, {"Cookie": MASKED, "n": 1}),
        ({"token": [SECRET, [SECRET]], "n": [1]}, {"token": MASKED, "n": [1]}),
        ({"token": None, "secret": 5}, {"token": MASKED, "secret": MASKED}),
        ({"login": Login("u", SECRET)}, {"login": {"user": "u", "password": MASKED}}),
        ({"m": MappingProxyType({"password": SECRET})}, {"m": {"password": MASKED}}),
        ({"m": OrderedDict(password=SECRET)}, {"m": {"password": MASKED}}),
        (MappingProxyType({"password": SECRET}), {"password": MASKED}),
        (OrderedDict(password=SECRET), {"password": MASKED}),
        (Login("u", SECRET), {"user": "u", "password": MASKED}),
        ({Key.PASSWORD: SECRET, 1: 2}, {"password": MASKED, "1": 2}),
        ({"a": {Key.PASSWORD: SECRET}}, {"a": {"password": MASKED}}),
        ({"kind": Kind.PLAIN, "a": {"token": SECRET}}, {"kind": "plain", "a": {"token": MASKED}}),
        ({"n": BIG, "token": BIG}, {"n": BIG, "token": MASKED}),
        ({"s": "\ud800", "token": "\ud800"}, {"s": "\ud800", "token": MASKED}),
        ({"f": orjson.Fragment('{ "token" : "x" }')}, {"f": {"token": MASKED}}),
        (orjson.Fragment('{"password":"x","n":1}'), {"password": MASKED, "n": 1}),
        (orjson.Fragment(rb'{"pass\u0077ord":"x","n":1}'), {"password": MASKED, "n": 1}),
        (orjson.Fragment(b' {"a":\n[{"token"\t:\n{"b":1}}]}'), {"a": [{"token": MASKED}]}),
    ],
)  # fmt: skip
def test_a_masked_field_is_masked_wherever_it_is(payload: Any, expected: Any) -> None:
    assert masked(payload) == expected


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD", "Set-Cookie", "x-api-key", "X_API-Key", "accessToken"]
)
def test_case_and_dashes_make_no_difference(name: str) -> None:
    assert masked({name: SECRET, "a": {name: SECRET}}) == {name: MASKED, "a": {name: MASKED}}


@pytest.mark.parametrize(
    "payload",
    [
        {"tokens": 5, "max_tokens": 7, "cookies": "2", "n": {"secrets": 1}},
        {"text": "the password is \"token\": {'secret'", "list": ["password", "token"]},
        {"token_": "\\", "a": {"b": '\\"token\\":'}},
    ],
)  # fmt: skip
def test_what_only_resembles_a_masked_field_stays(payload: Any) -> None:
    assert text_of(payload) == orjson.dumps(payload).decode()
    assert text_of(orjson.Fragment(orjson.dumps(payload))) == orjson.dumps(payload).decode()


def test_nothing_else_of_a_text_changes() -> None:
    text = '{ "n":%d, "f":1.50e+01, "a":"\\u00e9\\ud800", "a":[ ], "token":%s ,"b": {"x" :-0}}'
    found = text_of(orjson.Fragment(text % (BIG, '{"x":[1,{"y":"}"}]}')))
    assert found == text % (BIG, '"[masked]"')


def test_a_name_that_is_there_twice_is_masked_twice() -> None:
    text = '{"token":"one","a":{"token":"two"},"a":1,"token":["three"]}'
    expected = '{"token":"[masked]","a":{"token":"[masked]"},"a":1,"token":"[masked]"}'
    assert text_of(orjson.Fragment(text)) == expected


# --- the setting ---


def test_what_is_given_is_masked_besides_the_defaults() -> None:
    payload = {"Card-Number": SECRET, "password": SECRET, "contrase\u00f1a": SECRET, "n": 1}
    expected = dict.fromkeys(payload, MASKED) | {"n": 1}
    assert masked(payload, "card_number", "CONTRASE\u00d1A") == expected
    fragment = orjson.Fragment(orjson.dumps({"CONTRASE\u00d1A": SECRET}))
    assert masked(fragment, "contrase\u00f1a") == {"CONTRASE\u00d1A": MASKED}


def test_a_chain_of_names_is_masked_wherever_it_stands() -> None:
    payload = {
        "user": {"name": SECRET, "address": {"name": "street"}},
        "order": {"USER": [{"name": SECRET}, {"n": 1}]},
        "name": "n",
        "user.name": SECRET,
    }
    assert masked(payload, "user.name") == {
        "user": {"name": MASKED, "address": {"name": "street"}},
        "order": {"USER": [{"name": MASKED}, {"n": 1}]},
        "name": "n",
        "user.name": MASKED,
    }


def test_defaults_are_taken_away_one_by_one_or_all() -> None:
    payload = dict.fromkeys(["token", "password", "card"], "x")
    assert masked(payload, "-Token") == {"token": "x", "password": MASKED, "card": "x"}
    assert masked(payload, "-*", "card") == {"token": "x", "password": "x", "card": MASKED}
    assert masked(payload, "-*") == payload


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("-tokn", "'-tokn' takes away what is no default: the defaults are password, "),
        ("", "'' is no name"),
        ("a..b", "'a..b' is no name"),
        ('a"b', "'a\"b' is no name: it must be the name of a field"),
    ],
)
def test_a_name_that_cannot_be_is_refused(directory: Path, name: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"mask_fields as an argument: {rule}"):
        load_settings(directory, {"mask_fields": [name]})


def test_the_setting_may_be_a_variable(directory: Path) -> None:
    settings = load_settings(directory, None, {"HANSARD_MASK_FIELDS": "user.name, -token"})
    assert settings.mask_fields == ("user.name", "-token")
    assert fields_to_mask(settings.mask_fields).chains == {("user", "name")}


@pytest.mark.parametrize("name", MASK_FIELDS)
def test_a_default_is_written_as_it_is_compared(name: str) -> None:
    assert masked({name: SECRET}) == {name: MASKED}


# --- what is refused, and what errors say ---


@pytest.mark.parametrize(
    "text", ['{"token":"hunter2"', '{"token":hunter2}', '{"a":"\xff","token":1}']
)
def test_text_that_names_a_masked_field_and_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match=r"correct the text of the orjson\.Fragment") as caught:
        text_of(orjson.Fragment(text.encode("latin-1")))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "payload",
    [
        {"password": SECRET, "a": object()},
        {"password": {SECRET: object()}},
        {"password": SECRET, "a": b"x", 5: 1, "5": 2},
        {"password": SECRET + "x" * (1 << 20), "a": "x" * (1 << 20)},
    ],
)
def test_no_error_shows_a_masked_value(payload: Any) -> None:
    with pytest.raises(InvalidEvent) as caught:
        text_of(payload)
    assert SECRET not in str(caught.value).replace(f"password.{SECRET}", "")


# --- every way in ---


def recorded(log: AuditLog, act: Callable[[], object]) -> list[Any]:
    """The payloads of what is recorded meanwhile."""
    found: list[Any] = []
    append = log._producer.append

    def kept(data: bytes) -> int:
        found.append(json.loads(msgpack.unpackb(data)[-1]))
        return append(data)

    log._producer.append = kept  # type: ignore[method-assign]
    act()
    return found


def test_an_audit_log_masks_by_default_what_it_spools(directory: Path) -> None:
    with AuditLog(directory, mask_fields=["card"], close_timeout=0) as log:
        with hansard.bound(api_key=SECRET, tenant={"card": SECRET}):
            log.record("a.b", {"n": 1, "password": SECRET})
            log.record("a.b")
            log.record("a.b", orjson.Fragment('{"x":1}'))
            log.record_many([{"event_type": "a.b", "payload": {"card": SECRET}}])
            log.register_task("T1", token=SECRET)
            with log.operation("run", workflow_id="wf", node_id="n", metadata={"token": SECRET}):
                pass
            log.refusal("a", {"kind": "x", "password": SECRET}, {"decision": "refuse"})
        spooled = b"".join(path.read_bytes() for path in (directory / "spool").iterdir())
        assert spooled.count(MASKED.encode()) == 17
        assert SECRET.encode() not in spooled


def test_an_operation_keeps_its_output_and_masks_its_metadata(directory: Path) -> None:
    def operation() -> None:
        with log.operation("run", workflow_id="wf", node_id="n") as op:
            op.success(stdout='"token":', metadata={"env": {"API_KEY": SECRET}})

    with AuditLog(directory, close_timeout=0) as log:
        [payload] = recorded(log, operation)
    assert payload["metadata"] == {"env": {"API_KEY": MASKED}}
    assert payload["stdout"] == '"token":'


# --- nothing forgotten, nothing remembered without bound ---


def test_names_are_not_remembered_without_bound() -> None:
    mask = Mask(fields_to_mask(None))
    for number in range(10_000):
        payload = {f"name{number}": 1, "x" * 200: 1}
        assert mask.masked(b"{}", payload) == b"{}"
    assert len(mask.clean) <= 4_097


names = st.sampled_from(["a", "b", "token", "Set-Cookie", 'x\u0027"', "user", "pin", "\u00e9"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
payloads = st.dictionaries(names, values, max_size=4)


def by_hand(value: Any, under: str = "") -> Any:
    """What masking means."""
    if isinstance(value, list):
        return [by_hand(each, under) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: MASKED
        if name in ("token", "Set-Cookie") or (under, name) == ("user", "pin")
        else by_hand(each, name)
        for name, each in value.items()
    }


@settings(derandomize=True, deadline=None, database=None, max_examples=100)
@given(payloads)
def test_masking_is_what_it_means(payload: dict[str, Any]) -> None:
    expected = by_hand(payload)
    assert masked(payload, "user.pin") == expected
    assert masked(orjson.Fragment(json.dumps(payload)), "user.pin") == expected


def test_a_name_with_a_slash_is_known_however_it_is_written() -> None:
    text = orjson.Fragment(rb'{"a\/b":"%s"}' % SECRET.encode())
    assert SECRET not in text_of(text, "a/b")
