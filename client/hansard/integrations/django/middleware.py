"""Django's middleware: binds who and which request around what a view records, and records the
request itself. Sync and async; the first in MIDDLEWARE sees what the others answer, too.

A user is not asked for by a query, unless an event inside the request names no actor. Where the
middleware of `hansard.integrations.wsgi` or ``asgi`` is around Django already, that one records the
request, and is told who it was.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.http.request import HttpHeaders
from django.utils.functional import LazyObject, empty

from hansard import ConfigError, InvalidEvent, bind, unbind
from hansard.context import begin_request, bound_now, end_request
from hansard.integrations import http_event as says
from hansard.integrations.django import configuration
from hansard.integrations.django.signins import actor_of
from hansard.integrations.web_audit import WebAudit, aside

AROUND: Final = "hansard.correlation_id"  # in the environ or scope: another middleware's

_ERROR: Final = "_hansard_error"


class AuditMiddleware:
    """``MIDDLEWARE = [..., "hansard.integrations.django.middleware.AuditMiddleware"]``.

    Raises `ImproperlyConfigured`, when the server starts, for what the system checks would refuse.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        for fault in configuration.faults():
            raise ImproperlyConfigured(fault)
        chosen = configuration.current().requests
        self._get_response = get_response
        self._records = chosen is not False
        choices = dict(chosen) if isinstance(chosen, dict) else {}
        try:
            self._audit = WebAudit(None, configuration.log(), **choices)
        except (ConfigError, TypeError) as error:
            raise ImproperlyConfigured(f"HANSARD['requests']: {error}") from error
        headers = self._audit.correlation_headers
        self._correlation_keys = tuple((name, HttpHeaders.to_wsgi_name(name)) for name in headers)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """One request."""
        if self._is_async:
            return self._answer(request)
        exchange, header = self._begun(request)
        with self._bound(request, exchange):
            try:
                response = self._get_response(request)
            except BaseException as error:  # only where Django is told to let them through
                exchange.error = error
                self._end(request, exchange)
                raise
            self._see(request, response, exchange, header)
            if configuration.current().resolve_user:
                _Who(request)()
            self._end(request, exchange)
        self._tell(request)
        return response

    @contextmanager
    def _bound(self, request: Any, exchange: says.Exchange) -> Iterator[None]:
        """Bind who asks, and for what."""
        try:
            token = begin_request(exchange.correlation_id, _Who(request))
        except InvalidEvent as error:  # too much is bound around it
            self._audit.complain("bind", error)
            yield
            return
        try:
            yield
        finally:
            end_request(token)

    async def _answer(self, request: Any) -> Any:
        """The same for an async handler."""
        exchange, header = self._begun(request)
        with self._bound(request, exchange):
            try:
                response = await self._get_response(request)
            except (asyncio.CancelledError, GeneratorExit):
                exchange.ended = says.CANCELLED
                if (event := self._event(request, exchange)) is not None:
                    aside(partial(configuration.record, says.HTTP_REQUEST, **event))
                raise
            except BaseException as error:
                exchange.error = error
                if (event := self._event(request, exchange)) is not None:
                    await configuration.arecord(says.HTTP_REQUEST, **event)
                raise
            self._see(request, response, exchange, header)
            if configuration.current().resolve_user:
                await sync_to_async(_Who(request))()
            if (event := self._event(request, exchange)) is not None:
                await configuration.arecord(says.HTTP_REQUEST, **event)
        self._tell(request)
        return response

    def process_exception(self, request: Any, exception: Exception) -> None:
        """Django's hook for what a view raises, before it makes a response of it."""
        setattr(request, _ERROR, exception)

    # --- inside ---

    def _begun(self, request: Any) -> tuple[says.Exchange, str | None]:
        """The exchange, and the header that is to carry its id back, if none else does."""
        method = request.method[: says.METHOD_CHARS_MAX]
        if around := _around(request):
            return says.Exchange(method, around, {}), None
        keys = self._correlation_keys
        for name, key in keys:  # not `request.headers`, which is made for who asks
            if given := says.valid_correlation_id(request.META.get(key)):
                return says.Exchange(method, given, self._chosen(request)), name
        own = says.Exchange(method, says.new_correlation_id(), self._chosen(request))
        return own, keys[0][0] if keys else None

    def _chosen(self, request: Any) -> dict[str, Any]:
        """What is to be recorded of the request besides."""
        audit, meta = self._audit, request.META
        chosen: dict[str, Any] = {}
        if audit.paths:
            chosen["path"] = request.path[: says.PATH_CHARS_MAX]
        if audit.queries and meta.get("QUERY_STRING"):
            chosen["query"] = says.fields_shown(meta["QUERY_STRING"])
        if audit.clients and meta.get("REMOTE_ADDR"):
            chosen["client"] = meta["REMOTE_ADDR"]
        given = ((name, request.headers[name]) for name in audit.headers if name in request.headers)
        if shown := says.headers_shown(given):
            chosen["headers"] = shown
        return chosen

    def _see(
        self, request: Any, response: Any, exchange: says.Exchange, header: str | None
    ) -> None:
        """The answer, as far as it is known here: one that streams has only begun."""
        exchange.complete()
        exchange.status = response.status_code
        exchange.bytes_sent = None if response.streaming else len(response.content)
        if exchange.status >= says.FAILED:
            exchange.error = getattr(request, _ERROR, None)
        if header is not None and header not in response.headers:
            response.headers[header] = exchange.correlation_id

    def _end(self, request: Any, exchange: says.Exchange) -> None:
        """Record it."""
        if (event := self._event(request, exchange)) is not None:
            configuration.record(says.HTTP_REQUEST, **event)

    def _event(self, request: Any, exchange: says.Exchange) -> dict[str, Any] | None:
        """What to record, within the request's context; None where nobody wants that here."""
        if not self._records or _around(request):
            return None
        if self._audit.is_excluded(request, request.path):
            return None
        exchange.end()
        match = getattr(request, "resolver_match", None)
        if match is not None:
            exchange.route = f"/{match.route}"[: says.ROUTE_CHARS_MAX]
        actor = None
        if isinstance(getattr(bound_now(), "actor", None), _Who):  # the view has bound none itself
            actor = _who_is_known(request)
            unbind("actor")  # to record it is no reason to ask
        return {"payload": exchange.payload(), "level": exchange.level, "actor": actor}

    def _tell(self, request: Any) -> None:
        """Tell the middleware around Django who it was."""
        if _around(request) and (actor := _who_is_known(request)):
            bind(actor=actor)  # in the context that the response is sent in


def _around(request: Any) -> str | None:
    """The id of the middleware around Django, if there is one."""
    given = getattr(request, "scope", None) or request.META
    found: str | None = given.get(AROUND)
    return found


class _Who:
    """Who it is, for an event that names nobody: asks the session, where that can be done."""

    def __init__(self, request: Any) -> None:
        self._request = request
        self._is_asking = False

    def __call__(self) -> str | None:
        request = self._request
        known = _who_is_known(request)
        if known is not None or self._is_asking or _in_event_loop():
            return known
        self._is_asking = True  # what is recorded while asking has nobody
        try:
            return says.actor_text(actor_of(getattr(request, "user", None)))
        except Exception as error:  # noqa: BLE001 - the event is worth more than its actor
            configuration.complain("actor", error)
            return None
        finally:
            self._is_asking = False


def _who_is_known(request: Any) -> str | None:
    """Who it is, if somebody has asked before."""
    user = getattr(request, "user", None)
    if isinstance(user, LazyObject) and user.__dict__.get("_wrapped") is empty:
        known = vars(request)
        user = known.get("_cached_user", known.get("_acached_user"))
    return says.actor_text(actor_of(user))


def _in_event_loop() -> bool:
    """Whether a query would block an event loop; Django refuses those."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
