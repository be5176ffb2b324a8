"""Dead letters: what could not be entered is kept with its reason, and entered later if it can be.

It writes within the transactions of others, and decides nothing about what is refused.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import apsw

from hansard import wire
from hansard_writer.decoding import Decoder, Fault, Refused, without
from hansard_writer.entering import Entering, malformed
from hansard_writer.tasks import TaskBook

REDACTED: Final = "redacted"  # the reason of a letter whose bytes are taken out

LETTERS_PER_PIECE_MAX: Final = 1_000  # in one transaction
BYTES_PER_PIECE_MAX: Final = 4 << 20  # of letters, unless one alone is larger

_LOG: Final = logging.getLogger("hansard.writer")

_INSERT: Final = (
    "INSERT INTO dead_letters(received_at, producer, producer_seq, count, reason, detail, frame,"
    " task_id) VALUES(?,?,?,?,?,?,?,?)"
)
_COUNT_REFUSED: Final = (
    "UPDATE producers SET refused = refused + ?, orphaned = orphaned + ? WHERE id = ?"
)
_COUNT_NOT_KEPT: Final = (
    "INSERT INTO meta VALUES('dead_letters_not_kept', ?)"
    " ON CONFLICT DO UPDATE SET value = excluded.value"
)
_SELECT: Final = (
    "SELECT producer, producer_hash, producer_seq, count, reason, frame FROM dead_letters AS d"
    " LEFT JOIN producers AS p ON p.id = producer WHERE d.id = ?"
)
_ENTERED: Final = "UPDATE dead_letters SET replayed_as = ?, frame = x'' WHERE id = ?"
_COUNT_RETURNED: Final = (
    "UPDATE producers SET returned = returned + ?, orphaned = orphaned - ? WHERE id = ?"
)
_REFUSED_AGAIN: Final = (
    "UPDATE dead_letters SET attempts = attempts + 1, reason = ?, detail = ?, task_id = ?"
    " WHERE id = ?"
)
_ORPHANS_OF: Final = (
    "SELECT id FROM dead_letters WHERE reason = 'orphan' AND replayed_as IS NULL AND task_id = ?"
    " ORDER BY id"
)
_SELECTED: Final = (
    "SELECT id, length(frame) FROM dead_letters WHERE (replayed_as IS NOT NULL) = ?1 AND id > ?2"
    " AND (?3 IS NULL OR reason = ?3) AND (?4 IS NULL OR id IN (SELECT value FROM json_each(?4)))"
    " ORDER BY id LIMIT ?5"
)
_RETURNABLE: Final = (
    "SELECT id, length(frame) FROM dead_letters WHERE reason = 'orphan' AND replayed_as IS NULL"
    " AND id > ? AND (? OR task_id IN (SELECT task_id FROM tasks)) ORDER BY id LIMIT ?"
)
_NUMBERS: Final = (
    "SELECT producer, lower(hex(producer_hash)), producer_seq, count, reason, length(frame)"
    " FROM dead_letters AS d LEFT JOIN producers AS p ON p.id = producer"
    " WHERE replayed_as IS NULL AND d.id IN (SELECT value FROM json_each(?))"
    " ORDER BY producer, producer_seq"
)
_READABLE: Final = (
    "SELECT id, length(frame) FROM dead_letters WHERE id > ? AND frame <> x'' AND reason <> ?"
    " AND (? OR producer IS NULL) ORDER BY id LIMIT ?"
)
_REDACTED: Final = "UPDATE dead_letters SET reason = ?1, detail = ?1, frame = ?2 WHERE id = ?3"
_DROP: Final = "DELETE FROM dead_letters WHERE id IN (SELECT value FROM json_each(?))"


class Kept(NamedTuple):
    """How many letters are kept, and how many bytes of frames; how many found no room, ever."""

    letters: int = 0
    bytes: int = 0
    not_kept: int = 0


class Piece(NamedTuple):
    """Some letters by id, as many as one transaction takes; whether there are no more."""

    ids: list[int]
    is_last: bool


class Again(NamedTuple):
    """What became of letters that were tried again: how many events each had that is entered, or
    refused, by id; how many letters of nobody's numbers there were."""

    entered: Mapping[int, int]
    refused: Mapping[int, int]
    hopeless: int = 0

    def and_then(self, later: "Again") -> "Again":
        """Both, where the later one may have entered what this one could not."""
        entered = {**self.entered, **later.entered}
        refused = {**self.refused, **later.refused}
        left = {letter: count for letter, count in refused.items() if letter not in entered}
        return Again(entered, left, self.hopeless + later.hopeless)


