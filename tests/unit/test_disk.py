"""The disk's three stages, and the file that is room in need."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from hansard.settings import MIB, Settings
from hansard_writer.disk import LOOK_S, Disk, Reserve, Stage, stage_of

WARN, SUSPEND, RESERVE = 800 * MIB, 80 * MIB, 8 * MIB


@pytest.mark.parametrize(
    ("spare_mib", "before", "stage"),
    [
        (800, Stage.ENOUGH, Stage.ENOUGH),
        (799, Stage.ENOUGH, Stage.LOW),
        (80, Stage.ENOUGH, Stage.LOW),
        (79, Stage.ENOUGH, Stage.SUSPENDED),
        (899, Stage.LOW, Stage.LOW),
        (900, Stage.LOW, Stage.ENOUGH),
        (79, Stage.LOW, Stage.SUSPENDED),
        (89, Stage.SUSPENDED, Stage.SUSPENDED),
        (90, Stage.SUSPENDED, Stage.LOW),
        (899, Stage.SUSPENDED, Stage.LOW),
        (900, Stage.SUSPENDED, Stage.ENOUGH),
    ],
)
def test_a_stage_is_entered_at_its_limit_and_left_with_a_margin(
    spare_mib: int, before: Stage, stage: Stage
) -> None:
    assert stage_of(spare_mib * MIB, WARN, SUSPEND, before) is stage


def test_limits_of_nothing_are_never_reached() -> None:
    for before in Stage:
        assert stage_of(0, 0, 0, before) is Stage.ENOUGH


# --- the reserve ---


def test_the_reserve_is_really_allocated_and_really_given_back(tmp_path: Path) -> None:
    reserve = Reserve(tmp_path / "reserve", MIB)
    assert not reserve.is_held
    reserve.hold()
    facts = (tmp_path / "reserve").stat()
    assert facts.st_size == MIB
    assert facts.st_blocks * 512 >= MIB
    assert facts.st_mode & 0o777 == 0o600
    assert reserve.is_held
    assert reserve.release()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.is_held
    assert not reserve.release()


def test_an_earlier_runs_reserve_is_held_on(tmp_path: Path) -> None:
    Reserve(tmp_path / "reserve", MIB).hold()
    assert Reserve(tmp_path / "reserve", MIB).is_held
    another_size = Reserve(tmp_path / "reserve", 2 * MIB)
    assert not another_size.is_held
    another_size.hold()
    assert (tmp_path / "reserve").stat().st_size == 2 * MIB


def test_a_file_with_holes_is_no_reserve(tmp_path: Path) -> None:
    with (tmp_path / "reserve").open("wb") as file:
        file.truncate(MIB)
    reserve = Reserve(tmp_path / "reserve", MIB)
    assert not reserve.is_held
    reserve.hold()
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= MIB


def test_a_reserve_of_no_size_is_none(tmp_path: Path) -> None:
    Reserve(tmp_path / "reserve", MIB).hold()
    Reserve(tmp_path / "reserve", 0).hold()
    assert not (tmp_path / "reserve").exists()


def test_a_reserve_that_does_not_fit_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", no_room)
    reserve = Reserve(tmp_path / "reserve", MIB)
    with pytest.raises(OSError, match="No space"):
        reserve.hold()
    assert not (tmp_path / "reserve").exists()
    assert not reserve.is_held


def no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")


# --- looking ---


class Looked:
    """A disk that has as much room as the test says, looked at once a second."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        limits = {"disk_warn": WARN, "disk_suspend": SUSPEND, "reserve_bytes": RESERVE, **settings}
        self.path = path
        self.free = 1_000 * MIB
        self.fulls = 0
        self.now = 0.0
        monkeypatch.setattr(os, "statvfs", self._statvfs)
        self.disk = Disk(path, Settings(**limits))

    def look(self, *, is_waited_for: bool = False) -> dict[str, object]:
        self.disk.look(self.now, self.fulls, is_waited_for=is_waited_for)
        self.now += LOOK_S
        assert self.disk.next_look == self.now
        figures = self.disk.figures()
        assert figures.pop("suspended_by") == self.disk.reason
        assert figures.pop("disk_free_bytes") in {self.free, max(self.free - RESERVE, 0)}
        return figures

    @property
    def has_reserve(self) -> bool:
        return (self.path / "reserve").exists()

    def _statvfs(self, _path: Path) -> object:
        class Facts:
            f_frsize = MIB
            f_bavail = self.free // MIB

        return Facts


