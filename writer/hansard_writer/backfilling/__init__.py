"""Filling derived fields of entries that were made before the fields were declared.

`stretches` says what is left to be filled, and `looking` draws the values of a stretch; `run` has
the writer keep them, `preview` only says what would be kept. `verification` holds what is kept
against what is drawn again.
"""

from hansard_writer.backfilling.lock import AnotherBackfill, BackfillLock
from hansard_writer.backfilling.observing import NoSuchField, Observer
from hansard_writer.backfilling.preview import preview
from hansard_writer.backfilling.run import Backfill
from hansard_writer.backfilling.tally import Tally

__all__ = [
    "AnotherBackfill",
    "Backfill",
    "BackfillLock",
    "NoSuchField",
    "Observer",
    "Tally",
    "preview",
]
