"""Who may see the pages, and what a browser may do with them: an ASGI application around another.

Everything recorded is hostile text, and so is every request: a page runs no script but ours, loads
nothing from elsewhere, is shown in nobody's frame, and is stored nowhere. Of Datasette it lets
through only what reads. It reads nothing of the log.
"""

import hmac
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN: Final = "/-/open"
ASSETS: Final = "/assets/"
POSTED: Final = frozenset({OPEN, "/-/verify"})  # all else is read only
OF_DATASETTE: Final = frozenset({"/-/verify", "/-/verified"})  # no others below /-/ are let through
FORM_BYTES_MAX: Final = 4096

_CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[bytes, bytes]] = {
    b"content-security-policy": _CONTENT_POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_OWN: Final = frozenset(HEADERS) | {b"access-control-allow-origin", b"expires", b"etag"}
_ONWARD: Final = (
    b'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Hansard</title>'
    b'<meta http-equiv="refresh" content="0; url=/"><p><a href="/">To the log</a></p></html>'
)
_ASSETS: Final = frozenset(
    ASSETS + each.name for each in (Path(__file__).parent / "static").iterdir()
)
_LOCKED: Final = (Path(__file__).parent / "templates" / "locked.html").read_bytes()


class Guard:
    """Lets through to ``application`` who has the token: in the address of `OPEN` once, then in a
    cookie, or in the header ``Authorization: Bearer``. ``host`` is the name that it listens under,
    besides localhost and addresses in numbers, which no foreign name server can point at us."""

    def __init__(self, application: Application, token: str, host: str, port: int) -> None:
        self._application = application
        self._token = token
        self._session = secrets.token_urlsafe(32)  # in the cookie: not what the address had
        self._hosts = {"localhost", host.lower()}
        self._cookie = f"hansard_view_{port}"  # cookies are not kept apart by port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._application(scope, receive, send)
            return

        async def send_guarded(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in _OWN]
                message = {**message, "headers": [*kept, *HEADERS.items()]}
            await send(message)

        await self._guarded(scope, receive, send_guarded)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value for name, value in scope["headers"]}
        path, method = scope["path"], scope["method"]
        if not self._is_ours(headers.get(b"host", b"").decode("latin-1")):
            await _answer(send, 400, "This name is none of the view's: use the address it printed.")
        elif method not in ("GET", "HEAD") and not (method == "POST" and path in POSTED):
            await _answer(send, 405, "The view only reads.")
        elif path in _ASSETS and scope.get("raw_path", path.encode()) == path.encode():
            await self._application(scope, receive, send)
        elif path == OPEN:
            await self._open(scope, receive, send)
        elif not self._is_known(headers):
            await _page(send, 401, _LOCKED)
        elif (path.startswith("/-/") and path not in OF_DATASETTE) or path.startswith("/_"):
            await _answer(send, 404, "There is no such page.")
        elif method == "POST" and not _is_same_origin(headers):
            await _answer(send, 403, "Only the view's own pages may ask for this.")
        else:
            await self._application(scope, receive, send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The token, from the address or from the form of the page that asks for it."""
        said = scope["query_string"]
        if scope["method"] == "POST":
            said = await _body(receive)
        given = parse_qs(said.decode("latin-1")).get("token", [""])[0]
        if not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            await _page(send, 401, _LOCKED)
            return
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        # No redirect by its status: behind a link of another site the cookie would not come along.
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": _ONWARD})

    def _is_known(self, headers: Mapping[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return hmac.compare_digest(given.strip(), self._token.encode())
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        morsel = cookies.get(self._cookie)
        return morsel is not None and hmac.compare_digest(
            morsel.value.encode(), self._session.encode()
        )

    def _is_ours(self, host: str) -> bool:
        """Against DNS rebinding: a page elsewhere may let its name lead here."""
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        return name in self._hosts or _is_address(name)


def new_token() -> str:
    """A random token that fits into an address."""
    return secrets.token_urlsafe(24)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_same_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Browsers say where a POST comes from; a program without a browser says nothing."""
    origin = headers.get(b"origin", b"")
    return not origin or origin.partition(b"://")[2] == headers.get(b"host")


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more and len(body) <= FORM_BYTES_MAX:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body[:FORM_BYTES_MAX]


async def _answer(send: Send, status: int, text: str) -> None:
    await _respond(send, status, b"text/plain; charset=utf-8", text.encode() + b"\n")


async def _page(send: Send, status: int, page: bytes) -> None:
    await _respond(send, status, b"text/html; charset=utf-8", page)


async def _respond(send: Send, status: int, content_type: bytes, body: bytes) -> None:
    headers = [(b"content-type", content_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
