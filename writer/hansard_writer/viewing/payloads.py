"""A payload as HTML that folds: its names and values, bounded however large it is. Pure.

Numbers are shown as they were recorded: parsed as floats, integers beyond 2^53 and digits behind
the sixteenth would change.
"""

import json
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from hansard_writer.viewing.text import visible

VALUES_MAX: Final = 2_000  # shown of one payload
STRING_CHARS_MAX: Final = 4_000
OPEN_VALUES_MAX: Final = (24, 5)  # of one in the first and in the second level; else it is folded
LONG_LINES: Final = 3  # a string of so many lines gets a box of its own

_NO_LABEL: Final = Markup("")


class _Number(NamedTuple):
    """A number's own digits."""

    digits: str


class Folded(NamedTuple):
    """``html``, and how many values it leaves out."""

    html: Markup
    left_out: int


def folded(payload: str) -> Folded | None:
    """None for text that cannot be parsed: it was cut, or it is no JSON."""
    try:
        value = json.loads(payload, parse_int=_Number, parse_float=_Number)
    except (ValueError, RecursionError):
        return None
    rest = _Rest()
    return Folded(_value(value, 0, rest), max(0, -rest.values))


class _Rest:
    """How many values may still be shown; below zero, how many were not."""

    def __init__(self) -> None:
        self.values = VALUES_MAX

    def take(self) -> bool:
        self.values -= 1
        return self.values >= 0


def _value(value: Any, level: int, rest: _Rest, label: Markup = _NO_LABEL) -> Markup:
    """It, behind its name."""
    if isinstance(value, dict):
        return _members(list(value.items()), label, "{}", level, rest)
    if isinstance(value, list):
        return _members(list(enumerate(value)), label, "[]", level, rest)
    if isinstance(value, str):
        return label + _string(value)
    if isinstance(value, _Number):
        return label + Markup('<span class="num">{}</span>').format(value.digits)
    return label + Markup('<span class="word">{}</span>').format(json.dumps(value))


def _members(
    members: list[tuple[Any, Any]], label: Markup, brackets: str, level: int, rest: _Rest
) -> Markup:
    if not members:
        return label + Markup("<span>{}</span>").format(brackets)
    rows = []
    for name, value in members:
        if rest.take():
            of_it = Markup('<span class="key">{}</span>: ').format(visible(name))
            rows.append(Markup("<li>{}</li>").format(_value(value, level + 1, rest, of_it)))
    if level == 0:
        return Markup('<ul class="json">{}</ul>').format(Markup("").join(rows))
    is_open = level <= len(OPEN_VALUES_MAX) and len(members) <= OPEN_VALUES_MAX[level - 1]
    opens, closes = brackets[0], brackets[1]
    return Markup("<details{}><summary>{}{} {} {}</summary><ul>{}</ul></details>").format(
        Markup(" open") if is_open else "",
        label,
        opens,
        len(members),
        closes,
        Markup("").join(rows),
    )


def _string(text: str) -> Markup:
    cut = text[:STRING_CHARS_MAX]
    more = Markup("")
    if len(text) > len(cut):
        more = Markup(' <em class="more">… {} of {} characters</em>').format(
            f"{len(cut):,}", f"{len(text):,}"
        )
    if cut.count("\n") >= LONG_LINES:
        return Markup('<pre class="str" tabindex="0">{}</pre>{}').format(visible(cut), more)
    return Markup('<span class="str">{}</span>{}').format(visible(cut), more)
