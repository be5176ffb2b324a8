"""Who is let through to the view's pages."""

import asyncio
from typing import Any

import pytest

from hansard_writer.viewing.guard import FORM_BYTES_MAX, OPEN, Guard, Receive, Scope, Send
from hansard_writer.viewing.listening import address, is_loopback

TOKEN = "the-token"


async def inner(_scope: Scope, _receive: Receive, send: Send) -> None:
    headers = [(b"cache-control", b"max-age=99"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inside"})


def asked(
    guard: Guard, path: str, method: str = "GET", query: str = "", body: bytes = b"", **headers: str
) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of one request."""
    given = {"host": "127.0.0.1:8470"} | headers
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def guard() -> Guard:
    return Guard(inner, TOKEN, "127.0.0.1", 8470)


@pytest.fixture
def cookie(guard: Guard) -> str:
    status, headers, _ = asked(guard, OPEN, query=f"token={TOKEN}")
    assert status == 200
    return headers[b"set-cookie"].decode().partition(";")[0]


def test_the_token_gives_a_cookie_and_the_cookie_lets_in(guard: Guard, cookie: str) -> None:
    assert TOKEN not in cookie
    assert asked(guard, "/", cookie=f"other=1; {cookie}")[2] == b"inside"


def test_the_token_may_be_posted_where_the_address_was_lost(guard: Guard) -> None:
    assert asked(guard, OPEN, "POST", body=f"token={TOKEN}".encode())[0] == 200
    assert asked(guard, OPEN, "POST", body=b"x" * FORM_BYTES_MAX * 2)[0] == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cookie": "hansard_view_8470=the-token"},
        {"cookie": "hansard_view_8470="},
        {"cookie": '"\\x'},
        {"authorization": "Bearer other"},
        {"authorization": "Basic the-token"},
    ],
)
def test_nothing_else_lets_in(guard: Guard, headers: dict[str, str]) -> None:
    assert asked(guard, "/", **headers)[0] == 401


@pytest.mark.parametrize("path", ["/assets/../log", "/assets/", "/assets/x", "/assets/view.css/"])
def test_who_is_unknown_sees_the_locked_pages_own_files_alone(guard: Guard, path: str) -> None:
    assert asked(guard, path)[0] == 401
    assert asked(guard, "/assets/view.css")[0] == 200


def test_a_cookie_of_another_port_is_none_of_ours(cookie: str) -> None:
    assert asked(Guard(inner, TOKEN, "127.0.0.1", 9), "/", cookie=cookie)[0] == 401


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH", "OPTIONS"])
def test_only_what_reads_is_let_through(guard: Guard, cookie: str, method: str) -> None:
    assert asked(guard, "/log", method, cookie=cookie)[0] == 405


def test_another_sites_page_asks_for_nothing(guard: Guard, cookie: str) -> None:
    path = "/-/verify"
    assert asked(guard, path, "POST", cookie=cookie, origin="http://evil.example")[0] == 403
    assert asked(guard, path, "POST", cookie=cookie, origin="http://127.0.0.1:8470")[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8470", "127.0.0.1.evil.example", ""]
)
def test_a_foreign_name_is_refused_before_all_else(guard: Guard, cookie: str, host: str) -> None:
    assert asked(guard, "/", cookie=cookie, host=host)[0] == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "[::1]:8470", "192.168.1.7:8470"])
def test_localhost_and_addresses_in_numbers_are_ours(guard: Guard, cookie: str, host: str) -> None:
    assert asked(guard, "/", cookie=cookie, host=host)[0] == 200


def test_what_the_pages_say_of_caches_and_origins_is_overruled(guard: Guard, cookie: str) -> None:
    _, headers, _ = asked(guard, "/", cookie=cookie)
    assert headers[b"cache-control"] == b"no-store"
    assert b"access-control-allow-origin" not in headers
    assert b"'unsafe" not in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:7/-/open?token=t"),
        ("0.0.0.0", "http://127.0.0.1:7/-/open?token=t"),
        ("::1", "http://[::1]:7/-/open?token=t"),
        ("audit.example", "http://audit.example:7/-/open?token=t"),
    ],
)
def test_the_address_can_be_opened(host: str, shown: str) -> None:
    assert address(host, 7, "t") == shown


def test_loopback_is_told_from_the_rest() -> None:
    assert [is_loopback(each) for each in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "x.y")] == [
        True,
        True,
        True,
        False,
        False,
    ]
