"""What `record()` returns: the caller's handle on one event."""

from typing import Final, NamedTuple

QUEUED: Final = "queued"
COMMITTED: Final = "committed"
ORPHANED: Final = "orphaned"
REJECTED: Final = "rejected"
DROPPED: Final = "dropped"
UNKNOWN: Final = "unknown"

ID_UNKNOWN: Final = -1

Key = tuple[bytes, int]


class Entry(NamedTuple):
    """One recorded event. Immutable.

    * ``id``: the entry's ``seq`` in the log; -1 while unknown; None when it will never have one.
    * ``status``: queued, committed, orphaned, rejected, dropped or unknown.
    * ``key``: ``(producer hash, producer_seq)``, for `AuditLog.lookup`; None for an event that
      has no number: a dropped one, or one recorded inside a `record()` that it interrupted.
    * ``event_type``, ``created_at`` (ns since 1970 UTC): as recorded.
    """

    id: int | None
    status: str
    key: Key | None
    event_type: str
    created_at: int

    def __repr__(self) -> str:
        shown = repr(self.key)
        match self.key:
            case (bytes(producer_hash), producer_seq):
                shown = f"({producer_hash[:4].hex()}…, {producer_seq})"
        return (
            f"Entry(id={self.id}, status={self.status!r}, key={shown}, "
            f"event_type={self.event_type!r}, created_at={self.created_at})"
        )
