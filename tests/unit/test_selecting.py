"""When a command that reads holds itself back for the sake of those who record."""

import pytest

from handmade_log import Log
from hansard import directory as layout
from hansard.reader.resting import RestingRows
from hansard_writer.cli import selecting


@pytest.fixture
def stepped_back(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Says so, instead of the test's own process doing it."""
    calls: list[bool] = []
    monkeypatch.setattr(selecting, "step_back", lambda: calls.append(True))
    return calls


@pytest.mark.parametrize(
    ("writer_lives", "rests", "steps_back", "is_resting"),
    [
        (True, True, True, True),
        (True, False, True, False),
        (False, True, False, False),
        (False, False, False, False),
    ],
)
def test_a_query_holds_itself_back_only_beside_a_writer(
    log: Log, monkeypatch: pytest.MonkeyPatch, stepped_back: list[bool], writer_lives: bool,
    rests: bool, steps_back: bool, is_resting: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(layout, "a_writer_lives", lambda _directory: writer_lives)
    with selecting.reading_beside_a_writer(log.directory, rests=rests) as reader:
        assert isinstance(reader._rows, RestingRows) == is_resting
    assert bool(stepped_back) == steps_back


def test_who_follows_a_log_always_holds_itself_back(log: Log, stepped_back: list[bool]) -> None:
    with selecting.reading_considerately(log.directory) as reader:
        assert isinstance(reader._rows, RestingRows)
    assert stepped_back
