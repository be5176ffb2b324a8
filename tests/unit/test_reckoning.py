"""The reckoning of chaos finds what is lost, doubled, misplaced or not counted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.chaos.notes import Event, Notes, Progress, Read, read
from faults.chaos.reckoning import Reckoned, reckon
from handmade_log import Log

HASH = b"\xab\xcd"  # of the handmade log's producer


@pytest.fixture
def log(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """A log with three events of the stream ``a``, in order. Made by hand, it has no proof."""
    monkeypatch.setattr("faults.checker.require_proof", lambda *_: None)
    log = Log(directory)
    for number in (1, 2, 3):
        log.add(payload=payload("a", number))
    log.execute("INSERT INTO runs VALUES(1, 1, 3, 1)")
    log.execute("UPDATE producers SET watermark = 3")
    log.execute("INSERT INTO producers VALUES(0, x'00', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL)")
    yield log
    log.connection.close()


def payload(stream: str, number: int) -> str:
    return json.dumps({"w": stream, "n": number})


def recorded(*numbers: int, status: str = "queued") -> list[Event]:
    """Events of ``a``, noted with the keys that they have in the log."""
    return [Event("a", number, status, (HASH, number)) for number in numbers]


def noted(events: list[Event], *, on_the_way: int = 0, statistics: int | None = None) -> Read:
    """What workers have noted; ``on_the_way`` of ``a``, which is ended where that is 0."""
    ways = {"a": on_the_way} if on_the_way else {}
    return Read(events, ways, {} if statistics is None else {"a": statistics})


def add_own(log: Log, event_type: str, **facts: Any) -> None:
    """An entry that the writer makes, in a run of its own."""
    seq = log.add(event_type, producer=0, producer_seq=1, payload=json.dumps(facts))
    log.execute("INSERT INTO runs VALUES(0, 1, 1, ?)", seq)
    log.execute("UPDATE producers SET watermark = 1 WHERE id = 0")


def test_what_is_noted_and_entered_adds_up(log: Log) -> None:
    assert reckon(log.directory, noted(recorded(1, 2, 3))) == Reckoned(recorded=3, entered=3)


def test_an_event_that_is_nowhere_is_found(log: Log) -> None:
    with pytest.raises(AssertionError, match="a:4 is not in the log"):
        reckon(log.directory, noted(recorded(1, 2, 3, 4)))


def test_an_event_under_anothers_key_is_found(log: Log) -> None:
    events = [*recorded(1, 2), Event("a", 3, "queued", (HASH, 2))]
    with pytest.raises(AssertionError, match="a:3 is not in the log as abcd:2"):
        reckon(log.directory, noted(events))


def test_an_event_that_is_there_twice_is_found(log: Log) -> None:
    log.add(payload=payload("a", 3))
    log.execute("UPDATE runs SET count = 4")
    log.execute("UPDATE producers SET watermark = 4 WHERE id = 1")
    with pytest.raises(AssertionError, match="a:3 was entered twice"):
        reckon(log.directory, noted(recorded(1, 2, 3)))


def test_an_event_out_of_order_is_found(log: Log) -> None:
    for number in (5, 4):
        log.add(payload=payload("a", number))
    log.execute("UPDATE runs SET count = 5")
    log.execute("UPDATE producers SET watermark = 5 WHERE id = 1")
    with pytest.raises(AssertionError, match="a:4 stands behind 5"):
        reckon(log.directory, noted(recorded(1, 2, 3)))


def test_an_entry_that_nobody_recorded_is_found(log: Log) -> None:
    with pytest.raises(AssertionError, match="a:3 is in the log, and was not recorded"):
        reckon(log.directory, noted(recorded(1, 2)))


def test_an_entry_whose_worker_was_killed_before_it_heard_counts_as_recorded(log: Log) -> None:
    reckoned = reckon(log.directory, noted(recorded(1, 2), on_the_way=1))
    assert reckoned == Reckoned(recorded=3, entered=3, unheard=1)


def test_a_kill_explains_no_more_than_one_call(log: Log) -> None:
    with pytest.raises(AssertionError, match="a:3 is in the log, and was not recorded"):
        reckon(log.directory, noted(recorded(1), on_the_way=1))


def test_an_event_that_was_said_to_be_dropped_and_is_entered_is_found(log: Log) -> None:
    events = [*recorded(1, 2), Event("a", 3, "dropped", None)]
    with pytest.raises(AssertionError, match="a:3 was dropped, and is in the log"):
        reckon(log.directory, noted(events))


def test_a_watermark_that_is_behind_its_entries_is_found(log: Log) -> None:
    log.execute("UPDATE producers SET watermark = 2 WHERE id = 1")
    with pytest.raises(AssertionError, match="producer 1: watermark 2, but 3 entries"):
        reckon(log.directory, noted(recorded(1, 2, 3)))


def test_drops_that_the_log_tells_of_add_up(log: Log) -> None:
    add_own(log, "hansard.lost", count=2)
    log.execute("UPDATE producers SET dropped = 2 WHERE id = 1")
    events = [*recorded(1, 2, 3), Event("a", 4, "dropped", None), Event("a", 5, "dropped", None)]
    reckoned = reckon(log.directory, noted(events, statistics=2))
    assert reckoned == Reckoned(recorded=5, entered=3, dropped=2, lost_entries=1)


@pytest.mark.parametrize("told", [0, 1, 3])
def test_drops_that_the_log_tells_wrongly_are_found(log: Log, told: int) -> None:
    if told:
        add_own(log, "hansard.lost", count=told)
        log.execute("UPDATE producers SET dropped = ? WHERE id = 1", told)
    events = [*recorded(1, 2, 3), Event("a", 4, "dropped", None), Event("a", 5, "dropped", None)]
    with pytest.raises(AssertionError, match=f"{told} events were lost, but 2 were dropped"):
        reckon(log.directory, noted(events))


def test_statistics_that_count_other_drops_than_callers_were_told_are_found(log: Log) -> None:
    with pytest.raises(AssertionError, match="has counted 1 drops, not 0"):
        reckon(log.directory, noted(recorded(1, 2, 3), statistics=1))


def test_an_interruption_without_a_key_is_entered_or_dropped_and_counted(log: Log) -> None:
    events = [*recorded(1, 2), Event("a", 3, "queued", None), Event("a", 4, "queued", None)]
    with pytest.raises(AssertionError, match="0 events were lost, but 1 were dropped"):
        reckon(log.directory, noted(events))
    add_own(log, "hansard.lost", count=1)
    log.execute("UPDATE producers SET dropped = 1 WHERE id = 1")
    reckoned = reckon(log.directory, noted(events))
    assert reckoned == Reckoned(recorded=4, entered=3, dropped=1, lost_entries=1)


def test_an_orphan_of_a_registered_task_is_found(log: Log) -> None:
    log.execute(
        "INSERT INTO dead_letters(received_at, producer, producer_seq, count, reason, detail,"
        " frame, task_id) VALUES(1, 1, 4, 1, 'orphan', '', x'', 'T')"
    )
    log.execute("UPDATE producers SET watermark = 4, refused = 1, orphaned = 1 WHERE id = 1")
    events = [*recorded(1, 2, 3, 4)]
    assert reckon(log.directory, noted(events)).dead_lettered == 1
    log.execute("INSERT INTO tasks VALUES('T', 1, NULL)")
    with pytest.raises(AssertionError, match="an orphan whose task is registered"):
        reckon(log.directory, noted(events))


# --- notes ---


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path, "0-0")
    events = [Event("a", 1, "queued", (HASH, 1)), Event("a", 2, "dropped", None)]
    notes.open("a")
    notes.events(events)
    notes.dropped("a", 1)
    assert read(tmp_path) == Read(events, {"a": 1}, {"a": 1})
    notes.begin("a", 12)
    assert read(tmp_path).on_the_way == {"a": 10}
    notes.end("a")
    assert read(tmp_path).on_the_way == {}


def test_a_note_that_a_kill_cut_short_counts_as_not_written(tmp_path: Path) -> None:
    notes = Notes(tmp_path, "0-0")
    notes.open("a")
    notes.events([Event("a", 1, "queued", (HASH, 1))])
    with (tmp_path / "0-0.notes").open("a") as file:
        file.write("e a 2 queu")
    assert [event.number for event in read(tmp_path).events] == [1]


def test_progress_counts_events_of_a_worker_and_its_children_and_beats(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    assert not progress.look()
    worker, child = Notes(tmp_path, "0-0"), Notes(tmp_path, "0-0-1")
    for notes in (worker, child):
        notes.events([Event("a", 1, "queued", None)])
    worker.done(3)
    assert progress.look()
    assert (progress.events["0"], progress.beats["0"]) == (2, 4)
    assert not progress.look()
