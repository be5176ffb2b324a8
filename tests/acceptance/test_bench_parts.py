"""Parts of the bench at tiny sizes: what they measure, and that each notices a wrong count."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest

from bench.measuring import entered
from bench.measuring.figures import Figure, Found
from bench.measuring.processes import SPAWN, in_fresh_process
from bench.measuring.run import Run
from bench.parts import callers, filling, growth, ingest, limit, recover, ship, sync, web
from bench.workloads import RANDOM_KEYS, REAL, TASKS, WORKLOADS, Workload
from bench.workloads.event import Event
from hansard import AuditLog
from hansard_writer import RunningWriter
from hansard_writer.full_text import MARK_BEHIND_MAX, FullText
from support import assert_verifies

WORKERS = 2


def share(place: Path, events: int, *, is_quick: bool = False) -> Run:
    return Run(place / "part", WORKERS, events, is_quick, lambda _: None)


def by_name(figures: list[Figure]) -> dict[tuple[str, str], float]:
    return {(figure.workload, figure.name): figure.value for figure in figures}


def losing_one(events: Callable[[int, int], list[Event]]) -> Callable[[int, int], list[Event]]:
    """Of a workload, as the check sees it: the last event is another."""

    def others(worker: int, count: int) -> list[Event]:
        *most, last = events(worker, count)
        return [*most, last._replace(actor="somebody else")]

    return others


def fill(directory: Path, entries: int, workload: Workload = TASKS) -> Path:
    """A log that was filled to so many entries."""
    ours, theirs = SPAWN.Pipe(duplex=False)
    filling.fill(directory, workload, entries, theirs)
    assert ours.recv() == entries
    return directory


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.name)
def test_a_workload_makes_the_same_events_again_for_a_worker_and_others_for_another(
    workload: Workload,
) -> None:
    events = workload.events
    assert events(3, 300) == events(3, 400)[:300]
    tasks = [{event.task_id for event in events(worker, 300)} for worker in (3, 4)]
    assert not tasks[0] & tasks[1]


def test_random_keys_never_come_again() -> None:
    tasks, keys = TASKS.events(0, 1_000), RANDOM_KEYS.events(0, 1_000)
    assert len({event.task_id for event in keys}) == 1_000
    assert [event.payload for event in keys] == [event.payload for event in tasks]


@pytest.mark.parametrize("workload", REAL, ids=lambda workload: workload.name)
def test_a_real_set_begins_again_when_it_is_exhausted_with_other_tasks(workload: Workload) -> None:
    events = workload.events(0, 4_000)
    texts = [orjson.dumps(event.payload) for event in events]
    again = texts.index(texts[0], 1)
    assert texts[again : again + 50] == texts[:50]
    assert events[again].task_id != events[0].task_id


def test_every_workload_is_ingested_and_held_against_the_limit(tmp_path: Path) -> None:
    found = by_name(ingest.run(share(tmp_path, 400)).figures)
    for name in WORKLOADS:
        assert found[name, "events entered, each checked"] == 400
        assert found[name, "database an event"] > found[name, "payload an event"]
        assert found[name, "rows as entered"] > 0


def test_of_large_events_fewer_are_ingested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "PAYLOAD_BYTES_MAX", 1_000_000)
    figures = ingest.measure(tmp_path / "log", WORKLOADS["webhooks"], WORKERS, 10_000)
    assert 50 < by_name(figures)["webhooks", "events entered, each checked"] < 150


def test_the_limit_inserts_the_rows_as_they_were_entered(tmp_path: Path) -> None:
    ingest.measure(tmp_path / "log", TASKS, WORKERS, 400)
    columns = "seq, producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
    whole, hidden = f"{columns}, salt, payload_hash", f"{columns}, NULL, NULL"

    def rows(name: str, columns: str) -> list[Any]:
        log = apsw.Connection(str(tmp_path / "log" / name / "log.db"))
        return log.execute(f"SELECT {columns} FROM entries ORDER BY seq").fetchall()

    assert rows("bare/rows as entered", whole) == rows("log", whole)
    assert rows("bare/rows without salt and hash", whole) == rows("log", hidden)


def test_a_row_that_the_limit_left_out_is_an_error(
    tmp_path: Path,
) -> None:
    filled = fill(tmp_path / "filled", 8) / "log.db"
    with pytest.raises(entered.WrongEntries, match="9 rows were to be inserted"):
        in_fresh_process(
            limit._insert, filled, limit.COLUMNS, limit.INSERT, tmp_path / "bare", 9, 4
        )


@pytest.mark.parametrize("workload", [TASKS, RANDOM_KEYS], ids=lambda workload: workload.name)
def test_a_filled_log_is_one_that_verify_finds_intact_and_no_task_comes_again(
    tmp_path: Path, workload: Workload
) -> None:
    directory = fill(tmp_path / "filled", 4_500, workload)
    fill(directory, 9_100, workload)
    assert_verifies(directory)
    log = apsw.Connection(str(directory / "log.db"))
    by_producer = log.execute("SELECT count(*), max(producer_seq) FROM entries GROUP BY producer")
    assert sum(count for count, last in by_producer if count == last) == 9_100
    shared = "SELECT count(DISTINCT producer) > 1 AS shared FROM entries GROUP BY task_id"
    assert log.execute(f"SELECT sum(shared) FROM ({shared})").get == 0


def test_a_filled_log_leaves_its_next_writer_little_to_catch_up_with(tmp_path: Path) -> None:
    store, _ = limit.open_store(fill(tmp_path / "filled", 3 * MARK_BEHIND_MAX))
    assert FullText(store, None).tail <= MARK_BEHIND_MAX  # as behind any writer
    store.close()


def test_callers_are_measured_alone_and_together_as_threads_and_tasks(tmp_path: Path) -> None:
    found = sync.run(share(tmp_path, 400, is_quick=True))
    values = by_name(found.figures)
    assert all(value > 0 for value in values.values()), values
    assert {"acks/s of 64 callers / of 1", "acks/s of 64 asyncio callers / of 1"} <= {
        name for _, name in values
    }
    assert {curve.name for curve in found.curves} == {
        "bare REQ/REP and commit", "Hansard, 1 caller", "Hansard, 64 callers",
        "Hansard, 64 asyncio callers",
    }  # fmt: skip


@pytest.mark.parametrize("are_tasks", [False, True])
def test_a_callers_event_that_is_another_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, are_tasks: bool
) -> None:
    others = TASKS._replace(events=losing_one(TASKS.events))
    monkeypatch.setattr(callers, "TASKS", others)  # in this process, which checks
    with pytest.raises(entered.WrongEntries, match="somebody else"):
        callers._round(tmp_path / "log", callers._Kind(4, are_tasks), 3)


def test_growth_is_measured_at_each_size_and_only_what_was_recorded_is_read(
    tmp_path: Path,
) -> None:
    found = growth.run(share(tmp_path, 200), sizes=(1_000, 2_500), rounds=1)
    values = by_name(found.figures)
    for workload in ("tasks", "random keys"):
        assert values[workload, "ingest at 2,500 / at 1,000"] > 0
    assert [(curve.name, [x for x, _ in curve.points]) for curve in found.curves] == [
        ("tasks", [1_000, 2_500]),
        ("random keys", [1_000, 2_500]),
    ]


def test_sizes_for_which_there_is_no_room_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = growth.run(share(tmp_path, 100), sizes=(500, 1_000, 2_000), rounds=1)
    assert found.notes == ["growth: 2,000 entries are left out, for 0 GiB are free"]
    assert ("tasks", "ingest at 1,000 / at 500") in by_name(found.figures)


def test_where_there_is_room_for_one_size_it_is_held_against_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=500_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = growth.run(share(tmp_path, 100), sizes=(500, 1_000), rounds=1)
    assert ("tasks", "500 entries: ingest") in by_name(found.figures)
    assert not [figure for figure in found.figures if figure.unit == "x"]


def test_a_grown_log_that_lost_an_event_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = TASKS._replace(events=losing_one(TASKS.events))
    recorded = growth.load.record

    def record(*arguments: Any) -> growth.Load:
        done = recorded(*arguments)
        return done._replace(recorded={key: others.events(0, 50) for key in done.recorded})

    monkeypatch.setattr(growth.load, "record", record)
    with pytest.raises(entered.WrongEntries):
        growth.run(share(tmp_path, 100), sizes=(500, 1_000), rounds=1)


@pytest.mark.parametrize("kills_workers", [False, True])
def test_a_recovery_is_timed_and_its_events_are_counted(
    tmp_path: Path, kills_workers: bool
) -> None:
    recovery = recover._recover(tmp_path / "log", 200, kills_workers=kills_workers)
    assert recovery.first_ack > 0
    assert recovery.committed > 0


def test_a_recovery_that_changes_an_event_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = TASKS._replace(events=losing_one(TASKS.events))
    monkeypatch.setattr(recover, "TASKS", others)
    with pytest.raises(entered.WrongEntries, match="somebody else"):
        recover._recover(tmp_path / "log", 20, kills_workers=True)


def test_only_what_lies_behind_an_entry_is_checked(directory: Path, writer: RunningWriter) -> None:
    _record(directory, TASKS.events(0, 5))
    producer = _record(directory, recorded := TASKS.events(1, 3))
    entered.check(directory, {producer: recorded}, behind=5)
    with pytest.raises(entered.WrongEntries, match="recorded 3 events, and the log has 2"):
        entered.check(directory, {producer: recorded}, behind=6)
    with pytest.raises(entered.WrongEntries, match="recorded 0 events, and the log has 1"):
        entered.check(directory, {producer: recorded}, behind=4)


def test_what_a_part_finds_is_added_to_what_others_found() -> None:
    found = Found(notes=["one"])
    found.add(Found(notes=["two"]))
    assert found.notes == ["one", "two"]


def _record(directory: Path, recorded: list[Event]) -> bytes:
    """Record events and wait for their commit; the producer's hash."""
    with AuditLog(directory) as log:
        for event in recorded:
            entry = log.record(**event._asdict())
        assert log.flush()
    assert entry.key is not None
    return entry.key[0]


