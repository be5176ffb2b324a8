"""A producer's memory-mapped file of events that are not yet committed: `Spool` while the producer
lives, `Orphan` when it is dead. The file's layout is in `hansard.spool.layout`."""

from hansard.spool.layout import (
    MAGIC,
    RECORD,
    RECORDS_AT,
    SUFFIX,
    TEMPORARY_SUFFIX,
    Identity,
    SpoolDamaged,
    SpoolState,
)
from hansard.spool.live import Spool, making, new_name
from hansard.spool.orphan import Orphan, is_abandoned, lock_orphan

__all__ = [
    "MAGIC",
    "RECORD",
    "RECORDS_AT",
    "SUFFIX",
    "TEMPORARY_SUFFIX",
    "Identity",
    "Orphan",
    "Spool",
    "SpoolDamaged",
    "SpoolState",
    "is_abandoned",
    "lock_orphan",
    "making",
    "new_name",
]
