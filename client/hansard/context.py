"""What goes into every event of a context: bound by hand, or of an OpenTelemetry span that runs.

A context is that of `contextvars`: each thread has its own, each asyncio task a copy of its
maker's. Nothing is recorded here; `hansard.events` merges it into each event.
"""

import contextlib
import functools
import inspect
import json
import sys
from collections.abc import Callable, Container, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar

import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.masking import Mask
from hansard.texts import check_text, encode_payload

CONTEXT_BYTES_MAX: Final = 16 << 10  # of the fields' text, which each event repeats
OPENTELEMETRY: Final = "opentelemetry.trace"  # of interest only where somebody has loaded it

_NAME_BYTES_MAX: Final = 1_024

Function = TypeVar("Function", bound=Callable[..., Any])
Actor = str | Callable[[], str | None] | None


class Context(NamedTuple):
    """What is bound. ``fields`` are JSON texts by name, each as ``"name":value``."""

    actor: Actor = None
    task_id: str | None = None
    fields: Mapping[str, bytes] = {}

    def who(self) -> str | None:
        """The actor, who is asked for now where that is not known yet."""
        actor = self.actor
        return actor() if callable(actor) else actor

    def over(self, other: "Context") -> "Context":
        """Both, and this one's where both have one."""
        fields = {**other.fields, **self.fields}
        _check_size(fields)
        return Context(
            other.actor if self.actor is None else self.actor,
            other.task_id if self.task_id is None else self.task_id,
            fields,
        )

    def without(self, names: Container[str]) -> "Context":
        """What is left without these."""
        return Context(
            None if "actor" in names else self.actor,
            None if "task_id" in names else self.task_id,
            {name: text for name, text in self.fields.items() if name not in names},
        )

    def alone(self, mask: Mask) -> bytes | None:
        """The JSON text of an event that has no payload of its own, masked."""
        if not self.fields:
            return None
        return mask.masked_text(b"{" + b",".join(self.fields.values()) + b"}")

    def merged(self, payload: bytes, mask: Mask, names: Container[str] | None = None) -> bytes:
        """The JSON text of a payload with the fields behind its own, whose names win. Masks the
        fields, as the payload is.

        ``names`` are its own, None where only the text tells. Text that is no object is left as it
        is: whoever enters it will say so.
        """
        fields = self.fields
        if not fields:
            return payload
        if names is None:
            payload = payload.strip()
            if not (payload.startswith(b"{") and payload.endswith(b"}")):
                return payload
            names = _own_names(payload, fields)
        added = b",".join([text for name, text in fields.items() if name not in names])
        if not added:
            return payload
        comma = b"," if payload[1:-1].strip() else b""
        return payload[:-1] + comma + mask.masked_text(b"{" + added + b"}")[1:]


_NOTHING: Final = Context()
_context: Final[ContextVar[Context | None]] = ContextVar("hansard.context", default=None)
bound_now = _context.get  # what is bound here, None for nothing


def bind(*, actor: Actor = None, task_id: str | None = None, **fields: Any) -> None:
    """Add to every event that is recorded in this context from now on: in this thread, or in this
    asyncio task and those that it starts.

    ``actor`` and ``task_id`` are the event's where the call names none, and beat the setting
    ``actor``. An actor that is not known yet may be a function without arguments: it is called for
    each event that names none, and what it raises, `record` raises. ``fields``, such as
    ``correlation_id``, are merged into the event's payload, whose own names win. Values are taken
    as they are now; a None is left out. To bind a name again replaces it.

    Raises `InvalidEvent` for what no event can hold.
    """
    _context.set(_encoded(actor, task_id, fields).over(_context.get() or _NOTHING))


def unbind(*names: str) -> None:
    """Take away what is bound in this context under these names; without a name, all of it."""
    context = _context.get()
    if context is not None:
        left = context.without(names) if names else _NOTHING
        _context.set(None if left == _NOTHING else left)


