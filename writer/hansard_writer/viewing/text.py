"""Recorded text as HTML: whatever it holds, it is only shown. Pure.

Markup is escaped, and so is what is no character to look at: control characters, what turns the
direction of a line, what has no width, lone surrogates. Each is shown by its code, marked as such,
so that two texts that differ look different.
"""

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from hansard_writer.viewing.excerpts import Piece

_KEPT: Final = frozenset("\n\t")
_SUSPECT: Final = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e"
    "\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff\\U000e0000-\\U000e007f]"
)
_CARRIAGE_RETURN: Final = re.compile(r"\r\n")


def visible(value: object) -> Markup:
    """Text, each character that cannot be seen in it as a mark."""
    if value is None:
        return Markup("")
    text = _CARRIAGE_RETURN.sub("\n", str(value))
    parts: list[Markup | str] = []
    end = 0
    for found in _SUSPECT.finditer(text):
        parts += [escape(text[end : found.start()]), _marked(found[0])]
        end = found.end()
    parts.append(escape(text[end:]))
    return Markup("").join(parts)


def pieces(found: Iterable[Piece]) -> Markup:
    """An excerpt, with what a search has found in it marked."""
    return Markup("").join(
        Markup("<mark>{}</mark>").format(visible(text)) if is_found else visible(text)
        for text, is_found in found
    )


def one_line(value: object) -> str:
    """Text for an attribute or a title."""
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else _code(each) for each in text)


def moment(ns: int) -> str:
    """ISO 8601 UTC, to the microsecond."""
    at = datetime.fromtimestamp(ns // 10**9, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{ns % 10**9 // 1000:06d}Z"


def time_tag(value: int | str | None) -> Markup:
    """A time as HTML; the local one is added by the browser, when it is pointed at."""
    if value is None:
        return Markup("")
    iso = moment(value) if isinstance(value, int) else value
    date, _, clock = iso.partition("T")
    seconds, _, fraction = clock.rstrip("Z").partition(".")
    return Markup(
        '<time datetime="{}" title="{}"><span class="date">{}</span> {}<span class="fraction">.{}'
        "</span><abbr>Z</abbr></time>"
    ).format(iso, iso, date, seconds, fraction)


def bytes_said(count: int) -> str:
    """A size, as people say it."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    raise AssertionError


def duration_said(ms: Any) -> str:
    """How long something took."""
    if not isinstance(ms, int | float) or ms < 0:
        return ""
    if ms < 1:
        return f"{ms * 1000:,.0f} µs"
    if ms < 1_000:
        return f"{ms:,.1f} ms"
    return f"{ms / 1000:,.1f} s" if ms < 120_000 else f"{ms / 60_000:,.1f} min"


def _marked(character: str) -> Markup | str:
    if character in _KEPT:
        return character
    name = unicodedata.name(character, "control character")
    return Markup('<span class="code" title="{}">{}</span>').format(name.lower(), _code(character))


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
