"""What a line of an application's own log says, as an event: its level, its type, its payload.

Values that no event can hold are made to fit, with a mark where something was cut, because a line
that is lost says nothing. It knows neither stdlib logging nor structlog, which call it.
"""

import re
import traceback
from collections import deque
from collections.abc import Collection, Mapping
from datetime import date
from datetime import time as time_of_day
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from time import time_ns
from types import TracebackType
from typing import Any, Final, NamedTuple
from uuid import UUID

from hansard import wire
from hansard.audit_log import AuditLog
from hansard.errors import ConfigError, InvalidEvent
from hansard.events import check_event_type
from hansard.excerpts import fields_of

TRACEBACK_CHARS_MAX: Final = 16_384  # its end says most
TEXT_CHARS_MAX: Final = 65_536  # of one text in an event that did not fit
LINE_CHARS_MAX: Final = 131_072  # of all of them: as JSON a character has six bytes at most
REPR_CHARS_MAX: Final = 1_024
NAME_CHARS_MAX: Final = 256
INTEGER_BITS_MAX: Final = 1_024
VALUE_CHARS: Final = 20  # what any value takes at least
ITEMS_MAX: Final = 1_000  # of one mapping or list
DEPTH_MAX: Final = 16

ROOT: Final = "root"
OWN_LOGGER: Final = "hansard"

LEVELS: Final = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))

_UNFIT_IN_TYPES: Final = re.compile(r"[^A-Za-z0-9_.:/-]")
_DATES: Final = (date, time_of_day)
_TEXTS: Final = (str, UUID, Decimal, PurePath)
_LISTS: Final = (list, tuple, deque, set, frozenset)

ExcInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None] | None
)


class Line(NamedTuple):
    """One line, as the arguments of `AuditLog.record`. Each may be anything: who logs is not asked
    to know what an event can hold."""

    event_type: str
    payload: dict[str, Any]
    level: str
    actor: Any = None
    task_id: Any = None
    created_at: int | None = None


def record_line(log: AuditLog, line: Line) -> None:
    """Record it; what breaks a rule is made to fit. Raises `InvalidEvent` for an event type that
    the settings do not allow, and else as `AuditLog.record`."""
    try:
        _record(log, line)
    except InvalidEvent:
        _record(log, fitting(line))


def _record(log: AuditLog, line: Line) -> None:
    log.record(
        line.event_type,
        line.payload,
        level=line.level,
        actor=line.actor,
        task_id=line.task_id,
        created_at=line.created_at,
    )


def fitting(line: Line) -> Line:
    """The same line, in what an event can hold."""
    now = time_ns()
    created_at = now if line.created_at is None else line.created_at
    return Line(
        fitting_type(line.event_type),
        fitting_payload(line.payload),
        line.level,
        _fitting_name(line.actor, wire.ACTOR_BYTES_MAX),
        _fitting_name(line.task_id, wire.TASK_ID_BYTES_MAX),
        created_at if 0 <= created_at <= wire.INT64_MAX else now,
    )


# --- levels and types ---


def level_of(number: int) -> str:
    """The level of an event, for any level number of stdlib logging: the highest not above it."""
    for least, level in LEVELS:
        if number >= least:
            return level
    return "debug"


def type_of_logger(name: str) -> str:
    """The event type of what a logger says, where nobody has named one."""
    return fitting_type(f"log.{name or ROOT}")


def fitting_type(event_type: object) -> str:
    """An event type that follows the pattern, as like to what was given as can be."""
    fit = _UNFIT_IN_TYPES.sub("_", str(event_type))[: wire.EVENT_TYPE_CHARS_MAX]
    try:
        check_event_type(fit)
    except InvalidEvent:  # it begins with no letter, or is what the log says of itself
        fit = f"log.{fit}"[: wire.EVENT_TYPE_CHARS_MAX]
    return fit


def is_own(logger: str) -> bool:
    """Whether it is Hansard that speaks: recorded, its warnings could make the next one."""
    return logger == OWN_LOGGER or logger.startswith(f"{OWN_LOGGER}.")


class Types:
    """The event types of loggers: given for some by name, for those below them too, and for all by
    the name `ROOT`; `type_of_logger` for the others. Raises `ConfigError` for what can be none."""

    def __init__(self, given: Mapping[str, str] | None) -> None:
        self._given = {} if given is None else dict(given)
        for logger, event_type in self._given.items():
            try:
                check_event_type(event_type)
            except InvalidEvent as error:
                raise ConfigError(f"types of logger {logger!r}: {error}") from None
        self._known: dict[str, str] = {}

    def of(self, logger: str) -> str:
        """The event type of a line of this logger."""
        known = self._known.get(logger)
        if known is None:
            known = self._found(logger)
            if len(self._known) < ITEMS_MAX:  # names may be made without end
                self._known[logger] = known
        return known

    def _found(self, logger: str) -> str:
        above = logger
        while above:
            if above in self._given:
                return self._given[above]
            above = above.rpartition(".")[0]
        return self._given.get(ROOT) or type_of_logger(logger)


