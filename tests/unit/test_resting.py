"""Reading considerately: when it rests, and for how long."""

from types import SimpleNamespace

import pytest

from handmade_log import Log, ids
from hansard.reader import LogReader, resting


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(worked=0.0, rests=[])
    fake = SimpleNamespace(thread_time=lambda: clock.worked, sleep=clock.rests.append)
    monkeypatch.setattr(resting, "time", fake)
    return clock


def test_it_rests_four_times_as_long_as_it_has_worked(clock: SimpleNamespace) -> None:
    rows = resting.RestingRows(lambda _sql, *_arguments: [])
    rows("first")
    clock.worked += 0.5
    rows("second")
    rows("third")
    clock.worked += 0.25
    rows("fourth")
    assert clock.rests == [2.0, 1.0]


def test_small_questions_do_not_rest_until_they_are_many(clock: SimpleNamespace) -> None:
    rows = resting.RestingRows(lambda _sql, *_arguments: [])
    for _ in range(10):
        clock.worked += resting.WORK_S_MIN * 0.23
        rows("a page")
    assert len(clock.rests) == 2


def test_a_considerate_reader_reads_the_same(log: Log, clock: SimpleNamespace) -> None:
    for _ in range(5):
        log.add_operation(stderr="common")
    with LogReader(log.directory, considerate=True) as reader:
        clock.worked += 1
        assert ids(reader.events()) == [1, 2, 3, 4, 5]
        clock.worked += 1
        assert ids(reader.search("common")) == [1, 2, 3, 4, 5]
    assert clock.rests == [4.0, 4.0]


def test_no_other_reader_rests(log: Log, clock: SimpleNamespace) -> None:
    log.add()
    with LogReader(log.directory) as reader:
        clock.worked += 1
        assert ids(reader.events()) == [1]
    assert clock.rests == []
