"""What became of an event: asked of the writer, and of the producer where that does not know it.

It waits for nothing but the answer. Whether a failure is raised is the caller's to say.
"""

from hansard import entry as outcome
from hansard import requester, wire
from hansard.complaints import Complaints
from hansard.entry import Entry, Key
from hansard.errors import AuditLogError, InvalidEvent
from hansard.producer import Producer
from hansard.served_by import Writer


def look_up(
    writer: Writer,
    producer: Producer,
    complaints: Complaints,
    key: Key,
    timeout: float,
    *,
    best_effort: bool,
) -> Entry:
    """The entry of the event with this key, as far as anybody knows. Raises `InvalidEvent` for what
    is no key, and without ``best_effort`` what goes wrong."""
    try:
        producer_hash, producer_seq = key
        request = wire.pack_request(wire.Lookup(bytes(producer_hash), int(producer_seq)))
    except (TypeError, ValueError):
        raise InvalidEvent(f"key is {key!r:.100}: it must be an Entry's key") from None
    reply = wire.LookupReply(outcome.UNKNOWN, -1, "", 0)
    try:
        _, content = requester.ask(writer, request, timeout)
        reply = wire.LookupReply(*content)  # type: ignore[misc]
    except (AuditLogError, wire.WireError, OSError) as error:
        complaints.warn("lookup", "lookup: %s", error)
        if not best_effort:
            raise
    if reply.status == outcome.COMMITTED:
        return Entry(reply.seq, reply.status, key, reply.event_type, reply.created_at)
    if reply.status in (outcome.REJECTED, outcome.ORPHANED):
        return Entry(None, reply.status, key, reply.event_type, reply.created_at)
    held = producer_hash == producer.hash and producer.acked < producer_seq <= producer.seq
    status = outcome.QUEUED if held else outcome.UNKNOWN
    return Entry(outcome.ID_UNKNOWN, status, key, reply.event_type, reply.created_at)
