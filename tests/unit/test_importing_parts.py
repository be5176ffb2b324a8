"""The small parts of taking over: levels, keys that are known, letters, and old databases."""

import json
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import others_logs
from hansard import wire
from hansard_writer.importing import letters
from hansard_writer.importing.known_keys import KnownKeys
from hansard_writer.importing.ledger import known_as
from hansard_writer.importing.letters import Unfit
from hansard_writer.importing.levels import level_of
from hansard_writer.importing.old_database import OldDatabase, Undecodable, UnreadableDatabase


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("WARN", "warning"),
        (" Information ", "info"),
        ("FATAL", "critical"),
        ("trace", "debug"),
        (10, "debug"),
        (25, "warning"),
        ("40", "error"),
        (50, "critical"),
        (None, "info"),
        ("", "info"),
    ],
)
def test_levels_of_other_systems_are_ours(value: Any, level: str) -> None:
    assert level_of(value) == level


@pytest.mark.parametrize("value", ["LOUD", 0, 4, -1, True, 1.5, b"info", "1" * 5_000])
def test_what_is_no_level_is_unfit(value: Any) -> None:
    with pytest.raises(Unfit, match="level: "):
        level_of(value)


@given(st.lists(st.lists(st.integers(-30, 30) | st.text(max_size=1))))
def test_known_keys_are_a_set(added: list[list[Any]]) -> None:
    known, expected = KnownKeys(), set[Any]()
    for keys in added:
        known.add(keys)
        expected.update(keys)
        for key in [*range(-32, 33), *"ab"]:
            assert (key in known) is (key in expected)
    assert len(known._firsts) <= sum(1 for key in expected if key not in ("", *"ab"))


@pytest.mark.parametrize(
    "content",
    [
        {"a": "x" * 5_000_000},
        {f"c{n}": "x" * 60_000 for n in range(100)},
        {f"c{n}": "x" * 60_000 for n in range(3_000)},
        {"a": b"\xff" * 3_000_000},
        {"a": "\ud800\0"},
        {"a": json.loads("[" * 70 + "]" * 70)},
    ],
)
def test_a_letter_travels_whatever_is_in_it(content: dict[str, Any]) -> None:
    data = letters.letter({"key": 7}, "time: none", content, 1, "x" * 300, "T\0")
    assert len(data) <= wire.EVENT_BYTES_MAX
    kind, at, event_type, _, _, task_id, text = msgpack.unpackb(data)
    assert (kind, at, event_type, task_id) == (wire.KIND_UNFIT, 1, None, None)
    assert json.loads(text)["imported_from"] == {"key": 7, "unfit": "time: none"}


@pytest.mark.parametrize(
    ("schema", "key", "lasting"),
    [
        ("CREATE TABLE t(a INTEGER PRIMARY KEY, b)", ("a",), True),
        ("CREATE TABLE t(a TEXT PRIMARY KEY, b)", ("a",), True),
        ("CREATE TABLE t(a, b, PRIMARY KEY (b, a)) WITHOUT ROWID", ("b", "a"), True),
        ("CREATE TABLE t(a, b)", ("rowid",), False),
        ("CREATE TABLE t(rowid, _rowid_)", ("oid",), False),
    ],
)
def test_a_rows_key_is_its_tables(
    tmp_path: Path, schema: str, key: tuple[str, ...], lasting: bool
) -> None:
    path = others_logs.make(tmp_path / "old.db", schema, [(1, "y")])
    with OldDatabase(path) as database:
        table = database.table("T")
        assert (table.key, table.has_lasting_keys) == (key, lasting)
        assert [len(page) for page in database.pages(table)] == [1]


def test_a_primary_key_that_is_null_somewhere_is_none(tmp_path: Path) -> None:
    path = others_logs.make(
        tmp_path / "old.db", "CREATE TABLE t(a TEXT PRIMARY KEY, b)", [(None, 1), (None, 2)]
    )
    with OldDatabase(path) as database:
        table = database.table("t")
        assert table.key == ("rowid",)
        assert [values for page in database.pages(table) for _, values in page] == [
            (None, 1),
            (None, 2),
        ]


def test_pages_hold_all_rows_in_the_order_of_keys_and_text_that_is_no_utf8(tmp_path: Path) -> None:
    path = others_logs.make(
        tmp_path / "old.db",
        "CREATE TABLE t(a TEXT PRIMARY KEY, b)",
        ((f"{n:05d}", b"blob") for n in range(1_200)),
    )
    others_logs.with_rows(path, [("UPDATE t SET b = CAST(x'ff' AS TEXT) WHERE a = '00700'", ())])
    with OldDatabase(path) as database:
        rows = [row for page in database.pages(database.table("t")) for row in page]
    assert [key for key, _ in rows] == [f"{n:05d}" for n in range(1_200)]
    assert rows[700] == ("00700", ("00700", Undecodable(b"\xff")))
    assert rows[701] == ("00701", ("00701", b"blob"))


def refuse_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who may not write beside the database."""
    opened = OldDatabase._open_as

    def refused(database: OldDatabase, parameters: str) -> apsw.Connection:
        if "immutable" not in parameters:
            raise apsw.CantOpenError("CantOpenError: unable to open database file")
        return opened(database, parameters)

    monkeypatch.setattr(OldDatabase, "_open_as", refused)


def test_without_leave_to_make_shared_memory_a_file_that_is_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = others_logs.audits(tmp_path / "old.db", range(1, 4))
    refuse_shared_memory(monkeypatch)
    with OldDatabase(path) as database:
        assert database.count(database.table("task_audits")) == 3


def test_without_leave_to_read_the_wal_it_says_how_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = others_logs.audits(tmp_path / "old.db", range(1, 4))
    (tmp_path / "old.db-wal").write_bytes(b"x" * 100)
    refuse_shared_memory(monkeypatch)
    with pytest.raises(UnreadableDatabase, match=r"old\.db-wal holds what is not in the file yet"):
        OldDatabase(path)


def test_a_key_that_is_long_is_known_by_its_hash() -> None:
    assert [known_as(key) for key in (7, "k", b"x", ("a", 1))] == [7, "k", b"x", ("a", 1)]
    long, other = known_as("x" * 1_000), known_as("x" * 1_001)
    assert long != other
    assert len(long) < 100
