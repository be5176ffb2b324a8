"""What is left to be filled: entries side by side, with the fields that they are looked at for.

Pure. Each entry is looked at once, for all of its fields that are as far.
"""

from collections.abc import Sequence
from typing import NamedTuple

from hansard_writer.derived.deriving import StoredField


class Stretch(NamedTuple):
    """Entries behind ``after`` up to ``upto``, to be looked at for ``fields``."""

    after: int
    upto: int
    fields: tuple[StoredField, ...]


def next_stretch(fields: Sequence[StoredField]) -> Stretch | None:
    """The first one, up to where another field joins or one is complete; None if all are."""
    left = [each for each in fields if each.left]
    if not left:
        return None
    after = min(each.filled_to for each in left)
    now = tuple(each for each in left if each.filled_to == after)
    joining = [each.filled_to for each in left if each.filled_to > after]
    return Stretch(after, min([each.declared_at for each in now] + joining), now)


def filled(fields: Sequence[StoredField], stretch: Stretch, upto: int) -> list[StoredField]:
    """The fields once those of a stretch are filled up to an entry of it."""
    ids = {each.id for each in stretch.fields}
    return [each._replace(filled_to=upto) if each.id in ids else each for each in fields]


def entries_left(fields: Sequence[StoredField]) -> int:
    """How many entries there are to go through, each counted once."""
    count = 0
    while stretch := next_stretch(fields):
        count += stretch.upto - stretch.after
        fields = filled(fields, stretch, stretch.upto)
    return count
