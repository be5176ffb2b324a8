"""Full text on the reader's side: by the index up to the mark, and behind it by looking."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from handmade_log import BEGIN, SECOND, Log, ids, statements_of
from hansard.reader import LogReader, paging, search


def index(log: Log, upto: int, *, first: int = 1) -> None:
    """What the writer does."""
    texts = log.execute(
        "SELECT id, CAST(text AS BLOB) FROM full_text_source WHERE id BETWEEN ? AND ?", first, upto
    )
    for entry, text in texts:
        log.execute("INSERT INTO full_text(rowid, text) VALUES(?, CAST(? AS TEXT))", entry, text)
    log.execute("UPDATE meta SET value = ? WHERE key = 'full_text_indexed_to'", upto)


def begin_anew(log: Log) -> None:
    log.execute("INSERT INTO full_text(full_text) VALUES('delete-all')")
    log.execute("UPDATE meta SET value = 0 WHERE key = 'full_text_indexed_to'")


def search_types(log: Log, *event_types: str) -> None:
    log.execute(
        "UPDATE meta SET value = ? WHERE key = 'full_text_event_types'", json.dumps(event_types)
    )


def write_errors(log: Log) -> None:
    log.add_operation(stderr="error: no matching packages found")  # 1
    log.add("a.b", payload='{"stderr": "error package"}')  # 2: neither operation nor named
    log.add_operation(stderr="Error while installing the package numpy==1.2")  # 3
    log.add_operation(stdout="error package")  # 4: not stderr
    log.add_operation(stderr="warning: package is old")  # 5
    log.add_operation(stderr="ERRORS in 2 packages")  # 6
    log.add_operation(status="failed", metadata={"error": "RuntimeError: boom"})  # 7
    log.add_operation(stderr="in a crash", metadata={"error": "boom too", "note": "crash"})  # 8


@pytest.mark.parametrize("indexed_to", [0, 1, 3, 5, 7, 8])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("error AND package", [1, 3, 6]),
        ("errors packaging", [1, 3, 6]),
        ("package NOT error", [5]),
        ('"matching packages"', [1]),
        ("warn* OR numpy", [3, 5]),
        ('"numpy==1.2"', [3]),
        ("installed", [3]),
        ("(old OR installing) AND package", [3, 5]),
        ("NEAR(error package, 2)", [1, 6]),
        ("boom", [7, 8]),
        ("crash AND boom", [8]),
        ("note", []),
        ("nothing", []),
    ],
)
def test_a_query_means_the_same_however_much_is_indexed(
    log: Log, indexed_to: int, query: str, expected: list[int]
) -> None:
    write_errors(log)
    index(log, indexed_to)
    with LogReader(log.directory) as reader:
        assert ids(reader.search(query)) == expected
        assert ids(reader.search(query, newest_first=True)) == expected[::-1]
        assert ids(reader.search(query, limit=1)) == expected[:1]
        assert ids(reader.search(query, newest_first=True, limit=2)) == expected[::-1][:2]
        assert reader.count(search=query) == len(expected)


@pytest.mark.parametrize("indexed_to", [0, 6])
def test_a_search_goes_with_other_conditions(log: Log, indexed_to: int) -> None:
    write_errors(log)
    index(log, indexed_to)
    with LogReader(log.directory) as reader:
        assert ids(reader.search("error", since=BEGIN + 2 * SECOND)) == [3, 6]
        assert ids(reader.search("error", after_id=1, until=BEGIN + 4 * SECOND)) == [3]
        assert ids(reader.search("error", event_type="a.b")) == []
        assert ids(reader.operations(search="error AND package", operation="run")) == [6, 3, 1]
        assert ids(reader.failed_operations(search="error")) == []
        assert reader.count_operations(search="error") == 3


def test_of_a_named_type_names_and_values_are_searched_as_text(log: Log) -> None:
    search_types(log, "note")
    payload = {
        "title": "a\nb", "odd\tname": {"deep": [1, True, {"deepest": "Zürich"}]},
        "id": 123456789012345678901234567890, "price": 1.5, "nothing": None,
    }  # fmt: skip
    log.add("note", payload=json.dumps(payload))
    log.add("other", payload=json.dumps(payload))
    for indexed_to in (0, 2):
        index(log, indexed_to)
        with LogReader(log.directory) as reader:
            for query in (
                "a AND b", "title", "odd AND name", "deepest", "zurich", "true",
                "123456789012345678901234567890", '"1.5"', "nothing",
            ):  # fmt: skip
                assert ids(reader.search(query)) == [1], query
            for query in ("nb", "null", "tname"):
                assert ids(reader.search(query)) == [], query


def test_of_operations_all_is_searched_where_their_type_is_named(log: Log) -> None:
    search_types(log, "env.operation")
    log.add_operation(workflow_id="nightly", stderr="broken")
    with LogReader(log.directory) as reader:
        assert ids(reader.search("nightly")) == [1]
        assert ids(reader.search("broken")) == [1]


def test_text_that_is_none_to_python_is_searched(log: Log) -> None:
    log.add("env.operation", payload='{"stderr": "half \\ud800 a \\u0000 pair"}')
    log.add("env.operation", payload='{"stderr": 5}')
    log.add("env.operation", payload='{"stderr": ["in", "a list"]}')
    log.add("env.operation")
    for indexed_to in (0, 4):
        index(log, indexed_to)
        with LogReader(log.directory) as reader:
            assert ids(reader.search("half")) == [1]
            assert ids(reader.search("5")) == [2]
            assert ids(reader.search("list")) == [3]


@pytest.mark.parametrize("newest_first", [False, True])
def test_many_matches_are_read_page_by_page(
    log: Log, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 5)
    monkeypatch.setattr(search, "UNINDEXED_ENTRIES_PER_PAGE", 7)
    for number in range(60):
        log.add_operation(stderr=f"common number{number}")
    expected = list(range(1, 61))[:: -1 if newest_first else 1]
    for indexed_to in (0, 5, 30, 59, 60):
        begin_anew(log)
        index(log, indexed_to)
        with LogReader(log.directory) as reader:
            assert ids(reader.search("common", newest_first=newest_first)) == expected
            assert ids(reader.search("number41", newest_first=newest_first)) == [42]
            limited = reader.search("common", newest_first=newest_first, limit=13)
            assert ids(limited) == expected[:13]


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("change", ["moves", "goes back", "goes back and moves"])
def test_nothing_is_missed_or_doubled_while_the_mark_changes_between_pages(
    log: Log, monkeypatch: pytest.MonkeyPatch, newest_first: bool, change: str
) -> None:
    monkeypatch.setattr(paging, "PAGE_ROWS", 5)
    monkeypatch.setattr(search, "UNINDEXED_ENTRIES_PER_PAGE", 5)
    for _ in range(60):
        log.add_operation(stderr="common")
    index(log, 30)
    found = []
    with LogReader(log.directory) as reader:
        for event in reader.search("common", newest_first=newest_first):
            found.append(event.id)
            if len(found) == 12:
                log.add_operation(stderr="common")  # later: not among them
                if change != "moves":
                    begin_anew(log)
                if change != "goes back":
                    first = 31 if change == "moves" else 1
                    index(log, 50, first=first)
    assert found == list(range(1, 61))[:: -1 if newest_first else 1]


def test_mark_and_index_are_read_in_one_transaction(log: Log) -> None:
    write_errors(log)
    index(log, 6)
    with LogReader(log.directory) as reader:
        matching = search.FullTextSearch(reader._connection, "error")
        rows = reader._connection.rows

        def begin_anew_behind_the_mark(sql: str, *arguments: object) -> list[Any]:
            result = rows(sql, *arguments)
            if "full_text_state" in sql:
                begin_anew(log)
            return result

        matching._rows = begin_anew_behind_the_mark  # type: ignore[method-assign]
        span = paging.Span(0, 7, newest_first=False)
        assert matching._next_matches(span) == [1, 3, 6]


def test_a_search_that_is_held_open_does_not_hold_the_wal(log: Log) -> None:
    for _ in range(paging.PAGE_ROWS + 10):
        log.add_operation(stderr="common")
    index(log, log.size)
    with LogReader(log.directory) as reader:
        found = reader.search("common")
        next(found)
        log.add()
        assert log.can_truncate_wal()


def test_what_is_found_by_index_is_not_looked_for_in_entries(log: Log) -> None:
    write_errors(log)
    index(log, 8)
    with LogReader(log.directory) as reader:
        asked = statements_of(reader, lambda: list(reader.search("error")))
    assert not any("full_text_source" in sql for sql, _ in asked)


def test_following_a_search_shows_what_matches_as_it_comes(log: Log) -> None:
    write_errors(log)
    with LogReader(log.directory) as reader:
        events = reader.follow(3, search="package", interval=0.001)
        assert [next(events).id for _ in range(2)] == [5, 6]
        log.add()
        log.add_operation(stderr="a package")
        assert next(events).id == 10


@pytest.mark.parametrize(
    "query", ["error & package", "numpy==1.2", "a:b", "*reads", "", "  ", '"open', "a AND", "a\0b"]
)
def test_a_query_that_is_none_says_what_to_write(log: Log, query: str) -> None:
    asks: list[Callable[[LogReader], object]] = [
        lambda reader: reader.search(query),
        lambda reader: reader.operations(search=query),
        lambda reader: reader.count(search=query),
    ]
    with LogReader(log.directory) as reader:
        for ask in asks:
            with pytest.raises(ValueError, match=r'query is .* AND, OR, NOT .* as "numpy==1.2"'):
                ask(reader)
