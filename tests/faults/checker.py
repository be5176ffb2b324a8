"""The independent checker: reads a log's database, and holds it against what workers noted.

It knows the contract's words and the schema, and nothing of the product's code, but that its own
verification must call the log intact. An event of a campaign carries its worker's name and number
there as ``{"w": name, "n": number}``; a worker notes each event that `record()` has returned for.
"""

import collections
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from faults.recomputed import check_proof
from hansard_writer.proof import Verdict, verify


class Noted(NamedTuple):
    """An event that `record()` has returned for: whose and which, and the key that it got.

    Without a key where its caller got none: then it must be an entry, or is among the missing.
    """

    worker: str
    number: int
    producer_hash: bytes | None = None
    producer_seq: int = 0


class Account(NamedTuple):
    """Where everything that was noted is, and what is in the log besides.

    ``unheard``: entered, though a kill came before `record()` had returned; ``unheard_of`` says
    which. ``lost_events``: the sum of the entries `hansard.lost`. ``returned``: entered late, from
    a dead letter. ``missing``: noted without a key, and not entered.
    """

    recorded: int
    entered: int
    dead_lettered: int
    unheard: int
    lost_entries: int
    lost_events: int = 0
    returned: int = 0
    unheard_of: frozenset[tuple[str, int]] = frozenset()
    missing: frozenset[tuple[str, int]] = frozenset()


def account(directory: Path, noted: Iterable[Noted]) -> Account:
    """Check a log at rest, with all spools entered; fails with the first thing that is wrong.

    Everything noted is an entry or in a dead letter (or in one that `hansard dlq drop` gave up,
    which an entry says), once, under the very key that its caller got, in its worker's order
    (returned orphans excepted); seqs have no holes; runs and watermarks lead to what is there;
    leaves, tree and checkpoints are those of the entries.
    """
    connection = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        require_proof(directory, connection)
        return _account(connection, list(noted))
    finally:
        connection.close()


def require_proof(directory: Path, connection: apsw.Connection) -> None:
    """Raises AssertionError unless the log verifies, and its tree is that of its entries."""
    report = verify(directory)
    assert report.verdict is Verdict.INTACT, f"verify says {report}"
    check_proof(connection)


def _account(connection: apsw.Connection, noted: list[Noted]) -> Account:
    _check_database(connection)
    _check_numbers(connection)
    entries = _rows(
        connection,
        "SELECT producer_hash, producer_seq, payload ->> 'w', payload ->> 'n', event_type,"
        " payload ->> 'count', seq"
        " FROM entries JOIN producers ON producers.id = producer ORDER BY seq",
    )
    entered: dict[tuple[str, int], tuple[bytes, int]] = {}
    last: dict[str, int] = collections.defaultdict(int)
    late = _returned(connection)
    lost = lost_events = returned = 0
    for producer_hash, producer_seq, worker, number, event_type, count, seq in entries:
        if event_type == "hansard.lost":
            lost, lost_events = lost + 1, lost_events + count
        if worker is None:
            continue
        assert (worker, number) not in entered, f"{worker}:{number} was entered twice"
        is_late = seq in late
        assert is_late or number > last[worker], f"{worker}:{number} stands behind {last[worker]}"
        returned += is_late
        if not is_late:
            last[worker] = number
        entered[worker, number] = (producer_hash, producer_seq)
    dead = _dead_letters(connection)
    found = dead_lettered = 0
    missing = set()
    for each in noted:
        if each.producer_hash is None:
            is_entered = (each.worker, each.number) in entered
            found += is_entered
            missing |= set() if is_entered else {(each.worker, each.number)}
            continue
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
    unheard = frozenset(entered.keys() - {(each.worker, each.number) for each in noted})
    return Account(
        len(noted),
        found,
        dead_lettered,
        len(unheard),
        lost,
        lost_events,
        returned,
        unheard,
        frozenset(missing),
    )


def _check_database(connection: apsw.Connection) -> None:
    assert _rows(connection, "PRAGMA integrity_check") == [("ok",)], "integrity_check"
    size, highest = _rows(connection, "SELECT count(*), coalesce(max(seq), 0) FROM entries")[0]
    assert size == highest, f"seq has holes: {size} entries up to {highest}"


def _check_numbers(connection: apsw.Connection) -> None:
    """Every number up to a producer's watermark is an entry, in a dead letter, or said to be lost
    by a log that went back in time; none is twice; runs lead to all of them."""
    doubled = "SELECT producer, producer_seq FROM entries GROUP BY 1, 2 HAVING count(*) > 1"
    assert not _rows(connection, doubled), "a producer's number is there twice"
    stray = (  # runs of a producer do not overlap: the last that begins at or before it is its own
        "SELECT e.seq FROM entries AS e LEFT JOIN runs AS r ON r.producer = e.producer"
        " AND r.first_producer_seq = (SELECT max(first_producer_seq) FROM runs"
        " WHERE producer = e.producer AND first_producer_seq <= e.producer_seq)"
        " WHERE (e.producer_seq - r.first_producer_seq BETWEEN 0 AND r.count - 1"
        " AND e.producer_seq - r.first_producer_seq = e.seq - r.first_seq) IS NOT TRUE LIMIT 1"
    )
    assert not _rows(connection, stray), "an entry that no run leads to"
    for producer, watermark, refused, returned, lost, entered in _rows(
        connection,
        "SELECT id, watermark, refused, returned, lost, coalesce(entered, 0) FROM producers"
        " LEFT JOIN (SELECT producer, count(*) AS entered FROM entries GROUP BY producer)"
        " ON producer = id",
    ):
        assert watermark == entered + refused - returned + lost, (
            f"producer {producer}: watermark {watermark}, but {entered} entries, {refused} "
            f"refused, {returned} returned, {lost} lost"
        )


def _returned(connection: apsw.Connection) -> set[int]:
    """The seqs of events that waited in dead letters before they were entered."""
    statement = "SELECT replayed_as, count FROM dead_letters WHERE replayed_as IS NOT NULL"
    return {
        seq for first, count in _rows(connection, statement) for seq in range(first, first + count)
    }


def _dead_letters(connection: apsw.Connection) -> set[tuple[bytes, int]]:
    rows = _rows(
        connection,
        "SELECT producer_hash, producer_seq, count FROM dead_letters JOIN producers"
        " ON producers.id = producer WHERE replayed_as IS NULL",
    )
    kept = {
        (hash_, number) for hash_, first, count in rows for number in range(first, first + count)
    }
    return kept | _given_up(connection)


def _given_up(connection: apsw.Connection) -> set[tuple[bytes, int]]:
    """The numbers of dead letters that were dropped, as the log itself says."""
    said = _rows(connection, "SELECT payload FROM entries WHERE event_type = 'hansard.dropped'")
    return {
        (bytes.fromhex(hash_), number)
        for (payload,) in said
        for hash_, runs in json.loads(payload)["producers"].items()
        for first, count in runs
        for number in range(first, first + count)
    }


def _rows(connection: apsw.Connection, statement: str) -> list[Any]:
    return connection.execute(statement).fetchall()
