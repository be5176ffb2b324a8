"""Moments as people and programs write them, as nanoseconds since 1970 UTC. Pure."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from hansard import wire
from hansard_writer.json_path import Number

_EPOCH: Final = re.compile(r"-?\d+(\.\d+)?", re.ASCII)
_read: Final = datetime.fromisoformat
# Of a time, and not of a zone.
_FRACTION: Final = re.compile(r"(?:(?<=[^+-]\d\d:\d\d:\d\d)|(?<=[T ]\d{6}))[.,](\d+)")
_NS: Final = 1_000_000_000
# The unit of a bare number is told by its size: seconds reach these figures in the year 5138.
_EPOCH_UNITS: Final = ((10**11, _NS), (10**14, 10**6), (10**17, 10**3), (10**19, 1))
_EPOCH_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US_END: Final = wire.INT64_MAX // 1_000
_NAIVE_START: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - where no zone is written


def parse_time(value: Any) -> int:
    """Nanoseconds since 1970 UTC from ISO 8601 text, where no zone means UTC, or from a number of
    seconds, ms, µs or ns since then, told apart by its size. Raises ValueError."""
    if type(value) is str and value[4:17:12] == "-:" and not value[26:27].isdigit():
        # 2024-01-31T12:00:00, with no more digits of a fraction than `datetime` keeps: as nearly
        # all are written. What is wrong with one is said as of any other.
        try:
            moment = _read(value)
            since = moment - (_NAIVE_START if moment.tzinfo is None else _EPOCH_START)
        except (ValueError, OverflowError):
            pass
        else:
            us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            if 0 <= us < _US_END:
                return us * 1_000
    if value is None:
        raise ValueError("there is none")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r:.100} is neither text nor a number")  # noqa: TRY004 - of a line
    if isinstance(value, int | Number) or _is_epoch(value):
        ns = _epoch_ns(_number(value))
    else:
        ns = _iso_ns(value)
    if not 0 <= ns <= wire.INT64_MAX:
        raise ValueError(f"{value!r:.100} is not between the years 1970 and 2262")
    return ns


def _is_epoch(text: str) -> bool:
    """Eight digits are a date, and four a year."""
    return len(text) > len("20240131") and _EPOCH.fullmatch(text) is not None


def _number(value: int | str) -> Decimal:
    try:
        return Decimal(value)
    except InvalidOperation:  # 1e99999999999999999999: no exponent may be as large
        raise ValueError(f"{value!r:.100} is no time") from None


def _epoch_ns(number: Decimal) -> int:
    size = number.copy_abs()  # exact, whatever the exponent
    for limit, unit in _EPOCH_UNITS:
        if size < limit:
            return int(number * unit)
    return -1


def _iso_ns(text: str) -> int:
    fraction = _FRACTION.search(text)
    digits = fraction[1] if fraction else ""
    whole = text if fraction is None else text[: fraction.start()] + text[fraction.end() :]
    try:
        moment = _read(whole)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH_START
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r:.100} is not ISO 8601") from None
    return since // timedelta(microseconds=1) * 1_000 + int(f"{digits:0<9}"[:9])
