"""Derived fields through the writer: of what is entered at once, of earlier entries when asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import wire
from hansard_writer.derived import filling
from hansard_writer.derived.definitions import BUILT_IN, DerivedField
from hansard_writer.pruning import PRUNED
from stepped import EPOCH_NS, Log, encode

NUMBER = DerivedField("number", ("n",), "integer", ("step.*",))
NOON = 1_704_110_400 * 10**9  # 2024-01-01T12:00:00Z
DERIVED = "SELECT id, field, value FROM derived ORDER BY id, field"


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    log = Log(directory).start_writer()
    yield log
    log.close()


def declare(log: Log, *fields: DerivedField) -> dict[str, list[Any]]:
    """What the writer answers, by name: id, entries when it was declared, filled up to."""
    log.declared = (*BUILT_IN, *fields)
    answer = wire.derived_fields_of(log.ask(wire.Declare()))
    return {name: [id_, *marks] for id_, name, _, *marks in answer.fields}


def as_of(log: Log) -> int:
    """What whoever reads payloads now would say."""
    return wire.derived_fields_of(log.ask(wire.Declare())).as_of


def fill(
    log: Log,
    after: int,
    upto: int,
    *values: tuple[int, list[int], list[Any]],
    read: int | None = None,
) -> wire.Filled:
    packed = wire.pack_values([wire.FieldValues(*each) for each in values])
    read = as_of(log) if read is None else read
    return wire.filled_of(log.ask(wire.Fill(after, upto, read, packed)))


def test_an_entry_has_its_fields_from_the_moment_that_it_is_entered(log: Log) -> None:
    worker = log.worker()
    worker.producer.append(
        encode(
            {"source_ts": "2024-01-01T12:00:00Z", "decision": {"processed_at": NOON / 1e9 + 0.25}},
            event_type="V2_SUPERVISOR_DECISION",
            task_id="T1",
        )
    )
    worker.producer.append(encode({"source_ts": "2024-01-01"}, task_id="T2"))
    log.settle()
    assert log.query(DERIVED) == [
        (1, "source_event_ts", NOON),
        (1, "supervisor_processed_at", NOON + 250_000_000),
    ]
    assert log.query(
        "SELECT audit_id, source_event_ts, supervisor_processed_at FROM task_audits"
    ) == [(1, "2024-01-01T12:00:00.000000Z", "2024-01-01T12:00:00.250000Z"), (2, None, None)]


def test_a_field_that_cannot_be_drawn_keeps_no_entry_out(log: Log) -> None:
    log.worker().producer.append(encode({"source_ts": "soon"}, event_type="X_SUPERVISOR"))
    log.settle()
    assert log.query("SELECT count(*) FROM entries") == [(1,)]
    assert log.query(DERIVED) == []


def test_a_declared_field_is_of_entries_to_come_and_earlier_ones_are_filled(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    id_, declared_at, filled_to = declare(log, NUMBER)["number"]
    assert (declared_at, filled_to) == (3, 0)
    worker.record(1)
    log.settle()
    assert log.query(DERIVED) == [(4, "number", 4)]
    assert fill(log, 0, 2, (id_, [1, 2], [1, 2])).filled_to == 2
    assert declare(log, NUMBER)["number"] == [id_, 3, 2]
    fill(log, 2, 3, (id_, [3], [3]))
    assert log.query(DERIVED) == [(n, "number", n) for n in range(1, 5)]
    log.restart_writer()
    assert declare(log, NUMBER)["number"] == [id_, 3, 3]


def test_a_changed_definition_begins_anew_and_the_old_values_are_cleared(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "CLEARED_PER_PIECE_MAX", 2)
    worker = log.worker()
    first = declare(log, NUMBER)["number"][0]
    worker.record(3)
    log.settle()
    second = declare(log, DerivedField("number", ("w",), "text", ("step.*",)))["number"]
    assert second[0] != first
    assert second[1:] == [3, 0]
    assert log.query(DERIVED) == []
    assert log.query("SELECT count(*) FROM derived_values") == [(3,)]
    assert fill(log, 0, 0).has_retired
    assert not fill(log, 0, 0).has_retired
    assert log.query("SELECT count(*) FROM derived_values") == [(0,)]
    assert log.query("SELECT count(*) FROM derived_fields WHERE name = 'number'") == [(1,)]


def test_two_that_fill_the_same_field_do_not_disturb_each_other(log: Log) -> None:
    log.worker().record(3)
    log.settle()
    id_, _, _ = declare(log, NUMBER)["number"]
    fill(log, 0, 2, (id_, [1], [1]))
    with pytest.raises(wire.WireError, match="somebody else fills it too"):
        fill(log, 0, 2, (id_, [1, 2], [1, 2]))
    with pytest.raises(wire.WireError, match="filled up to 2 of 3"):
        fill(log, 2, 4, (id_, [3], [3]))
    with pytest.raises(wire.WireError, match="declared anew"):
        fill(log, 0, 1, (id_ + 1, [1], [1]))
    assert log.query(DERIVED) == [(1, "number", 1)]


def test_what_is_wrong_in_the_settings_file_changes_nothing(log: Log) -> None:
    def broken() -> Any:
        raise filling.ConfigError("the derived field 'n' has type 'x'")

    log.writer._filling._read_declared = broken
    with pytest.raises(wire.WireError, match="has type 'x'"):
        log.ask(wire.Declare())
    assert log.query("SELECT count(*) FROM derived_fields WHERE is_current") == [(2,)]


def test_redaction_takes_the_drawn_values_along_and_nothing_brings_them_back(log: Log) -> None:
    declare(log, NUMBER)
    log.worker().record(3)
    log.settle()
    later = declare(log, NUMBER, DerivedField("again", ("n",), "integer", ("*",)))["again"][0]
    before = as_of(log)
    log.ask(wire.Redact([[2, 2]], None, None, "asked for", "test", 0, 0, dry_run=False))
    assert log.query(DERIVED) == [(1, "number", 1), (3, "number", 3)]
    fill(log, 0, 3, (later, [1, 2, 3], [1, 2, 3]), read=before)
    assert [row for row in log.query(DERIVED) if row[0] == 2] == []


def test_pruned_entries_take_their_values_along(log: Log) -> None:
    declare(log, NUMBER)
    log.worker().record(3)
    log.settle()
    later = declare(log, NUMBER, DerivedField("again", ("n",), "integer", ("*",)))["again"][0]
    before = as_of(log)
    log.ask(wire.Prune(2, EPOCH_NS + 10**18, "test", None, None))
    while log.statistics()["pruned_to"] < 2:
        log.turn()
    assert len(log.entries(PRUNED)) == 1
    assert log.query(DERIVED) == [(3, "number", 3)]
    fill(log, 0, 3, (later, [1, 2, 3], [1, 2, 3]), read=before)
    assert log.query(DERIVED) == [(3, "again", 3), (3, "number", 3)]


@pytest.mark.parametrize(
    "values",
    [
        b"\xc1",
        wire.pack_values([]) + b"x",
        b"\x01",
        b"\x91\x01",
        b"\x91\x80",
        wire.pack_values([wire.FieldValues(1, [1], [])]),
        wire.pack_values([wire.FieldValues(1, ["1"], [1])]),  # type: ignore[list-item]
        wire.pack_values([wire.FieldValues(1, [1], [None])]),  # type: ignore[list-item]
        wire.pack_values([wire.FieldValues(1, [1], [2**64 - 1])]),
        wire.pack_values([wire.FieldValues(1, [1], [float("nan")])]),
        wire.pack_values([wire.FieldValues(1, [9], [1])]),
        b"\0" * (wire.FILL_BYTES_MAX + 1),
    ],
)
def test_values_that_are_none_are_refused(log: Log, values: bytes) -> None:
    with pytest.raises(wire.WireError, match=r"values|fill"):
        log.ask(wire.Fill(0, 3, 0, values))
    log.worker().record()
    log.settle()
    log.assert_all_is_in()


def test_two_values_of_one_entry_are_refused(log: Log) -> None:
    log.worker().record(2)
    log.settle()
    number, declared_at, _ = declare(log, NUMBER)["number"]
    with pytest.raises(wire.WireError, match="one an entry"):
        fill(log, 0, declared_at, (number, [1, 1], [1, 2]))
    fill(log, 0, declared_at, (number, [1, 2], [1, 2]))
