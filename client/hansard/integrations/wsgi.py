"""WSGI middleware: one event for each request, of any WSGI application (PEP 3333).

It imports no framework, and changes nothing of what passes through but for one response header. A
request's event is recorded when its response has come to its end, or is closed before.
"""

from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, copy_context
from functools import cached_property
from types import TracebackType
from typing import Any, Final

from hansard.integrations import http_event as says
from hansard.integrations.route_templates import wsgi_route
from hansard.integrations.web_audit import WebAudit

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write = Callable[[bytes], object]
StartResponse = Callable[..., Write]

CORRELATION_ID: Final = "hansard.correlation_id"  # its key in the environ

_BODYLESS: Final = (204, 304)
_FILE_WRAPPER: Final = "wsgi.file_wrapper"
_WITHOUT_PREFIX: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")


class AuditMiddleware(WebAudit):
    __doc__ = WebAudit.__doc__
    event_types = (says.HTTP_REQUEST,)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """One request."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        if CORRELATION_ID in environ or self.is_excluded(environ, path):
            return self.app(environ, start_response)  # type: ignore[no-any-return]
        return _Request(self, environ, start_response).run()

    @cached_property
    def correlation_keys(self) -> tuple[tuple[str, str], ...]:
        """The correlation headers, each with its key in an environ."""
        return tuple((name, _key(name)) for name in self.correlation_headers)

    @cached_property
    def header_keys(self) -> tuple[tuple[str, str], ...]:
        """The headers to be recorded, each with its key in an environ."""
        return tuple((name, _key(name)) for name in self.headers)


class _Request:
    """One request, from its environ to its event.

    All that the application does runs in a context of the request's own, so that what it binds is
    bound as long as the response is made, and not for the thread's next request.
    """

    def __init__(
        self, audit: AuditMiddleware, environ: Environ, start_response: StartResponse
    ) -> None:
        self._audit, self._environ, self._start_response = audit, environ, start_response
        self._script_name = environ.get("SCRIPT_NAME", "")
        self._header, correlation_id = _correlation_id(environ, audit)
        environ[CORRELATION_ID] = correlation_id
        chosen = _chosen(environ, audit) if audit.has_choices else {}
        method = environ["REQUEST_METHOD"][: says.METHOD_CHARS_MAX]
        self.exchange = says.Exchange(method, correlation_id, chosen)
        self._actor: str | None = None
        self._is_recorded = False
        self._input: _Input | None = None
        if audit.body_bytes_max:
            self._input = _Input(environ["wsgi.input"], audit.body_bytes_max)
            environ["wsgi.input"] = self._input

    def run(self) -> Iterable[bytes]:
        """Call the application; its response, which records the event when it is closed."""
        context = copy_context()
        try:
            body = context.run(self._call)
        except BaseException as error:
            self.fail(error)
            context.run(self.record)
            raise
        file_wrapper = self._environ.get(_FILE_WRAPPER)
        is_file = isinstance(file_wrapper, type) and isinstance(body, file_wrapper)
        if is_file and _closes_with(body, lambda: self._close_file(context)):
            return body  # itself: the server sends the file its own way
        return (_SizedBody if hasattr(body, "__len__") else _Body)(self, body, context)

    def _call(self) -> Iterable[bytes]:
        user = self._environ.get("REMOTE_USER")
        self._audit.begin(self.exchange.correlation_id, user)  # and left with the context
        return self._audit.app(self._environ, self._start)  # type: ignore[no-any-return]

    def _start(self, status: str, headers: Headers, exc_info: ExcInfo | None = None) -> Write:
        """The application's ``start_response``. Authentication has run, the framework still knows
        the request: that is the time to ask who and where."""
        exchange, audit = self.exchange, self._audit
        exchange.status = _status(status)
        exchange.route = audit.route_of(self._environ, wsgi_route, self._script_name)
        self._actor = audit.actor_of(self._environ, self._environ.get("REMOTE_USER"))
        name = self._header
        if name is not None and name.lower() not in [each.lower() for each, _ in headers]:
            headers = [*headers, (name, exchange.correlation_id)]
        # Two arguments where two were given: older servers know no third.
        more = () if exc_info is None else (exc_info,)
        write = self._start_response(status, headers, *more)

        def counted(data: bytes) -> object:
            self.count(data)
            return write(data)

        return counted

    def count(self, data: bytes) -> None:
        """So many bytes of the response."""
        if self.exchange.bytes_sent is not None:
            self.exchange.bytes_sent += len(data)

    def fail(self, error: BaseException) -> None:
        """The application raised: as long as nothing was sent, the server answers for it."""
        self.exchange.error = error
        if not self.exchange.bytes_sent:
            self.exchange.status = says.FAILED

    def _close_file(self, context: Context) -> None:
        self.exchange.bytes_sent = None
        self.exchange.complete()
        context.run(self.record)

    def record(self) -> None:
        """Record it, if that is not done."""
        if self._is_recorded:
            return
        self._is_recorded = True
        audit, exchange, environ = self._audit, self.exchange, self._environ
        try:
            if exchange.status is None:  # the application never began to answer
                self._actor = audit.actor_of(environ, environ.get("REMOTE_USER"))
            if self._input is not None and self._input.size:
                kept, size = self._input.kept, self._input.size
                exchange.chosen["body"] = says.body_shown(
                    environ.get("CONTENT_TYPE", ""), kept, size
                )
            exchange.end()
            audit.log.record(
                says.HTTP_REQUEST, exchange.payload(), level=exchange.level, actor=self._actor
            )
        except Exception as error:  # noqa: BLE001 - nothing of the log's reaches the application
            audit.complain("record", error)


class _Body:
    """The application's response as the server iterates it."""

    def __init__(self, request: _Request, body: Iterable[bytes], context: Context) -> None:
        self._request, self._body, self._context = request, body, context
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            if self._chunks is None:
                self._chunks = self._context.run(iter, self._body)
            chunk = self._context.run(next, self._chunks)
        except StopIteration:
            self._request.exchange.complete()
            self._context.run(self._request.record)
            raise
        except BaseException as error:
            self._request.fail(error)
            raise
        self._request.count(chunk)
        return chunk

    def close(self) -> None:
        """The server is done with it: to the end, or before."""
        exchange = self._request.exchange
        if not exchange.is_complete and exchange.error is None:
            if exchange.method == "HEAD" or exchange.status in _BODYLESS:  # of which servers may
                exchange.complete()  # ask for nothing
            else:
                exchange.ended = says.DISCONNECTED
        try:
            if hasattr(self._body, "close"):
                self._context.run(self._body.close)
        except BaseException as error:
            exchange.error = exchange.error or error
            raise
        finally:
            self._context.run(self._request.record)


