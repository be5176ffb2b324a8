"""Whether the log has redacted anything under some numbers of a producer. It reads, and no more."""

from typing import Final

from hansard import wire
from hansard_writer.dead_letters import REDACTED
from hansard_writer.store import Store

_IS_REDACTED: Final = f"""
    SELECT EXISTS (
        SELECT 1 FROM runs AS r JOIN entries AS e ON e.seq
            BETWEEN r.first_seq + max(?2 - r.first_producer_seq, 0)
            AND r.first_seq + min(?3 - r.first_producer_seq, r.count - 1)
        WHERE r.producer = ?1 AND r.first_producer_seq BETWEEN coalesce((
            SELECT max(first_producer_seq) FROM runs
            WHERE producer = ?1 AND first_producer_seq <= ?2
        ), 0) AND ?3 AND e.payload IS NULL AND e.payload_hash IS NOT NULL
    ) OR EXISTS (
        SELECT 1 FROM dead_letters WHERE producer = ?1 AND reason = '{REDACTED}'
        AND producer_seq BETWEEN ?2 - {wire.FRAME_EVENTS_MAX} AND ?3 AND producer_seq + count > ?2
    )
"""  # noqa: S608 - our own words


def is_any_redacted(store: Store, producer_id: bytes, first: int, last: int) -> bool:
    """Whether an entry, or a dead letter, under one of these numbers is."""
    producer = store.find_producer(wire.producer_hash(producer_id))
    if producer is None:
        return False
    return bool(store.handle.one(_IS_REDACTED, (producer.id, first, last)))
