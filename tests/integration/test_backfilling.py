"""Backfilling through a stepped writer: every value right in the end, whoever is killed when."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import wire
from hansard.errors import WriterUnavailable
from hansard_writer import backfilling
from hansard_writer.backfilling import Backfill, NoSuchField, Observer, Tally, concerned, run
from hansard_writer.derived import filling
from hansard_writer.derived.definitions import BUILT_IN, DerivedField
from hansard_writer.derived.extraction import Cause
from stepped import EPOCH_NS, Log, encode
from verifiable import unlocked

NUMBER = DerivedField("number", ("n",), "integer", ("step.*",))
WORD = DerivedField("word", ("w", "words.0"), "text", ("*",))
NOON = 1_704_110_400 * 10**9  # 2024-01-01T12:00:00Z
DERIVED = "SELECT id, field, value FROM derived ORDER BY id, field"


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Its writer knows no derived field when it starts."""
    log = Log(directory)
    log.declared = ()
    log.start_writer()
    yield log
    log.close()


class Line:
    """The writer does what it is asked when the answer is wanted."""

    def __init__(self, ask: Callable[[wire.Request], object]) -> None:
        self.ask = ask
        self.request: wire.Request | None = None

    def send_as_owner(self, request: wire.Request, timeout: float) -> None:
        assert self.request is None, "one question at a time"
        self.request = request

    def answer(self) -> tuple[str, object]:
        assert self.request is not None
        request, self.request = self.request, None
        return "", self.ask(request)

    def close(self) -> None:
        self.request = None


def backfill(log: Log, *names: str, ask: Any = None, **options: Any) -> dict[str, Tally]:
    options = {"patience_s": 0.0, "line": Line(ask or log.ask), **options}
    tallies = Backfill(log.directory, names, **options).run()
    return {each.field.name: each for each in tallies}


def causes(tally: Tally) -> dict[Cause, int]:
    return {cause: without.count for cause, without in tally.causes()}


def record(log: Log, *payloads: Any, event_type: str = "V2_SUPERVISOR_DECISION") -> None:
    worker = log.worker()
    for payload in payloads:
        worker.producer.append(encode(payload, event_type=event_type, task_id="T1"))
    log.settle()


def record_many(log: Log, count: int) -> None:
    """Of three types mixed, two of which a field concerns, some without a value."""
    chance, worker = random.Random(count), log.worker()
    for n in range(count):
        kind = chance.choice(["step.done", "step.failed", "other", "other", "other"])
        payload = {"n": n} if n % 5 else {"m": n}
        worker.producer.append(encode({**payload, "w": f"w{n % 7}"}, event_type=kind))
        if n % 100 == 99:
            log.settle()
    log.settle()


def expected(log: Log, fields: Sequence[DerivedField]) -> list[tuple[int, str, Any]]:
    """What `NUMBER` and `WORD` must have, said once more in the simplest way."""
    found = []
    for seq, kind, payload in log.query("SELECT seq, event_type, payload FROM entries"):
        document = json.loads(payload)
        if NUMBER in fields and kind.startswith("step.") and "n" in document:
            found.append((seq, "number", document["n"]))
        if WORD in fields and "w" in document:
            found.append((seq, "word", document["w"]))
    return sorted(found)


