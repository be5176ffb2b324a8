"""Values of derived fields as they are asked for: read by the field's type. Pure."""

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hansard.reader.conditions import Moment, nanoseconds, text
from hansard.refusals import timestamp
from hansard.wire import INT64_MAX

Value = str | int | float
_US: Final = 1_000  # ns: text and datetimes say no less


class Between(NamedTuple):
    """Values from ``least`` on, and below ``below``; None where there is no such bound."""

    least: Moment | float | None = None
    below: Moment | float | None = None


Condition = tuple[str, str, Value]
"""The name of a field, an operator, and a value of the field's type."""


def asked_for(types: Mapping[str, str], given: Mapping[str, object]) -> list[Condition]:
    """The conditions on fields of these types; raises `ValueError`."""
    if not isinstance(given, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"derived is {given!r:.100}: it must be a mapping of names to values"
        )
    found: list[Condition] = []
    for name, value in given.items():
        if name not in types:
            raise ValueError(
                f"there is no derived field {name!r:.80}: there are {', '.join(types)}; declare "
                "others in hansard.toml, and fill them with `hansard backfill`"
            )
        if isinstance(value, Between):
            bounds = zip((">=", "<"), value, strict=True)
            found += [
                (name, operator, _typed(name, types[name], bound))
                for operator, bound in bounds
                if bound is not None
            ]
            continue
        wanted = _typed(name, types[name], value)
        if types[name] == "timestamp" and isinstance(wanted, int) and not isinstance(value, int):
            found += [(name, ">=", wanted), (name, "<", wanted + _US)]  # as it is shown, too
        else:
            found.append((name, "=", wanted))
    return found


def shown(kind: str, value: Value) -> Value | bool:
    """A value as people and programs read it: a timestamp as ISO 8601 UTC, cut to microseconds."""
    if kind == "timestamp":
        return timestamp(int(value))
    return bool(value) if kind == "boolean" else value


def _typed(name: str, kind: str, given: Any) -> Value:
    """A value of the field's type, which text may say too."""
    shown_name = f"the derived field {name}"
    if kind == "text":
        return text(shown_name, given)
    if kind == "timestamp":
        return nanoseconds(given, shown_name)
    read = _READERS[kind](given)
    if read is None:
        raise ValueError(f"{shown_name} is {given!r:.100}: it is of type {kind}")
    return read


def _integer(given: Any) -> int | None:
    try:
        number = int(given) if isinstance(given, str) else given
    except ValueError:
        return None
    return number if type(number) is int and -INT64_MAX <= number <= INT64_MAX else None


def _real(given: Any) -> float | None:
    try:
        number = float(given) if type(given) in (str, int, float) else math.nan
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _boolean(given: Any) -> int | None:
    if type(given) is bool:
        return int(given)
    return {"true": 1, "false": 0}.get(given) if isinstance(given, str) else None


_READERS: Final = {"integer": _integer, "real": _real, "boolean": _boolean}
