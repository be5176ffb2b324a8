"""stdlib logging: `AuditHandler` records what an application's loggers say, one event a line.

It formats no text and holds no lock: `AuditLog.record` is for any number of threads, and who waits
in it for room must not keep the other threads from their lines.
"""

import contextlib
import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

from hansard.errors import ConfigError
from hansard.integrations import LogOrDirectory, shared_log
from hansard.integrations.lines import (
    Line,
    Types,
    error_of,
    is_own,
    level_of,
    record_line,
    traceback_text,
)
from hansard.wire import LEVELS

INSIDE_MAX: Final = 4  # lines within one another: of a signal handler, of a value's own repr

# Of a `logging.LogRecord`; what else a record has is the caller's ``extra``.
_OWN_NAMES: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_TAKEN: Final = frozenset({"event_type", "actor", "task_id"})


class AuditHandler(logging.Handler):
    """A handler that records each line as an event, for ``dictConfig`` and by hand.

    ``log`` is an `AuditLog` or a directory, found as by `AuditLog` where neither is given; further
    ``settings`` are those of `AuditLog`. Wrong ones raise `ConfigError` here, where logging is set
    up; nothing is raised later.

    The event's type is ``log.NAME`` of the logger, or what ``types`` has for it or for the nearest
    logger above it (``root`` for all), or ``extra={"event_type": …}``. Its payload has ``message``,
    ``logger``, all of ``extra``, for an exception ``error`` with its type and message, with
    ``traceback`` also its traceback and stack, and with ``source`` the file, line and function.
    ``actor`` and ``task_id`` in ``extra`` become the event's. ``levels`` maps level numbers or
    names of the application's own to one of Hansard's five; others become the next lower.

    What JSON cannot hold is kept as its ``repr``, and what is too large is cut, with a mark. Where
    a line cannot be recorded at all, `handleError` is called, as of any handler. What Hansard logs
    itself (the logger ``hansard``) is never recorded.
    """

    def __init__(
        self,
        log: LogOrDirectory = None,
        *,
        level: int | str = logging.NOTSET,
        types: Mapping[str, str] | None = None,
        levels: Mapping[int | str, str] | None = None,
        traceback: bool = False,
        source: bool = False,
        **settings: Any,
    ) -> None:
        self._types = Types(types)
        self._levels = _checked_levels(levels)
        self._traceback = traceback
        self._source = source
        self._settings = settings
        self._log = shared_log(log, **settings)
        self._inside = threading.local()
        super().__init__(level)  # last: logging flushes at exit whatever it has seen so far

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """None: a line may wait for room, and who logs from a signal handler must not wait for
        whoever it interrupts."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """As of any handler, without its lock."""
        passed: Any = self.filter(record)
        if passed:
            self.emit(passed if isinstance(passed, logging.LogRecord) else record)
        return bool(passed)

    def emit(self, record: logging.LogRecord) -> None:
        """Record it. Raises nothing but what is no `Exception`, such as KeyboardInterrupt."""
        depth = getattr(self._inside, "depth", 0)
        if depth >= INSIDE_MAX:
            return
        self._inside.depth = depth + 1
        try:
            if is_own(record.name):
                return
            if not self._log.is_open:  # a shared one that somebody has closed; else as it is
                self._log = shared_log(self._log.directory, **self._settings)
            record_line(self._log, self._line(record))
        except Exception:  # noqa: BLE001 - logging's way to say it
            with contextlib.suppress(Exception):  # it writes to stderr, which may be closed
                self.handleError(record)
        finally:
            self._inside.depth = depth

    def flush(self) -> None:
        """Wait until what was recorded is committed, as long as `AuditLog.close` would. What is
        left is in the spool."""
        log = self._log
        if log.is_open:
            with contextlib.suppress(Exception):  # best_effort may be off: nobody asked for this
                log.flush(log.settings.close_timeout)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._log!r} ({logging.getLevelName(self.level)})>"

    # --- inside ---

    def _line(self, record: logging.LogRecord) -> Line:
        said = vars(record)
        payload: dict[str, Any] = {"message": self._message(record), "logger": record.name}
        payload |= {
            name: value
            for name, value in said.items()
            if name not in _OWN_NAMES and name not in _TAKEN and name[:1] != "_"
        }
        self._add_error(payload, record)
        if self._source:
            where = {"file": record.pathname, "line": record.lineno, "function": record.funcName}
            payload.setdefault("source", where)
        return Line(
            said.get("event_type") or self._types.of(record.name),
            payload,
            self._level(record),
            said.get("actor"),
            said.get("task_id"),
            round(record.created * 1_000_000) * 1_000,  # a float knows no more of it
        )

    def _message(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record) if self.formatter else record.getMessage()
        except Exception as error:  # noqa: BLE001 - arguments that do not fit the message
            return f"{record.msg!s} {record.args!r} ({type(error).__name__}: {error})"

    def _add_error(self, payload: dict[str, Any], record: logging.LogRecord) -> None:
        error = error_of(record.exc_info, with_traceback=self._traceback)
        if error:
            payload.setdefault("error", error)
        if self._traceback and record.stack_info:
            payload.setdefault("stack", traceback_text(record.stack_info))

    def _level(self, record: logging.LogRecord) -> str:
        levels = self._levels
        if levels:
            level = levels.get(record.levelno) or levels.get(record.levelname)
            if level:
                return level
        return level_of(record.levelno)


def _checked_levels(levels: Mapping[int | str, str] | None) -> dict[int | str, str]:
    """Raises `ConfigError` for what is no level of an event."""
    for name, level in (levels or {}).items():
        if level not in LEVELS:
            raise ConfigError(
                f"levels of {name!r} is {level!r}: it must be one of debug, info, warning, error, "
                "critical"
            )
    return dict(levels or {})
