"""``hansard migrate`` and ``hansard serve --migrate`` as processes; kills in the middle of them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hansard
import hansard_writer
from hansard import AuditLogError
from hansard_writer import schema
from hansard_writer.migrating import migrate
from hansard_writer.proof import verify
from old_logs import OldLog, old_log
from supervised import Start
from support import count_entries, query

VERSION_1 = 1
EVERY = 7  # statements between two kills
KILLS_ITSELF = """
# Migrates copies of a log, each in a process that is really killed, before another statement.
import os, shutil, signal, sys
from pathlib import Path
import apsw
from hansard_writer.migrating import migrate

original, to, every = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])

def dies_before(number):
    seen = 0
    def count(_cursor, _sql, _bindings):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    return lambda connection: connection.set_exec_trace(count)

for number in range(1, 10_000, every):
    directory = to / str(number)
    shutil.copytree(original, directory)
    pid = os.fork()
    if not pid:
        apsw.connection_hooks.append(dies_before(number))
        migrate(directory)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    print(number)
"""


@pytest.fixture
def old(directory: Path) -> OldLog:
    return old_log(VERSION_1, directory)


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def version(directory: Path) -> int:
    found: int = query(directory, "PRAGMA user_version")[0][0]
    return found


def test_killed_before_any_statement_it_is_whole_and_migrates_at_the_second_try(
    old: OldLog, tmp_path: Path
) -> None:
    program = [sys.executable, "-c", KILLS_ITSELF, str(old.directory), str(tmp_path), str(EVERY)]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True)
    held = [(row["seq"], row["payload"]) for row in old.held["entries"]]
    entries = "SELECT seq, payload FROM entries ORDER BY seq"
    met = set()
    for number in done.stdout.split():
        directory = tmp_path / number
        met.add(version(directory))
        assert query(directory, "PRAGMA integrity_check") == [("ok",)]
        assert query(directory, entries) == held
        migrate(directory)
        assert version(directory) == schema.VERSION
        assert query(directory, entries) == held
        assert verify(directory).is_good
    assert met >= set(range(VERSION_1, schema.VERSION)), "it was killed on the way to each version"


def test_serve_refuses_an_old_log_and_migrates_it_where_it_is_told_to(old: OldLog) -> None:
    directory, before = old.directory, (old.directory / "log.db").read_bytes()
    refused = command("serve", "--dir", directory)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"run `hansard migrate --dir {directory}`" in refused.stderr
    assert (directory / "log.db").read_bytes() == before
    with (
        pytest.raises(AuditLogError, match="did not start"),
        hansard_writer.running(directory),
    ):
        pass
    with hansard_writer.running(directory, migrate=True):
        with hansard.AuditLog(directory) as log:
            assert log.record("a.b", {"n": 1}, sync=True).id > len(old.held["entries"])
        taken = command("migrate", "--dir", directory)
        assert (taken.returncode, taken.stdout) == (4, "")
    assert len(list(directory.glob("log.db.before-*"))) == 1
    assert count_entries(directory) == len(old.held["entries"]) + 1
    assert verify(directory).is_good


def test_a_supervised_writer_migrates_at_its_first_start_only(old: OldLog, start: Start) -> None:
    supervised = start("--migrate")
    os.kill(supervised.next_writer(), signal.SIGKILL)
    line = Path(f"/proc/{supervised.next_writer()}/cmdline").read_bytes()
    assert b"--migrate" not in line
    assert len(list(old.directory.glob("log.db.before-*"))) == 1
