"""``hansard verify``: the command, on logs in use and at rest."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import apsw
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


def alter(directory: Path, statement: str) -> None:
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_updated")
    connection.execute(statement)
    connection.close()


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


def test_the_report_is_for_people_and_is_kept(log: SignedLog, directory: Path) -> None:
    result = run(directory)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "intact: every entry is as it was entered"
    assert "45, recomputed from 1 on" in lines[1]
    assert "1 checked, the last that fits is of size 40; not covered yet: 5" in result.stdout
    assert "(writer.pub)" in result.stdout
    assert "dead letters" in result.stdout
    kept = directory / "verified"
    assert kept.stat().st_mode & 0o777 == 0o600
    verified = json.loads(kept.read_bytes())
    assert (verified["verdict"], verified["size"], verified["covered"]) == ("intact", 45, 40)


def test_damage_is_named_and_is_the_answer_no(log: SignedLog, directory: Path) -> None:
    alter(directory, "UPDATE entries SET actor = 'x' || char(27) WHERE seq = 7")
    result = run(directory)
    assert result.returncode == 1
    assert result.stdout.startswith("altered: 2 found that should not be so\n")
    assert "entry 7: it is not what was entered" in result.stdout
    report = json.loads(run(directory, "--format", "json").stdout)
    assert report["findings"][0]["first"] == 7
    assert json.loads((directory / "verified").read_bytes())["verdict"] == "altered"


def test_an_outsiders_checkpoint_and_key_are_files(log: SignedLog, directory: Path) -> None:
    outside = ("--checkpoint", directory / "kept", "--key", directory / "writer.pub")
    result = run(directory, *outside, "--since", 40)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "45, recomputed from 41 on" in result.stdout
    assert "(given)" in result.stdout
    alter(directory, "DELETE FROM checkpoints")
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_deleted")
    connection.execute("DELETE FROM entries WHERE seq > 30")
    connection.execute("DELETE FROM tree WHERE level = 0 AND idx > 1")
    connection.execute("UPDATE tree SET hashes = substr(hashes, 1, 14 * 32) WHERE idx = 1")
    connection.execute("UPDATE tree SET hashes = substr(hashes, 1, 32) WHERE level = 1")
    connection.close()
    (directory / "checkpoint").unlink()
    result = run(directory, *outside)
    assert result.returncode == 1
    assert result.stdout.startswith("truncated: a signed checkpoint says that there were 40\n")


def test_what_cannot_be_used_is_bad_usage(log: SignedLog, directory: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.write_text("# nothing\n")
    for arguments, complaint in [
        (("--checkpoint", nothing), "is no checkpoint"),
        (("--checkpoint", tmp_path / "none"), "does not exist"),
        (("--key", nothing), "hold no key"),
        (("--key", directory / "kept"), "kept:1:"),
        (("--since", "0"), "too small"),
        (("--since", "x"), "no whole number"),
        (("--format", "table"), "'table' is not one of"),
    ]:
        result = run(directory, *arguments)
        assert (result.returncode, result.stdout) == (2, ""), arguments
        assert complaint in result.stderr
    assert not (directory / "verified").exists()


def test_where_there_is_no_log_it_says_so(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 2
    assert "there is no log in" in result.stderr
    assert not (tmp_path / "verified").exists()


def test_a_log_without_entries_is_intact(directory: Path, writer: RunningWriter) -> None:
    result = run(directory)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0, none to recompute" in result.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_copy_that_is_somebody_elses_is_verified_and_keeps_no_verdict(
    log: SignedLog, directory: Path
) -> None:
    os.chown(directory, 12_345, -1)
    assert run(directory).returncode == 0
    assert not (directory / "verified").exists()


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
