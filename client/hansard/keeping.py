"""Where a producer keeps its events: in a spool, or in memory where no spool can be had."""

from pathlib import Path

from hansard import directory as layout
from hansard.complaints import Complaints
from hansard.memory_queue import MemoryQueue
from hansard.spool import Identity, Spool, SpoolState

Store = Spool | MemoryQueue


def open_store(
    directory: Path,
    size_bytes: int,
    identity: Identity,
    state: SpoolState,
    complaints: Complaints,
    *,
    named: bool,
) -> Store:
    """A store for the log in ``directory``; a complaint if it is memory only.

    The caller MUST hold `hansard.spool.making` until it knows the store.
    """
    spool_directory = directory / layout.SPOOL
    try:
        mode = layout.spool_file_mode(spool_directory)
        return Spool(spool_directory, size_bytes, mode, identity, state, named=named)
    except OSError as error:
        complaints.warn(
            "no spool",
            "no spool in %s (%s): events are kept in memory only and end with this process; "
            "make room there and restart it",
            spool_directory,
            error.strerror,
        )
        return MemoryQueue(size_bytes, identity, state)