@pytest.fixture
def looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Looked:
    return Looked(tmp_path, monkeypatch)


def test_the_reserve_is_held_from_the_first_look(looked: Looked) -> None:
    assert looked.look() == {"suspended": False, "disk": "enough", "reserve_bytes": RESERVE}
    assert looked.has_reserve


def test_each_change_is_said_once_and_names_the_way_out(
    looked: Looked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    suspended = (
        "intake is suspended, and spools take over: 50 MiB are free on the disk of "
        f"{looked.path}, and disk_suspend is 80 MiB: make room on it"
    )
    for mib in (1_000, 500, 500, 50, 50, 500, 500, 1_000, 1_000):
        looked.free = mib * MIB
        looked.look()
    assert [(each.levelname, each.message) for each in caplog.records] == [
        ("WARNING", f"only 500 MiB are free on the disk of {looked.path}: make room"),
        ("ERROR", suspended),
        ("WARNING", "500 MiB are free: intake goes on"),
        ("INFO", "1000 MiB are free again"),
    ]


def test_where_the_reserve_would_not_leave_enough_room_it_is_not_made(looked: Looked) -> None:
    looked.free = 85 * MIB
    assert looked.look()["disk"] == "suspended"
    assert not looked.has_reserve


def test_a_full_disk_releases_the_reserve_and_suspends(looked: Looked) -> None:
    looked.look()
    looked.fulls = 1
    figures = looked.look(is_waited_for=True)
    assert figures == {"suspended": True, "disk": "suspended", "reserve_bytes": 0}
    assert "is full: make room on it" in looked.disk.reason
    assert not looked.has_reserve


def test_it_is_full_until_all_is_written_and_there_is_room_for_a_reserve_and_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch, disk_warn=0, disk_suspend=0)
    looked.look()
    looked.fulls, looked.free = 1, 0
    looked.look(is_waited_for=True)
    looked.free = 1_000 * MIB
    assert looked.look(is_waited_for=True)["suspended"], "what is waited for comes first"
    looked.free = 15 * MIB
    assert looked.look()["suspended"], "a reserve, and not as much again"
    looked.free = 16 * MIB
    assert looked.look() == {"suspended": False, "disk": "enough", "reserve_bytes": RESERVE}


def test_a_reserve_that_still_does_not_fit_keeps_it_suspended(
    looked: Looked, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A quota: the disk itself says that there is room."""
    looked.look()
    looked.fulls = 1
    looked.look()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", no_room)
        for _ in range(5):
            assert looked.look()["suspended"]
            assert "is full" in looked.disk.reason
    assert sum("no reserve can be made" in each.message for each in caplog.records) == 1
    assert not looked.look()["suspended"]


def test_what_else_stands_in_the_reserves_way_suspends_nobody(
    looked: Looked, caplog: pytest.LogCaptureFixture
) -> None:
    (looked.path / "reserve").mkdir()
    for fulls in (0, 0, 1, 1, 1):
        looked.fulls = fulls
        figures = looked.look()
    assert figures == {"suspended": False, "disk": "enough", "reserve_bytes": 0}
    assert caplog.records[0].message == "no reserve can be made: Is a directory"


def test_without_a_reserve_a_full_disk_is_full_until_all_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = Looked(tmp_path, monkeypatch, reserve_bytes=0)
    looked.look()
    looked.fulls = 1
    assert looked.look(is_waited_for=True)["suspended"]
    assert looked.look(is_waited_for=True)["suspended"]
    assert not looked.look()["suspended"]
    assert not looked.has_reserve
