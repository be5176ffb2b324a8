"""Environment operations as real workers do them: real commands, a real log."""

import logging
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog
from support import count_entries, query, wait_until

KEYS = [
    "workflow_id", "node_id", "version_id", "operation", "status", "stdout", "stderr",
    "exit_code", "duration_ms", "metadata",
]  # fmt: skip

WORKER_THAT_IS_KILLED = """
import os, signal, sys
from hansard import AuditLog

log = AuditLog(sys.argv[1])
with log.operation("sync", workflow_id="wf", node_id="n") as op:
    op.run(["echo", "done"])
with log.operation("run", workflow_id="wf", node_id="n") as op:
    os.kill(os.getpid(), signal.SIGKILL)
"""

WORKER_THAT_FAILS = """
import sys
from hansard import AuditLog

log = AuditLog(sys.argv[1])
with log.operation("run", workflow_id="wf", node_id="n") as op:
    op.run([sys.executable, "-c", "import no_such_module"])
    sys.exit(op.exit_code)
"""


def operations(directory: Path) -> list[dict[str, Any]]:
    """The payloads of all operations, in the log's order."""
    rows = query(
        directory, "SELECT payload FROM entries WHERE event_type = 'env.operation' ORDER BY seq"
    )
    return [orjson.loads(row[0]) for row in rows]


@pytest.mark.usefixtures("writer")
def test_an_environments_life_is_one_entry_an_operation(directory: Path, tmp_path: Path) -> None:
    place = tmp_path / "env"
    with AuditLog(directory, actor="builder") as log:
        env = log.environment("wf", "node-1", "v3")
        with env.operation("create_env", metadata={"python_version": "3"}) as op:
            op.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        with env.operation("run", metadata={"timeout": 60, "code": "1/0"}) as op:
            op.run([place / "bin" / "python", "-c", "1/0"], timeout=60)
        with env.operation("add_deps", metadata={"packages": ["numpy"]}) as op:
            op.failed(error="no index", stderr="error: package numpy not found", exit_code=1)
        env.start_operation("delete_env").success()
    create, run, add, delete = operations(directory)
    assert [list(each) for each in (create, run, add, delete)] == [KEYS] * 4
    assert (create["operation"], create["status"], create["exit_code"]) == (
        "create_env", "success", 0,
    )  # fmt: skip
    assert create["duration_ms"] > 1
    assert (run["status"], run["exit_code"], run["stdout"]) == ("failed", 1, "")
    assert "ZeroDivisionError" in run["stderr"]
    assert run["metadata"] == {"timeout": 60, "code": "1/0", "error": "exit status 1"}
    assert add["metadata"] == {"packages": ["numpy"], "error": "no index"}
    assert (delete["status"], delete["stdout"], delete["version_id"]) == ("success", None, "v3")
    rows = query(directory, "SELECT level, actor FROM entries ORDER BY seq")
    assert rows == [(level, "builder") for level in ("info", "error", "error", "info")]


@pytest.mark.usefixtures("writer")
def test_with_sync_the_entry_has_its_id(directory: Path) -> None:
    with AuditLog(directory, sync=True) as log:
        with log.operation("sync", workflow_id="wf", node_id="n") as op:
            pass
        assert op.entry is not None
        assert (op.entry.id, op.entry.status) == (1, "committed")
        entry = log.start_operation("sync", workflow_id="wf", node_id="n").success()
        assert entry is not None
        assert entry.id == 2


def test_without_a_writer_the_work_is_done_and_its_entry_comes_later(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    with AuditLog(directory) as log:
        with log.operation("sync", workflow_id="wf", node_id="n") as op:
            assert op.run(["echo", "hello"]).stdout == "hello\n"
        mortal_writer.start()
        assert log.flush(30)
    assert [each["stdout"] for each in operations(directory)] == ["hello\n"]


def test_a_log_with_no_room_costs_the_work_nothing(directory: Path) -> None:
    with AuditLog(directory, queue_maxsize=1, on_full="drop", close_timeout=0) as log:
        log.record("task.created")
        with log.operation("sync", workflow_id="wf", node_id="n") as op:
            assert op.run(["echo", "hello"]).stdout == "hello\n"
        assert op.entry is not None
        assert op.entry.status == "dropped"


def test_a_log_that_is_closed_meanwhile_costs_the_work_nothing(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(directory)
    with log.operation("sync", workflow_id="wf", node_id="n") as op:
        log.close()
    assert op.entry is None
    assert "operation 'sync' was not recorded: the log is closed" in caplog.text


@pytest.mark.usefixtures("writer")
def test_a_killed_worker_leaves_the_operations_that_had_ended(
    directory: Path, run_script: Script
) -> None:
    assert run_script(WORKER_THAT_IS_KILLED, directory).wait(30) == -9
    wait_until(lambda: count_entries(directory) == 1, "its spool is adopted")
    assert [each["stdout"] for each in operations(directory)] == ["done\n"]


@pytest.mark.usefixtures("writer")
def test_a_worker_that_exits_inside_a_block_has_recorded_why(
    directory: Path, run_script: Script
) -> None:
    assert run_script(WORKER_THAT_FAILS, directory).wait(30) == 1
    (told,) = operations(directory)
    assert (told["status"], told["exit_code"]) == ("failed", 1)
    assert told["metadata"] == {"error": "SystemExit: 1"}
    assert "no_such_module" in told["stderr"]


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize("byte", ["x", "\\x01", "\\xff"])
def test_output_without_end_becomes_an_entry_all_the_same(directory: Path, byte: str) -> None:
    program = f"import sys; sys.stdout.buffer.write(b'{byte}' * 3_000_000); sys.exit(1)"
    with AuditLog(directory, output_bytes_max=512 << 10) as log:
        with log.operation("run", workflow_id="wf", node_id="n") as op:
            op.run([sys.executable, "-c", program])
        assert log.flush(30)
    (told,) = operations(directory)
    assert list(told) == [*KEYS, "stdout_bytes", "stdout_sha256"]
    assert (told["stdout_bytes"], told["exit_code"]) == (3_000_000, 1)
    assert told["stdout_sha256"] in told["stdout"]


@pytest.mark.usefixtures("writer")
def test_a_committed_event_of_a_task_is_said_at_debug_and_no_other_is(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    facts = {"repo_id": "r1", "operation": "write_file", "status": "success"}
    with AuditLog(directory) as log, caplog.at_level(logging.DEBUG, "hansard"):
        log.record("task.audit", facts, task_id="T1", sync=True)
        log.record("task.audit", facts, task_id="T2")
        log.record("task.audit", facts, sync=True)
    assert [message for message in caplog.messages if "audit" in message] == [
        "Recorded audit: task=T1, repo=r1, operation=write_file, status=success"
    ]
