"""Redaction with real processes: a secret is in none of the directory's files afterwards."""

import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import hansard
from acceptance.conftest import MortalWriter, Script
from hansard.errors import AuditLogError, ClosedError, InvalidEvent, WriterUnavailable
from hansard.reader import LogReader
from hansard.redaction import Redaction
from hansard_writer.cli import main
from support import query, wait_until

RECORDS_AND_IS_KILLED = """
import os, sys
import hansard
log = hansard.AuditLog(sys.argv[1])
log.record("app.login", {"entered": sys.argv[2]}, sync=True)
log.record("app.login", {"entered": sys.argv[3]})
print("recorded", flush=True)
os.kill(os.getpid(), 9)
"""
RECORDS_AND_LIVES = """
import sys
import hansard
log = hansard.AuditLog(sys.argv[1])
print(log.record("app.login", {"entered": sys.argv[2]}, sync=True).id, flush=True)
sys.stdin.read()
"""
READS = """
import sys
import apsw
connection = apsw.Connection(sys.argv[1] + "/log.db", flags=apsw.SQLITE_OPEN_READONLY)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM entries").fetchall()
print("reading", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("done", flush=True)
sys.stdin.read()
"""


def secret() -> str:
    return "q" + secrets.token_hex(12)


def redact(directory: Path, *arguments: Any) -> Result:
    """The command, in this process."""
    words = ["redact", "--dir", str(directory), "--reason", "a password", *map(str, arguments)]
    return CliRunner().invoke(main, words)


def holding(directory: Path, *secrets: str) -> set[str]:
    """Which files of the directory hold any of them."""
    return {
        path.name
        for path in directory.rglob("*")
        if path.is_file()
        for each in secrets
        if each.encode() in path.read_bytes()
    }


