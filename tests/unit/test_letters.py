"""Dead letters: kept up to their limits, counted all, and entered later if they can be."""

from collections.abc import Iterator
from typing import Any

import apsw
import msgpack
import pytest

from frames import event, fields
from hansard import wire
from hansard_writer import dead_letters, schema
from hansard_writer.dead_letters import Again, DeadLetters, Kept
from hansard_writer.decoding import INVALID, UNDECODABLE, Refused
from hansard_writer.derived.deriving import Deriving
from hansard_writer.entering import Entering, Position
from hansard_writer.tasks import TaskBook

P = 1  # the row of the one producer


@pytest.fixture
def connection() -> Iterator[apsw.Connection]:
    """A database with the log's tables, and a producer."""
    connection = apsw.Connection(":memory:")
    for migration in schema.MIGRATIONS:
        for statement in migration:
            connection.execute(statement).fetchall()
    connection.execute(
        "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc, dropped)"
        " VALUES(?, x'00', 'h', 1, 1, 0, 0, 0)",
        (P,),
    )
    yield connection
    connection.close()


class Box:
    """The letters of that database, in a log that enforces tasks, or not."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        enforce_tasks: bool = True,
        letters_max: int = 100,
        bytes_max: int = 1 << 20,
    ) -> None:
        self.connection = connection
        self.tasks: set[str] = set()
        self.position = Position()
        self.letters = DeadLetters(
            connection,
            letters_max=letters_max,
            bytes_max=bytes_max,
            tasks=TaskBook(self.tasks.__contains__) if enforce_tasks else None,
        )

    def write(self, *refused: Refused, producer: int | None = P) -> list[int]:
        self.letters.begin()
        ids = self.letters.write([(producer, each) for each in refused], 5)
        self.letters.committed()
        return ids

    def register(self, task_id: str) -> None:
        self.tasks.add(task_id)
        self.connection.execute("INSERT INTO tasks VALUES(?, 5, NULL)", (task_id,))

    def try_again(self, *ids: int) -> Again:
        self.letters.begin()
        entering = Entering(self.connection, self.position, Deriving())
        again = self.letters.try_again(ids, entering)
        entering.finish()
        self.position = entering.position
        self.letters.committed()
        return again

    def rows(self, statement: str) -> list[Any]:
        return self.connection.execute(statement).fetchall()

    def refusals(self) -> wire.Refusals:
        return wire.Refusals(*self.rows("SELECT refused, returned, orphaned FROM producers")[0])


@pytest.fixture
def box(connection: apsw.Connection) -> Box:
    return Box(connection)


def orphan(first_seq: int = 1, *events: bytes, task_id: str = "T1") -> Refused:
    data = b"".join(events or [event(task_id=task_id)])
    count = len(events) or 1
    return Refused(first_seq, count, wire.ORPHAN, "not registered", data, "task.done", task_id)


def bad(first_seq: int = 1, size: int = 9, count: int = 1) -> Refused:
    return Refused(first_seq, count, UNDECODABLE, "why", b"\xc1" * size)


# --- keeping ---


def test_a_letter_says_whose_it_is_why_and_which_task_it_waits_for(box: Box) -> None:
    assert box.write(orphan(3), bad(4, count=2)) == [1, 2]
    facts = "received_at, producer, producer_seq, count, reason, detail, task_id"
    assert box.rows(f"SELECT {facts} FROM dead_letters") == [
        (5, P, 3, 1, "orphan", "not registered", "T1"),
        (5, P, 4, 2, "undecodable", "why", None),
    ]
    assert box.refusals() == wire.Refusals(refused=3, returned=0, orphaned=1)


def test_a_letter_of_nobody_counts_for_nobody(box: Box) -> None:
    box.write(Refused(0, 0, "bad_header", "why", b"x"), producer=None)
    assert box.rows("SELECT producer, producer_seq, count FROM dead_letters") == [(None, None, 0)]
    assert box.refusals() == wire.Refusals()


def test_a_letter_that_is_not_kept_is_refused_and_no_orphan(connection: apsw.Connection) -> None:
    box = Box(connection, letters_max=1)
    assert box.write(orphan(1), orphan(2)) == [1, 0]
    assert box.refusals() == wire.Refusals(refused=2, returned=0, orphaned=1)
    assert box.rows("SELECT value FROM meta WHERE key = 'dead_letters_not_kept'") == [(1,)]


def test_what_is_kept_is_counted_once_it_is_committed(box: Box) -> None:
    box.letters.begin()
    box.letters.write([(P, bad(1, 5))], 5)
    assert box.letters.kept == Kept()
    box.letters.begin()  # that transaction was rolled back
    box.letters.committed()
    assert box.letters.kept == Kept()
    box.write(bad(1, 5))
    assert box.letters.kept == Kept(1, 5)


def test_a_letter_that_returned_makes_room_for_others(connection: apsw.Connection) -> None:
    box = Box(connection, letters_max=1)
    (letter,) = box.write(orphan(1))
    box.register("T1")
    box.try_again(letter)
    assert box.letters.kept == Kept(0, 0)
    assert box.write(bad(2)) == [2]
    assert Box(connection, letters_max=1).letters.kept == Kept(1, 9), "and so after a restart"


# --- entering them after all ---


def test_an_orphan_is_entered_under_its_own_number_and_time(box: Box) -> None:
    (letter,) = box.write(orphan(7, event('{"n":1}', created_at=99)))
    box.register("T1")
    assert box.try_again(letter) == Again({letter: 1}, {})
    assert box.rows("SELECT seq, producer, producer_seq, created_at, payload FROM entries") == [
        (1, P, 7, 99, '{"n":1}')
    ]
    assert box.rows("SELECT replayed_as, frame FROM dead_letters") == [(1, b"")]
    assert box.refusals() == wire.Refusals(refused=1, returned=1, orphaned=0)


def test_an_orphan_whose_task_is_still_unknown_stays_and_counts_the_attempt(box: Box) -> None:
    (letter,) = box.write(orphan())
    for _ in range(2):
        assert box.try_again(letter) == Again({}, {letter: 1})
    assert box.rows("SELECT attempts, reason, task_id, replayed_as FROM dead_letters") == [
        (2, "orphan", "T1", None)
    ]
    assert box.refusals() == wire.Refusals(refused=1, returned=0, orphaned=1)


def test_where_nobody_asks_for_tasks_every_orphan_is_entered(connection: apsw.Connection) -> None:
    (letter,) = Box(connection).write(orphan())
    assert Box(connection, enforce_tasks=False).try_again(letter).entered == {letter: 1}


def test_joined_events_return_wholly_or_not_at_all(box: Box) -> None:
    joined = wire.KIND_EVENT | wire.JOINED
    events = [
        event(kind=joined, task_id="T1"),
        event(kind=joined, task_id=None),
        event(task_id="T2"),
    ]
    (letter,) = box.write(orphan(4, *events))
    box.register("T1")
    assert box.try_again(letter) == Again({}, {letter: 3})
    assert box.rows("SELECT count(*) FROM entries") == [(0,)]
    assert box.rows("SELECT reason, task_id FROM dead_letters") == [("orphan", "T2")]
    box.register("T2")
    assert box.try_again(letter) == Again({letter: 3}, {})
    assert box.rows("SELECT producer_seq FROM entries ORDER BY seq") == [(4,), (5,), (6,)]
    assert box.refusals() == wire.Refusals(refused=3, returned=3, orphaned=0)


def test_what_is_lasting_becomes_the_reason_and_is_an_orphan_no_more(box: Box) -> None:
    (letter,) = box.write(orphan(1, event("[1]", task_id="T1")))
    assert box.refusals().orphaned == 1
    box.register("T1")
    assert box.try_again(letter).refused == {letter: 1}
    ((reason, detail, task_id),) = box.rows("SELECT reason, detail, task_id FROM dead_letters")
    assert (reason, task_id) == (INVALID, None)
    assert "array" in detail
    assert box.refusals() == wire.Refusals(refused=1, returned=0, orphaned=0)


def test_what_would_be_good_but_for_its_task_becomes_an_orphan(box: Box) -> None:
    """It was refused for a rule that a later release has dropped."""
    (letter,) = box.write(Refused(1, 1, INVALID, "an old rule", event(task_id="T5")))
    assert box.try_again(letter).refused == {letter: 1}
    assert box.rows("SELECT reason, task_id FROM dead_letters") == [("orphan", "T5")]
    assert box.refusals() == wire.Refusals(refused=1, returned=0, orphaned=1)


def test_what_cannot_be_decoded_stays(box: Box) -> None:
    (letter,) = box.write(bad(1, count=3))
    assert box.try_again(letter) == Again({}, {letter: 3})
    assert box.rows("SELECT reason, attempts FROM dead_letters") == [(UNDECODABLE, 1)]


def test_a_letter_of_nobodys_numbers_is_hopeless(box: Box) -> None:
    ids = box.write(Refused(0, 0, "bad_header", "why", b"x"), producer=None)
    assert box.try_again(*ids) == Again({}, {}, 1)


# --- which ones ---


def ask(after_id: int = 0, reason: str | None = None, ids: list[int] | None = None) -> wire.Replay:
    return wire.Replay(after_id, reason, ids, dry_run=False)


def test_a_replay_is_of_letters_that_wait_behind_an_id(box: Box) -> None:
    ids = box.write(orphan(1), bad(2), orphan(3), bad(4))
    box.register("T1")
    box.try_again(ids[0])

    def waiting(asked: wire.Replay) -> list[int]:
        return box.letters.selected(asked).ids

    assert waiting(ask()) == ids[1:]
    assert waiting(ask(after_id=ids[1])) == ids[2:]
    assert waiting(ask(reason="orphan")) == [ids[2]]
    assert waiting(ask(ids=[ids[3], ids[0], 999])) == [ids[3]], "what is in is not entered twice"
    assert waiting(ask(ids=[])) == []
    assert waiting(ask(ids=ids, reason="undecodable", after_id=ids[1])) == [ids[3]]


def test_a_piece_has_a_bound(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "LETTERS_PER_PIECE_MAX", 2)
    ids = box.write(orphan(1), orphan(2), orphan(3))
    box.register("T1")
    assert box.letters.selected(ask()) == (ids[:2], False)
    assert box.letters.returnable(0) == (ids[:2], False)
    assert box.letters.returnable(ids[1]) == (ids[2:], True)


def test_only_orphans_of_registered_tasks_are_returnable(connection: apsw.Connection) -> None:
    box = Box(connection)
    ids = box.write(orphan(1, task_id="T1"), orphan(2, task_id="T2"), bad(3))
    assert box.letters.returnable(0).ids == []
    box.register("T2")
    assert box.letters.returnable(0).ids == [ids[1]]
    unenforced = Box(connection, enforce_tasks=False)
    assert unenforced.letters.returnable(0).ids == ids[:2]


def test_the_orphans_of_a_task_return_in_the_order_of_their_arrival(box: Box) -> None:
    box.write(orphan(5), orphan(6, task_id="T2"), orphan(7), bad(8))
    box.register("T1")
    box.letters.begin()
    entering = Entering(box.connection, Position(), Deriving())
    again = box.letters.return_orphans("T1", entering)
    assert again.entered == {1: 1, 3: 1}
    assert box.rows("SELECT producer_seq FROM entries ORDER BY seq") == [(5,), (7,)]


def test_a_letter_that_registers_a_task_registers_it_when_it_returns(box: Box) -> None:
    """A release that did not know of tasks refused it."""
    packed = msgpack.packb(fields(None, kind=wire.KIND_TASK, event_type=wire.TASK_REGISTERED))
    (letter,) = box.write(Refused(1, 1, INVALID, "the kind of event is not known", packed))
    assert box.try_again(letter).entered == {letter: 1}
    assert box.rows("SELECT task_id FROM tasks") == [("T1",)]
