"""Files that a command is given to read."""

from pathlib import Path

import pytest

from hansard_writer.cli.exits import Unusable
from hansard_writer.cli.given_files import read_given
from hansard_writer.cli.verifier_keys import KEYS_BYTES_MAX, keys_in

UNREADABLE = Path("/proc/self/mem")  # it opens, and reading its beginning is an I/O error


@pytest.mark.skipif(not UNREADABLE.exists(), reason="Linux has such a file")
def test_a_file_that_cannot_be_read_is_bad_usage_and_not_the_answer_no() -> None:
    with pytest.raises(Unusable, match=r"cannot read /proc/self/mem: Input/output error"):
        read_given(UNREADABLE, 10)
    with pytest.raises(Unusable, match="cannot read"):
        keys_in([UNREADABLE])


def test_a_file_that_is_too_long_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_bytes(b"12345")
    assert read_given(path, 4) == b"12345"
    assert read_given(path, 3) == b"1234"


def test_a_file_with_more_keys_than_are_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("\n" * (KEYS_BYTES_MAX + 1))
    with pytest.raises(Unusable, match="no file of keys"):
        keys_in([path])
