"""A frame as lines of a terminal: what fits, the most important first. Pure; colours are names.

In wide terminals blocks stand beside each other; in narrow ones their main figures alone, one below
the other. No line is longer than the terminal is wide, and there are no more than it is high.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Final, NamedTuple

from hansard.reader import Event
from hansard_writer.glance import amounts
from hansard_writer.glance.frame import (
    BAD,
    LABEL,
    PLAIN,
    TITLE,
    WARN,
    Block,
    Frame,
    Row,
    TypeRow,
)
from hansard_writer.terminal_text import cut, escaped, fitted, width_of

COLUMN_MIN: Final = 36  # of a block, in columns of the terminal
COLUMNS_MAX: Final = 3
LABEL_WIDTH: Final = 15
TYPES_MAX: Final = 10
TYPES_LEAST: Final = 3  # and entries: what is left for each where figures would take it all
AIRY_FROM: Final = 18  # lines for both lists: then there is room between them
TROUBLE_LINES_MAX: Final = 5  # a way out that is cut off is none
RATE_WIDTH: Final = 9
TOTAL_WIDTH: Final = 7
TYPE_WIDTH_MAX: Final = 36

_LEVELS: Final = {
    "debug": "DBG",
    "info": "INF",
    "warning": "WRN",
    "error": "ERR",
    "critical": "CRT",
}
_STYLES: Final = {"warning": WARN, "error": BAD, "critical": BAD}


class Piece(NamedTuple):
    """Text in one style."""

    text: str
    style: str = PLAIN


Line = Sequence[Piece]


def lines_of(frame: Frame, width: int, height: int, keys: str = "") -> list[Line]:
    """At most ``height`` lines; the last are ``keys``, if there are any."""
    foot: list[Line] = [[Piece(cut(keys, width), LABEL)]] if keys else []
    height -= len(foot)
    body = [*_head(frame, width), *_troubles(frame, width)]
    columns = min(max((width + 2) // (COLUMN_MIN + 2), 1), COLUMNS_MAX)
    figures = list(_in_columns(frame.blocks, width, columns))
    if columns == 1 or len(body) + len(figures) > height:
        figures = list(_main_figures(frame.blocks, width))
    body += figures[: max(height - len(body), 0)]
    body += _lists(frame, width, height - len(body))
    return [*body[:height], *foot]


def text_of(line: Line) -> str:
    """A line without its colours."""
    return "".join(piece.text for piece in line).rstrip()


# --- the head ---


def _head(frame: Frame, width: int) -> Iterator[Line]:
    room = width - len(frame.time) - 1
    title = "hansard top "
    if room < len(title):
        yield [Piece(cut(frame.where, width), TITLE)]
    else:
        where = fitted(_end_of(frame.where, room - len(title)), room - len(title))
        yield [Piece(title, TITLE), Piece(where), Piece(" " + frame.time, LABEL)]
    yield [Piece(cut(frame.state, width), frame.state_style)]
    if frame.is_served:
        shown = f"{frame.rate:>{RATE_WIDTH}} "
        yield [Piece(shown, TITLE), Piece(amounts.bars(frame.rates, width - len(shown)))]


def _end_of(text: str, width: int) -> str:
    """Of a path the end says more."""
    if width_of(text) <= width:
        return text
    return "…" + cut(text[::-1], width)[::-1].lstrip("…") if width > 1 else ""


def _troubles(frame: Frame, width: int) -> Iterator[Line]:
    wrapped = [
        part
        for trouble in frame.troubles
        for part in wrap(f"! {trouble}", width, subsequent_indent="  ", break_on_hyphens=False)
    ]
    for part in wrapped[:TROUBLE_LINES_MAX]:
        yield [Piece(cut(part, width), BAD)]


# --- figures ---


def _in_columns(blocks: Sequence[Block], width: int, columns: int) -> Iterator[Line]:
    each = (width - 2 * (columns - 1)) // columns
    for start in range(0, len(blocks), columns):
        drawn = [list(_block(block, each)) for block in blocks[start : start + columns]]
        for parts in zip_longest(*drawn, fillvalue=[Piece(" " * each)]):
            line: list[Piece] = []
            for part in parts:
                line += [*part, Piece("  ")]
            yield line[:-1]


def _block(block: Block, width: int) -> Iterator[Line]:
    yield [Piece(fitted(block.title, width), TITLE)]
    for row in block.rows:
        yield _row(row, width)


def _row(row: Row, width: int) -> Line:
    label = fitted(row.label, min(LABEL_WIDTH, width))
    return [Piece(label, LABEL), Piece(fitted(row.value, width - len(label)), row.style)]


def _main_figures(blocks: Iterable[Block], width: int) -> Iterator[Line]:
    for block in blocks:
        for row in block.rows:
            if row.is_main:
                yield _row(row, width)


# --- lists ---


def _lists(frame: Frame, width: int, height: int) -> Iterator[Line]:
    """Types above entries: the former as many as there are, but for some room of the latter."""
    gap: list[Line] = [[]] if height >= AIRY_FROM else []
    least = TYPES_LEAST + 1 + len(gap) if frame.entries else 0
    room = min(max(height - least, 0), TYPES_MAX + 1 + len(gap))
    types = [*gap, *_titled(frame.types_title, _types(frame.types, width))][:room]
    if len(types) > len(gap) + 1:
        yield from types
    shown = frame.entries[: max(height - len(types) - len(gap) - 1, 0)]
    type_width = min(max((len(each.event_type) for each in shown), default=0), width // 3)
    entries = (_entry(each, type_width, width) for each in shown)
    if frame.entries_title:
        yield from [*gap, *_titled(frame.entries_title, entries)]


def _titled(title: str, lines: Iterable[Line]) -> Iterator[Line]:
    yield [Piece(title.upper(), TITLE)]
    yield from lines


def _types(types: Sequence[TypeRow], width: int) -> Iterator[Line]:
    longest = max((len(each.name) for each in types[:TYPES_MAX]), default=0)
    numbers = RATE_WIDTH + TOTAL_WIDTH + 2
    name_width = max(min(longest, TYPE_WIDTH_MAX, width - numbers), 1)
    for each in types:
        name = fitted(each.name, name_width)
        rate = amounts.rate(each.rate) if each.rate is not None else ""
        shown = f" {rate:>{RATE_WIDTH}} {amounts.number(each.total):>{TOTAL_WIDTH}}"
        left = width - name_width - len(shown) - 1
        line = [Piece(name), Piece(cut(shown, width - name_width))]
        yield [*line, Piece(" " + amounts.bars(each.rates, left), LABEL)] if left > 0 else line


def _entry(entry: Event, type_width: int, width: int) -> Line:
    style = _STYLES.get(entry.level, PLAIN)
    when, level = f"{entry.created_at[11:19]} ", f"{_LEVELS.get(entry.level, '???')} "
    others = [escaped(each) for each in (entry.task_id, entry.actor) if each]
    rest = "  ".join([fitted(entry.event_type, type_width), *others])
    room = max(width - len(when) - len(level), 0)
    return [Piece(cut(when, width), LABEL), Piece(level, style), Piece(cut(rest, room), style)]