class _SizedBody(_Body):
    """One whose length servers may ask for: of one chunk, they know the Content-Length."""

    def __len__(self) -> int:
        return len(self._body)  # type: ignore[arg-type]


class _Input:
    """A request's body as the application reads it, whose first bytes are kept."""

    def __init__(self, stream: Any, bytes_max: int) -> None:
        self._stream, self._bytes_max = stream, bytes_max
        self.kept, self.size = b"", 0

    def _seen(self, data: bytes) -> bytes:
        self.kept += data[: self._bytes_max - len(self.kept)]
        self.size += len(data)
        return data

    def read(self, *size: Any) -> bytes:
        return self._seen(self._stream.read(*size))

    def readline(self, *size: Any) -> bytes:
        return self._seen(self._stream.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        return [self._seen(line) for line in self._stream.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._seen, self._stream)

    def __getattr__(self, name: str) -> Any:
        """What PEP 3333 does not ask for, but a server's stream may have: Werkzeug looks for
        ``readinto``."""
        found = getattr(self._stream, name)
        if name != "readinto":
            return found

        def readinto(buffer: bytearray) -> int | None:
            size: int | None = found(buffer)
            self._seen(bytes(buffer[: size or 0]))
            return size

        return readinto


def _closes_with(body: Any, then: Callable[[], None]) -> bool:
    """Have ``then`` called when the server closes its own kind of response; False for one that
    takes nothing from outside, such as those that are written in C."""
    close = getattr(body, "close", None)

    def closing() -> None:
        try:
            if close is not None:
                close()
        finally:
            then()

    try:
        body.close = closing
    except (AttributeError, TypeError):
        return False
    return True


def _status(line: str) -> int:
    """The code of a status line; 500 for one that has none, as a server will answer."""
    code = line[:3]
    return int(code) if code.isdecimal() else says.FAILED


def _key(header: str) -> str:
    key = header.upper().replace("-", "_")
    return key if key in _WITHOUT_PREFIX else f"HTTP_{key}"


def _correlation_id(environ: Environ, audit: AuditMiddleware) -> tuple[str | None, str]:
    """The header that carries it, and the id: a new one, if none came that can be one."""
    keys = audit.correlation_keys
    for name, key in keys:
        if given := says.valid_correlation_id(environ.get(key)):
            return name, given
    return keys[0][0] if keys else None, says.new_correlation_id()


def _chosen(environ: Environ, audit: AuditMiddleware) -> dict[str, Any]:
    """What is to be recorded of the request besides."""
    chosen: dict[str, Any] = {}
    if audit.paths:
        raw = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        path = raw.encode("latin-1", "replace").decode("utf-8", "replace")  # PEP 3333's strings
        chosen["path"] = path[: says.PATH_CHARS_MAX]
    if audit.queries and environ.get("QUERY_STRING"):
        chosen["query"] = says.fields_shown(environ["QUERY_STRING"])
    if audit.clients and environ.get("REMOTE_ADDR"):
        chosen["client"] = environ["REMOTE_ADDR"]
    if shown := says.headers_shown(
        (name, environ[key]) for name, key in audit.header_keys if key in environ
    ):
        chosen["headers"] = shown
    return chosen