def test_earlier_entries_get_the_fields_and_later_ones_have_them(log: Log) -> None:
    record(
        log,
        {"source_ts": "2024-01-01T12:00:00Z", "decision": {"processed_at": NOON // 10**9}},
        {"event_ts": NOON // 10**6},
    )
    record(log, {"source_ts": "2024-01-01"}, event_type="other")
    log.declared = BUILT_IN
    tallies = backfill(log)
    assert log.query(
        "SELECT audit_id, source_event_ts, supervisor_processed_at FROM task_audits"
    ) == [
        (1, "2024-01-01T12:00:00.000000Z", "2024-01-01T12:00:00.000000Z"),
        (2, "2024-01-01T12:00:00.000000Z", None),
        (3, None, None),
    ]
    assert tallies["source_event_ts"].filled == 2
    assert causes(tallies["supervisor_processed_at"]) == {Cause.MISSING: 1}
    assert tallies["supervisor_processed_at"].without[Cause.MISSING].ids == [2]
    record(log, {"source_ts": "2024-01-01T12:00:00Z"})
    assert log.query("SELECT count(*) FROM derived WHERE field = 'source_event_ts'") == [(3,)]


@pytest.mark.parametrize("batch_size", [6, 1_000])
@pytest.mark.parametrize("rare_share", [1, 10**9])  # by the index of types; by a scan
def test_all_values_are_those_of_the_payloads(
    log: Log, monkeypatch: pytest.MonkeyPatch, batch_size: int, rare_share: int
) -> None:
    monkeypatch.setattr(concerned, "RARE_SHARE", rare_share)
    monkeypatch.setattr(concerned, "PAGE_ENTRIES", 11)
    monkeypatch.setattr(concerned, "IDS_PER_PAGE", 40)
    record_many(log, 150)
    log.declared = (NUMBER, WORD)
    tallies = backfill(log, batch_size=batch_size)
    assert log.query(DERIVED) == expected(log, log.declared)
    assert tallies["number"].entries == sum(
        kind.startswith("step.") for (kind,) in log.query("SELECT event_type FROM entries")
    )
    assert (tallies["word"].entries, tallies["word"].filled) == (150, 150)
    assert all(tally.entries == 0 for tally in backfill(log).values())


def test_fields_that_are_not_as_far_as_each_other_end_together(log: Log) -> None:
    record_many(log, 60)
    log.declared = (NUMBER,)
    backfill(log)
    record_many(log, 40)
    log.declared = (NUMBER, WORD)
    assert backfill(log, "number")["number"].entries == 0
    later = DerivedField("later", ("n",), "integer", ("step.*",))
    log.declared = (NUMBER, WORD, later)
    tallies = backfill(log, "later", "word")
    assert set(tallies) == {"later", "word"}
    assert [row for row in log.query(DERIVED) if row[1] != "later"] == expected(log, log.declared)
    numbers, laters = (
        log.query("SELECT id, value FROM derived WHERE field = ? ORDER BY id", name)
        for name in ("number", "later")
    )
    assert numbers == laters


class Mortal:
    """Asks the writer, which is killed at one of the questions: before it is answered, or after it
    was done."""

    def __init__(self, log: Log, at: int, *, done: bool) -> None:
        self.log, self.left, self.done = log, at, done
        self.upto = 0

    def __call__(self, request: wire.Request) -> object:
        self.left -= 1
        if isinstance(request, wire.Fill) and request.upto:
            assert request.upto > self.upto, "an entry was filled twice"
        if self.left:
            answer = self.log.ask(request)
            self.upto = request.upto if isinstance(request, wire.Fill) else self.upto
            return answer
        if self.done:
            self.log.ask(request)
        self.log.kill_writer()
        raise WriterUnavailable("the writer ended")


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("batch_size", [20, 1_000])
def test_whoever_is_killed_the_next_run_goes_on_where_the_log_has_got_to(
    log: Log, batch_size: int, done: bool
) -> None:
    """The command is gone with its run, so both are as after a kill."""
    record_many(log, 100)
    log.declared = (NUMBER, WORD)
    kills = 0
    for at in range(100):
        mortal = Mortal(log, at % 4 + 1, done=done)
        try:
            backfill(log, ask=mortal, batch_size=batch_size)
        except WriterUnavailable:
            kills += 1
            log.start_writer()
        else:
            break
    assert kills >= 2
    assert log.query(DERIVED) == expected(log, log.declared)
    assert log.query("SELECT DISTINCT filled_to FROM derived_fields WHERE is_current") == [(100,)]


def test_a_writer_that_comes_back_is_waited_for(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    record_many(log, 100)
    log.declared = (NUMBER, WORD)
    mortal = Mortal(log, 3, done=True)
    looks = []

    def lives(_directory: Path) -> bool:
        looks.append(log.store)
        if len(looks) == 2:
            log.start_writer()
        return log.store is not None

    monkeypatch.setattr(run.layout, "a_writer_lives", lives)
    monkeypatch.setattr(run, "LOOK_S", 0.0)

    class Noting(Observer):
        gone_through, said = 0, ""

        def through(self, entries: int) -> None:
            self.gone_through += entries

        def away(self, why: str) -> None:
            self.said = why

    observer = Noting()
    backfill(log, ask=mortal, batch_size=10, patience_s=60.0, observer=observer)
    assert observer.said == "the writer ended"
    assert observer.gone_through == 100
    assert log.query(DERIVED) == expected(log, log.declared)


def test_a_piece_that_the_writer_cannot_keep_now_is_asked_for_again(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_many(log, 50)
    log.declared = (NUMBER,)
    monkeypatch.setattr(run, "RETRY_S", 0.0)
    refused = iter([False, True, True, False, True])

    def ask(request: wire.Request) -> object:
        if next(refused, False):
            raise wire.WireError("log.db is busy: try again")
        return log.ask(request)

    backfill(log, ask=ask, batch_size=10)
    assert log.query(DERIVED) == expected(log, log.declared)

    def refuse(request: wire.Request) -> object:
        if isinstance(request, wire.Fill):
            raise wire.WireError("intake is suspended")
        return log.ask(request)

    log.declared = (NUMBER, WORD)
    with pytest.raises(wire.WireError, match="intake is suspended"):
        backfill(log, ask=refuse)


def test_beside_others_it_goes_in_small_pieces_and_steps_back_once(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_many(log, 100)
    log.declared = (WORD,)
    log.pass_time(10)
    steps, sizes = [], []

    class Noting(Observer):
        def step_back(self) -> None:
            steps.append(len(sizes))

    def ask(request: wire.Request) -> object:
        if isinstance(request, wire.Fill):
            sizes.append(request.upto - request.after)
            if len(sizes) == 2:
                log.worker().record()
                log.turn()
                log.turn()
        return log.ask(request)

    monkeypatch.setattr(run, "CONSIDERATE_ENTRIES_MAX", 5)
    monkeypatch.setattr(run, "REST_S_MIN", 0.0)
    backfill(log, ask=ask, batch_size=20, observer=Noting())
    assert steps == [2]
    assert set(sizes[:3]) == {20}
    assert max(sizes[3:]) == 5
    assert log.query("SELECT count(*) FROM derived") == [(101,)]


def test_what_has_no_value_is_counted_by_cause_and_never_fatal(log: Log) -> None:
    record(log, *({"at": given} for given in ("soon", [], None, "2024-01-01", -1)))
    worker = log.worker()
    worker.producer.append(encode({"at": NOON}, event_type="at.x"))
    worker.producer.append(encode(None, event_type="at.x"))  # type: ignore[arg-type]
    worker.producer.append(encode({"at": NOON}, event_type="at.x"))
    log.settle()
    log.ask(wire.Redact([[6, 6]], None, None, "asked for", "test", 0, 0, dry_run=False))
    damage(log, 8, "{")
    field = DerivedField("at", ("at",), "timestamp", ("at.*", "*SUPERVISOR*"))
    log.declared = (field,)
    tally = backfill(log)["at"]
    assert causes(tally) == {
        Cause.MISSING: 1,
        Cause.ANOTHER_TYPE: 1,
        Cause.BROKEN_TIMESTAMP: 2,
        Cause.NO_PAYLOAD: 2,
        Cause.INVALID_JSON: 1,
    }
    assert tally.without[Cause.INVALID_JSON].ids == [8]
    assert log.query(DERIVED) == [(4, "at", NOON - 12 * 3_600 * 10**9)]


def damage(log: Log, seq: int, payload: str | bytes) -> None:
    """As in a database that was written before anybody looked at payloads; its tree stays."""
    log.is_honest = False
    log.stop_writer()
    with closing(apsw.Connection(str(log.directory / "log.db"))) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON").fetchall()
        with unlocked(connection):
            connection.execute(
                "UPDATE entries SET payload = CAST(? AS TEXT) WHERE seq = ?", (payload, seq)
            )
    log.start_writer()


@pytest.mark.parametrize("payload", ["{", '{"n": NaN}', '{"n": 1,}', b'{"n": "\xff"}', "[" * 9_000])
def test_a_payload_that_is_no_json_in_an_old_database_is_passed_over(
    log: Log, payload: str | bytes
) -> None:
    record_many(log, 20)
    damage(log, 7, payload)
    log.declared = (WORD,)
    tally = backfill(log)["word"]
    assert causes(tally) == {Cause.INVALID_JSON: 1}
    assert (tally.filled, tally.without[Cause.INVALID_JSON].ids) == (19, [7])


def test_long_texts_fill_pieces_that_the_writer_takes(log: Log) -> None:
    fields = tuple(DerivedField(f"text{n}", ("text",), "text", ("*",)) for n in range(20))
    record(log, *({"text": "é" * 512, "n": n} for n in range(60)))
    log.declared = fields
    tallies = backfill(log)
    assert {tally.filled for tally in tallies.values()} == {60}
    assert log.query("SELECT count(*) FROM derived WHERE value = ?", "é" * 512) == [(1_200,)]


def test_pruned_entries_are_passed_over(log: Log) -> None:
    record_many(log, 30)
    log.ask(wire.Prune(10, EPOCH_NS + 10**18, "test", None, None))
    while log.statistics()["pruned_to"] < 10:
        log.turn()
    log.declared = (WORD,)
    assert backfill(log)["word"].filled == 20


def test_values_of_a_changed_definition_are_cleared_in_the_end(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "CLEARED_PER_PIECE_MAX", 7)
    record_many(log, 30)
    log.declared = (WORD,)
    backfill(log)
    log.declared = (DerivedField("word", ("w",), "text", ("step.*",)), NUMBER)
    backfill(log, "number")
    assert log.query("SELECT DISTINCT field FROM derived") == [("number",)]
    assert log.query("SELECT count(*) FROM derived_fields WHERE NOT is_current") == [(0,)]
    assert log.query("SELECT count(*) FROM derived_values") == log.query(
        "SELECT count(*) FROM derived"
    )


def test_a_rebuild_mends_what_is_wrong_and_takes_away_what_does_not_belong(log: Log) -> None:
    record_many(log, 50)
    log.declared = (NUMBER, WORD)
    backfill(log)
    record_many(log, 10)
    right = expected(log, log.declared)
    log.stop_writer()
    with closing(apsw.Connection(str(log.directory / "log.db"))) as connection:
        word = "field = (SELECT id FROM derived_fields WHERE name = 'word')"
        connection.execute(f"UPDATE derived_values SET value = 'x' WHERE seq = 3 AND {word}")
        connection.execute(f"DELETE FROM derived_values WHERE seq = 55 AND {word}")
        connection.execute(
            "INSERT OR REPLACE INTO derived_values SELECT id, 5, 99 FROM derived_fields"
            " WHERE name = 'number'"
        )
    log.start_writer()
    assert log.query(DERIVED) != right
    assert backfill(log)["word"].entries == 0
    assert backfill(log, "word", anew=True)["word"].filled == 60
    assert [row for row in log.query(DERIVED) if row[1] == "word"] == [
        row for row in right if row[1] == "word"
    ]
    backfill(log, anew=True)
    assert log.query(DERIVED) == right


def test_a_field_that_is_not_declared_is_named_with_those_that_are(log: Log) -> None:
    log.declared = (NUMBER, WORD)
    with pytest.raises(NoSuchField, match=r"'nunber': there are number, word; declare others"):
        backfill(log, "nunber")


def test_a_writer_of_an_older_release_is_said_to_be_in_the_way(log: Log) -> None:
    def ask(_request: wire.Request) -> object:
        raise wire.WireError("the writer refused: 'declare' is no verb of wire version 1")

    with pytest.raises(backfilling.run.DirectoryTaken, match="start it again with this one"):
        backfill(log, ask=ask)
