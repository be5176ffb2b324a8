"""What the event of one request says: its fields, its level, and what of a stranger's is let in.

Values in, values out: it reads neither a scope nor an environ, and records nothing.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from os import urandom
from time import perf_counter_ns
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

from hansard import wire
from hansard.errors import InvalidEvent
from hansard.texts import encode_payload

HTTP_REQUEST: Final = "http.request"
HTTP_WEBSOCKET: Final = "http.websocket"

FAILED: Final = 500  # what a server answers for an application that has not
LEFT: Final = 499  # nginx's: the client closed the request before there was an answer

# Why there is no whole response: `Exchange.ended`.
DISCONNECTED: Final = "disconnected"  # the client went away
CANCELLED: Final = "cancelled"  # the server gave the request up
INCOMPLETE: Final = "incomplete"  # the application ended before its response did

CORRELATION_ID_CHARS_MAX: Final = 128
METHOD_CHARS_MAX: Final = 32
PATH_CHARS_MAX: Final = 2_048
QUERY_CHARS_MAX: Final = 4_096
QUERY_FIELDS_MAX: Final = 100
HEADER_CHARS_MAX: Final = 1_024
ERROR_CHARS_MAX: Final = 1_000
ROUTE_CHARS_MAX: Final = 1_024
BODY_BYTES_MAX: Final = 64 << 10  # the most that may be chosen

# What an id looks like in any of the usual schemes, and nothing that means anything elsewhere.
_CORRELATION_ID: Final = re.compile(rf"[A-Za-z0-9._~:/+=@-]{{1,{CORRELATION_ID_CHARS_MAX}}}")
_USER_NAMES: Final = ("identity", "display_name", "username")
_LEAVING: Final = ("ClientDisconnect", "WebSocketDisconnect")  # Starlette's


@dataclass(slots=True)
class Exchange:
    """One request and its answer, or one websocket, as far as they have come.

    ``chosen`` is what the application wants kept of the request besides; ``code`` and ``closed_by``
    are a websocket's. What is None is left out: ``bytes_sent`` where the server sends what nobody
    counts.
    """

    method: str | None
    correlation_id: str
    chosen: dict[str, Any]
    bytes_sent: int | None = 0
    began_ns: int = field(default_factory=perf_counter_ns)
    ended_ns: int | None = None
    status: int | None = None
    code: int | None = None
    closed_by: str | None = None
    ended: str | None = None
    error: BaseException | None = None
    route: str | None = None

    def complete(self) -> None:
        """The answer is whole."""
        self.ended_ns = perf_counter_ns()

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole."""
        return self.ended_ns is not None

    def end(self) -> None:
        """Nothing more will come: say what is missing."""
        if self.ended_ns is None:
            self.ended_ns = perf_counter_ns()
            if self.ended is None and self.error is None:
                self.ended = INCOMPLETE
        if self.status is None:
            self.status = LEFT if self.ended in (DISCONNECTED, CANCELLED) else FAILED

    def payload(self) -> dict[str, Any]:
        """What the event says, once it has ended."""
        assert self.ended_ns is not None
        fields = {
            "method": self.method,
            "route": self.route,
            "status": self.status,
            "duration_ms": (self.ended_ns - self.began_ns) // 1_000 / 1_000,
            "bytes": self.bytes_sent,
            "code": self.code,
            "closed_by": self.closed_by,
            "correlation_id": self.correlation_id,
            **self.chosen,
            "ended": self.ended,
            "error": None if self.error is None else error_shown(self.error),
        }
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def level(self) -> str:
        """A server's fault is an error; what is refused, or not brought to an end, a warning."""
        status = self.status or FAILED
        if self.error is not None or status >= FAILED:
            return "error"
        return "warning" if status >= 400 or self.ended is not None else "info"


def valid_correlation_id(text: str | None) -> str | None:
    """The id that a stranger sent, if it can be one."""
    return text if text is not None and _CORRELATION_ID.fullmatch(text) else None


def new_correlation_id() -> str:
    """One of our own, as of `uuid.uuid4().hex`, in a quarter of the time (RFC 9562, 5.4)."""
    digits = urandom(16).hex()
    return f"{digits[:12]}4{digits[13:16]}8{digits[17:]}"


def actor_text(actor: object) -> str | None:
    """Whoever it is, as text that an event can hold; None for nobody, and for an object of
    somebody's own that fails to say it."""
    shown = ""
    with suppress(Exception):
        shown = "" if actor is None else str(actor)
    text = shown.replace("\0", "").encode("utf-8", "replace")
    return text[: wire.ACTOR_BYTES_MAX].decode("utf-8", "ignore") or None


def user_name(user: object) -> object:
    """Who a user object is, such as authentication puts into a scope; None for nobody."""
    if user is None or isinstance(user, str):
        return user
    with suppress(Exception):  # somebody's own: it may look into a database here, and fail
        if not getattr(user, "is_authenticated", True):
            return None
        for name in _USER_NAMES:
            with suppress(NotImplementedError):  # Starlette's `BaseUser`, of what a user lacks
                if value := getattr(user, name, None):
                    return value
    return None


def comes_of_leaving(error: BaseException) -> bool:
    """Whether an error only says that the client has left."""
    return isinstance(error, OSError) or type(error).__name__ in _LEAVING


def error_shown(error: BaseException) -> dict[str, str]:
    """What went wrong, without its traceback."""
    message = type(error).__name__
    with suppress(Exception):
        message = str(error)
    return {"type": type(error).__name__, "message": message[:ERROR_CHARS_MAX]}


def fields_shown(text: str) -> dict[str, Any]:
    """A query string, or a form, by name: so that the names to be masked are."""
    cut = text[:QUERY_CHARS_MAX]
    try:
        pairs = parse_qsl(cut, keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX)
    except ValueError:
        return {"chars": len(text)}
    shown: dict[str, Any] = {}
    for name, value in pairs:
        if name not in shown:
            shown[name] = value
        elif isinstance(shown[name], list):
            shown[name].append(value)
        else:
            shown[name] = [shown[name], value]
    return shown


def headers_shown(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of headers that came, by their names in lower case."""
    return {name.lower(): value[:HEADER_CHARS_MAX] for name, value in headers}


def body_shown(content_type: str, kept: bytes, size: int) -> Any:
    """A request's body of ``size`` bytes, of which ``kept`` were: JSON and forms as what they say,
    so that the names to be masked are; JSON that calls itself text too (browsers send it so); other
    text as text; of all else, and of what was cut, the size.
    """
    kind = content_type.partition(";")[0].strip().lower()
    shown: Any = {"bytes": size}
    if not kept or len(kept) < size:
        return shown
    with suppress(ValueError, InvalidEvent):
        if kind.endswith(("/json", "+json")) or (kind.startswith("text/") and _is_json(kept)):
            orjson.loads(kept)
            shown = orjson.Fragment(kept)  # as it came: an integer may be too large for a float
        elif kind == "application/x-www-form-urlencoded":
            shown = fields_shown(kept.decode())
        elif kind.startswith("text/"):
            shown = kept.decode()
        encode_payload({"body": shown})
        return shown
    return {"bytes": size}


def _is_json(text: bytes) -> bool:
    """Whether a text is JSON that may have names."""
    if not text.lstrip().startswith((b"{", b"[")):
        return False
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
