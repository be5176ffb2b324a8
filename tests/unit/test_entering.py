"""Entries of one transaction: their seqs, the runs that lead to them, the tasks they register."""

import hashlib
from collections.abc import Iterator
from typing import Any

import apsw
import msgpack
import pytest

from frames import PRODUCER, event, fields
from hansard import wire
from hansard_writer import schema
from hansard_writer.decoding import Decoder, Fault, Run
from hansard_writer.derived.deriving import Deriving
from hansard_writer.entering import Entering, Position, malformed
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge, grow

START = Position()
HASH = wire.producer_hash(PRODUCER)


def edge_of(size: int) -> Edge:
    """The edge of some tree."""
    return grow(Edge(), bytes(HASH_BYTES * size))[0]


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    """A database with the log's tables."""
    connection = apsw.Connection(":memory:")
    for migration in schema.MIGRATIONS:
        for statement in migration:
            connection.execute(statement).fetchall()
    yield connection
    connection.close()


def run_of(first_seq: int, *events: bytes) -> Run:
    whole = wire.Frame(PRODUCER, first_seq, len(events), 0, wire.Drops(), b"".join(events))
    (run,), refused = Decoder().decode(whole)
    assert refused == []
    return run


def registration(task_id: str, attributes: str | None = None, created_at: int = 5) -> bytes:
    facts: dict[str, Any] = {"kind": wire.KIND_TASK, "event_type": wire.TASK_REGISTERED}
    row = fields(attributes, task_id=task_id, created_at=created_at, **facts)
    packed: bytes = msgpack.packb(row)
    return packed


def rows(connection: apsw.Connection, statement: str) -> list[Any]:
    return connection.execute(statement).fetchall()


def runs(connection: apsw.Connection) -> list[Any]:
    return rows(connection, "SELECT * FROM runs ORDER BY first_seq")


def test_entries_get_their_seqs_in_the_order_of_the_calls(connection: apsw.Connection) -> None:
    entering = Entering(connection, Position(edge_of(7)), Deriving())
    assert entering.enter(1, HASH, run_of(1, event(), event())) == 8
    assert entering.enter(2, HASH, run_of(5, event())) == 10
    assert entering.enter(1, HASH, run_of(3, event())) == 11
    entering.finish()
    assert entering.position.size == 11
    assert rows(connection, "SELECT seq, producer, producer_seq FROM entries") == [
        (8, 1, 1),
        (9, 1, 2),
        (10, 2, 5),
        (11, 1, 3),
    ]


def test_runs_are_written_at_the_end_and_those_that_touch_are_one(
    connection: apsw.Connection,
) -> None:
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, event(), event()))
    entering.enter(1, HASH, run_of(3, event()))
    entering.enter(2, HASH, run_of(4, event()))
    entering.enter(1, HASH, run_of(4, event()))
    entering.enter(1, HASH, run_of(6, event()))
    assert runs(connection) == []
    entering.finish()
    assert runs(connection) == [(1, 1, 3, 1), (2, 4, 1, 4), (1, 4, 1, 5), (1, 6, 1, 6)]


def test_a_run_goes_on_in_the_next_transaction(connection: apsw.Connection) -> None:
    position = START
    for first in (1, 2, 3):
        entering = Entering(connection, position, Deriving())
        entering.enter(1, HASH, run_of(first, event()))
        entering.finish()
        position = entering.position
    assert runs(connection) == [(1, 1, 3, 1)]
    assert (position.size, position.last_run) == (3, (1, 1, 3, 1))


def test_what_returns_late_is_a_run_of_its_own(connection: apsw.Connection) -> None:
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, event()))
    entering.enter(1, HASH, run_of(4, event(), event()))
    entering.enter(1, HASH, run_of(2, event(), event()))
    entering.enter(1, HASH, run_of(6, event()))
    entering.finish()
    assert runs(connection) == [(1, 1, 1, 1), (1, 4, 2, 2), (1, 2, 2, 4), (1, 6, 1, 6)]


def test_the_newest_run_of_each_producer_is_known_as_it_is_written(
    connection: apsw.Connection,
) -> None:
    entering = Entering(connection, Position(edge_of(9), (1, 5, 4, 6)), Deriving())
    entering.enter(1, HASH, run_of(9, event()))
    entering.enter(2, HASH, run_of(1, event()))
    entering.finish()
    assert entering.newest_runs == {1: (5, 5, 6), 2: (1, 1, 11)}
    assert runs(connection) == [(1, 5, 5, 6), (2, 1, 1, 11)]


