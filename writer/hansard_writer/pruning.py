"""Retention: the log's oldest entries go, in pieces, once an entry says so and that is signed.

It deletes a prefix that it is told. Which one, and when there is time for a piece, others decide;
dead letters, tasks, producers, runs and checkpoints stay as they are.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import apsw

from hansard import wire
from hansard.refusals import timestamp
from hansard_writer.full_text import FullText
from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof.stored_tree import DELETE_ROWS, rows_within
from hansard_writer.retries import StoreUnready
from hansard_writer.store import OWN_PRODUCER, PRUNED_KEYS, Store

PRUNED: Final = "hansard.pruned"
PIECE_ENTRIES_MAX: Final = 500  # deleted in one transaction: 7 ms, of operations 15, ...
PIECE_BYTES_MAX: Final = 128 << 10  # ... and of their payloads what fits, or one entry's
PROGRESS_ENTRIES: Final = 100_000  # between two lines in the log

_LOG: Final = logging.getLogger("hansard.writer")

_SAID: Final = (  # where, and up to where at most
    "SELECT coalesce(max(seq), 0), coalesce(max(payload ->> '$.last'), 0) FROM entries"  # noqa: S608
    f" WHERE event_type = '{PRUNED}' AND producer = {OWN_PRODUCER}"
)
_NEXT: Final = (
    "SELECT seq, octet_length(payload) FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
)
_UNLOCK: Final = "INSERT OR REPLACE INTO meta VALUES('unlocked', 'prune')"
_LOCK: Final = "DELETE FROM meta WHERE key = 'unlocked'"
_DELETE: Final = "DELETE FROM entries WHERE seq <= ?"
_DELETE_DERIVED: Final = (
    "DELETE FROM derived_values WHERE field IN (SELECT id FROM derived_fields) AND seq <= ?"
)
_SET: Final = (
    "INSERT INTO meta VALUES(?, ?) ON CONFLICT DO UPDATE SET value = max(value, excluded.value)"
)


class Pruning:
    """Of one log, in one run of its writer. ``signed_to`` says how many entries the newest
    checkpoint covers: nothing is deleted before it covers the entry that says so, so that what is
    gone was signed. All raise `hansard_writer.retries.StoreUnready`, with nothing changed."""

    def __init__(
        self, store: Store, own: OwnEntries, full_text: FullText, signed_to: Callable[[], int]
    ) -> None:
        self._store = store
        self._own = own
        self._full_text = full_text
        self._signed_to = signed_to
        self._said_at, said_to = store.handle.one(_SAID)
        if store.pruned.target > said_to:
            _LOG.error(
                "log.db has a mark that entries up to %d go, and no entry says so: somebody has "
                "set it from outside; nothing is pruned; `hansard verify` says more",
                store.pruned.target,
            )
            store.pruned = store.pruned._replace(target=max(said_to, store.pruned.to))
        self._told_at = store.pruned.to
        self.held_up_by = ""  # who asks for no piece says why, here

    @property
    def state(self) -> wire.PruneState:
        """How far it is."""
        held_up_by = self.held_up_by if self.left else ""
        return wire.PruneState(self._store.pruned.target, self._store.pruned.to, held_up_by)

    @property
    def left(self) -> int:
        """How many entries are still to be deleted."""
        return self._store.pruned.target - self._store.pruned.to

    @property
    def has_work(self) -> bool:
        """Whether `step` has something to do, or to wait for."""
        return self.left > 0 or self._full_text.has_traces

    def is_begun(self, asked: wire.Prune) -> bool:
        """Whether the log says already that these go."""
        return asked.last <= self._store.pruned.target

    def begin(self, asked: wire.Prune) -> wire.PruneState:
        """Say in the log that entries go; `step` does it. MUST NOT be called while a batch holds
        what is not committed. Raises `WireError` for more entries than the log has."""
        store = self._store
        if asked.last > store.size:
            raise wire.WireError(f"last of a prune is {asked.last}: the log ends with {store.size}")
        facts = {
            "by": asked.by,
            "reason": asked.reason,
            "first": 1,
            "last": asked.last,
            "before": timestamp(asked.before),
            "archive": asked.archive,
        }
        with self._own.entering() as entering:
            said_at = self._own.enter(PRUNED, "warning", facts, entering)
            _set(store.connection, prune_to=asked.last, prune_before=asked.before)
        self._said_at = said_at
        before = max(asked.before, store.pruned.before)
        store.pruned = store.pruned._replace(target=asked.last, before=before)
        _LOG.warning("pruning: entries up to %d go (by %s)", asked.last, asked.by)
        return self.state

    def step(self) -> bool:
        """Delete the next piece; when all are gone, what is left of their words in the index of
        full text. Whether something was written: not while a checkpoint is missing."""
        try:
            return self._step()
        except StoreUnready as error:
            self.held_up_by = str(error)
            raise
        except apsw.Error as error:
            if not self._full_text.mend(error):
                raise
        return True

    # --- inside ---

    def _step(self) -> bool:
        if self.left <= 0:
            self._full_text.purge_piece()
            return True
        if self._signed_to() < self._said_at:
            self.held_up_by = f"no checkpoint covers entry {self._said_at} yet"
            return False
        self.held_up_by = ""
        end = self._store.handle.read(self._end_of_piece)
        with self._store.transaction() as connection:
            self._full_text.remove(end)  # as long as the entries are there
            connection.execute(_UNLOCK)
            connection.execute(_DELETE, (end,))
            connection.execute(_DELETE_DERIVED, (end,))
            connection.execute(_LOCK)
            for level, rows in rows_within(end):
                connection.execute(DELETE_ROWS, (level, rows))
            _set(connection, pruned_to=end)
        self._store.pruned = self._store.pruned._replace(to=end)
        self._full_text.removed(end)
        self._tell_progress()
        return True

    def _end_of_piece(self) -> int:
        pruned, size = self._store.pruned, 0
        bindings = (pruned.to, pruned.target, PIECE_ENTRIES_MAX)
        rows: list[Any] = self._store.connection.execute(_NEXT, bindings).fetchall()
        for index, (_, payload_bytes) in enumerate(rows):
            size += payload_bytes or 0
            if index and size > PIECE_BYTES_MAX:
                return int(rows[index - 1][0])
        return int(rows[-1][0]) if rows else pruned.target

    def _tell_progress(self) -> None:
        if not self.left:
            _LOG.info("pruning: entries up to %d are gone", self._store.pruned.to)
        elif self._store.pruned.to - self._told_at >= PROGRESS_ENTRIES:
            _LOG.info("pruning: %d entries are left to go", self.left)
        else:
            return
        self._told_at = self._store.pruned.to


def _set(connection: apsw.Connection, **values: Any) -> None:
    assert values.keys() <= set(PRUNED_KEYS), "the store reads these, and no others"
    connection.executemany(_SET, values.items())
