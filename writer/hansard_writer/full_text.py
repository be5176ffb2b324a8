"""Full text: keeps the index up with the log, in transactions of its own, beside the batches'.

It looks at entries only after they are committed, in the order of their ids, and knows nothing
of batches, frames or producers. It never makes an entry wait: when is the writer's business.
"""

import json
import logging
import re
from collections.abc import Sequence
from typing import Final

import apsw

from hansard import wire
from hansard.errors import ConfigError
from hansard.operations import ENV_OPERATION
from hansard_writer.retries import StoreUnready
from hansard_writer.sqlite_errors import code_of
from hansard_writer.store import Newest, Store

PIECE_ENTRIES_MAX: Final = 2_000  # looked at in one go, ...
PIECE_TEXT_BYTES_MAX: Final = 256 << 10  # ... and of their text what fits, or one entry's
TAIL_ENTRIES_MAX: Final = 2_000  # not looked at, before it is done under load too
MARK_BEHIND_MAX: Final = 10_000  # entries without text behind the mark, before it is moved
PURGE_PAGES: Final = 16  # merged in one go: a few ms
PROGRESS_ENTRIES: Final = 100_000  # between two lines in the log while it catches up

_EVENT_TYPE: Final = re.compile(wire.EVENT_TYPE_PATTERN)
_LOG: Final = logging.getLogger("hansard.writer")

# As bytes: a lone surrogate, which JSON may have, is no text to Python.
_TEXTS: Final = (
    "SELECT id, CAST(text AS BLOB) FROM full_text_source"
    " WHERE id > ? AND id <= ? AND text IS NOT NULL"
)
_INSERT: Final = "INSERT INTO full_text(rowid, text) VALUES(?, CAST(? AS TEXT))"
_REMOVE: Final = (
    "INSERT INTO full_text(full_text, rowid, text) VALUES('delete', ?, CAST(? AS TEXT))"
)
_SECURELY: Final = "INSERT INTO full_text(full_text, rank) VALUES('secure-delete', ?)"
_MERGE: Final = "INSERT INTO full_text(full_text, rank) VALUES('merge', ?)"
_MERGED_ROWS_MIN: Final = 2  # changed by a merge that did something: FTS5's documentation
_INDEXED_TEXTS: Final = (
    "SELECT id, CAST(text AS BLOB) FROM full_text_source"
    " WHERE id IN (SELECT value FROM json_each(?))"
    " AND id <= (SELECT indexed_to FROM full_text_state) AND text IS NOT NULL"
)
_SET: Final = "UPDATE meta SET value = ? WHERE key = ?"
_SET_TRACES: Final = (
    "INSERT INTO meta VALUES('full_text_traces', ?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value"
)
_NO_TRACES, _TRACES, _BEING_PURGED = range(3)


def forget(connection: apsw.Connection, ids: Sequence[int]) -> None:
    """Take the words of entries out of the index, within a transaction, while the entries still
    have them: it needs the very text that was put in."""
    texts = connection.execute(_INDEXED_TEXTS, (str(list(ids)),)).fetchall()
    connection.executemany(_REMOVE, texts)


