"""The simulated disk keeps the rules of real ones: what a power cut may leave, and what not."""

import random

import pytest

from faults.disk import (
    CREATE,
    DELETE,
    EVERYTHING,
    FAIL_SYNC,
    NOTHING,
    PAGE,
    SCATTERED,
    SECTOR,
    SIZES,
    SURVIVORS,
    SYNC,
    SYNC_NAMES,
    TORN,
    TRUNCATE,
    WRITE,
    Call,
    Disk,
)

CHANCE = random.Random(1)


def disk_with(content: bytes, *calls: Call) -> Disk:
    """A disk that has a file ``f`` for good, and what was called since."""
    disk = Disk({"f": content})
    for call in calls:
        disk.apply(call)
    return disk


def left(disk: Disk, survives: str) -> bytes:
    return disk.after_power_cut(survives, CHANCE)["f"]


def all_left(disk: Disk, survives: str = SCATTERED) -> set[bytes]:
    """What may be left, in many tries."""
    return {left(disk, survives) for _ in range(200)}


def write(data: bytes, offset: int = 0) -> Call:
    return Call(WRITE, "f", offset, data)


def test_what_is_not_synced_may_be_gone_or_there() -> None:
    disk = disk_with(b"a" * 10, write(b"b" * 10))
    assert disk.cached() == {"f": b"b" * 10}
    assert left(disk, NOTHING) == b"a" * 10
    assert left(disk, EVERYTHING) == b"b" * 10
    assert all_left(disk) == {b"a" * 10, b"b" * 10}


@pytest.mark.parametrize("survives", SURVIVORS)
def test_what_is_synced_is_there(survives: str) -> None:
    disk = disk_with(b"a" * PAGE, write(b"b" * 2 * PAGE, 10), Call(SYNC, "f"))
    assert all_left(disk, survives) == {b"a" * 10 + b"b" * 2 * PAGE}


def test_each_sector_is_left_as_it_was_at_any_time() -> None:
    disk = disk_with(b"a" * 2 * SECTOR, write(b"b" * 2 * SECTOR), write(b"c" * SECTOR, SECTOR))
    expected = {x * SECTOR + y * SECTOR for x in (b"a", b"b") for y in (b"a", b"b", b"c")}
    assert all_left(disk) == expected


def test_a_torn_write_ends_at_a_sectors_boundary() -> None:
    disk = disk_with(b"a" * 4 * SECTOR, write(b"b" * 3 * SECTOR, 100))
    kept = {SECTOR, 2 * SECTOR, 3 * SECTOR}
    assert all_left(disk, TORN) == {
        b"a" * 100 + b"b" * (end - 100) + b"a" * (4 * SECTOR - end) for end in kept
    }


def test_a_torn_write_that_lengthens_the_file_leaves_it_shorter() -> None:
    disk = disk_with(b"a" * 100, write(b"b" * 2 * SECTOR, 100))
    assert all_left(disk, TORN) == {
        b"a" * 100 + b"b" * (SECTOR - 100),
        b"a" * 100 + b"b" * (2 * SECTOR - 100),
    }


def test_a_size_may_survive_without_its_data() -> None:
    disk = disk_with(b"a" * SECTOR, write(b"b" * SECTOR, SECTOR))
    assert left(disk, SIZES) == b"a" * SECTOR + b"\0" * SECTOR
    assert b"a" * SECTOR + b"\0" * SECTOR in all_left(disk)


def test_a_truncation_is_on_the_disk_as_a_whole_or_not_at_all() -> None:
    disk = disk_with(b"a" * 3 * SECTOR, Call(TRUNCATE, "f", 0), write(b"b" * 2 * SECTOR))
    assert left(disk, SIZES) == b"\0" * 2 * SECTOR
    old = {each for each in all_left(disk) if b"a" in each}
    assert old == {b"a" * 3 * SECTOR}, "nothing of what was cut off comes back later"


def test_names_last_from_the_sync_of_the_directory_on() -> None:
    disk = disk_with(b"a", Call(CREATE, "g"), Call(SYNC, "g"), Call(DELETE, "f"))
    assert disk.after_power_cut(NOTHING, CHANCE) == {"f": b"a"}
    assert {tuple(disk.after_power_cut(SCATTERED, CHANCE)) for _ in range(99)} == {
        (),
        ("f",),
        ("g",),
        ("f", "g"),
    }
    disk.apply(Call(SYNC_NAMES))
    for survives in SURVIVORS:
        assert disk.after_power_cut(survives, CHANCE) == {"g": b""}


def test_after_a_sync_that_failed_the_next_one_writes_only_what_was_written_since() -> None:
    disk = disk_with(b"a" * 2 * PAGE, write(b"b" * 2 * PAGE), Call(FAIL_SYNC, "f"))
    assert disk.cached() == {"f": b"b" * 2 * PAGE}
    disk.apply(write(b"c", PAGE))
    disk.apply(Call(SYNC, "f"))
    assert left(disk, EVERYTHING) == b"a" * PAGE + b"c" + b"b" * (PAGE - 1), "whole pages"


def test_after_a_sync_that_failed_what_is_written_once_more_is_written() -> None:
    disk = disk_with(b"a" * PAGE, write(b"b" * PAGE), Call(FAIL_SYNC, "f"))
    for call in disk.rewrite("f"):
        disk.apply(call)
    assert left(disk, NOTHING) == b"b" * PAGE
