"""A request is recorded once, and what is recorded in it says who and which request it was."""

import asyncio
import threading
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext

import hansard
from hansard.context import CONTEXT_BYTES_MAX, bound_now
from hansard.integrations import asgi, wsgi
from hansard.integrations.django import configuration
from hansard.integrations.django.middleware import AuditMiddleware
from hansard.reader import Event
from hansard.testing import MemoryLog


def signed_in(client: Any) -> str:
    """Signs a new user in; the actor that it is."""
    user = get_user_model().objects.create_user("ada", password="secret")
    client.force_login(user)
    return f"user:{user.pk}"


def only(log: MemoryLog, event_type: str) -> Event:
    """The one event of a type."""
    (event,) = (each for each in log.entries if each.event_type == event_type)
    return event


def test_a_request_is_recorded_once(log: MemoryLog) -> None:
    response = Client().get("/silent", headers={"X-Request-ID": "r-1"})
    assert response.headers["X-Request-ID"] == "r-1"
    (event,) = log.entries
    assert (event.event_type, event.level, event.actor) == ("http.request", "info", None)
    data = dict(event.data)
    assert data.pop("duration_ms") > 0
    assert data == {
        "method": "GET",
        "route": "/silent",
        "status": 200,
        "bytes": 6,
        "correlation_id": "r-1",
    }
    assert bound_now() is None


def test_an_id_that_cannot_be_one_is_replaced(log: MemoryLog) -> None:
    response = Client().get("/silent", headers={"X-Correlation-ID": "a b<script>"})
    own = only(log, "http.request").data["correlation_id"]
    assert (response.headers["X-Correlation-ID"], len(own)) == (own, 32)


def test_where_too_much_is_bound_around_it_a_request_is_answered_all_the_same(
    log: MemoryLog,
) -> None:
    with hansard.bound(tenant="x" * (CONTEXT_BYTES_MAX - 64)):
        assert Client().get("/silent").status_code == 200
    assert only(log, "http.request").data["status"] == 200


def test_what_a_view_records_has_its_request_and_its_user(log: MemoryLog) -> None:
    client = Client()
    actor = signed_in(client)
    log.clear()
    client.get("/orders/5", headers={"X-Request-ID": "r-1"})
    assert [each.event_type for each in log.entries] == [
        "model.created",
        "order.placed",
        "http.request",
    ]
    assert {each.actor for each in log.entries} == {actor}
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}
    assert only(log, "http.request").data["route"] == "/orders/<int:pk>"


def test_an_async_view_is_recorded_the_same_way(log: MemoryLog) -> None:
    client = AsyncClient()
    actor = signed_in(client)
    log.clear()
    asyncio.run(client.get("/aorders/5", headers={"X-Request-ID": "r-1"}))
    assert [each.event_type for each in log.entries] == [
        "model.created",
        "order.placed",
        "http.request",
    ]
    assert {each.actor for each in log.entries} == {actor}
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}


