"""The backfill itself: values are read and drawn here, and the writer keeps them.

The writer says how far each field is filled, so a run begins where the one before has ended,
however that came. It changes nothing itself.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import WriterUnavailable
from hansard.reader.resting import Rests
from hansard.reader_connection import ReadConnection
from hansard_writer.backfilling.concerned import event_types
from hansard_writer.backfilling.looking import Look, Piece
from hansard_writer.backfilling.observing import Observer, chosen
from hansard_writer.backfilling.stretches import Stretch, entries_left, filled, next_stretch
from hansard_writer.backfilling.tally import Tally
from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.deriving import StoredField
from hansard_writer.lock import DirectoryTaken

BATCH_ENTRIES: Final = 1_000
FIRST_ENTRIES: Final = 100  # doubled each time: or the writer would wait for the whole of few
ANSWER_S: Final = 30.0  # for one question to the writer
PATIENCE_S: Final = 60.0  # for a writer that was there, and is to come back
LOOK_S: Final = 0.25  # between two looks for it
RETRY_S: Final = 0.5  # after the writer could not keep a piece
FAILURES_MAX: Final = 20  # in a row

# Beside others: a piece takes the writer a millisecond, and then it is theirs for ten.
CONSIDERATE_ENTRIES_MAX: Final = 100
REST_S_MIN: Final = 0.01
CLEARING_REST_S: Final = 0.05


class Line(Protocol):
    """As `requester.Line`."""

    def send_as_owner(self, request: wire.Request, timeout: float) -> None: ...
    def answer(self) -> tuple[str, object]: ...
    def close(self) -> None: ...


class Backfill:
    """One run over the fields of these names, or over all. For one thread.

    ``batch_size`` entries are kept in one transaction at most, fewer while others use the writer.
    ``anew``: entries that were looked at before are so again. For ``patience_s`` it waits for a
    writer that went away. ``line`` leads to it.
    """

    def __init__(
        self,
        directory: Path,
        names: Sequence[str] = (),
        *,
        batch_size: int = BATCH_ENTRIES,
        anew: bool = False,
        patience_s: float = PATIENCE_S,
        observer: Observer | None = None,
        line: Line | None = None,
    ) -> None:
        self._directory = directory
        self._line: Line = line or requester.Line(directory)
        self._names = names
        self._batch_size = batch_size
        self._anew = anew
        self._patience_s = patience_s
        self._observer = observer or Observer()
        self._fields: list[StoredField] = []
        self._tallies: dict[int, Tally] = {}
        self._next_size = min(FIRST_ENTRIES, batch_size)
        self._as_of = 0
        self._has_retired = False
        self._is_considerate = False
        self._in_use = False
        self._failures = 0
        self._under_way: tuple[Stretch, Piece] | None = None
        self._rests = Rests()

    def run(self) -> list[Tally]:
        """Fill all that is left; what came of it, by field. Raises `NoSuchField`,
        `WriterUnavailable` and `wire.WireError` where the writer cannot, and `DirectoryTaken` where
        it is of a release that knows no derived fields. What is filled by then stays."""
        with closing(self._line):
            self._declare()
            self._observer.begin(entries_left(self._fields))
            while True:
                try:
                    self._fill()
                    self._clear()
                    return [self._tally(each) for each in self._fields]
                except (WriterUnavailable, wire.WireError) as error:
                    self._come_back(error)

    # --- the fields ---

    def _declare(self) -> None:
        """Ask which fields there are, and how far; with what is declared now, and no sooner."""
        request = wire.Declare()
        if self._anew:
            names = self._names or [each.field.name for each in self._declared(request)]
            request = wire.Declare([*names])
        self._fields = chosen(self._declared(request), self._names)
        self._anew = False

    def _declared(self, request: wire.Declare) -> list[StoredField]:
        try:
            content = self._asked(request)
        except wire.WireError as error:
            if "is no verb" not in str(error):
                raise
            pid = layout.read_lock_file(self._directory).get("pid", "unknown")
            raise DirectoryTaken(
                f"the writer (pid {pid}) of {self._directory} is of a release without derived "
                "fields: start it again with this one, and repeat the command"
            ) from error
        answer = wire.derived_fields_of(content)
        self._heard(answer)
        self._as_of = answer.as_of
        return [
            StoredField(id_, DerivedField.from_definition(name, definition), *marks)
            for id_, name, definition, *marks in answer.fields
        ]

    def _tally(self, stored: StoredField) -> Tally:
        return self._tallies.setdefault(stored.id, Tally(stored.field))

    # --- filling ---

    def _fill(self) -> None:
        with closing(ReadConnection(self._directory)) as log:
            types = event_types(log.rows)
            while stretch := next_stretch(self._fields):
                look = Look(log.rows, stretch, types)
                while piece := look.next_piece(self._entries_max()):
                    self._settle()
                    self._send(stretch, piece)
                    if self._in_use:
                        self._settle()
                        self._rests.take(REST_S_MIN)
                self._settle()

    def _entries_max(self) -> int:
        if self._in_use:
            return min(self._batch_size, CONSIDERATE_ENTRIES_MAX)
        size, self._next_size = self._next_size, min(2 * self._next_size, self._batch_size)
        return size

    def _send(self, stretch: Stretch, piece: Piece) -> None:
        """The next piece is drawn while the writer keeps this one."""
        values = wire.pack_values(piece.values)
        fill = wire.Fill(piece.after, piece.upto, self._as_of, values)
        self._line.send_as_owner(fill, ANSWER_S)
        self._under_way = stretch, piece

    def _settle(self) -> None:
        """Wait until the piece that is under way is kept."""
        if self._under_way is None:
            return
        (stretch, piece), self._under_way = self._under_way, None
        self._heard(wire.filled_of(self._line.answer()[1]))
        self._failures = 0
        self._fields = filled(self._fields, stretch, piece.upto)
        for stored, tally in zip(stretch.fields, piece.tallies, strict=True):
            self._tally(stored).add(tally)
        self._observer.through(piece.upto - piece.after)

    def _asked(self, request: wire.Request) -> object:
        self._line.send_as_owner(request, ANSWER_S)
        return self._line.answer()[1]

    def _forget(self) -> None:
        """What is under way may be kept or not: the writer knows."""
        self._line.close()
        self._under_way = None

    def _clear(self) -> None:
        """Of definitions that are none any more."""
        nothing = wire.Fill(0, 0, 0, wire.pack_values([]))
        while self._has_retired:
            content = self._asked(nothing)
            self._heard(wire.filled_of(content))
            self._failures = 0
            if self._in_use:
                self._rests.take(CLEARING_REST_S)

    # --- beside others ---

    def _heard(self, answer: wire.DerivedFields | wire.Filled) -> None:
        self._has_retired, self._in_use = answer.has_retired, answer.is_in_use
        if self._in_use and not self._is_considerate:
            self._is_considerate = True
            self._observer.step_back()

    def _come_back(self, error: Exception) -> None:
        """After the writer has ended, or could not keep a piece: ask it once more how far it is.
        Raises the error where that makes no sense."""
        self._forget()
        before = entries_left(self._fields)
        while True:
            self._failures += 1
            if self._failures > FAILURES_MAX:
                raise error
            if isinstance(error, WriterUnavailable):
                self._await_writer(error)
            else:
                time.sleep(RETRY_S)
            try:
                self._declare()
            except (WriterUnavailable, wire.WireError) as again:
                error = again
            else:
                break
        self._observer.through(max(before - entries_left(self._fields), 0))

    def _await_writer(self, error: WriterUnavailable) -> None:
        self._observer.away(str(error))
        deadline = time.monotonic() + self._patience_s
        while not layout.a_writer_lives(self._directory):
            if time.monotonic() >= deadline:
                raise error
            time.sleep(LOOK_S)
