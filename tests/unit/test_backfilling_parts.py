"""What is left to be filled, what came of it, and who may fill: the parts of a backfill."""

import json
import os
from pathlib import Path

import pytest

from handmade_log import Log
from hansard.reader_connection import ReadConnection
from hansard_writer.backfilling import AnotherBackfill, BackfillLock, concerned
from hansard_writer.backfilling.concerned import entries, event_types
from hansard_writer.backfilling.stretches import Stretch, entries_left, filled, next_stretch
from hansard_writer.backfilling.tally import IDS_NAMED_MAX, SAMPLES_MAX, Tally
from hansard_writer.derived.definitions import DerivedField
from hansard_writer.derived.deriving import StoredField
from hansard_writer.derived.extraction import Cause

FIELD = DerivedField("f", ("n",), "integer", ("*",))


def stored(id_: int, filled_to: int, declared_at: int) -> StoredField:
    return StoredField(id_, FIELD, declared_at, filled_to)


def plan(log: Log, sql: str) -> str:
    nothing = [None] * sql.count("?")
    return "; ".join(row[3] for row in log.execute(f"EXPLAIN QUERY PLAN {sql}", *nothing))


def test_stretches_go_side_by_side_and_each_entry_is_looked_at_once() -> None:
    fields = [stored(1, 0, 10), stored(2, 4, 20), stored(3, 30, 30), stored(4, 0, 8)]
    assert entries_left(fields) == 20
    found: list[Stretch] = []
    while stretch := next_stretch(fields):
        found.append(stretch)
        fields = filled(fields, stretch, stretch.upto)
    assert [(each.after, each.upto, [f.id for f in each.fields]) for each in found] == [
        (0, 4, [1, 4]),
        (4, 8, [1, 2, 4]),
        (8, 10, [1, 2]),
        (10, 20, [2]),
    ]


def test_a_field_that_the_log_was_pruned_behind_is_complete() -> None:
    assert next_stretch([stored(1, 50, 30)]) is None
    assert entries_left([]) == 0


def test_a_stretch_goes_on_from_the_middle() -> None:
    fields = [stored(1, 0, 10), stored(2, 5, 10)]
    stretch = next_stretch(fields)
    assert stretch is not None
    assert next_stretch(filled(fields, stretch, 3)) == Stretch(3, 5, (stored(1, 3, 10),))


def test_a_tally_counts_all_and_names_some() -> None:
    tally, other = Tally(FIELD), Tally(FIELD)
    for seq in range(1, IDS_NAMED_MAX):
        tally.lacks(seq, Cause.MISSING)
    tally.has([1_000, 1_001], [1, 2])
    other.has(list(range(2_000, 2_010)), list(range(10)))
    for seq in range(5_000, 5_010):
        other.lacks(seq, Cause.MISSING)
    other.lacks(6_000, Cause.INVALID_JSON)
    tally.add(other)
    assert (tally.entries, tally.filled) == (IDS_NAMED_MAX + 9 + 1 + 12, 12)
    (missing, without), (invalid, _) = tally.causes()
    assert (missing, invalid) == (Cause.MISSING, Cause.INVALID_JSON)
    assert without.count == IDS_NAMED_MAX + 9
    assert without.ids == [*range(1, IDS_NAMED_MAX), 5_000]
    assert len(tally.samples) == SAMPLES_MAX
    assert tally.samples[:3] == [(1_000, 1), (1_001, 2), (2_000, 0)]


def test_entries_are_found_by_the_index_of_types_where_they_are_rare(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for number in range(1, 61):
        log.add("rare.a" if number % 20 == 0 else f"b.{number % 3}", payload=f'{{"n":{number}}}')
    reader = ReadConnection(tmp_path)
    asked: list[str] = []

    def rows(sql: str, *arguments: object) -> list[tuple[object, ...]]:
        asked.append(sql)
        return reader.rows(sql, *arguments)

    assert event_types(rows) == ["b.0", "b.1", "b.2", "rare.a"]
    assert list(entries(rows, ["rare.a"], 20, 60)) == [
        (40, "rare.a", b'{"n":40}'),
        (60, "rare.a", b'{"n":60}'),
    ]
    assert concerned._IN_ORDER not in asked
    assert [seq for seq, _, _ in entries(rows, ["b.1", "b.2"], 0, 7)] == [1, 2, 4, 5, 7]
    assert concerned._IN_ORDER in asked
    assert list(entries(rows, [], 0, 60)) == []
    for sql in (concerned._COUNT, concerned._IDS):
        assert "COVERING INDEX entries_by_type (event_type=?)" in plan(log, sql)
    in_order = plan(log, concerned._IN_ORDER)
    assert in_order.startswith("SEARCH entries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)")
    reader.close()
    log.close()


def test_a_log_without_entries_has_no_event_types(tmp_path: Path) -> None:
    log, reader = Log(tmp_path), ReadConnection(tmp_path)
    assert event_types(reader.rows) == []
    reader.close()
    log.close()


def test_one_at_a_time_and_the_next_one_learns_who(tmp_path: Path) -> None:
    with BackfillLock(tmp_path):
        with pytest.raises(AnotherBackfill, match=rf"\(pid {os.getpid()}\).*let it end, or stop"):
            BackfillLock(tmp_path)
        (tmp_path / "backfill.lock").write_text("{")
        with pytest.raises(AnotherBackfill, match="pid unknown"):
            BackfillLock(tmp_path)
    with BackfillLock(tmp_path):
        assert json.loads((tmp_path / "backfill.lock").read_text()) == {"pid": os.getpid()}
    assert (tmp_path / "backfill.lock").stat().st_mode & 0o777 == 0o600
