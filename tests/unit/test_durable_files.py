"""Files that are there whole, or not at all."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from hansard_writer.durable_files import replace_file, write_new_file, written_whole


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with written_whole(path, 0o640, replace=False) as file:
        file.write(b"one")
        assert not path.exists()
        file.write(b" two")
    assert path.read_bytes() == b"one two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_is_interrupted_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(error), written_whole(path, 0o600, replace=True) as file:
        _write_and_raise(file.write, error)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _write_and_raise(write: Callable[[bytes], object], error: type[BaseException]) -> None:
    write(b"new")
    raise error


def test_only_who_says_so_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_new_file(path, b"old", 0o600)
    with pytest.raises(FileExistsError):
        write_new_file(path, b"new", 0o600)
    assert path.read_bytes() == b"old"
    replace_file(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]
