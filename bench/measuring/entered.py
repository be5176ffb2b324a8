"""Whether the log has what was recorded: every event of every producer, in order, and no other.

Reads the database with a connection of its own. A bench that lost an event has measured nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import orjson

from bench.workloads.event import Event
from hansard.directory import DATABASE
from hansard.masking import Mask, fields_to_mask


class WrongEntries(Exception):
    """The log does not hold what was recorded. Says which producer's, and what is wrong."""


def check(directory: Path, recorded: Mapping[bytes, Sequence[Event]], behind: int = 0) -> None:
    """Raises `WrongEntries` unless the log holds what each producer (by hash) recorded, and nothing
    else behind the entry ``behind``."""
    connection = apsw.Connection(str(directory / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        counts = {key: len(events) for key, events in recorded.items()}
        _check_counts(connection, counts, behind)
        for producer_hash, events in recorded.items():
            _check_content(connection, producer_hash, events, behind)
    finally:
        connection.close()


def check_count(directory: Path, recorded: int) -> None:
    """Raises `WrongEntries` unless the log has so many entries, whosever they are."""
    connection = apsw.Connection(str(directory / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        count: int = connection.execute("SELECT count(*) FROM entries").get
    finally:
        connection.close()
    if count != recorded:
        raise WrongEntries(f"{recorded:,} events were recorded, and the log has {count:,} entries")


def _check_counts(connection: apsw.Connection, recorded: Mapping[bytes, int], behind: int) -> None:
    entered: dict[bytes, int] = dict(
        connection.execute(
            "SELECT p.producer_hash, count(*) FROM entries AS e"
            " JOIN producers AS p ON p.id = e.producer WHERE e.seq > ? GROUP BY e.producer",
            (behind,),
        )
    )
    for producer_hash in recorded.keys() | entered.keys():
        was, count = recorded.get(producer_hash, 0), entered.get(producer_hash, 0)
        if was != count:
            raise WrongEntries(
                f"producer {producer_hash.hex()[:16]} recorded {was:,} events, "
                f"and the log has {count:,} of it"
            )


def _check_content(
    connection: apsw.Connection, producer_hash: bytes, events: Sequence[Event], behind: int
) -> None:
    rows = connection.execute(
        "SELECT producer_seq, event_type, payload, level, actor, task_id FROM entries"
        " WHERE seq > ? AND producer = (SELECT id FROM producers WHERE producer_hash = ?)"
        " ORDER BY seq",
        (behind, producer_hash),
    )
    masked = Mask(fields_to_mask(None)).masked_text  # real events hold tokens
    for number, (event, row) in enumerate(zip(events, rows, strict=True), 1):
        event_type, payload, *rest = event
        if row != (number, event_type, masked(orjson.dumps(payload)).decode(), *rest):
            raise WrongEntries(
                f"event {number} of producer {producer_hash.hex()[:16]} is {event}, "
                f"and the log has {row}"
            )
