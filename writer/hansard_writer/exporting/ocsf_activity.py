"""What an entry's type and payload say in OCSF's words: which activity, how it ended, over HTTP or
not. Pure.

Three kinds of entries are known by their type: operations on an environment, refusals, requests
(``http.request``). Of all others a few members are known wherever they stand on top of a payload:
``duration_ms``, ``error`` (text, or an object with ``type`` and ``message``), ``correlation_id``,
``trace_id``, ``model`` with ``pk`` or ``pks``. What is not of the form that OCSF asks for is left
where it is, in the payload.

The activity is named by a verb: an operation's name, a request's method, the kind of a refused
action, else the event type's last part. What OCSF has no verb for is "Other" by that name. Nothing
is guessed of how an entry ended that does not say so: its status is unknown.
"""

import json
import math
import re
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

import orjson

from hansard.operations import ENV_OPERATION
from hansard.outcomes import FAILED
from hansard.outcomes import SUCCESS as SUCCEEDED
from hansard.reader import Event
from hansard.refusals import GOVERNANCE_REFUSAL
from hansard_writer.exporting.cloudevents import INTEGER_MAX

INTEGER_CHARS_MAX: Final = 20  # what is longer is none of those that are looked at
HTTP_REQUEST: Final = "http.request"
HTTP_METHODS: Final = frozenset(
    {"OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH"}
)
SECURITY_CONTROL: Final = "security_control"
TRACE: Final = "trace"

CREATE, READ, UPDATE, DELETE, OTHER = 1, 2, 3, 4, 99
CAPTIONS: Final = {
    CREATE: "Create", READ: "Read", UPDATE: "Update", DELETE: "Delete", OTHER: "Other",
}  # fmt: skip
UNKNOWN: Final = (0, "Unknown")
SUCCESS: Final = (1, "Success")
FAILURE: Final = (2, "Failure")
DENIED: Final = {"action_id": 2, "action": "Denied", "disposition_id": 2, "disposition": "Blocked"}

_VERBS: Final = {
    **dict.fromkeys(("create", "created", "add", "added", "insert", "inserted", "post"), CREATE),
    **dict.fromkeys(
        ("read", "get", "head", "options", "list", "listed", "query", "search", "view", "viewed"),
        READ,
    ),
    **dict.fromkeys(
        ("update", "updated", "change", "changed", "put", "patch", "set", "modify", "modified"),
        UPDATE,
    ),
    **dict.fromkeys(("delete", "deleted", "remove", "removed", "drop", "dropped"), DELETE),
}
_OPERATIONS: Final = {
    "create_env": CREATE, "delete_env": DELETE, "cleanup": DELETE, "run": OTHER,
    **dict.fromkeys(("add_deps", "update_deps", "remove_deps", "sync"), UPDATE),
}  # fmt: skip
_ENDS: Final = {
    **dict.fromkeys(("failed", "failure", "error"), FAILURE),
    **dict.fromkeys(("succeeded", "success"), SUCCESS),
}
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


class Activity(NamedTuple):
    """``attributes`` are those of the event itself; the rest is for the objects that it has.
    ``has_object``: whether the payload is one, as it is in every log that nobody altered."""

    id: int
    name: str
    status_id: int
    status: str
    attributes: dict[str, Any]
    response: dict[str, Any]
    client: dict[str, Any]
    correlation_id: str
    profiles: tuple[str, ...]
    has_object: bool

    @property
    def caption(self) -> str:
        return CAPTIONS[self.id]


class _Told(NamedTuple):
    """What one kind of entry tells."""

    activity_id: int
    name: str
    status: tuple[int, str]
    attributes: dict[str, Any]
    response: dict[str, Any]
    client: dict[str, Any] = {}  # noqa: RUF012 - read only


def activity_of(event: Event) -> Activity:
    """All that can be said of an entry beyond its columns."""
    parsed = _parsed(event.payload)
    payload = parsed if isinstance(parsed, dict) else {}
    told = _TELL.get(event.event_type, _any)(event, payload)
    attributes = dict(told.attributes)
    duration_ms: Any = payload.get("duration_ms")
    if type(duration_ms) in (int, float) and 0 <= duration_ms < math.inf:
        attributes["duration"] = round(duration_ms)
    trace_id = _text(payload, "trace_id")
    if _TRACE_ID.fullmatch(trace_id):
        attributes["trace"] = {"uid": trace_id}
    profiles = (
        *((SECURITY_CONTROL,) if event.event_type == GOVERNANCE_REFUSAL else ()),
        *((TRACE,) if "trace" in attributes else ()),
    )
    return Activity(
        told.activity_id,
        CAPTIONS[told.activity_id] if told.activity_id != OTHER else told.name,
        *told.status,
        attributes,
        told.response,
        told.client,
        _text(payload, "correlation_id"),
        profiles,
        isinstance(parsed, dict),
    )


# --- the kinds of entries ---


def _operation(_event: Event, payload: dict[str, Any]) -> _Told:
    name, said = _text(payload, "operation"), _text(payload, "status")
    status = {SUCCEEDED: SUCCESS, FAILED: FAILURE}.get(said, UNKNOWN)
    metadata = payload.get("metadata")
    error = _text(metadata, "error") if isinstance(metadata, dict) else ""
    attributes: dict[str, Any] = {"resources": _environment(payload)}
    response: dict[str, Any] = {}
    if (code := _small(payload, "exit_code")) is not None:
        attributes["status_code"], response["code"] = str(code), code
    if error:
        attributes["status_detail"] = response["error_message"] = error
    activity_id = _OPERATIONS.get(name, _verb(name))
    return _Told(activity_id, name or ENV_OPERATION, status, _without_empty(attributes), response)


