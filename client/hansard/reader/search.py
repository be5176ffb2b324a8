"""Full text: what is indexed by the index, what is not yet by looking at the entries themselves.

The writer keeps the index up some way behind the log, and says in `full_text_state` how far. What
lies behind that mark is tokenized and matched here, by the same FTS5 in memory, so that a query
means the same everywhere. Mark and index are read in one transaction: whatever the writer does
with them between two pages, an entry is looked at in the one way or the other.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

import apsw

from hansard.reader import paging
from hansard.reader.conditions import Selection
from hansard.reader.paging import Rows, Span
from hansard.reader.rows import Event
from hansard.reader_connection import ReadConnection
from hansard.wording import kind_of

# Without content, because which text was indexed depends on a setting, and the entries have it.
# Never ranked, so without sizes. The writer's schema makes the very same table.
FULL_TEXT_TABLE: Final = (
    "CREATE VIRTUAL TABLE full_text USING fts5("
    "text, content='', columnsize=0, tokenize='porter unicode61')"
)
UNINDEXED_ENTRIES_PER_PAGE: Final = 1_000

_MATCHES: Final = (
    "SELECT rowid FROM full_text WHERE full_text MATCH ? AND rowid > ? AND rowid < ?"
    " ORDER BY rowid {} LIMIT ?"
)
# As bytes: a lone surrogate, which JSON may have, is no text to Python.
_TEXTS: Final = (
    "SELECT id, CAST(text AS BLOB) FROM full_text_source"
    " WHERE id > ? AND id < ? AND text IS NOT NULL"
)
_INSERT: Final = "INSERT INTO full_text(rowid, text) VALUES(?, CAST(? AS TEXT))"


class FullTextSearch:
    """One query on one connection, whose thread it shares. Raises `ValueError` for a bad query."""

    def __init__(self, connection: ReadConnection, query: str) -> None:
        self._connection = connection
        self._rows: Rows = connection.rows
        self._query = query
        self._memory = apsw.Connection(":memory:")
        self._memory.execute(FULL_TEXT_TABLE)
        _check(query)
        try:
            self._matches_in_memory()
        except apsw.SQLError as error:
            raise ValueError(f"query is {query!r:.200} ({error}): {_WAY_OUT}") from None

    def events(self, selection: Selection, span: Span, limit: int) -> Iterator[Event]:
        """At most ``limit`` entries of the selection that match, in the span's order."""
        where = selection.entry_by_entry()
        while span and limit > 0:
            ids = self._next_matches(span)
            found = paging.events_of(self._rows, ids, where, span.order) if ids else []
            yield from found[:limit]
            limit -= len(found)

    def _next_matches(self, span: Span) -> list[int]:
        """Some of the matching ids, in order; the span loses what was looked at."""
        with self._connection.snapshot():
            indexed_to: int = self._rows("SELECT indexed_to FROM full_text_state")[0][0]
            edge = span.high - 1 if span.newest_first else span.low + 1
            if edge <= indexed_to:
                return self._indexed(span, indexed_to)
            return self._unindexed(span, indexed_to)

    def _indexed(self, span: Span, indexed_to: int) -> list[int]:
        high = min(span.high, indexed_to + 1)
        sql = _MATCHES.format(span.order)
        rows = self._rows(sql, self._query, span.low, high, paging.PAGE_ROWS)
        ids = [each for (each,) in rows]
        if len(ids) == paging.PAGE_ROWS:
            span.pass_by(ids[-1])
        elif span.newest_first:
            span.end()
        else:
            span.pass_by(high - 1)
        return ids

    def _unindexed(self, span: Span, indexed_to: int) -> list[int]:
        low, high, size = span.low, span.high, UNINDEXED_ENTRIES_PER_PAGE
        if span.newest_first:
            low = max(low, indexed_to, high - 1 - size)
        else:
            high = min(high, low + 1 + size)
        texts = self._rows(_TEXTS, low, high)
        span.pass_by(low + 1 if span.newest_first else high - 1)
        return self._matching(texts, span.order) if texts else []

    def _matching(self, texts: list[tuple[int, bytes]], order: str) -> list[int]:
        memory = self._memory
        memory.execute("BEGIN")
        try:
            memory.executemany(_INSERT, texts)
            return self._matches_in_memory(order)
        finally:
            memory.execute("ROLLBACK")  # half the time of a commit and a 'delete-all'

    def _matches_in_memory(self, order: str = "ASC") -> list[int]:
        bindings = (self._query, 0, paging.UNLIMITED, -1)
        return [each for (each,) in self._memory.execute(_MATCHES.format(order), bindings)]


_WAY_OUT: Final = (
    'write words with AND, OR, NOT between them, "a phrase", the beginning of a word as numpy*; '
    'what holds other characters than letters, digits and _ goes between quotes, as "numpy==1.2"'
)


def _check(query: object) -> None:
    if not isinstance(query, str):
        raise ValueError(  # noqa: TRY004 - one kind of error for all arguments
            f"query is {kind_of(query)}: it must be a string"
        )
    with contextlib.suppress(UnicodeEncodeError):
        query.encode()
        if query.strip() and not query.lstrip().startswith("*") and "\0" not in query:
            return
    raise ValueError(f"query is {query!r:.200}: {_WAY_OUT}")