class bound:  # noqa: N801 - read as a word, like `contextlib.suppress`
    """`bind` for the length of a ``with`` block, or of each call of a function, sync or async.

    What was bound before is bound again behind it, whatever was bound or unbound inside.
    """

    def __init__(self, *, actor: Actor = None, task_id: str | None = None, **fields: Any) -> None:
        self._added = _encoded(actor, task_id, fields)
        self._tokens: list[Token[Context | None]] = []

    def __enter__(self) -> Self:
        around = _context.get()
        context = self._added if around is None else self._added.over(around)
        self._tokens.append(_context.set(context))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for token in reversed(self._tokens):
            try:
                _context.reset(token)
            except (ValueError, RuntimeError):  # of another thread or task in a block of the same
                continue
            self._tokens.remove(token)
            return
        # None is of this context: a generator that was ended elsewhere. Here, nothing was bound.

    def __call__(self, function: Function) -> Function:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__qualname__} is a generator, which runs in the context of whoever "
                "asks it for more: bind there"
            )
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                with self._again():
                    return await function(*args, **kwargs)

            return awaited  # type: ignore[return-value]

        @functools.wraps(function)
        def called(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return called  # type: ignore[return-value]

    def _again(self) -> "bound":
        """Another of its own: calls may overlap."""
        again = bound()
        again._added = self._added
        return again


def begin_request(correlation_id: str, actor: Actor) -> "Token[Context | None]":
    """`bind` for one request, in a fifth of the time: its client waits for it.

    The id MUST be printable ASCII without quotes and backslashes, and the actor text that an event
    can hold. `end_request` takes what this returns. Raises `InvalidEvent` as `bind`.
    """
    fields = {"correlation_id": b'"correlation_id":"%b"' % correlation_id.encode()}
    added, around = Context(actor, None, fields), _context.get()
    return _context.set(added if around is None else added.over(around))


def end_request(token: "Token[Context | None]") -> None:
    """What was bound before `begin_request` is bound again."""
    with contextlib.suppress(ValueError, RuntimeError):  # it ends in another's context
        _context.reset(token)


def with_span(context: Context | None) -> Context | None:
    """What is bound, and the ids of the OpenTelemetry span that is recording here, if one is."""
    try:
        span = sys.modules[OPENTELEMETRY].get_current_span()
        ids = span.get_span_context()
        if not (ids.is_valid and span.is_recording()):
            return context
        fields = {
            "trace_id": b'"trace_id":"%032x"' % ids.trace_id,
            "span_id": b'"span_id":"%016x"' % ids.span_id,
        }
    except Exception:  # noqa: BLE001 - half imported, or somebody's own: no event is lost for it
        return context
    if context is None:
        return Context(fields=fields)
    return context._replace(fields={**fields, **context.fields})


def _encoded(actor: Actor, task_id: str | None, fields: Mapping[str, Any]) -> Context:
    if actor is not None and not callable(actor):
        check_text("actor", actor, wire.ACTOR_BYTES_MAX)
    if task_id is not None:
        check_text("task_id", task_id, wire.TASK_ID_BYTES_MAX)
    texts = {}
    for name, value in fields.items():
        if value is None:
            continue
        check_text("the name of a bound field", name, _NAME_BYTES_MAX)
        try:
            texts[name] = encode_payload({name: value})[1:-1]
        except InvalidEvent as error:
            raise InvalidEvent(f"{name}: {str(error).replace('payload', 'it', 1)}") from error
    _check_size(texts)
    return Context(actor, task_id, texts)


def _check_size(fields: Mapping[str, bytes]) -> None:
    size = sum(map(len, fields.values())) + len(fields)
    if size > CONTEXT_BYTES_MAX:
        raise InvalidEvent(
            f"what is bound has {size:,} bytes of JSON: at most {CONTEXT_BYTES_MAX:,} are "
            "allowed; each event repeats it"
        )


def _own_names(payload: bytes, fields: Mapping[str, bytes]) -> Container[str]:
    """The names of an object's text, as far as they may be among the fields'."""
    escaped = rb"\u" in payload or rb"\/" in payload  # other escapes have one way to be written
    if not escaped and not any(orjson.dumps(name) in payload for name in fields):
        return ()
    try:
        names: Container[str] = json.loads(payload, parse_int=str)
    except (ValueError, RecursionError):  # what is no JSON has no names
        return ()
    return names