def _environment(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The node is the resource, its workflow the namespace."""
    workflow_id, node_id = _text(payload, "workflow_id"), _text(payload, "node_id")
    if not node_id:
        return []
    said = {"type": "environment", "uid": node_id, "namespace": workflow_id}
    said["version"] = _text(payload, "version_id")
    return [_without_empty(said)]


def _refusal(_event: Event, payload: dict[str, Any]) -> _Told:
    action = payload.get("action")
    kind = _text(action, "kind") if isinstance(action, dict) else ""
    reason, rule_id = _text(payload, "reason"), _text(payload, "rule_id")
    policy = {"uid": rule_id, "is_applied": True} if rule_id else {}
    attributes = {**DENIED, "status_detail": reason, "policy": policy}
    name = kind or GOVERNANCE_REFUSAL
    return _Told(_verb(kind), name, FAILURE, _without_empty(attributes), {})


def _request(_event: Event, payload: dict[str, Any]) -> _Told:
    method, code = _text(payload, "method"), _small(payload, "status")
    status, response, attributes = UNKNOWN, dict[str, Any](), dict[str, Any]()
    if code is not None:
        status = FAILURE if code >= 400 else SUCCESS
        response = {"code": code}
        attributes["status_code"] = str(code)
        sent = {"code": code, "body_length": _small(payload, "bytes")}
        attributes["http_response"] = _without_empty(sent)
    error, ended = _error(payload), _text(payload, "ended")
    if error or ended:
        status, response = FAILURE, response | error
        attributes["status_detail"] = _detail(error) or ended
    attributes["http_request"] = _http_request(payload, method)
    client = _address(_text(payload, "client"))
    name = method or HTTP_REQUEST
    return _Told(_verb(method), name, status, _without_empty(attributes), response, client)


def _http_request(payload: dict[str, Any], method: str) -> dict[str, Any]:
    """The path where it was recorded, else the route that it met."""
    path = _text(payload, "path") or _text(payload, "route")
    given = payload.get("headers")
    headers = {
        name: value
        for name, value in (given.items() if isinstance(given, dict) else ())
        if isinstance(value, str)
    }
    return _without_empty(
        {
            "http_method": method if method in HTTP_METHODS else None,
            "url": {"path": path} if path else {},
            "user_agent": headers.get("user-agent"),
            "http_headers": [{"name": name, "value": headers[name]} for name in headers],
            "uid": _text(payload, "correlation_id"),
        }
    )


def _any(event: Event, payload: dict[str, Any]) -> _Told:
    last = event.event_type.rpartition(".")[2]
    words = [word.lower() for word in _WORD.findall(last)]
    status = _ENDS.get(words[-1], UNKNOWN) if words else UNKNOWN
    error = _error(payload)
    attributes = _without_empty({"status_detail": _detail(error), "resources": _rows(payload)})
    return _Told(_verb(last), event.event_type, FAILURE if error else status, attributes, error)


def _rows(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a model, as the integration of Django records them."""
    model, several = _text(payload, "model"), payload.get("pks")
    keys = several if isinstance(several, list) else [payload.get("pk")]
    named = [str(key) for key in keys if type(key) in (str, int)]
    return [{"type": model, "uid": key} for key in named if model]


_TELL: Final = {
    ENV_OPERATION: _operation,
    GOVERNANCE_REFUSAL: _refusal,
    HTTP_REQUEST: _request,
}

# --- what payloads hold ---


def _parsed(payload: str | None) -> Any:
    if payload is None:
        return None
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:  # a number or a surrogate that is valid all the same
        try:
            return json.loads(payload, parse_int=_exact_integer, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


def _exact_integer(text: str) -> int | str:
    return int(text) if len(text) <= INTEGER_CHARS_MAX else text


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _verb(name: str) -> int:
    """An order begins with its verb (CreateUser, delete_env), and a report ends with it
    (user_created)."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return OTHER
    return _VERBS.get(words[0]) or _VERBS.get(words[-1], OTHER)


def _error(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload's ``error`` as a response has it."""
    error = payload.get("error")
    if isinstance(error, dict):
        return _without_empty(
            {"error": _text(error, "type"), "error_message": _text(error, "message")}
        )
    return {"error_message": error} if error and isinstance(error, str) else {}


def _detail(error: dict[str, Any]) -> str:
    detail: str = error.get("error_message") or error.get("error") or ""
    return detail


def _address(client: str) -> dict[str, Any]:
    """A client's address, with or without its port."""
    host, _, port = client.rpartition(":")
    for address in (client, host.strip("[]")):
        try:
            said: dict[str, Any] = {"ip": str(ip_address(address.partition("%")[0]))}
        except ValueError:
            continue
        if address != client and _PORT.fullmatch(port) and int(port) < 1 << 16:
            said["port"] = int(port)
        return said
    return {}


def _text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def _small(payload: dict[str, Any], name: str) -> int | None:
    """An integer of the 32 bits that OCSF's have."""
    value = payload.get(name)
    return value if type(value) is int and abs(value) <= INTEGER_MAX else None


def _without_empty(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value not in ("", {}, [], None)}
