"""When the WAL is emptied, and who is complained of: with a handle that does as the test says."""

from pathlib import Path
from typing import Any

import pytest

from hansard.settings import MIB, Settings
from hansard_writer.handle import FRAME_BYTES
from hansard_writer.wal_governor import (
    IDLE_S,
    LOOK_S,
    TRUNCATE_RETRY_S,
    Held,
    WalGovernor,
    held_after,
)


def test_what_is_moved_wholly_is_held_by_nobody() -> None:
    assert held_after(None, 100, 100, 5.0) is None
    assert held_after(Held(40, 100, 1.0, None), 100, 100, 5.0) is None
    assert held_after(None, 0, 0, 5.0) is None


def test_a_mark_that_stays_is_held_since_it_was_first_seen() -> None:
    first = held_after(None, 100, 40, 5.0)
    assert first == Held(40, 100, 5.0, None)
    assert held_after(first, 900, 40, 50.0) == Held(40, 900, 5.0, None)


def test_another_mark_is_another_reader() -> None:
    first = held_after(None, 100, 40, 5.0)
    assert held_after(first, 900, 60, 50.0) == Held(60, 900, 50.0, None)


def test_the_same_mark_in_a_wal_that_began_anew_is_another_reader() -> None:
    first = held_after(None, 900, 40, 5.0)
    assert held_after(first, 100, 40, 50.0) == Held(40, 100, 50.0, None)


class FakeHandle:
    """A WAL of some frames, and a reader in its way or none."""

    wal = Path("/nowhere/log.db-wal")

    def __init__(self) -> None:
        self.wal_pages = 0
        self.wal_bytes = 0
        self.checkpoints = 0
        self.mark: int | None = None
        self.made: list[str] = []

    def commit(self, frames: int) -> None:
        self.wal_pages += frames
        self.wal_bytes = max(self.wal_bytes, self.wal_pages * FRAME_BYTES)

    def checkpoint_passive(self) -> tuple[int, int]:
        self.made.append("passive")
        self.checkpoints += 1
        return self.wal_pages, self.wal_pages if self.mark is None else self.mark

    def checkpoint_truncate(self) -> bool:
        self.made.append("truncate")
        if self.mark is not None:
            return False
        self.wal_pages = self.wal_bytes = 0
        return True


class Governed:
    """A governor, its clock, and those who read."""

    def __init__(self, **settings: Any) -> None:
        self.handle = FakeHandle()
        self.readers: set[int] = set()
        self.now = 1_000.0
        limits = {"wal_bytes_target": MIB, "reader_age_max": 60.0, **settings}
        self.governor = WalGovernor(
            self.handle,  # type: ignore[arg-type]
            Settings(**limits),
            lambda _path: set(self.readers),
        )

    def commit(self, frames: int) -> None:
        self.handle.commit(frames)
        self.governor.wrote(self.now)
        self.step(is_idle=True)

    def step(self, *, is_idle: bool) -> list[str]:
        self.handle.made.clear()
        self.governor.step(self.now, is_idle=is_idle)
        return self.handle.made

    def pass_time(self, seconds: float, *, is_idle: bool = True) -> list[str]:
        """Step as the loop would; what was done in all."""
        made, until = [], self.now + seconds
        while self.now < until:
            self.now = min(max(self.governor.due(is_idle=is_idle), self.now + 0.001), until)
            made += self.step(is_idle=is_idle)
        return made

    @property
    def figures(self) -> dict[str, Any]:
        return self.governor.figures(self.now)


@pytest.fixture
def governed() -> Governed:
    return Governed()


def test_a_small_wal_is_left_alone_until_nothing_is_written(governed: Governed) -> None:
    governed.commit(10)
    assert governed.handle.made == []
    governed.now += IDLE_S - 0.01
    assert governed.step(is_idle=True) == []
    governed.now += 0.02
    assert governed.step(is_idle=False) == []
    assert governed.step(is_idle=True) == ["truncate"]
    assert governed.pass_time(100) == []
    assert governed.governor.due(is_idle=True) > governed.now + 1e9, "it sleeps"


def test_a_large_one_is_moved_behind_a_commit_and_waits_for_nobody(governed: Governed) -> None:
    governed.commit(32)
    assert governed.handle.made == ["passive"]


def test_a_file_that_is_too_large_is_cut_short_under_load_too(governed: Governed) -> None:
    for _ in range(200):
        governed.now += 0.1
        governed.handle.commit(10)
        governed.governor.wrote(governed.now)
        if "truncate" in governed.step(is_idle=False):
            break
    else:
        raise AssertionError("it grew and grew")
    assert governed.handle.wal_bytes == 0


def test_a_reader_in_the_way_is_known_with_its_age_and_what_it_holds(governed: Governed) -> None:
    governed.commit(100)
    governed.handle.mark, governed.readers = 40, {7}
    governed.commit(100)
    governed.pass_time(10)
    assert governed.figures == {
        "wal_bytes": 200 * FRAME_BYTES,
        "wal_bytes_held": 160 * FRAME_BYTES,
        "wal_held_by": "pid 7",
        "reader_age": 10.0,
        "wal_checkpoints": governed.handle.checkpoints,
    }
    governed.handle.mark = None
    governed.pass_time(TRUNCATE_RETRY_S)
    assert governed.figures["wal_bytes"] == 0
    assert governed.figures["wal_bytes_held"] == 0
    assert governed.figures["wal_held_by"] == ""
    assert governed.figures["reader_age"] == 0.0


def test_a_reader_that_is_too_old_is_complained_of_once_by_name(
    governed: Governed, caplog: pytest.LogCaptureFixture
) -> None:
    governed.handle.mark, governed.readers = 40, {7, 8}
    governed.commit(600)
    governed.pass_time(30)
    governed.readers = {7, 9}
    governed.pass_time(29)
    assert caplog.records == []
    governed.pass_time(300)
    (said,) = (each.message for each in caplog.records)
    assert said.startswith("a read transaction has kept the WAL from being emptied for 60 s")
    assert said.endswith("end it, or its process: pid 7")


def test_the_next_reader_is_complained_of_too(
    governed: Governed, caplog: pytest.LogCaptureFixture
) -> None:
    governed.handle.mark = 40
    governed.commit(100)
    governed.pass_time(100)
    governed.handle.mark = 80
    governed.pass_time(100)
    assert len(caplog.records) == 2
    assert "cannot be seen from here" in caplog.records[1].message


def test_readers_that_come_and_go_are_nobodys_fault(
    governed: Governed, caplog: pytest.LogCaptureFixture
) -> None:
    for second in range(300):
        governed.handle.mark = second
        governed.commit(32)
        governed.pass_time(1)
    assert caplog.records == []
    assert governed.figures["reader_age"] <= LOOK_S


def test_while_a_reader_stays_it_is_looked_at_once_a_second(governed: Governed) -> None:
    governed.handle.mark = 40
    governed.commit(100)
    assert len(governed.pass_time(20)) <= 20 / LOOK_S + 3 * (20 / TRUNCATE_RETRY_S + 1)
