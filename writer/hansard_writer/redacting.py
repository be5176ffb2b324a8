"""Redaction: payloads and their salts go, and everything that was made from them; entries stay.

It goes in pieces, each one transaction, with an entry `hansard.redacted` in it that says who took
what out, and why. What the log's files may still hold then is the wiping's business.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import apsw
import orjson

from hansard import wire
from hansard.operations import ENV_OPERATION
from hansard_writer import full_text, letter_bytes
from hansard_writer.full_text import FullText
from hansard_writer.own_entries import OwnEntries
from hansard_writer.redacted_numbers import is_any_redacted
from hansard_writer.store import OWN_PRODUCER, Store

REDACTED: Final = "hansard.redacted"
ENTRIES_PER_PIECE_MAX: Final = 200  # looked at in one go: 0.1 ms each, ...
BYTES_PER_PIECE_MAX: Final = 32 << 10  # ... but full text looks each word up, which takes as long

_COLUMNS: Final = (
    "SELECT seq, producer, payload IS NOT NULL, payload_hash IS NOT NULL,"
    " coalesce(octet_length(payload), 0) FROM entries"
)
_OF_RANGE: Final = f"{_COLUMNS} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"
_OF_TASK: Final = f"{_COLUMNS} WHERE task_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_OF_WORKFLOW: Final = (  # as the index says it; a plus keeps SQLite from going by seq
    f"{_COLUMNS} WHERE event_type = '{ENV_OPERATION}' AND payload ->> '$.workflow_id' = ?"
    " AND +seq > ? ORDER BY +seq LIMIT ?"
)
_BEFORE: Final = (  # what the log says of the same question, asked earlier
    "SELECT coalesce(sum(json_array_length(payload, '$.letters')), 0), coalesce(sum("
    "(SELECT sum((value ->> 1) - (value ->> 0) + 1) FROM json_each(payload, '$.entries'))), 0)"
    " FROM entries WHERE event_type = ? AND payload -> '$.asked' = ?"
)
_CHOSEN: Final = "seq IN (SELECT value FROM json_each(?))"
_REGISTRATIONS: Final = (
    f"SELECT event_type, task_id, payload FROM entries WHERE {_CHOSEN}"  # noqa: S608
    f" AND event_type = '{wire.TASK_REGISTERED}' AND payload IS NOT NULL"
)
_DERIVED: Final = (
    "DELETE FROM derived_values WHERE field IN (SELECT id FROM derived_fields)"  # noqa: S608
    f" AND {_CHOSEN}"
)
_UNLOCK: Final = "INSERT OR REPLACE INTO meta VALUES('unlocked', 'redact')"
_LOCK: Final = "DELETE FROM meta WHERE key = 'unlocked'"
_REDACT: Final = f"UPDATE entries SET payload = NULL, salt = NULL WHERE {_CHOSEN}"  # noqa: S608
_ATTRIBUTES: Final = (  # of the newest registration that is left, if these were taken from those
    "UPDATE tasks AS t SET attributes = (SELECT payload FROM entries AS e"
    " WHERE e.task_id = t.task_id AND event_type = ? AND payload IS NOT NULL"
    " ORDER BY seq DESC LIMIT 1) WHERE task_id = ? AND attributes = ?"
)
_LETTER: Final = "SELECT producer, producer_seq, count, frame FROM dead_letters WHERE id = ?"


class _Found(NamedTuple):
    """An entry that is asked for."""

    seq: int
    producer: int
    has_payload: bool
    has_hash: bool
    payload_bytes: int

    @property
    def is_own(self) -> bool:
        return self.producer == OWN_PRODUCER


class Redacting:
    """Takes content out of one log.

    MUST NOT be used while a batch holds what is not committed. Raises
    `hansard_writer.retries.StoreUnready`, with nothing changed.
    """

    def __init__(self, store: Store, own: OwnEntries, index: FullText) -> None:
        self._store = store
        self._read = store.handle.read
        self._own = own
        self._index = index

    def redact(self, asked: wire.Redact) -> wire.Redacted:
        """Redact the next entries that are asked for; behind the last of them, the next letters."""
        before = self._before(asked)
        found = self._read(lambda: self._found(asked))
        if not found:
            return self._redact_letters(asked, before)
        chosen = [each.seq for each in found if each.has_payload and not each.is_own]
        if chosen and not asked.dry_run:
            self._write(asked, chosen, {})
        own = sum(each.is_own for each in found)
        empty = sum(not each.has_hash and not each.is_own for each in found)
        before += len(found) - len(chosen) - own - empty
        last_seq = found[-1].seq
        return wire.Redacted(
            len(chosen), before, own, empty, 0, last_seq, asked.after_letter, is_last=False
        )

    # --- entries ---

    def _found(self, asked: wire.Redact) -> list[_Found]:
        """The next entries, as many as one transaction takes."""
        room = BYTES_PER_PIECE_MAX
        found: list[_Found] = []
        for row in self._rows(asked):
            each = _Found(*row)
            room -= each.payload_bytes
            if found and room < 0:
                break
            found.append(each)
        return found

    def _rows(self, asked: wire.Redact) -> Iterable[tuple[Any, ...]]:
        execute, after = self._store.connection.execute, asked.after_seq
        left = ENTRIES_PER_PIECE_MAX
        if asked.workflow_id is not None:
            return execute(_OF_WORKFLOW, (asked.workflow_id, after, left)).fetchall()
        if asked.task_id is not None:
            return execute(_OF_TASK, (asked.task_id, after, left)).fetchall()
        rows: list[tuple[Any, ...]] = []
        for first, last in asked.ranges or ():
            if last > after and len(rows) < left:
                bindings = (max(first, after + 1), last, left - len(rows))
                rows += execute(_OF_RANGE, bindings).fetchall()
        return rows

    def _before(self, asked: wire.Redact) -> int:
        """How much was redacted before that cannot be found any more: letters, and operations that
        do not say whose they were. Asked for once."""
        if asked.ranges is not None or asked.after_seq or asked.after_letter:
            return 0
        question = orjson.dumps(_asked(asked)).decode()
        letters, entries = self._store.handle.one(_BEFORE, (REDACTED, question))
        return int(letters if asked.workflow_id is None else letters + entries)

    # --- dead letters ---

    def _redact_letters(self, asked: wire.Redact, before: int) -> wire.Redacted:
        """Of letters that have the task or workflow, or hold, as nobody's, what is redacted."""
        of_anybody = asked.ranges is None
        ids, is_last = self._read(
            lambda: self._store.letters.readable(asked.after_letter, of_anybody=of_anybody)
        )
        kept = self._read(lambda: self._concerned(asked, ids))
        if kept and not asked.dry_run:
            self._write(asked, [], kept)
        last_letter = ids[-1] if ids else asked.after_letter
        return wire.Redacted(
            0, before, 0, 0, len(kept), asked.after_seq, last_letter, is_last=is_last
        )

    def _concerned(self, asked: wire.Redact, ids: Sequence[int]) -> dict[int, bytes]:
        """Which letters are to be redacted, and what is left of each."""
        kept = {}
        for letter in ids:
            producer, first, count, data = self._store.connection.execute(_LETTER, (letter,)).get
            if producer is not None:
                frame = wire.Frame(b"", first or 0, count, 0, wire.Drops(), data)
                if _is_about(frame, asked):
                    kept[letter] = letter_bytes.without_content(frame)
                continue
            nobodys = letter_bytes.frame_of_nobodys(data)
            unread = wire.Frame(b"", 0, 0, 0, wire.Drops(), data)
            if _is_about(nobodys or unread, asked) or (nobodys and self._is_redacted(nobodys)):
                kept[letter] = b""
        return kept

    def _is_redacted(self, frame: wire.Frame) -> bool:
        numbers = frame.first_seq, frame.last_seq
        return is_any_redacted(self._store, frame.producer_id, *numbers)

    # --- writing ---

    def _write(self, asked: wire.Redact, seqs: list[int], letters: dict[int, bytes]) -> None:
        try:
            self._redact(asked, seqs, letters)
        except apsw.Error as error:
            if not self._index.mend(error):  # from then on nothing of these entries is in it
                raise
            self._redact(asked, seqs, letters)

    def _redact(self, asked: wire.Redact, seqs: list[int], letters: dict[int, bytes]) -> None:
        connection, chosen = self._store.connection, (str(seqs),)
        facts: dict[str, Any] = {
            "by": asked.by,
            "reason": asked.reason,
            "entries": ranges_of(seqs),
            "asked": _asked(asked),
        }
        if letters:
            facts["letters"] = list(letters)
        with self._own.entering() as entering:
            registrations = connection.execute(_REGISTRATIONS, chosen).fetchall()
            full_text.forget(connection, seqs)
            connection.execute(_DERIVED, chosen)
            connection.execute(_UNLOCK)
            connection.execute(_REDACT, chosen)
            connection.execute(_LOCK)
            connection.executemany(_ATTRIBUTES, registrations)
            for letter, kept in letters.items():
                self._store.letters.redact(letter, kept)
            self._own.enter(REDACTED, "warning", facts, entering)


def ranges_of(seqs: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as ranges, both ends included."""
    ranges: list[list[int]] = []
    for seq in seqs:
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1][1] = seq
        else:
            ranges.append([seq, seq])
    return ranges


def _asked(asked: wire.Redact) -> dict[str, Any]:
    """What the command named, as its entry says it."""
    if asked.workflow_id is not None:
        return {"workflow": asked.workflow_id}
    if asked.task_id is not None:
        return {"task": asked.task_id}
    return {"seq": asked.ranges}


def _is_about(frame: wire.Frame, asked: wire.Redact) -> bool:
    if asked.task_id is not None:
        return letter_bytes.is_of_task(frame, asked.task_id)
    if asked.workflow_id is not None:
        return letter_bytes.is_of_workflow(frame, asked.workflow_id)
    return False
