"""The least that a web application can be: by itself, and audited into ``HANSARD_DIR``."""

from collections.abc import Iterable
from typing import Any

from hansard.integrations import asgi, wsgi

BODY = b"well"
HEADERS = [("Content-Type", "text/plain"), ("Content-Length", str(len(BODY)))]


async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
    """For uvicorn."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(name.encode(), value.encode()) for name, value in HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def wsgi_app(environ: Any, start_response: Any) -> Iterable[bytes]:  # noqa: ARG001
    """For gunicorn."""
    start_response("200 OK", HEADERS)
    return [BODY]


def audited_asgi() -> asgi.AuditMiddleware:
    """The same, audited."""
    return asgi.AuditMiddleware(asgi_app)


def audited_wsgi() -> wsgi.AuditMiddleware:
    """The same, audited."""
    return wsgi.AuditMiddleware(wsgi_app)