def test_a_secret_is_in_none_of_the_files(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    mortal_writer.start(enforce_tasks=True)
    plain, large, output, returned, dead, left = (secret() for _ in range(6))
    with hansard.AuditLog(directory) as log:
        seqs = [
            log.record("app.login", {"entered": plain}, sync=True).id,
            log.record("app.page", {"text": large * 4_000}, sync=True).id,
        ]
        with log.operation("login", workflow_id="wf", node_id="n", metadata={"p": output}) as op:
            op.failed(f"no {output}", stderr=f"cannot log in with {output}", exit_code=1)
        log.record("app.step", {"entered": returned}, task_id="T1")
        log.record("app.step", {"entered": dead}, task_id="T2")
        log.register_task("T1", title=returned)
        assert log.flush()
        worker = run_script(RECORDS_AND_IS_KILLED, directory, left, left)
        assert worker.wait(30) == -9
        many = "SELECT count(*) FROM entries WHERE payload LIKE ?"
        wait_until(lambda: query(directory, many, (f"%{left}%",)) == [(2,)], "it is adopted")
        wait_until(
            lambda: (
                query(directory, "SELECT value FROM meta WHERE key = 'full_text_indexed_to'")
                >= [(3,)]
            ),
            "full text has the operation",
        )
        seqs += [
            seq
            for (seq,) in query(
                directory, "SELECT seq FROM entries WHERE payload LIKE ?", (f"%{left}%",)
            )
        ]
        for redaction in (
            log.redact(seq=seqs, reason="a password"),
            log.redact(workflow_id="wf", reason="a password", by="ann"),
            log.redact(task_id="T1", reason="a password"),
            log.redact(task_id="T2", reason="a password"),
        ):
            assert redaction.done, redaction
    assert holding(directory, plain, large, output, returned, dead, left) == set()
    with LogReader(directory) as reader:
        assert list(reader.search("log")) == []
        first = reader.get(seqs[0])
        assert first is not None
        assert (first.payload, first.redacted) == (None, True)
        (by_ann,) = reader.where("asked", {"workflow": "wf"}, event_type="hansard.redacted")
        assert by_ann.data is not None
        assert by_ann.data["by"] == "ann"
    verdict = CliRunner().invoke(main, ["verify", "--dir", str(directory)])
    assert verdict.exit_code == 0, verdict.output
    mortal_writer.kill()
    mortal_writer.start()
    assert holding(directory, plain, large, output, returned, dead, left) == set()


def test_the_command_says_what_it_did_and_passes_over_what_it_cannot(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with hansard.AuditLog(directory) as log:
        log.record("a.b", {"p": 1})
        log.record("a.b")
        assert log.flush()
    dry = redact(directory, "--seq", "1-2", "--dry-run")
    assert (dry.exit_code, dry.stdout) == (0, "1 entry would be redacted\n")
    assert "holds any of it" not in dry.stderr
    done = redact(directory, "--seq", "1,2", "--seq", "7-9")
    assert (done.exit_code, done.stdout) == (0, "1 entry redacted\n")
    assert done.stderr == (
        "Passed over: 1 without a payload.\nPassed over: 3 not in the log (any more).\n"
        f"No file in {directory} holds any of it any more.\n"
    )
    again = redact(directory, "--seq", "1", "--seq", "3")
    assert (again.exit_code, again.stdout) == (0, "0 entries redacted\n")
    assert "1 redacted before" in again.stderr
    assert "1 of the log's own" in again.stderr
    assert "holds any of it any more" in again.stderr
    nothing = redact(directory, "--workflow", "none")
    assert nothing.exit_code == 1
    assert "There was nothing to redact." in nothing.stderr
    table = CliRunner().invoke(main, ["query", "--dir", str(directory), "--format", "table"])
    assert "(redacted)" in table.stdout


@pytest.mark.parametrize(
    "arguments",
    [(), ("--seq", "1", "--task", "T"), ("--seq", "x"), ("--seq", "3-1"), ("--seq", "0")],
)
def test_what_is_to_be_redacted_is_named_in_one_way(directory: Path, arguments: Any) -> None:
    result = redact(directory, *arguments)
    assert result.exit_code == 2, result.stderr


def test_without_a_writer_nothing_is_redacted(directory: Path) -> None:
    directory.mkdir()
    (directory / "spool").mkdir()
    assert redact(directory, "--seq", "1", "--timeout", "0").exit_code == 3
    with hansard.AuditLog(directory) as log, pytest.raises(WriterUnavailable):
        log.redact(seq=1, reason="r", timeout=0.1)


def test_a_reader_that_stays_is_named_and_waited_for(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    mortal_writer.start()
    hidden = secret()
    with hansard.AuditLog(directory) as log:
        seq = log.record("app.login", {"entered": hidden}, sync=True).id
    reader = run_script(READS, directory)
    assert reader.stdout is not None
    assert reader.stdin is not None
    assert reader.stdout.readline() == "reading\n"
    held = redact(directory, "--seq", seq, "--timeout", "0.2")
    assert held.exit_code == 1
    assert "The entries are redacted, but bytes of them remain" in held.stderr
    assert f"pid {reader.pid} (" in held.stderr
    assert holding(directory, hidden)
    command = [sys.executable, "-m", "hansard_writer", "redact", "--dir", str(directory)]
    waits = subprocess.Popen([*command, "--seq", str(seq), "--reason", "again"])
    reader.stdin.write("\n")
    reader.stdin.flush()
    assert reader.stdout.readline() == "done\n"
    assert waits.wait(30) == 0
    assert holding(directory, hidden) == set()


def test_a_worker_that_lives_lets_go_of_it_by_itself(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    mortal_writer.start()
    hidden = secret()
    worker = run_script(RECORDS_AND_LIVES, directory, hidden)
    assert worker.stdout is not None
    seq = int(worker.stdout.readline())
    assert redact(directory, "--seq", seq).exit_code == 0
    assert holding(directory, hidden) == set()


def test_while_others_record_nothing_is_lost_and_nothing_left(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    hidden = [secret() for _ in range(2_000)]
    with hansard.AuditLog(directory) as log, hansard.AuditLog(directory) as other:
        for each in hidden:
            log.record("env.operation", {"workflow_id": "wf", "stderr": f"no {each}"})
        assert log.flush()
        for number in range(3_000):
            other.record("env.operation", {"workflow_id": f"w{number % 7}", "stderr": "yes"})
        redaction = log.redact(workflow_id="wf", reason="a password")
        assert (redaction.entries, redaction.done) == (2_000, True)
        assert other.flush()
    assert holding(directory, *hidden[::50]) == set()
    with LogReader(directory) as reader:
        assert reader.count("env.operation") == 5_000
        ranges = [
            event.data["entries"] for event in reader.events("hansard.redacted") if event.data
        ]
        assert sum(last - first + 1 for each in ranges for first, last in each) == 2_000


def test_what_was_just_recorded_is_redacted_too(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with hansard.AuditLog(directory, actor="agent:7") as log:
        log.record("a.b", {"p": 1}, task_id="T1")
        assert log.redact(task_id="T1", reason="r") == Redaction(entries=1, done=True)
    with LogReader(directory) as reader:
        (said,) = reader.events("hansard.redacted")
        assert said.data is not None
        assert said.data["by"] == "agent:7"


def test_an_argument_that_breaks_a_rule_is_named(directory: Path) -> None:
    log = hansard.AuditLog(directory)
    for arguments, says in (
        ({}, "one of seq, workflow_id and task_id"),
        ({"seq": 1, "task_id": "T"}, "one of"),
        ({"seq": []}, "seq is empty"),
        ({"seq": "7"}, "each must be an id"),
        ({"seq": 0}, "ids begin at 1"),
        ({"seq": True}, "each must be an id"),
        ({"task_id": ""}, "task_id is text"),
        ({"seq": 1, "reason": " "}, "reason is text"),
        ({"seq": 1, "by": "\ud800"}, "by holds a lone surrogate"),
        ({"seq": 1, "timeout": -1}, "timeout is -1"),
    ):
        given: dict[str, Any] = {"reason": "r"} | arguments  # type: ignore[operator]
        with pytest.raises(InvalidEvent, match=says):
            log.redact(**given)
    log.close()
    with pytest.raises(ClosedError):
        log.redact(seq=1, reason="r")
    assert issubclass(ClosedError, AuditLogError)
