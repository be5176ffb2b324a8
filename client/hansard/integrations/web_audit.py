"""What the ASGI and the WSGI middleware are told alike, checked once.

It calls no application and records nothing: `asgi` and `wsgi` do, each in its own way.
"""

import re
from collections.abc import Callable, Collection, Sequence
from contextvars import Token, copy_context
from typing import Any, ClassVar, Final

from hansard.complaints import Complaints
from hansard.context import Context, begin_request
from hansard.errors import ConfigError, InvalidEvent
from hansard.integrations import LogOrDirectory, shared_log
from hansard.integrations import http_event as says
from hansard.wording import kind_of

CORRELATION_HEADERS: Final = ("X-Correlation-ID", "X-Request-ID")

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110, 5.6.2


class WebAudit:
    """A middleware that records one event for each request that ``app`` answers.

    ``log`` is an `AuditLog`, a directory, or None for the one that `AuditLog` finds. What is given
    as a callable gets the scope of ASGI, or the environ of WSGI:

    * ``actor`` says who it was, once the request has been answered (WSGI: when the response
      begins), so that authentication has run. Without one, or where it says None: the user that
      authentication middleware has put there, or whoever the application has bound with
      `hansard.bind`.
    * ``route`` says which route it took, for frameworks that are not understood.
    * ``exclude`` are paths that are not recorded, such as ``["/healthz"]``, or what says so.
    * ``correlation_headers``: where an id may come from, in that order; the response carries it.

    Of what a request brings, only what is chosen is recorded: ``paths``, ``queries``, ``clients``
    (addresses), ``headers`` by their names, and request bodies up to ``body_bytes_max``.

    Nothing of it reaches the application as an exception. Raises `ConfigError` for what cannot be
    used, here.
    """

    event_types: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        app: Any,
        log: LogOrDirectory = None,
        *,
        actor: Callable[[Any], object] | None = None,
        route: Callable[[Any], str | None] | None = None,
        exclude: Collection[str] | Callable[[Any], bool] = (),
        correlation_headers: Sequence[str] = CORRELATION_HEADERS,
        paths: bool = False,
        queries: bool = False,
        clients: bool = False,
        headers: Sequence[str] = (),
        body_bytes_max: int = 0,
    ) -> None:
        self.app = app
        self.log = shared_log(log)
        self._check_types()
        self._actor, self._route = actor, route
        self._excluded = exclude if callable(exclude) else frozenset(_texts("exclude", exclude))
        self.correlation_headers = _names("correlation_headers", correlation_headers)
        self.paths, self.queries, self.clients = paths, queries, clients
        self.headers = _names("headers", headers)
        if not 0 <= body_bytes_max <= says.BODY_BYTES_MAX:
            raise ConfigError(
                f"body_bytes_max is {body_bytes_max}: it must be from 0, for no bodies, "
                f"to {says.BODY_BYTES_MAX}"
            )
        self.body_bytes_max = body_bytes_max
        self.has_choices = bool(paths or queries or clients or headers)
        self._complaints = Complaints()

    def is_excluded(self, request: Any, path: str) -> bool:
        """Whether a request is not to be recorded."""
        excluded = self._excluded
        if not callable(excluded):
            return path in excluded
        try:
            return bool(excluded(request))
        except Exception as error:  # noqa: BLE001 - somebody's own: and the request goes on
            self.complain("exclude", error)
            return False

    def begin(self, correlation_id: str, user: object) -> Token[Context | None] | None:
        """Bind who asks and for what; for `hansard.context.end_request`, if there is anything."""
        actor = None if user is None else says.actor_text(says.user_name(user))
        try:
            return begin_request(correlation_id, actor)
        except InvalidEvent as error:  # too much is bound around it
            self.complain("bind", error)
            return None

    def actor_of(self, request: Any, user: object) -> str | None:
        """Who ``actor`` says it was, or else what the server or authentication has left."""
        if self._actor is not None:
            try:
                if actor := says.actor_text(self._actor(request)):
                    return actor
            except Exception as error:  # noqa: BLE001 - as above
                self.complain("actor", error)
        return None if user is None else says.actor_text(says.user_name(user))

    def route_of(self, request: Any, found: Callable[[Any, str], str | None], before: str) -> Any:
        """The route, by ``route`` or else as ``found`` in what the framework has left."""
        try:
            route = found(request, before) if self._route is None else self._route(request)
        except Exception as error:  # noqa: BLE001 - as above
            self.complain("route", error)
            return None
        return None if route is None else str(route)[: says.ROUTE_CHARS_MAX]

    def complain(self, what: str, error: BaseException) -> None:
        """Warn, as seldom as of anything, of what went wrong here and not in the application."""
        self._complaints.warn(
            f"web {what}", "audit middleware, %s: %s: %s", what, type(error).__name__, error
        )

    def _check_types(self) -> None:
        allowed = self.log.settings.event_types
        for event_type in () if allowed is None else self.event_types:
            if event_type not in (allowed or ()):
                raise ConfigError(
                    f"event_types of {self.log.directory} lacks {event_type!r}, which this "
                    "middleware records: add it"
                )


def aside(record: Callable[[], None]) -> None:
    """Record in this context, but in a thread of its own: for a task of an event loop that was
    cancelled, and must not wait for anything any more."""
    import asyncio  # loaded there, and of no use to WSGI

    try:
        asyncio.get_running_loop().run_in_executor(None, copy_context().run, record)
    except RuntimeError:  # the loop has ended: there is none to block
        record()


def _texts(name: str, values: Collection[str]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(each, str) for each in values):
        raise ConfigError(f"{name} is {kind_of(values)}: it must be a list of strings")
    return tuple(values)


def _names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """The names of headers."""
    for each in _texts(name, values):
        if not _TOKEN.fullmatch(each):
            raise ConfigError(f"{name} has {each!r}: it must be the name of a header")
    return tuple(values)