class FullText:
    """The index of one log, over the store's connection.

    ``indexed_to`` is the mark: everything up to there is in the index, and readers go by it.
    Entries without text behind it have been looked at up to ``seen_to``; the mark follows when
    it is moved anyway, or `MARK_BEHIND_MAX` behind, because each move is a commit.

    Another set of types begins the index anew. Raises `ConfigError` where that cannot be, or for a
    type that is none.
    """

    def __init__(self, store: Store, event_types: tuple[str, ...] | None) -> None:
        self._store = store
        for each in event_types or ():
            if not _EVENT_TYPE.fullmatch(each) or len(each) > wire.EVENT_TYPE_CHARS_MAX:
                raise ConfigError(
                    f"fts_event_types has {each!r:.300}: it must be event types, of letters, "
                    f"digits and _ . : / -, at most {wire.EVENT_TYPE_CHARS_MAX} in all"
                )
        self._searched = {ENV_OPERATION, *(event_types or ())}
        wanted = json.dumps(sorted(set(event_types or ())))
        self.indexed_to, types = self._state()
        if types != wanted:
            if self.indexed_to:
                _LOG.warning("full text: fts_event_types changed, the index is made anew")
            try:
                self._begin_anew(wanted)
            except StoreUnready as error:
                raise ConfigError(f"the index of full text cannot be made anew: {error}") from error
        self._is_mended = False
        self.seen_to = self.indexed_to
        self._traces = self._stored_traces()
        self._worked_to = store.size
        self._told_at = self._catching_up_to = 0
        if store.size - self.indexed_to > MARK_BEHIND_MAX:
            self._told_at, self._catching_up_to = self.indexed_to, store.size
            _LOG.info("full text: %d entries are to be looked at", store.size - self.indexed_to)

    @property
    def tail(self) -> int:
        """How many entries are still to be looked at."""
        return self._store.size - self.seen_to

    def keep_up(self) -> bool:
        """Under load: look at twice what was committed since the last time, so that the tail
        stays short, whatever its length was. Whether something was written."""
        self._pass_over(self._store.newest)
        if self.tail < TAIL_ENTRIES_MAX:
            return False
        end = min(self.seen_to + 2 * (self._store.size - self._worked_to), self._store.size)
        wrote = self.index_piece()
        while self.seen_to < end:
            wrote = self.index_piece() or wrote
        return wrote

    def index_piece(self) -> bool:
        """Look at the next entries, and index their text; whether something was written. An index
        that is damaged is made anew, once a run.

        Raises `hansard_writer.retries.StoreUnready`, with nothing changed.
        """
        try:
            return self._index_piece()
        except apsw.Error as error:
            if not self.mend(error):
                raise
        return True

    def mend(self, error: apsw.Error) -> bool:
        """Begin the index anew if an error says that it is damaged, once a run; whether it did."""
        is_constraint = isinstance(error, apsw.ConstraintError)
        is_damaged = is_constraint or code_of(error) == apsw.SQLITE_CORRUPT_VTAB
        if self._is_mended or not is_damaged:
            return False
        self._is_mended = True
        _LOG.error("full text: the index is damaged, and is made anew from the entries")
        _, event_types = self._state()
        self._begin_anew(event_types)
        self.seen_to = self.indexed_to
        return True

    # --- entries that go ---

    @property
    def has_traces(self) -> bool:
        """Whether words may still be in the file whose entries are gone."""
        return self._traces != _NO_TRACES

    def remove(self, last: int) -> None:
        """Take the entries up to ``last`` out of the index, which counts as kept up to there.
        MUST be called in the transaction that deletes them, before it does; `removed` behind it.

        It is fast, and leaves traces: the index marks an entry as deleted. Its secure deletion
        looks every word of every entry up, which took 2 ms an entry, a hundred times as long.
        """
        execute = self._store.connection.execute
        texts = execute(_TEXTS, (0, min(last, self.indexed_to))).fetchall()
        if texts:
            execute(_SECURELY, (0,))
            self._store.connection.executemany(_REMOVE, texts)
            execute(_SECURELY, (1,))  # which writes the marks first
            execute(_SET_TRACES, (_TRACES,))
        if last > self.indexed_to:
            execute(_SET, (last, "full_text_indexed_to"))

    def removed(self, last: int) -> None:
        """That is committed."""
        self.indexed_to = max(self.indexed_to, last)
        self.seen_to = max(self.seen_to, last)
        self._traces = self._stored_traces()

    def purge_piece(self) -> None:
        """Merge some of the index, by which what is marked as deleted goes, and at last all of it.

        Raises `hansard_writer.retries.StoreUnready`, with nothing changed.
        """
        pages = PURGE_PAGES if self._traces == _BEING_PURGED else -PURGE_PAGES  # less: begin
        with self._store.transaction() as connection:
            before = connection.total_changes()
            connection.execute(_MERGE, (pages,))
            is_done = connection.total_changes() - before < _MERGED_ROWS_MIN
            traces = _NO_TRACES if is_done else _BEING_PURGED
            if traces != self._traces:
                connection.execute(_SET_TRACES, (traces,))
        self._traces = traces

    # --- inside ---

    def _pass_over(self, newest: Newest) -> None:
        """A batch whose types have no text need not be read for that: if nothing before it is left
        to look at, and the mark need not be moved yet."""
        is_next = self.seen_to == newest.first - 1
        is_near = newest.last - self.indexed_to < MARK_BEHIND_MAX
        if is_next and is_near and self._searched.isdisjoint(newest.event_types):
            self.seen_to = self._worked_to = newest.last

    def _index_piece(self) -> bool:
        seen_to, texts = self._store.handle.read(self._next_texts)
        self._worked_to = self._store.size
        wrote = bool(texts) or seen_to - self.indexed_to >= MARK_BEHIND_MAX
        if wrote:
            with self._store.transaction() as connection:
                connection.executemany(_INSERT, texts)
                connection.execute(_SET, (seen_to, "full_text_indexed_to"))
            self.indexed_to = seen_to
        self.seen_to = seen_to
        self._tell_progress()
        return wrote

    def _state(self) -> tuple[int, str]:
        state: tuple[int, str] = self._store.connection.execute(
            "SELECT indexed_to, event_types FROM full_text_state"
        ).get
        return state

    def _stored_traces(self) -> int:
        value: int | None = self._store.connection.execute(
            "SELECT value FROM meta WHERE key = 'full_text_traces'"
        ).get
        return value or _NO_TRACES

    def _begin_anew(self, event_types: str) -> None:
        begin = self._store.pruned.to
        with self._store.transaction() as connection:
            connection.execute("INSERT INTO full_text(full_text) VALUES('delete-all')")
            connection.execute(_SET, (begin, "full_text_indexed_to"))
            connection.execute(_SET, (event_types, "full_text_event_types"))
        self.indexed_to = begin

    def _next_texts(self) -> tuple[int, list[tuple[int, bytes]]]:
        """The end of the next piece, and the texts in it."""
        end = min(self.seen_to + PIECE_ENTRIES_MAX, self._store.size)
        texts: list[tuple[int, bytes]] = []
        size = 0
        cursor = self._store.connection.execute(_TEXTS, (self.seen_to, end))
        for entry, text in cursor:
            texts.append((entry, text))
            size += len(text)
            if size >= PIECE_TEXT_BYTES_MAX:
                cursor.close()
                return entry, texts
        return end, texts

    def _tell_progress(self) -> None:
        if not self._catching_up_to:
            return
        if self.seen_to >= self._catching_up_to:
            _LOG.info("full text: all entries up to %d are searched by index", self.seen_to)
            self._catching_up_to = 0
        elif self.seen_to - self._told_at >= PROGRESS_ENTRIES:
            self._told_at = self.seen_to
            _LOG.info("full text: %d of %d entries looked at", self.seen_to, self._catching_up_to)
