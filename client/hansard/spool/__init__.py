"""A producer's memory-mapped file of events that are not yet committed: `Spool` while the producer
lives. The file's layout is in `hansard.spool.layout`; how a dead producer's is read, in
`hansard.spool.orphan`, which no worker needs to load."""

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

__all__ = [
    "MAGIC",
    "RECORD",
    "RECORDS_AT",
    "SUFFIX",
    "TEMPORARY_SUFFIX",
    "Identity",
    "Spool",
    "SpoolDamaged",
    "SpoolState",
    "making",
    "new_name",
]
