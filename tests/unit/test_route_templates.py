"""Which route a request took: as FastAPI, Starlette and Flask say it themselves."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from starlette.types import ASGIApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import EnvironBuilder, run_wsgi_app

from hansard.integrations.route_templates import asgi_route, wsgi_route


async def answer(request: Any) -> PlainTextResponse:
    return PlainTextResponse("")


def starlette() -> Starlette:
    inner = [Route("/users/{n:int}", answer), Mount("/deep", routes=[Route("/{x}", answer)])]
    return Starlette(
        routes=[
            Route("/users/{n:int}", answer),
            Mount("/of/{tenant}", routes=inner),
            Mount("/static", app=PlainTextResponse("")),
            Host("{name}.example", app=Starlette(routes=[Mount("/h/{n}", routes=inner)])),
        ]
    )


def fastapi() -> FastAPI:
    app, sub, router, nested = FastAPI(), FastAPI(), APIRouter(prefix="/r/{k}"), APIRouter()

    @nested.get("/y/{n}")
    async def _y(n: str) -> None: ...

    @router.get("/x/{n}")
    async def _x(n: str) -> None: ...

    @app.get("/items/{n}")
    async def _item(n: int) -> None: ...

    @sub.get("/s/{n}")
    async def _s(n: str) -> None: ...

    router.include_router(nested, prefix="/n")
    app.include_router(router, prefix="/api")
    sub.include_router(router)
    app.mount("/sub", sub)
    return app


def called(app: ASGIApp, path: str, *, host: str = "a", root_path: str = "") -> dict[str, Any]:
    """The scope of a request, when it has been answered."""
    scope: dict[str, Any] = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "query_string": b"", "headers": [(b"host", host.encode())],
        "root_path": root_path, "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None: ...

    asyncio.run(app(scope, receive, send))
    return scope


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/users/7", "/users/{n}"),
        ("/of/acme/users/7", "/of/{tenant}/users/{n}"),
        ("/of/acme/deep/secret", "/of/{tenant}/deep/{x}"),
        ("/static/secret.txt", "/static/{path}"),
        ("/of/acme/secret", "/of/{tenant}/{path}"),
        ("/secret", None),
        ("/users/7/", None),
    ],
)
def test_a_route_of_starlette_has_its_mounts_in_front(path: str, template: str | None) -> None:
    assert asgi_route(called(starlette(), path), "") == template


def test_a_mount_below_a_host_is_found() -> None:
    scope = called(starlette(), "/h/secret/users/7", host="acme.example")
    assert asgi_route(scope, "") == "/h/{n}/users/{n}"


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/items/7", "/items/{n}"),
        ("/items/secret", "/items/{n}"),  # 422
        ("/api/r/secret/x/7", "/api/r/{k}/x/{n}"),
        ("/api/r/secret/n/y/7", "/api/r/{k}/n/y/{n}"),
        ("/sub/s/7", "/sub/s/{n}"),
        ("/sub/r/secret/n/y/7", "/sub/r/{k}/n/y/{n}"),
        ("/sub/secret", "/sub/{path}"),
        ("/openapi.json", "/openapi.json"),
        ("/secret", None),
    ],
)
def test_a_route_of_fastapi_has_all_prefixes(path: str, template: str | None) -> None:
    assert asgi_route(called(fastapi(), path), "") == template


def test_the_servers_own_root_path_is_no_mount() -> None:
    scope = called(fastapi(), "/served/at/items/7", root_path="/served/at")
    assert asgi_route(scope, "/served/at") == "/items/{n}"


def test_where_the_scope_names_no_route_the_endpoint_leads_to_it() -> None:
    """Starlette before 1.0."""
    app = starlette()
    for path, template in [("/users/7", "/users/{n}"), ("/of/a/deep/b", "/of/{tenant}/deep/{x}")]:
        scope = called(app, path)
        del scope["route"]
        assert asgi_route(scope, "") == template


def test_a_mount_that_cannot_be_traced_has_no_route() -> None:
    assert asgi_route({"root_path": "/secret", "router": starlette()}, "") is None
    assert asgi_route({"root_path": "/secret"}, "") is None


def test_an_application_that_says_nothing_has_no_route() -> None:
    assert asgi_route({"path": "/secret"}, "") is None
    assert wsgi_route({"PATH_INFO": "/secret"}, "") is None


def test_a_rule_of_flask_is_told_while_it_answers() -> None:
    flask = Flask("test")
    flask.add_url_rule("/users/<int:n>", view_func=lambda **_: "", endpoint="user")
    app = DispatcherMiddleware(flask, {"/admin": flask})
    told: list[str | None] = []

    def ask(path: str) -> None:
        environ = EnvironBuilder(path).get_environ()

        def asking(environ: Any, start_response: Any) -> Any:
            def starting(*arguments: Any) -> Any:
                told.append(wsgi_route(environ, ""))
                return start_response(*arguments)

            return app(environ, starting)

        run_wsgi_app(asking, environ)

    ask("/users/7")
    ask("/admin/users/7")
    ask("/secret")
    assert told == ["/users/<int:n>", "/admin/users/<int:n>", None]
