"""Wiping: what was redacted leaves no byte in the files of the log, either.

SQLite overwrites what is deleted where it is. Wiping looks for the rest: words by which full text
finds its pages, old copies in the pages of b-trees, the WAL, spools, and the backups of migrations.
It goes in pieces beside the log's work, takes nothing out of the log, and says what keeps it from
its end.
"""

import os
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard import wire
from hansard_writer import full_text_separators, spooled, wal_readers
from hansard_writer.backups.swapping import put_aside_in
from hansard_writer.changed_pages import ChangedPages
from hansard_writer.free_space import PAGE_BYTES, TELLABLE_PAGES_MAX
from hansard_writer.full_text_separators import Place
from hansard_writer.migrating import backups_beside
from hansard_writer.store import Store

PIECE_PAGES_MAX: Final = 2_048  # 8 MiB: 5 ms, or 50 where much is found

_LAYOUT: Final = "SELECT * FROM pragma_page_size, pragma_auto_vacuum"


class Wiping:
    """Of one log, in one run of its writer; a run that has not wiped begins with all of it.

    MUST NOT be used while a batch holds what is not committed. Raises
    `hansard_writer.retries.StoreUnready`: the piece can be done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._handle = store.handle
        self.begin()

    def begin(self) -> None:
        """Something was redacted: all is to be looked through, once more."""
        self._handle.on_commit = None
        self._changed: ChangedPages | None = None
        self._place: Place | None = Place()
        self._cleared = 0  # pages, from the first on
        self._is_cleared = False

    def piece(self) -> wire.Wiped:
        """Do the next piece; how far it is, and what is in the way."""
        held_up_by: list[str] = []
        if self._place is not None:
            self._mend_full_text(self._place)
        elif not self._is_cleared:
            held_up_by = self._clear_pages()
        if self._is_cleared:
            path = self._store.path
            held_up_by = spooled.holders(self._store, path.parent / layout.SPOOL)
            held_up_by += [*backups_beside(path), *put_aside_in(path.parent)]
        is_done = self._is_cleared and not held_up_by
        return wire.Wiped(self._cleared, self._handle.file.pages, held_up_by, is_done)

    # --- inside ---

    def _mend_full_text(self, place: Place) -> None:
        with self._store.transaction() as connection:
            after = full_text_separators.put_right(connection, place)
        self._place = after

    def _clear_pages(self) -> list[str]:
        """Clear the next pages of the database, while the WAL is empty and nobody can write; what
        keeps it from that."""
        handle, file = self._handle, self._handle.file
        if self._changed is None:
            self._changed = ChangedPages(handle.connection)
            handle.on_commit = self._changed.committed
        if not handle.checkpoint_truncate():
            return [wal_readers.in_the_way(handle.wal)]
        if file.pages >= TELLABLE_PAGES_MAX:
            return [_too_large(self._store.path)]
        with handle.transaction():
            if handle.wal_bytes:
                return ["another program writes into log.db"]
            page_bytes, auto_vacuum = handle.one(_LAYOUT)
            if page_bytes != PAGE_BYTES:
                return [_laid_out_otherwise(self._store.path)]
            has_maps = bool(auto_vacuum)
            changed = {page for page in self._changed.take() if page <= self._cleared}
            for page in changed:
                file.clear(page, has_maps=has_maps)
            file.clear(self._cleared + 1, PIECE_PAGES_MAX, has_maps=has_maps)
            pages = file.pages
            self._cleared = min(self._cleared + PIECE_PAGES_MAX, pages)
            if self._cleared == pages:
                self._finish()
        return []

    def _finish(self) -> None:
        """Everything is clear, but for SQLite's own copies, which it would write again; and what
        was taken away is to stay away after a power cut."""
        self._handle.connection.execute("PRAGMA shrink_memory")
        self._handle.file.sync()
        _sync(self._handle.wal)
        self._handle.on_commit = self._changed = None
        self._is_cleared = True


def _too_large(database: Path) -> str:
    size = TELLABLE_PAGES_MAX * PAGE_BYTES >> 30
    return (
        f"{database} has {size} GiB or more, whose pages cannot be told apart: old copies of what "
        "was redacted may be in those of its indexes, until they are made anew"
    )


def _laid_out_otherwise(database: Path) -> str:
    """A VACUUM of somebody's can do that. Parts of larger pages may begin as a b-tree's do: what
    belongs to nothing there cannot be told from what does."""
    return (
        f"{database} was laid out anew, with another page size, and old copies of what was "
        "redacted may be in its pages: stop the writer, and have SQLite run PRAGMA journal_mode = "
        f"DELETE, PRAGMA page_size = {PAGE_BYTES} and VACUUM, in this order"
    )


def _sync(wal: Path) -> None:
    """An empty WAL that is not synced may be a full one after a power cut."""
    descriptor = os.open(wal, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
