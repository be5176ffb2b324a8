"""Takes the looks: asks the writer once, reads a few of the newest entries, and lets go of the log.

No transaction and no open file outlives a look, so that no writer waits for who watches.
"""

import time
from pathlib import Path
from typing import Any, Final

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import AuditLogError
from hansard.reader import LogReader
from hansard.served_by import is_log_here, require_writer
from hansard_writer.doctor.gathering import read_verdict
from hansard_writer.glance.snapshot import Snapshot
from hansard_writer.shipping.standing import standings

ASK_S: Final = 1.0
ENTRIES_MAX: Final = 25  # each of 1 MiB at most


def look(directory: Path, timeout: float = ASK_S) -> Snapshot:
    """One look; what cannot be seen is said in it. Raises `ConfigError` for settings that cannot be
    used."""
    is_here = is_log_here(directory)
    snapshot = Snapshot(time.monotonic(), time.time_ns())
    try:
        _, figures = requester.ask(require_writer(directory), wire.pack_stats_request(), timeout)
        if isinstance(figures, dict):
            snapshot = snapshot._replace(figures=figures)
    except (AuditLogError, wire.WireError) as error:
        snapshot = snapshot._replace(silence=str(error))
    if not is_here:
        return snapshot._replace(unread="the log is on the writer's host: its entries show there")
    return snapshot._replace(
        **_read(directory),
        verified=read_verdict(directory / layout.VERIFIED),
        shipping=tuple(standings(directory)),
    )


def _read(directory: Path) -> dict[str, Any]:
    try:
        with LogReader(directory) as reader:
            entries = tuple(reader.events(limit=ENTRIES_MAX, newest_first=True))
            return {"entries": entries, "last_id": reader.extent().last_id}
    except AuditLogError as error:
        return {"unread": str(error)}
