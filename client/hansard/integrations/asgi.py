"""ASGI middleware: one event for each request, and for each websocket, of any ASGI application.

It imports no framework, never blocks the event loop, and changes nothing of what passes through
but for one response header. It needs asyncio's loop, or one that is called so, such as uvloop.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from functools import cached_property
from typing import Any, Final

from hansard.context import bound, end_request, unbind
from hansard.integrations import http_event as says
from hansard.integrations.route_templates import asgi_route
from hansard.integrations.web_audit import WebAudit, aside

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CORRELATION_ID: Final = "hansard.correlation_id"  # its key in the scope

_BODIES: Final = ("http.response.body", "http.response.zerocopysend", "http.response.pathsend")
_SWITCHED: Final = 101
_NORMAL: Final = 1000
_REFUSED: Final = 403
_NO_CODE: Final = 1005  # RFC 6455, 7.1.5: closed without one

_is_inside: Final[ContextVar[bool]] = ContextVar("hansard.integrations.asgi", default=False)


class AuditMiddleware(WebAudit):
    __doc__ = WebAudit.__doc__
    event_types = (says.HTTP_REQUEST, says.HTTP_WEBSOCKET)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one websocket, or the application's whole life."""
        kind = scope["type"]
        if kind == "lifespan":
            await self.app(scope, receive, self._flushing(send))
        elif (
            kind not in ("http", "websocket")
            or CORRELATION_ID in scope  # another one is around this one
            or self.is_excluded(scope, scope["path"])
        ):
            await self.app(scope, receive, send)
        else:
            await (_Request if kind == "http" else _Websocket)(self, scope, receive, send).run()

    @cached_property
    def correlation_names(self) -> tuple[bytes, ...]:
        """The correlation headers as ASGI has names."""
        return tuple(name.lower().encode() for name in self.correlation_headers)

    @cached_property
    def header_names(self) -> frozenset[bytes]:
        """The headers to be recorded."""
        return frozenset(name.lower().encode() for name in self.headers)

    @cached_property
    def wanted(self) -> frozenset[bytes]:
        """The headers to be looked at."""
        of_bodies = {b"content-type"} if self.body_bytes_max else frozenset()
        return self.header_names | of_bodies | frozenset(self.correlation_names)

    def _flushing(self, send: Send) -> Send:
        """Send what the application says of its life; before it says that it has ended, give the
        log what waits. The log stays open, for whoever else records at the end."""

        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                try:
                    await self.log.aflush(self.log.settings.close_timeout)
                except Exception as error:  # noqa: BLE001 - the application ends all the same
                    self.complain("flush", error)
            await send(message)

        return sending


