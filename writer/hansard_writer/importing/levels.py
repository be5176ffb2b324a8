"""Levels of other systems, as this log has them. Pure."""

from typing import Any, Final

from hansard_writer.importing.letters import LEVEL, Unfit

_NAMES: Final = {
    "debug": ("debug", "trace", "verbose", "fine", "finer", "finest", "d"),
    "info": ("info", "information", "informational", "notice", "success", "i"),
    "warning": ("warning", "warn", "w"),
    "error": ("error", "err", "severe", "failure", "e"),
    "critical": ("critical", "crit", "fatal", "emerg", "emergency", "alert", "panic", "c", "f"),
}
_BY_NAME: Final = {name: level for level, names in _NAMES.items() for name in names}

# Python's numbers: https://docs.python.org/3/library/logging.html#logging-levels. Below 5 they are
# somebody else's, such as syslog's, which go the other way.
_LEAST: Final = 5
_UP_TO: Final = ((10, "debug"), (20, "info"), (30, "warning"), (40, "error"))


def level_of(value: Any, default: str = "info") -> str:
    """The level that a name or a number of Python's `logging` stands for; ``default`` for none.

    Raises `Unfit`.
    """
    if value is None or value == "":
        return default
    if isinstance(value, str):
        name = value.strip()
        level = _BY_NAME.get(name.casefold())
        if level is not None:
            return level
        value = int(name) if name.isascii() and name.isdecimal() and len(name) < 4 else value
    if isinstance(value, int) and not isinstance(value, bool) and value >= _LEAST:
        return next((level for most, level in _UP_TO if value <= most), "critical")
    raise Unfit(
        LEVEL, f"{value!r:.100} is none that is known: a name such as WARN, or a number of logging"
    )