# --- payloads ---


def error_of(exc_info: ExcInfo, *, with_traceback: bool) -> dict[str, str] | None:
    """An exception, as an event's ``error``; None for none."""
    if not exc_info or exc_info[0] is None:
        return None
    kind, error, where = exc_info
    said = {"type": kind.__qualname__, "message": _shown(error, str)}
    if with_traceback:
        said["traceback"] = traceback_text("".join(_formatted(kind, error, where)))
    return said


def traceback_text(text: str) -> str:
    """The end of a traceback, with a mark where its beginning was cut."""
    if len(text) <= TRACEBACK_CHARS_MAX:
        return text
    return f"(cut from {len(text):,} characters) …{text[-TRACEBACK_CHARS_MAX:]}"


def _formatted(
    kind: type[BaseException], error: BaseException, where: TracebackType | None
) -> list[str]:
    try:
        return traceback.format_exception(kind, error, where)
    except Exception:  # noqa: BLE001 - a class of the application's may do anything
        return traceback.format_tb(where)


def fitting_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload in values that JSON can hold, all of it bounded: what has fields as a mapping
    of them, other objects as their ``repr``, and a mark where something was cut."""
    return _Fitting().mapping(payload, DEPTH_MAX)


class _Fitting:
    """One payload on its way into an event. It stops to take anything once it has enough."""

    def __init__(self) -> None:
        self._room = LINE_CHARS_MAX

    def mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for count, (name, item) in enumerate(value.items()):
            if count == ITEMS_MAX or self._room <= 0:
                made["…"] = _more(len(value))
                break
            made[self._name(name)] = self._value(item, depth - 1)
        return made

    def _name(self, name: Any) -> str:
        """As long as any, however little room is left: cut, it would not be known as one whose
        value is to be masked."""
        text = _shown(name.value if isinstance(name, Enum) else name, str)
        text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate
        self._room -= min(len(text), NAME_CHARS_MAX)
        return text if len(text) <= NAME_CHARS_MAX else cut(text, NAME_CHARS_MAX)

    def _items(self, value: Collection[Any], depth: int) -> list[Any]:
        made: list[Any] = []
        for item in value:
            if len(made) == ITEMS_MAX or self._room <= 0:
                made.append(_more(len(value)))
                break
            made.append(self._value(item, depth - 1))
        return made

    def _value(self, value: Any, depth: int) -> Any:
        self._room -= VALUE_CHARS
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, _TEXTS):
            return self._text(_shown(value, str), TEXT_CHARS_MAX)
        if value is None or type(value) in (bool, float):
            return value
        if type(value) is int and value.bit_length() <= INTEGER_BITS_MAX:
            return value
        try:
            if isinstance(value, _DATES):
                return self._text(value.isoformat(), NAME_CHARS_MAX)
            if depth > 0 and (fields := _fields(value)) is not None:
                return self.mapping(fields, depth)
            if depth > 0 and isinstance(value, _LISTS):
                return self._items(value, depth)
        except Exception:  # noqa: BLE001, S110 - a class of the application's may do anything
            pass
        return self._text(_shown(value, repr), REPR_CHARS_MAX)

    def _text(self, text: str, chars_max: int) -> str:
        text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate
        most = max(min(chars_max, self._room), 0)
        self._room -= min(len(text), most)
        return text if len(text) <= most else cut(text, most)


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """What has names within a value, by which it may have to be masked; None for what has none."""
    return value if isinstance(value, Mapping) else fields_of(value)


def cut(text: str, chars_max: int) -> str:
    """The beginning of a text, with a mark that says so."""
    return f"{text[:chars_max]}… (cut from {len(text):,} characters)"


def _more(count: int) -> str:
    return f"… ({count:,} in all)"


def _shown(value: object, how: type[str] | Any) -> str:
    try:
        return str(how(value))
    except Exception:  # noqa: BLE001 - a class of the application's may do anything
        return f"<{type(value).__name__} that cannot be shown>"


def _fitting_name(value: Any, bytes_max: int) -> str | None:
    """An actor or a task: its text, without what SQLite does not keep."""
    if value is None:
        return None
    text = _shown(value, str).replace("\0", "")
    data = text.encode("utf-8", "backslashreplace")
    return data[:bytes_max].decode("utf-8", "ignore")
