"""What a killed writer left in the WAL is written once more, and synced; nobody is harmed."""

import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from hansard_writer import recovered
from support import is_locked_for_others


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The system calls that write, in order."""
    seen: list[str] = []

    def watched(name: str, real: Callable[..., int]) -> Callable[..., int]:
        def call(descriptor: int, *arguments: object) -> int:
            seen.append(f"{name} {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            return real(descriptor, *arguments)

        return call

    for name in ("pwrite", "fsync"):
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    return seen


def test_the_bytes_are_the_same_and_synced_with_their_name(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovered, "CHUNK_BYTES", 1_000)
    wal = tmp_path / "log.db-wal"
    content = os.urandom(2_500)
    wal.write_bytes(content)
    before = wal.stat().st_ino
    assert recovered.rewrite(wal) == 2_500
    assert wal.read_bytes() == content
    assert wal.stat().st_ino == before
    assert calls == ["pwrite log.db-wal"] * 3 + ["fsync log.db-wal", f"fsync {tmp_path.name}"]


def test_where_nothing_was_left_nothing_is_done(tmp_path: Path, calls: list[str]) -> None:
    assert recovered.rewrite(tmp_path / "log.db-wal") == 0
    (tmp_path / "log.db-wal").touch()
    assert recovered.rewrite(tmp_path / "log.db-wal") == 0
    assert calls == []


def test_what_cannot_be_synced_is_not_taken_for_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.db-wal").write_bytes(b"x" * 5_000)

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        recovered.rewrite(tmp_path / "log.db-wal")


def test_no_lock_of_sqlites_is_lost_by_it(tmp_path: Path) -> None:
    """POSIX locks go when the process closes any descriptor of the file that they are on."""
    path = tmp_path / "log.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("CREATE TABLE t(x)")
    connection.execute("BEGIN IMMEDIATE")
    assert recovered.rewrite(tmp_path / "log.db-wal") > 0
    assert is_locked_for_others(path)
    connection.execute("INSERT INTO t VALUES(1)")
    connection.execute("COMMIT")
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
