"""The independent checker: reads a log's database, and holds it against what workers noted.

It knows the contract's words and the schema, and nothing of the product's code: no import of
`hansard` or `hansard_writer`. An event of a campaign carries its worker's name and its own number
there as ``{"w": name, "n": number}``; a worker notes each event that `record()` has returned for.
"""

import collections
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apsw


class Noted(NamedTuple):
    """An event that `record()` has returned for: whose and which, and the key that it got."""

    worker: str
    number: int
    producer_hash: bytes
    producer_seq: int


class Account(NamedTuple):
    """Where everything that was noted is, and what is in the log besides.

    ``unheard``: entered, though a kill came before `record()` had returned.
    """

    recorded: int
    entered: int
    dead_lettered: int
    unheard: int
    lost_entries: int


def account(directory: Path, noted: Iterable[Noted]) -> Account:
    """Check a log at rest, with all spools entered; fails with the first thing that is wrong.

    Everything noted is an entry or in a dead letter, once, under the very key that its caller
    got, in its worker's order, but for dead letters that were entered later; seqs have no holes;
    runs and watermarks lead to what is there.
    """
    connection = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        return _account(connection, list(noted))
    finally:
        connection.close()


def _account(connection: apsw.Connection, noted: list[Noted]) -> Account:
    _check_database(connection)
    _check_numbers(connection)
    entries = _rows(
        connection,
        "SELECT producer_hash, producer_seq, payload ->> 'w', payload ->> 'n', event_type"
        " FROM entries JOIN producers ON producers.id = producer ORDER BY seq",
    )
    entered: dict[tuple[str, int], tuple[bytes, int]] = {}
    last: dict[str, int] = collections.defaultdict(int)
    lost = 0
    late = _dead_letters(connection, "replayed_as IS NOT NULL")
    for producer_hash, producer_seq, worker, number, event_type in entries:
        lost += event_type == "hansard.lost"
        if worker is None:
            continue
        assert (worker, number) not in entered, f"{worker}:{number} was entered twice"
        if (producer_hash, producer_seq) not in late:
            assert number > last[worker], f"{worker}:{number} stands behind {last[worker]}"
            last[worker] = number
        entered[worker, number] = (producer_hash, producer_seq)
    dead = _dead_letters(connection, "replayed_as IS NULL")
    found = dead_lettered = 0
    for each in noted:
        key = (each.producer_hash, each.producer_seq)
        is_entered = entered.get((each.worker, each.number)) == key
        is_dead = key in dead
        assert is_entered or is_dead, (
            f"{each.worker}:{each.number} is not in the log as {key[0].hex()}:{key[1]}, but as "
            f"{entered.get((each.worker, each.number))}"
        )
        assert not (is_entered and is_dead), f"{each} is entered and a dead letter"
        found += is_entered
        dead_lettered += is_dead
    unheard = len(entered) - found
    return Account(len(noted), found, dead_lettered, unheard, lost)


def _check_database(connection: apsw.Connection) -> None:
    assert _rows(connection, "PRAGMA integrity_check") == [("ok",)], "integrity_check"
    size, highest = _rows(connection, "SELECT count(*), coalesce(max(seq), 0) FROM entries")[0]
    assert size == highest, f"seq has holes: {size} entries up to {highest}"


def _check_numbers(connection: apsw.Connection) -> None:
    """Every number up to a producer's watermark is an entry, in a dead letter, or said to be lost
    by a log that went back in time; none is twice; runs lead to all of them."""
    doubled = "SELECT producer, producer_seq FROM entries GROUP BY 1, 2 HAVING count(*) > 1"
    assert not _rows(connection, doubled), "a producer's number is there twice"
    stray = (
        "SELECT e.seq FROM entries AS e WHERE NOT EXISTS (SELECT 1 FROM runs AS r WHERE"
        " r.producer = e.producer AND e.seq BETWEEN r.first_seq AND r.first_seq + r.count - 1"
        " AND e.producer_seq - r.first_producer_seq = e.seq - r.first_seq) LIMIT 1"
    )
    assert not _rows(connection, stray), "an entry that no run leads to"
    for producer, watermark, refused, returned, lost, entered in _rows(
        connection,
        "SELECT id, watermark, refused, returned, lost,"
        " (SELECT count(*) FROM entries WHERE producer = producers.id) FROM producers",
    ):
        assert watermark == entered + refused - returned + lost, (
            f"producer {producer}: watermark {watermark}, but {entered} entries, {refused} "
            f"refused, {returned} returned, {lost} lost"
        )


def _dead_letters(connection: apsw.Connection, which: str) -> set[tuple[bytes, int]]:
    rows = _rows(
        connection,
        "SELECT producer_hash, producer_seq, count FROM dead_letters JOIN producers"
        f" ON producers.id = producer WHERE {which}",
    )
    return {
        (hash_, number) for hash_, first, count in rows for number in range(first, first + count)
    }


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    return connection.execute(statement).fetchall()
