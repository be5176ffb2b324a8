"""Entries of a log that had no proof yet: they get salts, hashes and leaves, once.

It runs within the transaction of the migration that brings the proof.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import apsw

from hansard_writer.proof import leaves
from hansard_writer.proof.merkle_hash_tree import Edge, grow
from hansard_writer.proof.stored_tree import WRITE_ROW

PIECE_ENTRIES: Final = 10_000
PIECE_CHARS: Final = 16 << 20  # of payloads, which may have a MiB each, unless one has more
PROGRESS_ENTRIES: Final = 100_000  # between two lines in the log

_LOG: Final = logging.getLogger("hansard.writer")

_ENTRIES: Final = (
    "SELECT e.seq, p.producer_hash, e.producer_seq, e.created_at, e.event_type, e.level, e.actor,"
    " e.task_id, e.payload FROM entries AS e JOIN producers AS p ON p.id = e.producer"
    " WHERE e.seq > ? ORDER BY e.seq LIMIT ?"
)
_HIDE: Final = "UPDATE entries SET salt = ?, payload_hash = ? WHERE seq = ?"


def hash_earlier_entries(connection: apsw.Connection, progress: Callable[[int], None]) -> None:
    """Hash what is there; ``progress`` hears how many entries are. MUST be called within a
    transaction, before the triggers of that version are made: it drops the one that lets no entry
    be updated."""
    connection.execute("DROP TRIGGER entries_are_not_updated")
    edge, told = Edge(), 0
    while rows := _next(connection, edge.size):
        *facts, payloads = zip(*rows, strict=True)
        salts, hashes = leaves.hide(payloads)
        connection.executemany(_HIDE, zip(salts, hashes, facts[0], strict=True))
        entries = zip([leaves.LEAF_VERSION] * len(rows), *facts, hashes, strict=True)
        edge, changed = grow(edge, leaves.leaf_hashes(entries))
        connection.executemany(WRITE_ROW, changed)
        progress(edge.size)
        if edge.size - told >= PROGRESS_ENTRIES:
            told = edge.size
            _LOG.info("the log gets its proof: %d entries are hashed", told)


def _next(connection: apsw.Connection, after: int) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    room = PIECE_CHARS
    cursor = connection.execute(_ENTRIES, (after, PIECE_ENTRIES))
    for row in cursor:
        rows.append(row)
        room -= len(row[-1] or "")
        if room <= 0:
            cursor.close()
            break
    return rows