class _Talk(ABC):
    """One request or websocket, from its first message to its event."""

    event_type: str

    def __init__(self, audit: AuditMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self._audit, self._scope, self._receive, self._send = audit, scope, receive, send
        self._root_path = scope.get("root_path", "")
        self._headers = _wanted_headers(scope, audit)
        self._header, correlation_id = _correlation_id(self._headers, audit)
        scope[CORRELATION_ID] = correlation_id
        chosen = _chosen(scope, self._headers, audit) if audit.has_choices else {}
        self.exchange = says.Exchange(None, correlation_id, chosen)
        self._is_recorded = False

    async def run(self) -> None:
        """Call the application, and record what came of it."""
        if _is_inside.get():  # asyncio can hand on what another request bound: CPython, 140947
            with bound():
                unbind()
                _is_inside.set(False)
                await self.run()
            return
        exchange, scope = self.exchange, self._scope
        binding = self._audit.begin(exchange.correlation_id, scope.get("user"))
        _is_inside.set(True)
        try:
            await self._audit.app(scope, self.receive, self.send)
        except (asyncio.CancelledError, GeneratorExit):
            exchange.ended = exchange.ended or says.CANCELLED
            self._record_aside()
            raise
        except BaseException as error:
            has_left = exchange.ended is not None or exchange.closed_by == "client"
            if not (has_left and says.comes_of_leaving(error)):
                exchange.error = error
            await self._record()
            raise
        else:
            if not self._is_recorded:
                await self._record()
        finally:
            _is_inside.set(False)
            if binding is not None:
                end_request(binding)

    @abstractmethod
    async def receive(self) -> Message:
        """What the client says."""

    @abstractmethod
    async def send(self, message: Message) -> None:
        """What the application says."""

    async def _record(self) -> None:
        """Record it, if that is not done. It waits only where the log has no room."""
        if self._is_recorded:
            return
        self._is_recorded = True
        audit, exchange = self._audit, self.exchange
        try:
            actor = self._actor_in_the_end()
            await audit.log.arecord(
                self.event_type, exchange.payload(), level=exchange.level, actor=actor
            )
        except Exception as error:  # noqa: BLE001 - nothing of the log's reaches the application
            audit.complain("record", error)

    def _record_aside(self) -> None:
        """The same where the task was cancelled, and must not wait for anything any more."""
        if self._is_recorded:
            return
        self._is_recorded = True
        audit, exchange, event_type = self._audit, self.exchange, self.event_type
        actor = self._actor_in_the_end()

        def record() -> None:
            try:
                audit.log.record(event_type, exchange.payload(), level=exchange.level, actor=actor)
            except Exception as error:  # noqa: BLE001 - as above
                audit.complain("record", error)

        aside(record)

    def _actor_in_the_end(self) -> str | None:
        """End the exchange; who it was."""
        audit, scope = self._audit, self._scope
        self.exchange.end()
        self.exchange.route = audit.route_of(scope, asgi_route, self._root_path)
        return audit.actor_of(scope, scope.get("user"))

    def _with_correlation_id(self, message: Message) -> Message:
        """The message, with the header; unless the application has given it one itself."""
        added, headers = self._header, list(message.get("headers") or ())
        if added is None:
            return message
        for name, _ in headers:
            if name.lower() == added:
                return message
        headers.append((added, self.exchange.correlation_id.encode()))
        return {**message, "headers": headers}


class _Request(_Talk):
    event_type = says.HTTP_REQUEST

    def __init__(self, audit: AuditMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(audit, scope, receive, send)
        self.exchange.method = scope["method"][: says.METHOD_CHARS_MAX]
        self._body, self._body_size = b"", 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if not self.exchange.is_complete:
                self.exchange.ended = says.DISCONNECTED
        elif self._audit.body_bytes_max:
            chunk = message.get("body", b"")
            self._body += chunk[: self._audit.body_bytes_max - len(self._body)]
            self._body_size += len(chunk)
        return message

    async def send(self, message: Message) -> None:
        exchange, kind = self.exchange, message["type"]
        if kind == "http.response.start":
            exchange.status = message["status"]
            message = self._with_correlation_id(message)
        try:
            await self._send(message)
        except OSError:  # ASGI 2.4: the client has left
            exchange.ended = exchange.ended or says.DISCONNECTED
            raise
        if kind in _BODIES and exchange.ended is None:
            if kind != _BODIES[0]:
                exchange.bytes_sent = None
            elif exchange.bytes_sent is not None:
                exchange.bytes_sent += len(message.get("body", b""))
            if not message.get("more_body", False):
                exchange.complete()
                # Of a fault, the error comes up behind its answer; of all else, tasks in the
                # background may come, for minutes.
                if exchange.status is not None and exchange.status < says.FAILED:
                    await self._record()

    def _actor_in_the_end(self) -> str | None:
        if self._audit.body_bytes_max and self._body_size:
            content_type = self._headers.get(b"content-type", b"").decode("latin-1")
            self.exchange.chosen["body"] = says.body_shown(
                content_type, self._body, self._body_size
            )
        return super()._actor_in_the_end()


class _Websocket(_Talk):
    event_type = says.HTTP_WEBSOCKET

    def __init__(self, audit: AuditMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(audit, scope, receive, send)
        self.exchange.bytes_sent = None

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._close("client", message.get("code", _NO_CODE))
        return message

    async def send(self, message: Message) -> None:
        exchange, kind = self.exchange, message["type"]
        if kind in ("websocket.accept", "websocket.http.response.start"):
            exchange.status = message.get("status", _SWITCHED)
            message = self._with_correlation_id(message)
        await self._send(message)
        if kind == "websocket.close":
            self._close("server", message.get("code", _NORMAL))
        elif kind == "websocket.http.response.body" and not message.get("more_body", False):
            exchange.complete()

    def _close(self, by: str, code: int) -> None:
        exchange = self.exchange
        if exchange.is_complete:
            return
        if exchange.status is None:
            exchange.status = says.LEFT if by == "client" else _REFUSED
        exchange.closed_by, exchange.code = by, code
        exchange.complete()


def _wanted_headers(scope: Scope, audit: AuditMiddleware) -> dict[bytes, bytes]:
    """The first of each name, as far as they are of interest."""
    wanted = audit.wanted
    found: dict[bytes, bytes] = {}
    for name, value in scope.get("headers", ()):
        if name in wanted:
            found.setdefault(name, value)
    return found


def _correlation_id(
    headers: dict[bytes, bytes], audit: AuditMiddleware
) -> tuple[bytes | None, str]:
    """The header that carries it, and the id: a new one, if none came that can be one."""
    names = audit.correlation_names
    for name in names:
        if name in headers and (
            given := says.valid_correlation_id(headers[name].decode("latin-1"))
        ):
            return name, given
    return names[0] if names else None, says.new_correlation_id()


def _chosen(scope: Scope, headers: dict[bytes, bytes], audit: AuditMiddleware) -> dict[str, Any]:
    """What is to be recorded of the request besides."""
    chosen: dict[str, Any] = {}
    if audit.paths:
        chosen["path"] = scope["path"][: says.PATH_CHARS_MAX]
    if audit.queries and scope["query_string"]:
        chosen["query"] = says.fields_shown(scope["query_string"].decode("latin-1"))
    if audit.clients and scope.get("client"):
        chosen["client"] = scope["client"][0]
    if shown := says.headers_shown(
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in headers.items()
        if name in audit.header_names
    ):
        chosen["headers"] = shown
    return chosen
