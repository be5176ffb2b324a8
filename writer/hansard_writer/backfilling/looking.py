"""Looking at the entries of a stretch: the values of its fields, a piece at a time.

It reads and draws; it keeps nothing in the log.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from hansard import wire
from hansard.reader.paging import Rows
from hansard_writer.backfilling import concerned
from hansard_writer.backfilling.stretches import Stretch
from hansard_writer.backfilling.tally import Tally
from hansard_writer.derived.deriving import Deriving
from hansard_writer.derived.extraction import TEXT_BYTES_MAX, Cause, Payload, Value

PIECE_ENTRIES_MAX: Final = wire.FILL_VALUES_MAX
_VALUE_BYTES: Final = 20  # packed, with its entry's id, besides what text has


class Piece(NamedTuple):
    """What the fields of a stretch have in entries behind ``after`` up to ``upto``."""

    after: int
    upto: int
    values: list[wire.FieldValues]
    tallies: list[Tally]


class _Column(NamedTuple):
    """What becomes of one field in a piece."""

    tally: Tally
    seqs: list[int]
    values: list[Value]


class Look:
    """Goes through one stretch; ``types`` are the log's event types."""

    def __init__(self, rows: Rows, stretch: Stretch, types: Sequence[str]) -> None:
        self._stretch = stretch
        deriving = Deriving(stretch.fields)
        found = {name: deriving.extractors(name) for name in types}
        self._extractors = {name: extractors for name, extractors in found.items() if extractors}
        concerning = list(self._extractors)
        self._entries = concerned.entries(rows, concerning, stretch.after, stretch.upto)
        self._after = stretch.after

    def next_piece(self, entries_max: int) -> Piece | None:
        """The next entries, at most so many; None at the end."""
        fields, after, upto = self._stretch.fields, self._after, self._stretch.upto
        if after >= upto:
            return None
        columns = {each.id: _Column(Tally(each.field), [], []) for each in fields}
        of_type = {
            name: [(extractor.draw, columns[id_]) for id_, extractor in extractors]
            for name, extractors in self._extractors.items()
        }
        left = min(entries_max, PIECE_ENTRIES_MAX)
        # Behind an entry there is room for what the next one can have at most.
        bytes_an_entry = len(fields) * _VALUE_BYTES
        room = wire.FILL_BYTES_MAX - 2 * bytes_an_entry - len(fields) * TEXT_BYTES_MAX
        for seq, event_type, text in self._entries:
            payload = Payload(text)
            for draw, (tally, seqs, values) in of_type[event_type]:
                value = draw(payload)
                if type(value) is Cause:
                    tally.lacks(seq, value)
                    continue
                seqs.append(seq)
                values.append(value)
                if type(value) is str:
                    room -= len(value.encode())
            left -= 1
            room -= bytes_an_entry
            if left <= 0 or room <= 0:
                upto = seq
                break
        for tally, seqs, values in columns.values():
            tally.has(seqs, values)
        self._after = upto
        return Piece(
            after,
            upto,
            [wire.FieldValues(id_, seqs, values) for id_, (_, seqs, values) in columns.items()],
            [tally for tally, _, _ in columns.values()],
        )
