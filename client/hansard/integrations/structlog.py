"""structlog: `AuditProcessor` records an event dict and passes it on as it came.

It renders nothing, changes nothing, and does not import structlog, which calls it.
"""

import contextlib
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final

from hansard.complaints import Complaints
from hansard.errors import ConfigError
from hansard.integrations import LogOrDirectory, shared_log
from hansard.integrations.lines import (
    ExcInfo,
    Line,
    Types,
    error_of,
    is_own,
    record_line,
    traceback_text,
)

NUMBERS: Final[Mapping[str, int]] = {
    "notset": 0,
    "debug": 10,
    "info": 20,
    "warning": 30,
    "error": 40,
    "critical": 50,
}
NAMES: Final[Mapping[str, str]] = {
    "warn": "warning",
    "exception": "error",
    "err": "error",
    "fatal": "critical",
}
NAMELESS: Final = "structlog"  # a logger without a name

# What is said by the event itself, or is structlog's own.
_TAKEN: Final = frozenset(
    {"event", "event_type", "actor", "task_id", "level", "level_number", "exc_info", "stack_info"}
)


class AuditProcessor:
    """A processor that records each event dict as an event.

    ``log`` is an `AuditLog` or a directory, found as by `AuditLog` where neither is given; further
    ``settings`` are those of `AuditLog`. Wrong ones raise `ConfigError` here; nothing is raised
    later: what cannot be recorded is warned of through the logger ``hansard``.

    Its place is behind ``add_log_level`` and ``add_logger_name``, if there are such, and before
    what renders: ``format_exc_info``, ``ProcessorFormatter.wrap_for_formatter``, JSON. What is
    bound by ``structlog.contextvars`` it takes along wherever it stands.

    ``event`` becomes the payload's ``message``, an exception its ``error`` with type and message,
    and with ``traceback`` its traceback; ``event_type``, ``actor`` and ``task_id`` the event's; the
    rest the payload. Without ``event_type`` the type is ``log.NAME`` of the logger, or what
    ``types`` has for it or for the nearest above it (``root`` for all). Lines below ``level`` are
    passed on only. What Hansard logs itself is never recorded.
    """

    def __init__(
        self,
        log: LogOrDirectory = None,
        *,
        level: str = "notset",
        types: Mapping[str, str] | None = None,
        traceback: bool = False,
        **settings: Any,
    ) -> None:
        if level not in NUMBERS:
            raise ConfigError(f"level is {level!r}: it must be one of {', '.join(NUMBERS)}")
        self._least = NUMBERS[level]
        self._types = Types(types)
        self._traceback = traceback
        self._settings = settings
        self._log = shared_log(log, **settings)
        self._complaints = Complaints()

    def __call__(self, logger: Any, method_name: str, event_dict: Any) -> Any:
        """Record it, and return the very same."""
        try:
            self._record(logger, method_name, event_dict)
        except Exception as error:  # noqa: BLE001 - a line must not break its caller
            with contextlib.suppress(Exception):
                self._complaints.warn("structlog", "a line was not recorded: %s", error)
        return event_dict

    def __repr__(self) -> str:
        return f"<AuditProcessor {self._log!r}>"

    # --- inside ---

    def _record(self, logger: Any, method_name: str, event_dict: Any) -> None:
        said = event_dict if isinstance(event_dict, Mapping) else {"event": event_dict}
        level = _level(method_name, said)
        name = _logger_name(logger, said)
        if NUMBERS[level] < self._least or is_own(name):
            return
        if not self._log.is_open:  # a shared one that somebody has closed; else as it is
            self._log = shared_log(self._log.directory, **self._settings)
        said = {**_bound_elsewhere(), **said}
        event_type = said.get("event_type") or self._types.of(name or NAMELESS)
        payload = self._payload(said)
        record_line(
            self._log, Line(event_type, payload, level, said.get("actor"), said.get("task_id"))
        )

    def _payload(self, said: Mapping[str, Any]) -> dict[str, Any]:
        event = said.get("event", "")
        payload: dict[str, Any] = {"message": event if isinstance(event, str) else str(event)}
        payload |= {
            name: value
            for name, value in said.items()
            if name not in _TAKEN and not (isinstance(name, str) and name[:1] == "_")
        }
        error = error_of(_exc_info(said.get("exc_info")), with_traceback=self._traceback)
        if error:
            payload.setdefault("error", error)
        rendered = payload.get("exception")
        if isinstance(rendered, str):  # `format_exc_info` stands before
            payload["exception"] = traceback_text(rendered)
        return payload


def _level(method_name: str, said: Mapping[str, Any]) -> str:
    given = said.get("level", method_name)
    name = given.lower() if isinstance(given, str) else ""
    name = NAMES.get(name, name)
    return name if name in NUMBERS and name != "notset" else "info"


def _logger_name(logger: Any, said: Mapping[str, Any]) -> str:
    """As ``add_logger_name`` has it, or a line of stdlib logging on its way through structlog."""
    name = said.get("logger") or getattr(said.get("_record"), "name", None)
    name = name or getattr(logger, "name", None)
    return name if isinstance(name, str) else ""


def _bound_elsewhere() -> Mapping[str, Any]:
    """What is bound in this context, for who has no ``merge_contextvars`` before."""
    module = sys.modules.get("structlog.contextvars")
    return {} if module is None else module.get_contextvars()


def _exc_info(given: Any) -> ExcInfo:
    """What structlog takes for an exception: true for the one that is handled, an exception, or
    all of it."""
    if isinstance(given, BaseException):
        where: TracebackType | None = given.__traceback__
        return type(given), given, where
    if isinstance(given, tuple) and len(given) == 3:
        return given
    return sys.exc_info() if given else None
