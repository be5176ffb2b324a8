"""``hansard verify``: the command, on logs in use and at rest."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import hansard
from hansard_writer import RunningWriter
from support import run_worker, wait_until
from verifiable import SignedLog

VERIFY = (sys.executable, "-m", "hansard_writer", "verify")

RECORDS = """
import sys, hansard
with hansard.AuditLog(sys.argv[1]) as log:
    print("ready", flush=True)
    for number in range(int(sys.argv[2])):
        log.record("step.done", {"n": number})
"""


def run(directory: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    return subprocess.run(
        [*VERIFY, "--dir", str(directory), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def log(directory: Path) -> SignedLog:
    """At rest, with a checkpoint of all of its 40 entries, and five behind it."""
    log = SignedLog(directory)
    log.enter(count=40)
    (directory / "kept").write_text(log.seal())
    log.enter(count=5)
    log.close()
    return log


def test_a_log_is_intact_while_workers_record_into_it(
    directory: Path, writer: RunningWriter
) -> None:
    workers = [run_worker(RECORDS, directory, 3_000) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    sizes = []
    while any(worker.poll() is None for worker in workers):
        result = run(directory, "--format", "json")
        assert result.returncode == 0, result.stdout + result.stderr
        sizes.append(json.loads(result.stdout)["size"])
    assert sizes == sorted(sizes)
    assert all(worker.wait() == 0 for worker in workers)
    with hansard.AuditLog(directory) as audit:
        audit.record("last", sync=True)
    assert json.loads(run(directory, "--format", "json").stdout)["size"] == 6_001
    for worker in workers:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.close()
        worker.stdout.close()


def test_a_log_without_entries_is_intact(directory: Path, writer: RunningWriter) -> None:
    result = run(directory)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0, none to recompute" in result.stdout


def test_on_a_terminal_it_shows_how_far_it_is(log: SignedLog, directory: Path) -> None:
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [*VERIFY, "--dir", str(directory)], stdout=subprocess.DEVNULL, stderr=its_end
    )
    os.close(its_end)
    shown = b""
    wait_until(lambda: process.poll() is not None, "it has ended")
    try:
        while piece := os.read(terminal, 4_096):
            shown += piece
    except OSError:  # the other end is closed: EIO
        pass
    os.close(terminal)
    assert process.returncode == 0
    assert b"verifying" in shown
    assert b"100%" in shown
