"""A writer's files are still there, or it must end."""

import shutil
from pathlib import Path

import pytest

from hansard_writer.place import DirectoryReplaced, Place


@pytest.fixture
def place(directory: Path) -> Place:
    directory.mkdir()
    for name in ("writer.lock", "log.db"):
        (directory / name).write_text("the first")
    return Place(directory)


def test_what_was_not_touched_or_only_written_to_is_in_place(place: Place, directory: Path) -> None:
    (directory / "log.db").write_text("more")
    place.require()


@pytest.mark.parametrize("name", ["writer.lock", "log.db"])
def test_a_file_that_is_gone_or_another_one_is_named(
    place: Place, directory: Path, name: str
) -> None:
    (directory / name).rename(directory / "old")
    with pytest.raises(DirectoryReplaced, match=f"{name} was removed"):
        place.require()
    shutil.copy(directory / "old", directory / name)
    with pytest.raises(DirectoryReplaced, match=f"{name} was removed"):
        place.require()
    (directory / "old").rename(directory / name)
    place.require()


def test_a_directory_that_was_moved_is_noticed(place: Place, directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    with pytest.raises(DirectoryReplaced):
        place.require()
