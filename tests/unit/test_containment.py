"""What a payload contains, held against PostgreSQL's ``@>``."""

import json
from typing import Any

import pytest

from handmade_log import Log, ids
from hansard.reader import LogReader
from hansard.reader.containment import PARTS_MAX, contains, steps_of

PAYLOAD = {
    "text": "1",
    "one": 1,
    "real": 1.5,
    "yes": True,
    "nothing": None,
    "big": 2**80,
    "empty": {},
    "none": [],
    "metadata": {
        "packages": ["numpy", "pandas", 3, None, True],
        "python": {"version": "3.11", "extras": ["dev"]},
    },
    "matrix": [[1, 2], [3], [2**70]],
    "items": [{"sku": "a", "tags": ["x", "y"]}, {"sku": "b", "price": 0.1}],
    "0": "a digit",
}


@pytest.fixture
def reader(log: Log) -> LogReader:
    log.add(payload=json.dumps(PAYLOAD))
    log.add()
    return LogReader(log.directory)


def holds(reader: LogReader, path: Any, value: object) -> bool:
    found = ids(reader.where(path, value))
    assert found in ([], [1])
    return bool(found)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text", "1"),
        ("one", 1),
        ("one", 1.0),
        ("real", 1.5),
        ("yes", True),
        ("nothing", None),
        ("big", 2**80),
        ("metadata.packages", "numpy"),
        ("metadata.packages", 3),
        ("metadata.packages", None),
        ("metadata.packages", True),
        ("metadata.packages", ["pandas", "numpy", "numpy"]),
        ("metadata.packages", []),
        ("metadata", {"packages": ["numpy"]}),
        ("metadata", {"packages": ["numpy"], "python": {"extras": ["dev"]}}),
        ("metadata", {}),
        ("empty", {}),
        ("none", []),
        ("matrix", [[1]]),
        ("matrix", [[2, 1], [3]]),
        ("matrix", [[2**70]]),
        ("items", [{"sku": "b"}, {"tags": ["y"]}]),
        ("items", [{"price": 0.1}]),
        ("items", [{}]),
        ("0", "a digit"),
        (["metadata", "python", "version"], "3.11"),
    ],
)
def test_what_is_contained_is_found(reader: LogReader, path: Any, value: object) -> None:
    assert holds(reader, path, value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text", 1),
        ("one", "1"),
        ("one", True),
        ("yes", 1),
        ("yes", "true"),
        ("nothing", "null"),
        ("nothing", False),
        ("missing", None),
        ("missing.deeper", "x"),
        ("text.deeper", "x"),
        ("big", 2**80 + 1),
        ("big", 2**70),
        ("metadata.packages", "nump"),
        ("metadata.packages", "3"),
        ("metadata.packages", False),
        ("metadata.packages", ["numpy", "scipy"]),
        ("metadata.packages", {}),
        ("metadata", {"packages": "numpy"}),
        ("metadata", {"packages": ["numpy"], "python": {"extras": ["test"]}}),
        ("metadata", []),
        ("empty", []),
        ("none", {}),
        ("matrix", [1]),
        ("matrix", [[1, 3]]),
        ("matrix", [[2**70 + 1]]),
        ("items", [{"sku": "a", "price": 0.1}]),
        ("items", {"sku": "a"}),
    ],
)
def test_what_is_not_contained_is_not_found(reader: LogReader, path: Any, value: object) -> None:
    assert not holds(reader, path, value)


ODD_NAMES = [
    "", "a.b", 'a"b', "a\\b", 'x\\"y', "a[0]", "$", "#-1", "a'b", "é", "a\nb", "\0x", "\ud800",
    "'; DROP TABLE entries; --", '") OR 1=1 --',
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_names_and_values_with_odd_characters_are_only_that(log: Log, name: str) -> None:
    log.add(payload=json.dumps({name: name, "list": [name], "other": 1}))
    log.add(payload=json.dumps({"other": 2}))
    with LogReader(log.directory) as reader:
        assert ids(reader.where([name], name)) == [1]
        assert ids(reader.where("list", [name])) == [1]
        assert ids(reader.where([name], "other")) == []


def test_a_backslash_makes_a_dot_part_of_a_name() -> None:
    assert steps_of(r"a\.b.c\\d") == ("a.b", "c\\d")


@pytest.mark.parametrize("path", ["", ".", "a.", ".a", "a..b", "a\\", [], ["a", 1], None, 7])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(ValueError, match="path is"):
        contains(path, 1)


@pytest.mark.parametrize(
    "value", [object(), {1: 2}, [{"a": b"x"}], float("nan"), float("inf"), {1, 2}]
)
def test_what_json_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="value holds"):
        contains("a", value)


def test_a_value_of_too_many_parts_is_refused() -> None:
    deep: Any = 1
    for _ in range(70):
        deep = [deep]
    for value in (list(range(PARTS_MAX)), deep):
        with pytest.raises(ValueError, match="too many parts"):
            contains("a", value)


def test_a_value_of_the_most_parts_is_asked_for(log: Log) -> None:
    value = list(range(PARTS_MAX - 1))
    deep: Any = {"a": value[:9]}
    for _ in range(60):
        deep = {"a": deep}
    log.add(payload=json.dumps({"a": value, "deep": deep}))
    with LogReader(log.directory) as reader:
        assert ids(reader.where("a", value)) == [1]
        assert ids(reader.where("deep", deep)) == [1]


def test_several_conditions_must_all_hold(log: Log) -> None:
    log.add("x", payload='{"a": [1, 2], "b": "y"}')
    log.add("x", payload='{"a": [1], "b": "y"}')
    log.add("z", payload='{"a": [2], "b": "y"}')
    with LogReader(log.directory) as reader:
        assert ids(reader.where("a", 2, where=[("b", "y")])) == [1, 3]
        assert ids(reader.where("a", 2, event_type="x")) == [1]
        assert ids(reader.events(where=[("a", 2), ("b", "y")], newest_first=True)) == [3, 1]
        assert reader.count(where=[("a", 1)]) == 2
        assert reader.count("x", where=[("a", 2)]) == 1
