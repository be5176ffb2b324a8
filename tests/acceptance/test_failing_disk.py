"""Real writers on what fails beneath them: a sync, a page, a lock, a reader that stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import AuditLog
from hansard.requester import ask
from hansard.wire import pack_stats_request
from hansard_writer import schema
from hansard_writer.running_writer import RunningWriter, running
from hansard_writer.store import Store
from support import assert_log_is_sound, count_entries, query, wait_until

from .conftest import Script

# A writer whose file system notes each sync, and fails one that the test asks for by a file.
FAILING_SYNC = """
import os, sys
import apsw
from pathlib import Path

directory = Path(os.environ["HANSARD_DIR"])
notes = open(directory.parent / "syncs", "a", buffering=1)
wanted = directory.parent / "fail"

class Vfs(apsw.VFS):
    def __init__(self):
        super().__init__("failing", "", makedefault=True)
    def xOpen(self, name, flags):
        return File(name, flags)

class File(apsw.VFSFile):
    def __init__(self, name, flags):
        self.name = Path(name.filename() if hasattr(name, "filename") else name).name
        super().__init__("unix", name, flags)
    def xSync(self, flags):
        if wanted.exists() and wanted.read_text() == self.name:
            wanted.unlink()
            notes.write(f"failed {self.name}\\n")
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)
        notes.write(f"synced {self.name}\\n")
        super().xSync(flags)

vfs = Vfs()
from hansard_writer.cli import main
main(["serve"], prog_name="hansard")
"""


def figures(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = ask(directory, pack_stats_request(), 20.0)[1]
    return found


# --- a sync that failed ---


@pytest.mark.parametrize("file", ["log.db-wal", "log.db"])
def test_after_a_sync_that_failed_the_process_ends_and_never_syncs_again(
    directory: Path, run_script: Script, file: str
) -> None:
    """In a commit, and in a checkpoint. The next writer enters what the spool has."""
    environment = {**os.environ, "HANSARD_DIR": str(directory)}
    writer = run_script(FAILING_SYNC, env=environment)
    assert writer.stdout is not None
    assert writer.stdout.readline().startswith("hansard ready")
    with AuditLog(directory) as log:
        log.record("first", {"n": 0}, sync=True)
        (directory.parent / "fail").write_text(file)
        for number in range(1, 10):
            log.record("later", {"n": number})
        status = writer.wait(20)
        _, err = writer.communicate()
        assert status == 1
        assert "the disk did not keep what was written to" in err
        assert "Traceback" not in err
        syncs = (directory.parent / "syncs").read_text().splitlines()
        assert syncs[-1] == f"failed {file}"
        assert (directory / "log.db-wal").stat().st_size > 0, "no close ran a checkpoint"
        with running(directory):
            assert log.flush(20)
    assert query(directory, "SELECT payload ->> 'n' FROM entries ORDER BY seq") == [
        (number,) for number in range(10)
    ]
    assert_log_is_sound(directory)


# --- damage ---


def spoil_schema(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:2_000] = os.urandom(1_900)
    path.write_bytes(content)


def of_a_newer_release(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()


def make_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_schema, "is damaged (SQLITE_"),
        (of_a_newer_release, "written by a newer release (schema"),
        (make_a_directory, "is no file: move it away"),
    ],
)
def test_a_log_that_cannot_be_served_is_refused_with_1_and_left_as_it_is(
    directory: Path, spoil: Any, said: str
) -> None:
    directory.mkdir()
    path = directory / "log.db"
    Store(path, 0o600, dead_letters_max=1, dead_letters_bytes_max=1).close()
    spoil(path)
    before = files(directory)
    done = subprocess.run(
        [sys.executable, "-m", "hansard_writer", "serve", "--dir", str(directory)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert files(directory) == before


def files(directory: Path) -> dict[str, bytes]:
    """Of the log itself: the lock and the shared memory are the writers' own."""
    paths = (directory / name for name in ("log.db", "log.db-wal"))
    return {
        each.name: each.read_bytes() for each in paths if each.is_file() and each.stat().st_size
    }