def test_nothing_entered_moves_nothing(connection: apsw.Connection) -> None:
    position = Position(edge_of(9), (1, 5, 4, 6))
    entering = Entering(connection, position, Deriving())
    entering.finish()
    assert entering.position == position
    assert runs(connection) == []


def test_registrations_are_entries_and_tasks(connection: apsw.Connection) -> None:
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, event(), registration("T2", '{"a":1}'), registration("T1")))
    assert list(entering.registered) == ["T2", "T1"], "in order"
    tasks = rows(connection, "SELECT task_id, created_at, attributes FROM tasks ORDER BY task_id")
    assert tasks == [("T1", 5, None), ("T2", 5, '{"a":1}')]
    assert rows(
        connection, "SELECT seq, task_id FROM entries WHERE event_type LIKE 'hansard.%'"
    ) == [
        (2, "T2"),
        (3, "T1"),
    ]


@pytest.mark.parametrize(
    ("again", "left"), [('{"b":2}', '{"b":2}'), ("{}", "{}"), (None, '{"a":1}')]
)
def test_a_task_registered_again_keeps_its_time_and_the_newest_attributes(
    connection: apsw.Connection, again: str | None, left: str
) -> None:
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, registration("T1", '{"a":1}'), registration("T1", again, 9)))
    assert list(entering.registered) == ["T1"]
    assert rows(connection, "SELECT * FROM tasks") == [("T1", 5, left)]


def test_what_sqlite_takes_for_no_object_is_malformed(connection: apsw.Connection) -> None:
    texts = ["{}", None, "[]", "nonsense", '"a"', "null", "{a:1}", ' {"a":[1]} ', "1", "true", ""]
    run = run_of(1, *(event(text) for text in texts))
    assert malformed(run, connection) == {
        2: Fault("payload is a JSON array, not an object"),
        3: Fault("payload is no JSON"),
        4: Fault("payload is a JSON text, not an object"),
        5: Fault("payload is a JSON null, not an object"),
        6: Fault("payload is no JSON"),
        8: Fault("payload is a JSON integer, not an object"),
        9: Fault("payload is a JSON true, not an object"),
        10: Fault("payload is no JSON"),
    }


def test_what_is_hashed_is_what_is_stored(connection: apsw.Connection) -> None:
    """The tree's leaves can be made anew from the stored columns."""
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, event('{"a":"ü"}'), event(None)))
    entering.enter(2, HASH, run_of(5, event("{}", actor="x", task_id="T1")))
    entering.finish()
    stored = rows(
        connection,
        "SELECT producer_seq, created_at, event_type, level, actor, task_id, payload, salt,"
        " payload_hash FROM entries ORDER BY seq",
    )
    expected = []
    for seq, (number, *facts, payload, salt, hidden) in enumerate(stored, 1):
        if payload is None:
            assert salt is None
            assert hidden is None
        else:
            assert hidden == hashlib.sha256(salt + payload.encode()).digest()
        leaf = msgpack.packb([1, seq, HASH, number, *facts, hidden])
        expected.append(hashlib.sha256(b"\0" + leaf).digest())
    assert rows(connection, "SELECT * FROM tree") == [(0, 0, b"".join(expected))]
    assert entering.position.edge == Edge(3, (b"".join(expected),))


def test_equal_payloads_are_hidden_by_salts_of_their_own(connection: apsw.Connection) -> None:
    entering = Entering(connection, START, Deriving())
    entering.enter(1, HASH, run_of(1, *(event("{}") for _ in range(50))))
    hidden = rows(connection, "SELECT DISTINCT salt, payload_hash FROM entries")
    assert len(hidden) == 50


def test_an_event_that_is_not_taken_leaves_no_leaf(connection: apsw.Connection) -> None:
    connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON entries WHEN NEW.producer_seq = 2"
        " BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    entering = Entering(connection, START, Deriving())
    outcomes = [entering.attempt(1, HASH, run_of(number, event())) for number in (1, 2, 3)]
    entering.finish()
    assert outcomes == [1, Fault("no"), 2]
    assert entering.position.size == 2
    assert rows(connection, "SELECT length(hashes) FROM tree") == [(2 * HASH_BYTES,)]