class GivenUp(NamedTuple):
    """What goes with letters that are dropped: events, and by producer (hash in hex) the runs of
    their numbers, as ``(first, count)``."""

    events: int
    runs: Mapping[str, list[tuple[int, int]]]


class DeadLetters:
    """The letters of one log. ``kept`` is what is committed: `begin` and `committed` frame each
    transaction. ``tasks`` says which tasks are known, None where nobody asks."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        letters_max: int,
        bytes_max: int,
        tasks: TaskBook | None,
    ) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._letters_max = letters_max
        self._bytes_max = bytes_max
        self._tasks = tasks
        self._decoder = Decoder()
        self._complained = False
        self.kept = Kept(
            *self._one(
                "SELECT count(*), coalesce(sum(length(frame)), 0), (SELECT coalesce(max(value), 0)"
                " FROM meta WHERE key = 'dead_letters_not_kept')"
                " FROM dead_letters WHERE replayed_as IS NULL"
            )
        )
        self.begin()

    def begin(self) -> None:
        """A transaction begins."""
        self._now_kept = self.kept

    def committed(self) -> None:
        """It is committed."""
        if self._now_kept.not_kept > self.kept.not_kept and not self._complained:
            self._complained = True  # once a run: the figure says the rest
            _LOG.error(
                "no room for more dead letters: what is refused is only counted from now on, as "
                "dead_letters_not_kept; raise dead_letters_max or dead_letters_bytes_max"
            )
        self.kept = self._now_kept

    def write(self, refused: Iterable[tuple[int | None, Refused]], now_ns: int) -> list[int]:
        """Keep what is refused, by producer, as far as the limits allow; beyond them only the
        counter in ``meta`` moves. The id of each letter, 0 where it is not kept."""
        ids = []
        letters, size, not_kept = self._now_kept
        for producer, each in refused:
            is_kept = letters < self._letters_max and size + len(each.data) <= self._bytes_max
            if is_kept:
                letters, size = letters + 1, size + len(each.data)
                first_seq = each.first_seq or None
                facts = (each.numbers, each.reason, each.detail, each.data, each.task_id)
                self._execute(_INSERT, (now_ns, producer, first_seq, *facts))
            else:
                not_kept += 1
            ids.append(self._connection.last_insert_rowid() if is_kept else 0)
            orphaned = each.numbers if is_kept and each.reason == wire.ORPHAN else 0
            if each.numbers:
                self._execute(_COUNT_REFUSED, (each.numbers, orphaned, producer))
        if not_kept > self._now_kept.not_kept:
            self._execute(_COUNT_NOT_KEPT, (not_kept,))
        self._now_kept = Kept(letters, size, not_kept)
        return ids

    def return_orphans(self, task_id: str, entering: Entering) -> Again:
        """Enter what waited for a task, now that it is registered, in the order of arrival."""
        return self.try_again(self._ids(_ORPHANS_OF, (task_id,)), entering)

    def selected(self, asked: wire.Replay | wire.DropLetters, *, entered: bool = False) -> Piece:
        """The next letters that are asked for, of those that wait or of those that are entered."""
        ids = None if asked.ids is None else str(list(asked.ids))
        return self._piece(_SELECTED, (entered, asked.after_id, asked.reason, ids))

    def returnable(self, after_id: int) -> Piece:
        """The next orphans that nothing keeps out any more."""
        return self._piece(_RETURNABLE, (after_id, self._tasks is None))

    def try_again(self, ids: Sequence[int], entering: Entering) -> Again:
        """Enter letters under their own numbers and with their own times, each wholly or not at
        all; what is refused again stays, with the present reason."""
        entered: dict[int, int] = {}
        refused: dict[int, int] = {}
        hopeless = 0
        for letter in ids:
            producer, hash_, first_seq, count, reason, body = self._one(_SELECT, (letter,))
            if producer is None or not count or reason == REDACTED:
                hopeless += 1
                continue
            frame = wire.Frame(b"", first_seq, count, 0, wire.Drops(), body)
            outcome = self._enter(producer, hash_, frame, entering)
            if isinstance(outcome, Refused):
                refused[letter] = count
                self._keep_on(letter, producer, count, reason, outcome)
                continue
            entered[letter] = count
            self._execute(_ENTERED, (outcome, letter))
            orphaned = count if reason == wire.ORPHAN else 0
            self._execute(_COUNT_RETURNED, (count, orphaned, producer))
            letters, size, not_kept = self._now_kept
            self._now_kept = Kept(letters - 1, size - len(body), not_kept)
        return Again(entered, refused, hopeless)

    def given_up(self, ids: Sequence[int]) -> GivenUp:
        """What would go with these letters; what is entered goes with none."""
        events = 0
        runs: dict[str, list[tuple[int, int]]] = {}
        for _, producer_hash, first, count, *_ in self._rows(_NUMBERS, (str(list(ids)),)):
            if not count:
                continue  # of nobody's
            events += count
            known = runs.setdefault(producer_hash, [])
            if known and sum(known[-1]) == first:
                known[-1] = (known[-1][0], known[-1][1] + count)
            else:
                known.append((first, count))
        return GivenUp(events, runs)

    def drop(self, ids: Sequence[int]) -> None:
        """Delete letters. Their numbers stay refused, and no orphan of theirs waits any more."""
        letters, size, not_kept = self._now_kept
        for producer, _, _, count, reason, frame_bytes in self._rows(_NUMBERS, (str(list(ids)),)):
            letters, size = letters - 1, size - frame_bytes
            if reason == wire.ORPHAN:
                self._execute(_COUNT_REFUSED, (0, -count, producer))
        self._now_kept = Kept(letters, size, not_kept)
        self._execute(_DROP, (str(list(ids)),))

    def readable(self, after_id: int, *, of_anybody: bool) -> Piece:
        """The next letters that have bytes, of anybody or only of nobody."""
        return self._piece(_READABLE, (after_id, REDACTED, of_anybody))

    def redact(self, letter: int, kept: bytes) -> None:
        """Take a letter's bytes out, but for those to be kept. Its numbers stay refused, and an
        orphan of it waits no more."""
        producer, _, _, count, reason, body = self._one(_SELECT, (letter,))
        self._execute(_REDACTED, (REDACTED, kept, letter))
        if reason == wire.ORPHAN:
            self._execute(_COUNT_REFUSED, (0, -count, producer))
        letters, size, not_kept = self._now_kept
        self._now_kept = Kept(letters, size - len(body) + len(kept), not_kept)

    def _enter(
        self, producer: int, producer_hash: bytes, frame: wire.Frame, entering: Entering
    ) -> int | Refused:
        """The first seq of a letter's events, or why they are refused."""
        runs, refused = self._decoder.decode(frame)
        for run in runs:
            faults = self._tasks.faults(run) if self._tasks else {}
            if faults := faults or malformed(run, self._connection):
                refused += without(run, faults)[1]
        if refused:
            return refused[0]
        (run,) = runs  # a body of which nothing is refused is one
        outcome = entering.attempt(producer, producer_hash, run)
        return without(run, {0: outcome})[1][0] if isinstance(outcome, Fault) else outcome

    def _keep_on(
        self, letter: int, producer: int, count: int, reason: str, refused: Refused
    ) -> None:
        self._execute(_REFUSED_AGAIN, (refused.reason, refused.detail, refused.task_id, letter))
        more_orphans = (refused.reason == wire.ORPHAN) - (reason == wire.ORPHAN)
        if more_orphans:
            self._execute(_COUNT_REFUSED, (0, more_orphans * count, producer))

    def _piece(self, statement: str, bindings: tuple[Any, ...]) -> Piece:
        rows = self._rows(statement, (*bindings, LETTERS_PER_PIECE_MAX + 1))
        room = BYTES_PER_PIECE_MAX
        for index, (_, frame_bytes) in enumerate(rows):
            room -= frame_bytes
            if index and (room < 0 or index == LETTERS_PER_PIECE_MAX):
                return Piece([letter for letter, _ in rows[:index]], is_last=False)
        return Piece([letter for letter, _ in rows], is_last=True)

    def _ids(self, statement: str, bindings: tuple[Any, ...]) -> list[int]:
        return [row[0] for row in self._execute(statement, bindings)]

    def _rows(self, statement: str, bindings: tuple[Any, ...]) -> list[Any]:
        return self._execute(statement, bindings).fetchall()

    def _one(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        return self._execute(statement, bindings).get
