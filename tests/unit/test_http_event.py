"""What the event of a request says, and what of a stranger's is let in."""

import json
import uuid
from typing import Any

import pytest

from hansard.integrations import http_event as says
from hansard.integrations.http_event import Exchange
from hansard.texts import encode_payload


@pytest.mark.parametrize(
    "given",
    ["a", "9f1c-4b", "Root=1-5759e988-bd862e3f", "00-ab-cd-01", "a/b:c@d.e~f+g_h", "x" * 128],
)
def test_an_id_of_any_usual_scheme_is_taken(given: str) -> None:
    assert says.valid_correlation_id(given) == given


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "x" * 129,
        "a b",
        "a\r\nSet-Cookie: b",
        "a\n",
        "ä",
        "<script>",
        "a,b",
        "a;b",
        "\0",
        "'",
    ],
)
def test_what_could_mean_anything_else_is_no_id(given: str | None) -> None:
    assert says.valid_correlation_id(given) is None


def test_an_id_of_our_own_is_a_uuid_of_version_4_and_never_comes_again() -> None:
    made = {says.new_correlation_id() for _ in range(1_000)}
    assert len(made) == 1_000
    for each in map(uuid.UUID, made):
        assert (each.version, each.variant) == (4, uuid.RFC_4122)


@pytest.mark.parametrize(
    ("status", "ended", "error", "level"),
    [
        (200, None, None, "info"),
        (304, None, None, "info"),
        (404, None, None, "warning"),
        (200, "disconnected", None, "warning"),
        (500, None, None, "error"),
        (200, None, ValueError(), "error"),
    ],
)
def test_the_level_says_how_it_went(status: int, ended: str, error: Exception, level: str) -> None:
    exchange = Exchange("GET", "c", {}, status=status, ended=ended, error=error)
    assert exchange.level == level


@pytest.mark.parametrize(
    ("before", "status", "ended"),
    [
        ({}, 500, "incomplete"),
        ({"status": 200}, 200, "incomplete"),
        ({"ended": "disconnected"}, 499, "disconnected"),
        ({"ended": "cancelled"}, 499, "cancelled"),
        ({"error": ValueError("no")}, 500, None),
        ({"status": 200, "error": ValueError("no")}, 200, None),
    ],
)
def test_what_does_not_come_to_an_end_says_why(
    before: dict[str, Any], status: int, ended: str | None
) -> None:
    exchange = Exchange("GET", "c", {}, **before)
    exchange.end()
    payload = exchange.payload()
    assert (payload["status"], payload.get("ended")) == (status, ended)
    assert payload["duration_ms"] >= 0


def test_an_error_is_its_type_and_a_bounded_message() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert says.error_shown(ValueError("no " * 1_000))["message"] == ("no " * 1_000)[:1_000]
    assert says.error_shown(Mute()) == {"type": "Mute", "message": "Mute"}


class Mute:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("actor", "text"),
    [
        *((None, None), ("", None), ("alice", "alice"), (7, "7"), ("a\0b", "ab"), ("\ud800", "?")),
        (Mute(), None),
    ],
)
def test_whoever_it_was_is_text_that_an_event_holds(actor: object, text: str | None) -> None:
    assert says.actor_text(actor) == text


def test_a_long_actor_is_cut_between_two_characters() -> None:
    text = says.actor_text("ä" * 1_000)
    assert text == "ä" * 512


class User:
    is_authenticated = True

    def __init__(self, **names: object) -> None:
        self.__dict__.update(names)

    @property
    def identity(self) -> str:
        raise NotImplementedError


class Broken:
    @property
    def is_authenticated(self) -> bool:
        raise RuntimeError("asked a database in an event loop")


@pytest.mark.parametrize(
    ("user", "name"),
    [
        (None, None),
        ("alice", "alice"),
        (User(display_name="Alice"), "Alice"),
        (User(username="alice"), "alice"),
        (User(is_authenticated=False, username="alice"), None),
        (User(), None),
        (Broken(), None),
    ],
)
def test_a_user_object_has_a_name_where_it_is_authenticated(user: object, name: str | None) -> None:
    assert says.user_name(user) == name


def test_a_query_is_shown_by_name_so_that_it_can_be_masked() -> None:
    assert says.fields_shown("a=1&token=x&a=2&b=&a=3") == {
        "a": ["1", "2", "3"],
        "token": "x",
        "b": "",
    }
    assert says.fields_shown("a=1&" * 101) == {"chars": 404}
    assert says.fields_shown("a=" + "x" * 9_000) == {"a": "x" * 4_094}


@pytest.mark.parametrize(
    ("content_type", "body", "shown"),
    [
        ("application/json; charset=utf-8", b'{"a":[1]}', {"a": [1]}),
        ("application/problem+json", b"7", 7),
        ("application/x-www-form-urlencoded", b"a=1&b=2", {"a": "1", "b": "2"}),
        ("text/plain", "grüß".encode(), "grüß"),
        ("text/plain", b"\xff", {"bytes": 1}),
        ("text/plain;charset=UTF-8", b' {"password":"x"}', {"password": "x"}),
        ("text/plain", b"[sic]", "[sic]"),
        ("application/json", b"{", {"bytes": 1}),
        ("application/json", b"[" * 70 + b"]" * 70, {"bytes": 140}),
        ("image/png", b"PNG", {"bytes": 3}),
        ("", b"abc", {"bytes": 3}),
    ],
)
def test_a_body_is_shown_as_what_it_says(content_type: str, body: bytes, shown: object) -> None:
    event = encode_payload({"body": says.body_shown(content_type, body, len(body))})
    assert json.loads(event) == {"body": shown}


def test_of_a_body_no_number_is_changed() -> None:
    body = b'{"n":123456789012345678901234567890,"price":1.10}'
    event = encode_payload({"body": says.body_shown("application/json", body, len(body))})
    assert event == b'{"body":%s}' % body


def test_of_a_body_that_was_cut_only_the_size_is_shown_for_nobody_could_mask_it() -> None:
    assert says.body_shown("application/json", b'{"password":"x', 90) == {"bytes": 90}
