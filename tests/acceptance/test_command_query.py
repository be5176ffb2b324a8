"""``hansard query`` and ``hansard tail`` by what operations, refusals and payloads hold."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard_writer import RunningWriter, running
from hansard_writer.cli.query import HOW_TO_SEARCH_MORE
from support import wait_until

HANSARD = (sys.executable, "-m", "hansard_writer")


def run(command: str, directory: Path, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run one command to its end."""
    return subprocess.run(
        [*HANSARD, command, "--dir", str(directory), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "160"},
    )


def found(directory: Path, *arguments: object) -> list[dict[str, Any]]:
    """The rows that query prints as jsonl."""
    result = run("query", directory, *arguments)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def ids(directory: Path, *arguments: object) -> list[int]:
    return [row["id"] for row in found(directory, *arguments)]


def operation(workflow_id: str, name: str, status: str, **facts: Any) -> dict[str, Any]:
    payload = {
        "workflow_id": workflow_id, "node_id": "n1", "version_id": None, "operation": name,
        "status": status, "stdout": "", "stderr": "", "exit_code": 0, "duration_ms": 2.5,
        "metadata": {}, **facts,
    }  # fmt: skip
    return {"event_type": "env.operation", "payload": payload}


@pytest.fixture
def log(directory: Path, writer: RunningWriter) -> Path:
    refusal = {
        "action": {"kind": "shell"}, "decision": {"decision": "refuse"}, "rule_id": "R7",
        "reason": "not at night", "agent_id": "agent:7", "timestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    events = [
        operation("nightly", "add_deps", "success", metadata={"packages": ["numpy"]}),
        operation("nightly", "run", "failed", stderr="Error: no package numpy", exit_code=1),
        operation("other", "add_deps", "failed", metadata={"n": 2**70, "bad": "\ud800"}),
        {"event_type": "governance.refusal", "payload": refusal, "actor": "agent:7"},
        {"event_type": "note", "payload": {"n": 1, "tags": ["a", "b"]}, "level": "error"},
        {"event_type": "note", "payload": {"n": "1", "a.b": {"c": None}}, "task_id": "T"},
    ]
    with hansard.AuditLog(directory) as audit:
        audit.record_many(events, sync=True)
    return directory


def test_operations_are_found_by_each_of_their_columns(log: Path) -> None:
    for arguments, expected in [
        (["--operations"], [3, 2, 1]),
        (["--workflow-id", "nightly"], [2, 1]),
        (["--node-id", "n1", "--operation", "add_deps"], [3, 1]),
        (["--status", "failed", "--workflow-id", "nightly"], [2]),
        (["--operation", "add_deps", "--where", "metadata.packages=numpy"], [1]),
        (["--status", "failed", "--search", "error AND packages"], [2]),
        (["--operations", "--oldest-first", "--limit", "2"], [1, 2]),
        (["--operations", "--no-rest"], [3, 2, 1]),
    ]:
        assert ids(log, *arguments) == expected, arguments
    assert run("query", log, "--status", "failed", "--count").stdout == "2\n"


def test_operations_are_printed_column_by_column(log: Path) -> None:
    newest, failed, _ = found(log, "--operations")
    assert newest["metadata"] == {"n": 2**70, "bad": "\ud800"}
    assert (failed["exit_code"], failed["stderr"]) == (1, "Error: no package numpy")
    assert list(failed)[:4] == ["id", "workflow_id", "node_id", "version_id"]
    table = run("query", log, "--operations", "--format", "table").stdout
    for word in ("nightly", "failed", "error", "Error: no package numpy", "duration_ms", "2.5"):
        assert word in table
    assert "error" not in failed
    assert run("query", log, "--operations", "--format", "csv").returncode == 0


def test_refusals_are_found_and_printed_column_by_column(log: Path) -> None:
    (refusal,) = found(log, "--refusals")
    assert (refusal["agent_id"], refusal["rule_id"], refusal["action"]) == (
        "agent:7", "R7", {"kind": "shell"},
    )  # fmt: skip
    assert ids(log, "--agent-id", "agent:7") == [4]
    assert run("query", log, "--agent-id", "agent:8", "--count").stdout == "0\n"


def test_entries_are_found_by_what_their_payload_holds(log: Path) -> None:
    for condition, expected in [
        ("n=1", [5]),
        ('n="1"', [6]),
        ("tags=b", [5]),
        ('tags=["a"]', [5]),
        (r"a\.b.c=null", [6]),
        ("metadata.packages=numpy", [1]),
        ('metadata={"packages": ["numpy"]}', [1]),
    ]:
        assert ids(log, "--where", condition) == expected, condition
    assert ids(log, "--where", "n=1", "--where", "tags=a", "--event-type", "note") == [5]


def test_where_nothing_is_found_the_answer_is_no(log: Path) -> None:
    for arguments in (["--search", "nothing"], ["--where", "n=2"], ["--workflow-id", "none"]):
        result = run("query", log, *arguments)
        assert (result.returncode, result.stdout) == (1, "")


def test_where_a_search_finds_nothing_what_is_searched_is_said(directory: Path) -> None:
    for types, named, way_out in [
        (None, "none", HOW_TO_SEARCH_MORE),
        (("note", "a.b"), "a.b, note", ""),
    ]:
        with running(directory, fts_event_types=types):
            result = run("query", directory, "--search", "nothing")
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == (
            "No entry meets these conditions.\nSearched: stderr and error of operations, and "
            f"the event types in fts_event_types ({named}).{way_out}\n"
        )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--search", "error & package"], "AND, OR, NOT"),
        (["--where", "n"], "write PATH=VALUE"),
        (["--where", ".=1"], "path is '.'"),
        (["--operations", "--refusals"], "not both"),
        (["--status", "failed", "--agent-id", "a"], "not both"),
        (["--operations", "--event-type", "a"], "a type of their own"),
        (["--status", "broken"], "success"),
    ],
)
def test_what_makes_no_sense_is_bad_usage(log: Path, arguments: list[str], complaint: str) -> None:
    result = run("query", log, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


def test_tail_shows_only_what_meets_the_conditions(log: Path) -> None:
    result = run("tail", log, "--event-type", "note", "-n", 1)
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [6]
    result = run("tail", log, "--search", "package", "--level", "info")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [2]


def test_tail_shows_operations_by_conditions_on_them(log: Path) -> None:
    result = run("tail", log, "--status", "failed")
    shown = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["id"] for row in shown] == [2, 3]
    assert shown[0]["stderr"] == "Error: no package numpy"
    assert run("tail", log, "--status", "failed", "--event-type", "a").returncode == 2
    following = [*HANSARD, "tail", "--dir", str(log), "-f", "--operations", "-n", "1"]
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == 3
        with hansard.AuditLog(log) as audit:
            audit.record("note", {"n": 2}, sync=True)
            audit.record_many([operation("new", "run", "success")], sync=True)
        assert json.loads(process.stdout.readline())["workflow_id"] == "new"
        process.terminate()


def test_tail_follows_what_meets_the_conditions_with_the_lowest_priority(log: Path) -> None:
    following = [*HANSARD, "tail", "--dir", str(log), "-f", "-n", "1", "--where", "n=1"]
    with subprocess.Popen(following, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == 5
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        assert os.sched_getscheduler(process.pid) == os.SCHED_IDLE
        with hansard.AuditLog(log) as audit:
            for number in (2, 1):
                audit.record("note", {"n": number}, sync=True)
        assert json.loads(process.stdout.readline())["id"] == 8
        process.terminate()
        wait_until(lambda: process.poll() is not None, "the follower has ended")
