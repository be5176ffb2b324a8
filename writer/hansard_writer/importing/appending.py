"""Recording under a producer id that is made of what is recorded, and where a log stands with one.

The numbers of such a producer mean the same events whoever sends them; to see to that is its
user's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hansard import AuditLog
from hansard.settings import MIB
from hansard.source import Source

EVENTS_MAX: Final = 2_000  # of a chunk
SPOOL_BYTES: Final = 8 * MIB  # a whole chunk fits, so no event ever waits for room


@contextmanager
def appending(directory: Path, source: Source) -> Iterator[AuditLog]:
    """An `AuditLog` that goes on where a source stands, for at most a chunk's events; it raises
    what goes wrong."""
    with AuditLog(
        directory,
        _source=source,
        sync=False,
        best_effort=False,
        on_full="raise",
        spool_bytes=SPOOL_BYTES,
        queue_maxsize=EVENTS_MAX,
        mask_fields=("-*",),  # what others have written is entered to the letter
    ) as log:
        yield log


def append(log: AuditLog, data: bytes) -> None:
    """Record an event that is encoded already. Raises as `AuditLog.record`."""
    log._producer.append(data)
