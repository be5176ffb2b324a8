"""Pages of entries: none is missed or shown twice, by log or by time, and none takes long."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import many_entries
from hansard.reader_connection import ReadConnection
from hansard_writer.viewing import finding, rates
from hansard_writer.viewing.finding import Asked, Found, find

ENTRIES = 3_000
TYPES = 5


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadConnection]:
    """Entries of five types and 90 tasks, some with the same time, not all in time's order."""
    directory: Path = tmp_path_factory.mktemp("many") / "log"
    many_entries.fill(directory, 2, "type.0", {})
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute(
        "WITH RECURSIVE numbers(value) AS"
        " (SELECT 3 UNION ALL SELECT value + 1 FROM numbers WHERE value < ?)"
        " INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, actor,"
        " task_id, payload) SELECT value, 0, value, 1000 * ((value * 7) % 1000),"
        " 'type.' || (value % 5), 'info', 'agent:' || (value % 7), 'T' || (value % 90), '{}'"
        " FROM numbers",
        (ENTRIES,),
    )
    connection.close()
    log = ReadConnection(directory)
    yield log
    log.close()


def turned(log: ReadConnection, asked: dict[str, Any], *, by_time: bool) -> list[int]:
    """The ids of all pages, from the newest to the oldest; and back again, the same."""
    event_type = asked.pop("event_type", None)
    pages: list[Found] = []
    before = None
    while not pages or before:
        pages.append(find(log, Asked(event_type, asked, 70, before=before, by_time=by_time)))
        before = pages[-1].older
    ids = [event.id for page in pages for event in page.events]
    back: list[int] = [event.id for event in pages[-1].events]
    page = pages[-1]
    while page.newer:
        page = find(log, Asked(event_type, asked, 70, after=page.newer, by_time=by_time))
        back = [event.id for event in page.events] + back
    assert back == ids
    return ids


def expected(log: ReadConnection, where: str, order: str) -> list[int]:
    sql = f"SELECT id FROM events WHERE {where} ORDER BY {order}"
    return [each for (each,) in log.rows(sql)]


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({}, "1"),
        ({"actor": "agent:3"}, "actor = 'agent:3'"),
        ({"task_id": "T7"}, "task_id = 'T7'"),
        ({"task_id": "T7", "actor": "agent:3"}, "task_id = 'T7' AND actor = 'agent:3'"),
        ({"actor": "nobody"}, "0"),
    ],
)
def test_the_pages_are_all_entries_in_the_order_of_the_log(
    log: ReadConnection, asked: dict[str, Any], where: str
) -> None:
    assert turned(log, asked, by_time=False) == expected(log, where, "id DESC")


@pytest.mark.parametrize(
    ("asked", "where"),
    [
        ({"event_type": "type.2"}, "event_type = 'type.2'"),
        ({"since": 500_000}, "created_at_ns >= 500000"),
        (
            {"since": 100_000, "until": 200_000, "actor": "agent:1"},
            "created_at_ns >= 100000 AND created_at_ns < 200000 AND actor = 'agent:1'",
        ),
        (
            {"until": 100_000, "event_type": "type.0"},
            "created_at_ns < 100000 AND +event_type = 'type.0'",
        ),
        ({"event_type": "nothing"}, "0"),
    ],
)
def test_the_pages_are_all_entries_in_the_order_of_time(
    log: ReadConnection, asked: dict[str, Any], where: str
) -> None:
    found = turned(log, asked, by_time=True)
    assert found == expected(log, where, "created_at_ns DESC, id DESC")


@pytest.mark.parametrize("by_time", [False, True])
def test_a_look_that_takes_long_says_how_far_it_came_and_goes_on_there(
    log: ReadConnection, monkeypatch: pytest.MonkeyPatch, by_time: bool
) -> None:
    monkeypatch.setattr(finding, "LOOK_S_MAX", -1.0)
    monkeypatch.setattr(finding, "PIECE_IDS_MAX", 256)
    asked: dict[str, Any] = {"actor": "agent:3", "since": 0}
    first = find(log, Asked(None, asked, 2_000, by_time=by_time))
    assert first.looked_to is not None
    assert len(first.events) < ENTRIES / 7
    order = "created_at_ns DESC, id DESC" if by_time else "id DESC"
    ids = [each.id for each in first.events]
    while first.older:
        first = find(log, Asked(None, asked, 2_000, before=first.older, by_time=by_time))
        ids += [each.id for each in first.events]
    assert ids == expected(log, "actor = 'agent:3'", order)


def test_event_types_are_found_by_leaps(log: ReadConnection) -> None:
    assert finding.event_types(log) == ["first", *(f"type.{number}" for number in range(TYPES))]


def test_rates_are_counted(log: ReadConnection) -> None:
    found = rates.rates(log, 0, 1_000_000, 10)
    assert found.one_in == 1.0
    assert found.width_ns == 100_000
    for event_type, counts in found.counts.items():
        for stretch, count in enumerate(counts):
            low = stretch * 100_000
            where = f"event_type = '{event_type}' AND created_at_ns >= {low}"
            assert count == len(expected(log, f"{where} AND created_at_ns < {low + 100_000}", "id"))


def test_rates_of_many_are_estimated_and_say_so(
    log: ReadConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "COUNTED_MAX", 100)
    monkeypatch.setattr(rates, "PLACES", 100)
    monkeypatch.setattr(rates, "NEIGHBOURS", 5)
    monkeypatch.setattr(rates, "_id_at", lambda _log, at, low, high: low if at < 1 else high)
    found = rates.rates(log, 0, 1_000_000, 10)
    assert found.one_in == pytest.approx(6, rel=0.1)
    total = sum(map(sum, found.counts.values()))
    assert total == pytest.approx(ENTRIES, rel=0.05)


def test_a_sample_is_spread_over_all_of_the_log() -> None:
    ids = rates.sample_of(1, 10_000_001)
    assert len(ids) == rates.PLACES * rates.NEIGHBOURS == len(set(ids))
    assert ids[0] == 1
    assert ids[-1] > 9_990_000