def test_a_request_that_is_cancelled_is_recorded_without_blocking_the_loop(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded: list[Any] = []

    def record(_: str, payload: Any, **about: Any) -> None:
        recorded.append((threading.current_thread(), payload["ended"], about["level"], bound_now()))

    async def left(_: Any) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(configuration, "record", record)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(AuditMiddleware(left)(RequestFactory().get("/x")))
    ((thread, *how, known),) = recorded
    assert thread is not threading.main_thread()
    assert how == ["cancelled", "warning"]
    assert known is not None


def test_nobody_is_asked_for_in_an_event_loop(
    log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    client = AsyncClient()
    signed_in(client)
    log.clear()
    asyncio.run(client.get("/asilent"))
    assert [each.actor for each in log.entries] == [None, None]
    assert caplog.text == ""


def test_a_request_that_records_nothing_costs_no_query(log: MemoryLog) -> None:
    client = Client()
    signed_in(client)
    with CaptureQueriesContext(connection) as queries:
        client.get("/silent")
    assert len(queries) == 0
    assert only(log, "http.request").actor is None


@pytest.mark.parametrize("path", ["/silent", "/asilent"])
def test_every_request_can_be_asked_who_it_was(site: Any, path: str) -> None:
    log = site(resolve_user=True)
    client = AsyncClient() if path == "/asilent" else Client()
    actor = signed_in(client)
    response = client.get(path)
    if path == "/asilent":
        asyncio.run(response)
    assert only(log, "http.request").actor == actor


def test_a_user_can_be_named_by_another_field(site: Any) -> None:
    log = site(user_field="username")
    client = Client()
    signed_in(client)
    client.get("/orders/5")
    assert only(log, "order.placed").actor == "user:ada"


def test_what_a_view_binds_wins_and_ends_with_its_request(log: MemoryLog) -> None:
    Client().get("/binding")
    event = only(log, "http.request")
    assert (event.actor, event.data["tenant"]) == ("service:7", "acme")
    assert bound_now() is None


def test_a_failure_is_an_error_with_its_exception(log: MemoryLog) -> None:
    client = Client(raise_request_exception=False)
    assert client.get("/failing").status_code == 500
    event = only(log, "http.request")
    assert (event.level, event.data["status"]) == ("error", 500)
    assert event.data["error"] == {"type": "ValueError", "message": "no such order"}


def test_what_is_not_there_is_a_warning(log: MemoryLog) -> None:
    client = Client()
    client.get("/missing")
    client.get("/nowhere")
    assert [each.level for each in log.entries] == ["warning", "warning"]
    assert [each.data.get("route") for each in log.entries] == ["/missing", None]
    assert "error" not in log.entries[0].data


def test_of_a_stream_nobody_counts_the_bytes(log: MemoryLog) -> None:
    response = Client().get("/streaming")
    assert b"".join(response.streaming_content) == b"ab"
    assert "bytes" not in only(log, "http.request").data


def test_what_is_taken_along_is_chosen(site: Any) -> None:
    requests = {"paths": True, "queries": True, "clients": True, "headers": ["User-Agent"]}
    log = site(requests=requests | {"exclude": ["/silent"]})
    client = Client()
    client.get("/silent")
    client.get("/binding?page=2", headers={"User-Agent": "test"})
    data = only(log, "http.request").data
    assert (data["path"], data["query"]) == ("/binding", {"page": "2"})
    assert (data["client"], data["headers"]) == ("127.0.0.1", {"user-agent": "test"})


def test_requests_can_be_left_out_and_events_keep_their_id(site: Any) -> None:
    log = site(requests=False)
    response = Client().get("/orders/5", headers={"X-Request-ID": "r-1"})
    assert [each.event_type for each in log.entries] == ["model.created", "order.placed"]
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}
    assert response.headers["X-Request-ID"] == "r-1"


@pytest.mark.parametrize("hansard", [{"modells": []}, {"requests": {"path": True}}])
def test_a_server_does_not_start_with_what_the_checks_refuse(hansard: Any) -> None:
    with override_settings(HANSARD=hansard), pytest.raises(ImproperlyConfigured, match="HANSARD"):
        WSGIHandler()


def test_a_server_does_not_start_with_the_middleware_twice() -> None:
    twice = [f"{configuration.__package__}.middleware.AuditMiddleware"] * 2
    with (
        override_settings(MIDDLEWARE=twice),
        pytest.raises(ImproperlyConfigured, match="more than once"),
    ):
        WSGIHandler()


def test_a_server_does_not_start_with_models_that_no_app_audits() -> None:
    others = [each for each in settings.INSTALLED_APPS if each != configuration.__package__]
    with (
        override_settings(INSTALLED_APPS=others, HANSARD={"models": ["shop.Order"]}),
        pytest.raises(ImproperlyConfigured, match=r"INSTALLED_APPS \+="),
    ):
        WSGIHandler()


# --- below another middleware ---


def test_around_wsgi_one_middleware_records_and_knows_the_user(log: MemoryLog) -> None:
    client = Client()
    actor = signed_in(client)
    log.clear()
    application = wsgi.AuditMiddleware(WSGIHandler(), log)
    environ = client._base_environ(PATH_INFO="/orders/5", HTTP_X_REQUEST_ID="r-1")
    body = application(environ, lambda *_: lambda _: None)
    list(body)
    body.close()  # type: ignore[attr-defined]
    assert only(log, "http.request").actor == actor
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}


def test_around_asgi_one_middleware_records_and_knows_the_user(log: MemoryLog) -> None:
    client = AsyncClient()
    actor = signed_in(client)
    log.clear()
    application = asgi.AuditMiddleware(ASGIHandler(), log)
    scope = client._base_scope(path="/aorders/5", method="GET", type="http")
    scope["headers"] += [(b"x-request-id", b"r-1")]
    arriving = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if not arriving:
            await asyncio.Event().wait()
        return arriving.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    assert sent[0]["status"] == 200
    assert only(log, "http.request").actor == actor
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}


# --- signing in ---


def test_who_logs_in_and_out_or_fails_to_is_recorded(site: Any) -> None:
    log = site(exclude_fields=["auth.User.last_login"])
    user = get_user_model().objects.create_user("ada", password="secret")
    log.clear()
    client = Client()
    assert not client.login(username="ada", password="guess")
    assert client.login(username="ada", password="secret")
    client.logout()
    client.logout()
    told = [(each.event_type, each.actor, each.level, each.data) for each in log.entries]
    assert told == [
        ("user.login_failed", None, "warning", {"username": "ada"}),
        ("user.logged_in", f"user:{user.pk}", "info", {"username": "ada"}),
        ("user.logged_out", f"user:{user.pk}", "info", {"username": "ada"}),
    ]


def test_sign_ins_can_be_left_out(site: Any) -> None:
    log = site(signins=False, models=[])
    get_user_model().objects.create_user("ada", password="secret")
    assert Client().login(username="ada", password="secret")
    assert log.entries == []
