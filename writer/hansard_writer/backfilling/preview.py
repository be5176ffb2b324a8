"""What a backfill would do: the fields as the settings file declares them now, and their values.

It reads only, and leaves no trace.
"""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from hansard import directory as layout
from hansard.reader.paging import Rows
from hansard.reader.resting import RestingRows
from hansard.reader_connection import ReadConnection
from hansard_writer.backfilling.concerned import event_types
from hansard_writer.backfilling.looking import PIECE_ENTRIES_MAX, Look
from hansard_writer.backfilling.observing import Observer, chosen
from hansard_writer.backfilling.stretches import entries_left, filled, next_stretch
from hansard_writer.backfilling.tally import Tally
from hansard_writer.derived.definitions import read_declared
from hansard_writer.derived.deriving import StoredField
from hansard_writer.derived.stored_fields import stored_fields

_SIZE: Final = "SELECT coalesce(max(seq), 0), coalesce(min(seq), 1) - 1 FROM entries"
_RETIRED: Final = (
    "SELECT count(*) FROM derived_values WHERE field IN"
    " (SELECT id FROM derived_fields WHERE NOT is_current)"
)
_EVENT_TYPE: Final = "SELECT event_type FROM entries WHERE seq = ?"


class Preview(NamedTuple):
    """What would be filled, by field; the event types of the tallies' samples, by id; and how many
    values of definitions that are none any more would be cleared."""

    tallies: list[Tally]
    event_types: dict[int, str]
    to_be_cleared: int


def preview(directory: Path, names: Sequence[str], anew: bool, observer: Observer) -> Preview:
    """Look at all entries that a backfill of these fields, or of all, would look at. Raises
    `ConfigError`, and `NoSuchField`."""
    is_served = layout.a_writer_lives(directory)
    with closing(ReadConnection(directory, leaves_no_trace=not is_served)) as log:
        rows: Rows = log.rows
        if is_served:
            observer.step_back()
            rows = RestingRows(log.rows)
        fields = chosen(_fields(directory, rows, anew=anew), names)
        tallies = {each.id: Tally(each.field) for each in fields}
        types = event_types(rows)
        observer.begin(entries_left(fields))
        while stretch := next_stretch(fields):
            look = Look(rows, stretch, types)
            while piece := look.next_piece(PIECE_ENTRIES_MAX):
                for values, tally in zip(piece.values, piece.tallies, strict=True):
                    tallies[values.field].add(tally)
                observer.through(piece.upto - piece.after)
            fields = filled(fields, stretch, stretch.upto)
        ids = {seq for tally in tallies.values() for seq, _ in tally.samples}
        return Preview(
            list(tallies.values()),
            {seq: found[0][0] for seq in sorted(ids) if (found := rows(_EVENT_TYPE, seq))},
            rows(_RETIRED)[0][0],
        )


def _fields(directory: Path, rows: Rows, *, anew: bool) -> list[StoredField]:
    """As a writer would declare them now."""
    stored = {(each.field.name, each.field.definition): each for each in stored_fields(rows)}
    ((size, pruned),) = rows(_SIZE)
    fields = []
    for number, field in enumerate(read_declared(directory), start=1):
        known = None if anew else stored.get((field.name, field.definition))
        fields.append(known or StoredField(-number, field, size, pruned))
    return fields