def test_shipping_is_measured_against_the_writers_own_rate_and_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To files; servers cost this test seconds, and the shipping to them has tests of its own."""
    monkeypatch.setattr(ship, "_TARGETS", {"Parquet": ship._TARGETS["Parquet"]})
    found = ship.run(share(tmp_path, 400))
    figures = {each.name: each.value for each in found.figures}
    assert found.broken == []
    assert {"to Parquet", "to Parquet / the writer's own rate"} <= figures.keys()
    assert figures["verified in Parquet, the start included"] > 0
    assert figures["Parquet, an entry"] > 10


def test_a_log_that_does_not_verify_where_it_was_shipped_to_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ship, "_TARGETS", {"Parquet": ship._TARGETS["Parquet"]})
    timed = ship._timed

    def tampered(*arguments: str) -> float:
        if arguments[0] == "verify":
            Path(arguments[arguments.index("--key") + 1]).write_text("no key\n")
        return timed(*arguments)

    monkeypatch.setattr(ship, "_timed", tampered)
    wrong = ship.run(share(tmp_path, 400)).wrong
    assert len(wrong) == 1, wrong
    assert "hansard verify ended with" in wrong[0]


def test_a_web_server_is_measured_by_itself_and_audited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_SERVERS", {"uvicorn": web._SERVERS["uvicorn"]})
    found = web.run(share(tmp_path, 1_000))
    figures = {each.name: each.value for each in found.figures}
    assert figures["uvicorn, one a ms: p50, audited"] > 0
    assert [curve.name for curve in found.curves] == ["uvicorn, plain", "uvicorn, audited"]


def test_a_request_that_is_not_in_the_log_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = web._SERVERS["uvicorn"]["plain"]
    monkeypatch.setattr(web, "_SERVERS", {"uvicorn": {"plain": plain, "audited": plain}})
    with pytest.raises(entered.WrongEntries, match="and the log has 0 entries"):
        web.run(share(tmp_path, 1_000))
