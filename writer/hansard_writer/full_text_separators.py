"""What full text keeps of words between its pages, put right after words were deleted.

FTS5 finds a page of its index by the beginning of the first word on it. When that word is deleted,
the page begins with the next one, but is found by the old one as before: so far as it was needed to
tell it from the word in front, which may be all of it. Here it gets the beginning of the word that
is there now. Format: https://www.sqlite.org/fts5.html#internals, and fts5_index.c.
"""

from typing import Any, Final, NamedTuple

import apsw

PIECE_PAGES_MAX: Final = 1_000  # of the index, in one transaction

_ROWS: Final = (
    "SELECT segid, term, pgno, block FROM full_text_idx"
    " JOIN full_text_data ON id = (segid << 37) + (pgno >> 1)"
    " WHERE (segid, term) > (?, ?) ORDER BY segid, term LIMIT ?"
)
_SET: Final = "UPDATE full_text_idx SET term = ? WHERE segid = ? AND term = ?"


class Place(NamedTuple):
    """How far they are put right: a segment of the index, and a separator in it."""

    segment: int = 0
    term: bytes = b""


def put_right(connection: apsw.Connection, after: Place) -> Place | None:
    """Put the next piece right, within a transaction; None where it was the last."""
    rows: list[Any] = connection.execute(_ROWS, (*after, PIECE_PAGES_MAX)).fetchall()
    for segment, term, _, block in rows:
        first = first_word(block)
        if first is not None and not first.startswith(term):
            connection.execute(_SET, (first, segment, term))
    if len(rows) < PIECE_PAGES_MAX:
        return None
    return Place(*rows[-1][:2])


def first_word(page: bytes) -> bytes | None:
    """The first word that begins on a page of the index; None where none does, or the page is
    damaged. Its footer says where: variable integers, behind the length in bytes 2 and 3."""
    footer = int.from_bytes(page[2:4], "big")
    if not 4 <= footer < len(page):
        return None
    try:
        at, _ = _integer(page, footer)
        size, start = _integer(page, at)
    except IndexError:
        return None
    return page[start : start + size] or None


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """SQLite's variable integer, and where it ends. None of these is as long as nine bytes."""
    value = 0
    while True:
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
