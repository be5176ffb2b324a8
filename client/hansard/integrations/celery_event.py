"""What the event of a Celery task says, and what travels with a task from its sender to its worker.

Values in, values out: it connects nothing, binds nothing and records nothing.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from hansard import wire

PUBLISHED: Final = "celery.task.published"
RECEIVED: Final = "celery.task.received"
STARTED: Final = "celery.task.started"
SUCCEEDED: Final = "celery.task.succeeded"
FAILED: Final = "celery.task.failed"
RETRIED: Final = "celery.task.retried"
REVOKED: Final = "celery.task.revoked"
REJECTED: Final = "celery.task.rejected"
IGNORED: Final = "celery.task.ignored"
EVENT_TYPES: Final = (
    RECEIVED,
    STARTED,
    SUCCEEDED,
    FAILED,
    RETRIED,
    REVOKED,
    REJECTED,
    IGNORED,
)

LEVELS: Final = {FAILED: "error", RETRIED: "warning", REVOKED: "warning", REJECTED: "warning"}

HEADER: Final = "hansard"  # of a task's message: a mapping of the two names below
CORRELATION_ID: Final = "correlation_id"
ACTOR: Final = "actor"

_TOLD: Final = (
    *("id", "shadow", "delivery_info", "hostname", "retries", "eta"),
    *("parent_id", "root_id", HEADER),
)

CORRELATION_ID_CHARS_MAX: Final = 255
ERROR_CHARS_MAX: Final = 1_000
TRACEBACK_CHARS_MAX: Final = 16_384
VALUE_CHARS_MAX: Final = 1_000
ARGUMENTS_MAX: Final = 50


def about(name: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """What every event of a task says of it; ``request`` as Celery has it, in a message's headers
    or a `Context`."""
    delivery = request.get("delivery_info") or {}
    root = request.get("root_id")
    fields = {
        "task": request.get("shadow") or name,
        "queue": delivery.get("routing_key"),
        "worker": request.get("hostname"),
        "retries": request.get("retries") or 0,
        "eta": request.get("eta"),
        "parent_id": request.get("parent_id"),
        "root_id": None if root == request.get("id") else root,
        "redelivered": delivery.get("redelivered") or None,
        "eager": request.get("is_eager") or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def kept(request: Mapping[str, Any]) -> dict[str, Any]:
    """Of a request what is worth remembering: all that an event says, and none of its arguments."""
    return {name: request[name] for name in _TOLD if name in request}


def carried(request: Mapping[str, Any]) -> dict[str, str]:
    """What the sender has sent along, as far as it can be used."""
    given = request.get(HEADER)
    if given is None:  # tasks that are run where they are called have their headers apart
        given = (request.get("headers") or {}).get(HEADER)
    if not isinstance(given, Mapping):
        return {}
    limits = {CORRELATION_ID: CORRELATION_ID_CHARS_MAX, ACTOR: wire.ACTOR_BYTES_MAX}
    return {
        name: given[name]
        for name, limit in limits.items()
        if isinstance(given.get(name), str)
        and given[name].isprintable()
        and 0 < len(given[name].encode()) <= limit
    }


def error_shown(error: BaseException) -> dict[str, str]:
    """What went wrong, without its traceback. What cannot be pickled, Celery wraps."""
    kind = getattr(error, "exc_cls_name", None) or type(error).__name__
    message = ""
    with suppress(Exception):  # somebody's own __str__
        message = str(error)[:ERROR_CHARS_MAX]
    return {"type": kind, "message": message}


def retry_shown(reason: Any) -> dict[str, Any]:
    """Why a task is run again, and when; ``reason`` is Celery's `Retry`, if there is one."""
    fields: dict[str, Any] = {}
    error = getattr(reason, "exc", None)
    if error is not None:
        fields["error"] = error_shown(error)
    when = getattr(reason, "when", None)
    if isinstance(when, int | float):
        fields["retry_in_s"] = when
    elif when is not None:
        fields["retry_at"] = str(when)
    return fields


def revocation_shown(*, terminated: bool, signal: object, expired: bool) -> dict[str, Any]:
    """Why a task was not run, or not to its end."""
    if terminated:
        return {"reason": "terminated", "signal": str(signal)}
    return {"reason": "expired" if expired else "revoked"}


def arguments_shown(function: Callable[..., Any], args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments by their names, so that those to be masked are."""
    try:
        named = dict(inspect.signature(function).bind_partial(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # the call will fail by itself
        named = {**{str(index): value for index, value in enumerate(args)}, **kwargs}
    variable = [
        parameter.name
        for parameter in _parameters(function)
        if parameter.kind is inspect.Parameter.VAR_KEYWORD
    ]
    for name in variable:  # each by its own name
        named.update(named.pop(name, {}))
    return {name: value_shown(named[name]) for name in list(named)[:ARGUMENTS_MAX]}


def value_shown(value: Any) -> Any:
    """A value as JSON can hold it, bounded: what is structured whole or not at all, because a name
    to be masked could be cut off from its value."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _cut(value)
    if isinstance(value, dict | list | tuple):
        with suppress(TypeError, ValueError, RecursionError):
            text = json.dumps(value, default=_replaced, skipkeys=True)
            return json.loads(text) if len(text) <= VALUE_CHARS_MAX else f"… ({len(text):,} bytes)"
    return _replaced(value)


def _replaced(value: object) -> str:
    """What JSON does not know: its text where it is a plain value, else its type alone, for its
    repr may hold anything."""
    if type(value).__module__ in ("datetime", "decimal", "uuid", "pathlib"):
        return _cut(str(value))
    return f"<{type(value).__name__}>"


def _cut(text: str) -> str:
    limit = VALUE_CHARS_MAX
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []
