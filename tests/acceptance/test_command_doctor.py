"""`hansard doctor` as a process, beside real writers: busy, frozen, another user's."""

import subprocess
import sys
import time
from pathlib import Path

import hansard
from acceptance.conftest import MortalWriter, Script
from acceptance.test_directories import BECOME_A_STRANGER
from hansard import requester, wire
from hansard_writer.doctor import Severity, examine
from support import run_worker, wait_until

HOLDS_THE_WAL = """
import apsw, sys
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM entries").fetchall()
print("reading", flush=True)
sys.stdin.read()
"""
DIES_WITH_A_SPOOL = """
import os, sys
from hansard import AuditLog
log = AuditLog(sys.argv[1])
for number in range(7):
    log.record("a.b", {"n": number})
os.kill(os.getpid(), 9)
"""
EXAMINES = """
sys.argv = ["hansard", "doctor", "--dir", directory, "--timeout", "0.1", "--quiet"]
main(prog_name="hansard")
"""
ANSWER_S_MAX = 20.0  # of a process on a machine that is busy; it waits for 2


def doctor(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hansard_writer", "doctor", "--dir", str(directory)]
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def needs(directory: Path) -> dict[str, str]:
    """What needs action, by area, as this process sees it."""
    found = examine(directory, 10.0).findings
    return {each.area: each.seen for each in found if each.severity is Severity.ACTION}


def test_a_log_that_is_recorded_into_is_well(mortal_writer: MortalWriter, directory: Path) -> None:
    directory.mkdir(mode=0o700)
    mortal_writer.start()
    with hansard.AuditLog(directory) as log:
        log.record("a.b", sync=True)
        result = doctor(directory, "--timeout", "10", "--deep")
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert f"pid {mortal_writer.pid} answers in" in result.stdout
    assert "1 of living producers" in result.stdout


def test_a_sick_log_is_told_all_that_it_lacks(mortal_writer: MortalWriter, directory: Path) -> None:
    mortal_writer.start(enforce_tasks=True, reader_age_max=0.0)
    with hansard.AuditLog(directory) as log:
        log.record("a.b", sync=True)
        reader = run_worker(HOLDS_THE_WAL, directory / "log.db")
        assert reader.stdout
        assert reader.stdout.readline() == "reading\n"
        log.record("a.b", sync=True)
        wait_until(lambda: log_is_held(directory), "the writer knows who holds its WAL")
        (directory / "hansard.toml").write_text("reader_age_max = 0\n")
        (directory / "log.db").chmod(0o644)
        found = needs(directory)
        assert f"pid {reader.pid}" in found["wal"]
        assert found["modes"] == "log.db (0644): open to others"
        reader.communicate("")
    mortal_writer.freeze()
    dead = run_worker(DIES_WITH_A_SPOOL, directory)
    dead.communicate()
    begun = time.monotonic()
    result = doctor(directory)
    assert time.monotonic() - begun < ANSWER_S_MAX
    assert (result.returncode, result.stderr) == (1, "")
    assert f"✗ pid {mortal_writer.pid} is stopped (SIGSTOP), and answers nobody" in result.stdout
    assert f"of pid {dead.pid} on" in result.stdout
    mortal_writer.thaw()
    mortal_writer.kill()
    assert "none runs" in needs(directory)["writer"]
    mortal_writer.start()  # and takes in what was left


def log_is_held(directory: Path) -> bool:
    """By a process that the writer can name."""
    _, figures = requester.ask(directory, wire.pack_stats_request(), 10.0)
    assert isinstance(figures, dict)
    return bool(figures["wal_held_by"])


def test_another_users_log_is_told_to_be_closed(public_directory: Path, run_script: Script) -> None:
    directory = public_directory / "log"
    directory.mkdir(mode=0o755)
    for name in ("log.db", "writer.lock"):
        (directory / name).write_bytes(b"x" * 5_000)
        (directory / name).chmod(0o600)
    program = BECOME_A_STRANGER + "import hansard_writer.cli.doctor\nbecome_a_stranger()\n"
    for mode, words in ((0o755, "Permission denied"), (0o700, "belongs to root")):
        directory.chmod(mode)
        page, complaint = run_script(program + EXAMINES, directory).communicate(timeout=30)
        assert words in page, complaint
        assert complaint == ""
    assert sorted(path.name for path in directory.iterdir()) == ["log.db", "writer.lock"]