def test_damage_that_is_met_later_ends_the_writer_with_the_same_words(
    directory: Path, run_script: Script
) -> None:
    """A page that it has not read yet is spoiled under it; spools keep what it could not enter."""
    with running(directory), AuditLog(directory) as log:
        log.record("before", sync=True)
    serve = "from hansard_writer.cli import main; main(['serve'], prog_name='hansard')"
    writer = run_script(serve, env={**os.environ, "HANSARD_DIR": str(directory)})
    assert writer.stdout is not None
    assert writer.stdout.readline().startswith("hansard ready")
    page = query(directory, "SELECT rootpage FROM sqlite_schema WHERE name = 'runs'")[0][0]
    with (directory / "log.db").open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xff" * 4_096)
    log = AuditLog(directory)
    log.record("after")
    assert writer.wait(20) == 1
    assert log.close(0) == 1
    _, err = writer.communicate()
    assert "is damaged (SQLITE_CORRUPT" in err
    assert "put a copy back" in err


# --- somebody else's lock ---

HOLDS_THE_LOCK = """
import sys
import apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("holds", flush=True)
sys.stdin.read()
"""

SLEEPS_IN_A_TRANSACTION = """
import sys
import apsw
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM entries").fetchall()
print("reads", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(directory: Path, run_script: Script) -> Iterator[Any]:
    """Starts another program on the database, and waits until it is where it wants to be."""

    def start(program: str) -> subprocess.Popen[str]:
        process = run_script(program, directory / "log.db")
        assert process.stdout is not None
        assert process.stdout.readline()
        return process

    return start


def test_a_program_that_holds_the_write_lock_is_waited_for_and_nothing_is_lost(
    directory: Path, writer: RunningWriter, other: Any
) -> None:
    with AuditLog(directory) as log:
        log.record("first", sync=True)
        holder = other(HOLDS_THE_LOCK)
        for _ in range(100):
            log.record("meanwhile")
        wait_until(lambda: figures(directory)["held_up_by"], "figures say so")
        held_up = figures(directory)
        assert held_up["held_up_by"] == "another program holds the write lock of log.db"
        assert held_up["store_errors"]["SQLITE_BUSY"] > 0
        assert held_up["entries"] == 1
        assert not log.flush(0.5)
        holder.kill()
        assert log.flush(20)
    assert count_entries(directory) == 101
    assert_log_is_sound(directory)


def test_a_reader_that_sleeps_in_a_transaction_is_named_and_harms_nothing(
    directory: Path, other: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with (
        running(directory, wal_bytes_target=1 << 20, reader_age_max=2) as writer,
        AuditLog(directory) as log,
    ):
        log.record("first", sync=True)
        reader = other(SLEEPS_IN_A_TRANSACTION)
        os.kill(reader.pid, signal.SIGSTOP)
        for _ in range(2_000):
            log.record("meanwhile", {"text": "x" * 1_000})
        assert log.flush(20)
        wait_until(lambda: figures(directory)["reader_age"] > 4, "its age is known")
        found = figures(directory)
        assert f"pid {reader.pid} (" in found["wal_held_by"]
        assert found["wal_bytes"] > 2 << 20
        assert found["wal_bytes_held"] > 2 << 20
        os.kill(reader.pid, signal.SIGKILL)
        wait_until(lambda: figures(directory)["wal_bytes"] == 0, "the WAL is emptied")
        found = figures(directory)
        assert (found["reader_age"], found["wal_held_by"]) == (0, "")
        assert found["wal_checkpoints"] > 0
        assert writer.process.poll() is None
    assert count_entries(directory) == 2_001
    said = [line for line in capfd.readouterr().err.splitlines() if "a read transaction" in line]
    assert len(said) == 1
    assert f"end it, or its process: pid {reader.pid} ({sys.executable}" in said[0]
