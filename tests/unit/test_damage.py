"""What cannot be served is refused with the way out, and is afterwards what it was before."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard_writer import damage, schema
from hansard_writer.damage import reason_to_end, require_log
from hansard_writer.store import Store
from hansard_writer.unusable import LogUnusable
from support import is_locked_for_others


def open_store(path: Path) -> Store:
    return Store(path, 0o600, dead_letters_max=10, dead_letters_bytes_max=1 << 20)


def contents(directory: Path) -> dict[str, bytes]:
    """All files but the shared memory, which is made of the others and holds nothing."""
    files = (each for each in directory.iterdir() if each.is_file() and each.suffix != ".db-shm")
    return {each.name: each.read_bytes() for each in files}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log whose writer was killed: half of it is in the WAL."""
    path = tmp_path / "log.db"
    open_store(path).close()
    leave_wal(path, "CREATE TABLE mine(x)", "INSERT INTO mine VALUES(1)")
    assert path.with_name("log.db-wal").stat().st_size > 0
    return path


def leave_wal(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.wal_autocheckpoint(0)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def newer_in_the_wal(path: Path) -> None:
    leave_wal(path, f"PRAGMA user_version = {schema.VERSION + 1}")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(
            lambda path: overwrite(path, 0, b"garbage" * 100), "damaged or no database", id="header"
        ),
        pytest.param(lambda path: path.write_bytes(b"text"), "damaged or no database", id="a text"),
        pytest.param(
            lambda path: overwrite(path, 68, b"\0\0\0\5"), "of another program", id="another's"
        ),
        pytest.param(lambda path: overwrite(path, 60, b"\0\0\0\x63"), "newer release", id="newer"),
        pytest.param(newer_in_the_wal, "newer release", id="newer, in the WAL"),
        pytest.param(lambda path: truncate(path, 0), "is empty, but log.db-wal", id="emptied"),
        pytest.param(lambda path: path.unlink(), "is missing, but log.db-wal", id="missing"),
    ],
)
def test_what_is_refused_is_left_as_it_was(
    path: Path, spoil: Callable[[Path], Any], said: str
) -> None:
    spoil(path)
    before = contents(path.parent)
    for _ in range(2):
        with pytest.raises(LogUnusable, match=said):
            open_store(path)
        assert contents(path.parent) == before


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: overwrite(path, 100, os.urandom(3_000)), id="the schema"),
        pytest.param(lambda path: truncate(path, 3 * 4_096), id="cut short"),
    ],
)
def test_damage_that_sqlite_finds_is_refused_in_the_same_words(
    tmp_path: Path, spoil: Callable[[Path], Any]
) -> None:
    path = tmp_path / "log.db"
    open_store(path).close()
    spoil(path)
    before = contents(tmp_path)
    with pytest.raises(LogUnusable, match=r"is damaged \(SQLITE_CORRUPT.* put a copy back"):
        open_store(path)
    after = contents(tmp_path)
    assert after.pop("log.db-wal", b"") == b""
    assert after == before


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="a directory"),
        pytest.param(os.mkfifo, id="a pipe"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="a device"),
    ],
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    make(tmp_path / "log.db")
    with pytest.raises(LogUnusable, match="is no file: move it away"):
        open_store(tmp_path / "log.db")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
def test_a_file_that_may_not_be_read_and_written_is_refused_with_its_mode(mode: int) -> None:
    """By somebody who is not root: root may do everything."""
    program = (
        "import os, pathlib, sys, tempfile\n"
        "from hansard_writer.damage import LogUnusable, require_log\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "with tempfile.TemporaryDirectory() as directory:\n"
        "    path = pathlib.Path(directory, 'log.db')\n"
        "    path.write_bytes(b'x')\n"
        "    path.chmod(int(sys.argv[1]))\n"
        "    try:\n"
        "        require_log(path)\n"
        "    except LogUnusable as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(mode)], capture_output=True, text=True, check=False
    )
    said = f"(mode {mode:04o}, uid 65534) cannot be read and written by uid 65534"
    assert said in done.stdout, done.stderr


def test_a_log_an_empty_file_and_nothing_at_all_are_fine(path: Path, tmp_path: Path) -> None:
    require_log(path)
    require_log(tmp_path / "nothing.db")
    (tmp_path / "empty.db").touch()
    require_log(tmp_path / "empty.db")


def test_looking_at_a_log_drops_no_lock_on_it(path: Path) -> None:
    """POSIX locks go when the process closes any descriptor of the file that they are on."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "delete")
    connection.execute("BEGIN IMMEDIATE")
    require_log(path)
    assert is_locked_for_others(path)
    connection.close()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CORRUPT", "is damaged (SQLITE_CORRUPT: "),
        ("NOTADB", "put a copy back"),
        ("IOERR_FSYNC", "did not keep what was written"),
        ("IOERR_READ", "look after the disk"),
        ("READONLY_DBMOVED", "cannot be written to any more"),
        ("CANTOPEN", "cannot be read or written"),
        ("BUSY", "another program holds"),
        ("FULL", "make room"),
        ("NOMEM", "again and again"),
        ("MISUSE", "SQLite failed"),
    ],
)
def test_the_reason_names_the_code_and_the_way_out(name: str, words: str) -> None:
    error = apsw.exception_for(getattr(apsw, f"SQLITE_{name}"))
    assert isinstance(error, apsw.Error)
    said = reason_to_end(Path("/log/log.db"), error)
    assert words in said
    assert f"SQLITE_{name}" in said
    assert "/log/log.db" in said


def test_the_reason_says_what_the_system_said() -> None:
    error = apsw.exception_for(apsw.SQLITE_IOERR_WRITE)
    assert isinstance(error, apsw.Error)
    error.add_note("Input/output error")
    assert "(SQLITE_IOERR_WRITE: Input/output error)" in reason_to_end(Path("log.db"), error)


def test_the_end_closes_nothing_and_says_why(capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "import apsw, atexit, pathlib\n"
        "from hansard_writer import damage, log_lines\n"
        "log_lines.configure_logging('info', 'text')\n"
        "atexit.register(print, 'an orderly end')\n"
        "damage.end_at_once(pathlib.Path('log.db'), apsw.exception_for(apsw.SQLITE_IOERR_FSYNC))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False)
    out, err = capfd.readouterr()
    assert (done.returncode, out) == (1, "")
    assert "CRITICAL hansard.writer: the writer ends: the disk did not keep" in err
    assert "Traceback" not in err
    assert damage.is_ours(apsw.exception_for(apsw.SQLITE_MISUSE))  # type: ignore[arg-type]
