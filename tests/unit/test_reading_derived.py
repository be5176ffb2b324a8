"""Entries asked for by their derived fields: typed by the field, found by the index of values."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from handmade_log import Log, ids, plan_of, statements_of
from hansard.reader import Between, LogReader
from hansard_writer.cli import main
from hansard_writer.derived.definitions import BUILT_IN, DerivedField

NOON = 1_704_110_400 * 10**9  # 2024-01-01T12:00:00Z
FIELDS = (
    BUILT_IN[0],
    DerivedField("cost", ("cost",), "real", ("*",)),
    DerivedField("word", ("word",), "text", ("*",)),
    DerivedField("tries", ("tries",), "integer", ("*",)),
    DerivedField("ok", ("ok",), "boolean", ("*",)),
)
VALUES: dict[str, list[Any]] = {  # of the entries 1 to 4
    "source_event_ts": [NOON, NOON + 1_234, NOON + 10**9, None],
    "cost": [0.5, 1.0, 2.5, 2.5],
    "word": ["a", "b", "5", "a"],
    "tries": [1, 2, 3, None],
    "ok": [1, 0, 1, None],
}


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    log = Log(directory)
    for number in range(1, 5):
        log.add("even" if number % 2 == 0 else "odd", task_id=f"T{number}", payload='{"n":1}')
    for id_, field in enumerate(FIELDS, start=1):
        log.execute(
            "INSERT INTO derived_fields VALUES(?, ?, ?, 0, 0, 1)", id_, field.name, field.definition
        )
        for seq, value in enumerate(VALUES[field.name], start=1):
            if value is not None:
                log.execute("INSERT INTO derived_values VALUES(?, ?, ?)", id_, seq, value)
    yield log
    log.close()


@pytest.fixture
def reader(log: Log) -> Iterator[LogReader]:
    with LogReader(log.directory) as reader:
        yield reader


@pytest.mark.parametrize(
    ("derived", "found"),
    [
        ({"cost": 2.5}, [3, 4]),
        ({"cost": "2.5"}, [3, 4]),
        ({"cost": 1}, [2]),
        ({"word": "5"}, [3]),
        ({"word": "a", "cost": 2.5}, [4]),
        ({"tries": 2}, [2]),
        ({"tries": "2"}, [2]),
        ({"ok": True}, [1, 3]),
        ({"ok": "false"}, [2]),
        ({"tries": Between(2)}, [2, 3]),
        ({"tries": Between(None, 2)}, [1]),
        ({"word": Between("a", "b")}, [1, 4]),
        ({"source_event_ts": "2024-01-01T12:00:00Z"}, [1]),
        ({"source_event_ts": "2024-01-01T12:00:00.000001Z"}, [2]),
        ({"source_event_ts": NOON + 1_234}, [2]),
        ({"source_event_ts": datetime(2024, 1, 1, 12, 0, 1, tzinfo=UTC)}, [3]),
        ({"source_event_ts": Between("2024-01-01T12:00:00.000001", "2024-01-02")}, [2, 3]),
        ({"word": "nothing"}, []),
        ({"tries": Between()}, [1, 2, 3, 4]),
    ],
)
def test_a_condition_is_read_by_the_fields_type(
    reader: LogReader, derived: dict[str, Any], found: list[int]
) -> None:
    assert ids(reader.events(derived=derived)) == found
    assert ids(reader.events(derived=derived, newest_first=True)) == found[::-1]
    assert ids(reader.events(derived=derived, limit=1)) == found[:1]
    assert reader.count(derived=derived) == len(found)


def test_it_goes_with_the_other_conditions(reader: LogReader) -> None:
    assert ids(reader.events("odd", derived={"cost": 2.5})) == [3]
    assert ids(reader.events(derived={"cost": 2.5}, after_id=3)) == [4]
    assert ids(reader.by_task("T4", derived={"cost": 2.5})) == [4]
    assert ids(reader.by_task("T1", derived={"cost": 2.5})) == []
    assert next(reader.follow(0, derived={"tries": 2})).id == 2


@pytest.mark.parametrize(
    ("derived", "complaint"),
    [
        ({"costs": 1}, r"no derived field 'costs': there are source_event_ts, cost, word, tries"),
        ({"cost": "much"}, r"cost is 'much': it is of type real"),
        ({"cost": float("nan")}, r"is of type real"),
        ({"tries": 1.5}, r"tries is 1.5: it is of type integer"),
        ({"tries": True}, r"is of type integer"),
        ({"tries": 2**63}, r"is of type integer"),
        ({"ok": 1}, r"ok is 1: it is of type boolean"),
        ({"word": 5}, r"the derived field word is an int: it must be a string"),
        ({"source_event_ts": "soon"}, r"source_event_ts is 'soon': write it like 2026"),
        (["cost"], r"derived is \['cost'\]: it must be a mapping"),
    ],
)
def test_what_is_no_value_of_the_field_is_refused_when_it_is_asked_for(
    reader: LogReader, derived: Any, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        reader.events(derived=derived)


def test_values_are_found_by_their_index(log: Log, reader: LogReader) -> None:
    for derived in ({"cost": 2.5}, {"cost": Between(2, 3)}):
        asked = statements_of(reader, lambda derived=derived: list(reader.events(derived=derived)))
        plans = [plan_of(log, each) for each in asked if " derived " in each[0]]
        assert plans
        for plan in plans:
            assert (
                "SEARCH v USING COVERING INDEX derived_values_by_value (field=? AND value" in plan
            )
            assert "SCAN e" not in plan
    counted = statements_of(reader, lambda: reader.count(derived={"cost": 2.5}))
    assert "derived_values_by_value" in plan_of(log, counted[-1])


def test_of_entries_that_another_index_finds_each_is_asked(log: Log, reader: LogReader) -> None:
    for derived, key in (
        ({"cost": 2.5}, "(field=? AND value=? AND seq=?)"),
        ({"cost": Between(2)}, "PRIMARY KEY (field=? AND seq=?)"),
    ):
        asked = statements_of(
            reader, lambda derived=derived: [*reader.by_task("T4", derived=derived)]
        )
        plan = plan_of(log, asked[-1])
        assert "entries_by_task" in plan
        assert key in plan


def test_an_entrys_values_are_shown_when_they_are_asked_for(reader: LogReader) -> None:
    assert reader.derived(2) == {
        "source_event_ts": "2024-01-01T12:00:00.000001Z",
        "cost": 1.0,
        "word": "b",
        "tries": 2,
        "ok": False,
    }
    assert reader.derived(4) == {"cost": 2.5, "word": "a"}
    assert reader.derived(99) == {}
    assert reader.derived_fields() == {field.name: field.type for field in FIELDS}


def hansard(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*map(str, arguments)])
    return done.exit_code, done.output


def test_the_command_takes_the_same_conditions(log: Log) -> None:
    query = ("query", "--dir", log.directory, "--format", "csv", "--oldest-first", "--derived")
    noon = "source_event_ts>=2024-01-01T12:00:00.000001Z"
    status, found = hansard(*query, noon, "--derived", "source_event_ts<2024-01-01T12:00:01Z")
    assert status == 0
    assert [line.split(",")[0] for line in found.splitlines()] == ["id", "2"]
    status, found = hansard(*query, "ok=true", "--show-derived")
    assert '"{""source_event_ts"":""2024-01-01T12:00:00.000000Z"",""cost"":0.5' in found
    assert hansard(*query, "word=none")[0] == 1
    status, found = hansard("tail", "--dir", log.directory, "--derived", "tries>=2",
                            "--show-derived", "--format", "jsonl")  # fmt: skip
    assert (status, found.count('"tries":')) == (0, 2)
    for wrong, complaint in (
        (["tries"], "is no condition: write NAME=VALUE"),
        (["tries>2"], "is no condition"),
        (["nothing=1"], "no derived field 'nothing'"),
        (["tries=x"], "is of type integer"),
        (["tries=1", "--derived", "tries=2"], "one value, or one bound on either side"),
        (["tries=1", "--derived", "tries>=2"], "one value, or one bound on either side"),
    ):
        status, found = hansard(*query, *wrong)
        assert (status, complaint in found) == (2, True), found


def test_an_export_takes_them_too(log: Log) -> None:
    status, found = hansard("export", "--dir", log.directory, "--format", "jsonl", "--derived",
                            "cost=2.5")  # fmt: skip
    assert status == 0, found
    assert found.count('"event_type"') == 2
