"""What real workers recorded, read back by `LogReader`, while others record and beside a writer."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hansard_writer
from acceptance.conftest import Script
from hansard import AuditLog
from hansard.reader import LogReader
from support import wait_until

METADATA: dict[str, dict[str, Any]] = {  # of each operation that has a name by convention
    "create_env": {"python_version": "3.12", "packages": ["pip"], "requirements_file": "r.txt"},
    "delete_env": {},
    "add_deps": {"packages": ["numpy", "pandas"], "requirements_file": "r.txt"},
    "update_deps": {"packages": ["numpy"], "requirements_file": "r.txt"},
    "remove_deps": {"packages": ["pandas"], "requirements_file": "r.txt"},
    "sync": {},
    "run": {"timeout": 60, "code": "print(1)"},
    "cleanup": {"idle_hours": 24, "deleted": 3},
}
NAMES = list(METADATA)
REFUSE = {"decision": "refuse", "rule_id": "R7", "reason": "outside the workspace"}

READS_ON = """
import sys
from hansard.reader import LogReader

with LogReader(sys.argv[1]) as reader:
    print("ready", flush=True)
    passes = seen = 0
    while passes < 3 or seen < int(sys.argv[2]):
        ids = [event.id for event in reader.events()]
        assert ids == list(range(1, len(ids) + 1)), "a hole, or another order"
        assert len(ids) >= seen, "an entry is gone"
        assert reader.count("step.done") >= len(ids)
        passes, seen = passes + 1, len(ids)
print(seen)
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A log with operations (1 to 10), audits of a task (11, 12) and refusals (13 to 15)."""
    directory = tmp_path_factory.mktemp("served") / "log"
    with hansard_writer.running(directory), AuditLog(directory) as log:
        env = log.environment("nightly", "node-1", "v1")
        for name, metadata in METADATA.items():
            with env.operation(name, metadata=metadata):
                pass
        with log.operation("run", workflow_id="nightly", node_id="node-2") as op:
            op.failed("exit 1", stderr="Error: no module named numpy", exit_code=1)
        with log.operation("add_deps", workflow_id="other", node_id="node-1") as op:
            op.failed("no index", stderr="errors while resolving packages", stdout="out")
        log.record("task.done", {"repo_id": "r1", "files": ["a.py"]}, task_id="T1")
        log.record("task.done", {"repo_id": "r2", "files": ["b.py"]}, task_id="T1")
        for agent in ("agent:1", "agent:2", "agent:1"):
            assert log.refusal(agent, {"kind": "shell"}, REFUSE)
        assert log.flush(30)
        yield directory


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_of_each_conventional_name_is_read_back_with_its_metadata(
    served: Path, name: str
) -> None:
    with LogReader(served) as reader:
        (operation,) = reader.operations(operation=name, status="success")
    assert (operation.workflow_id, operation.node_id, operation.version_id) == (
        "nightly", "node-1", "v1",
    )  # fmt: skip
    assert operation.metadata == METADATA[name]
    assert operation.duration_ms >= 0  # type: ignore[operator]


def ids(found: Iterable[Any]) -> list[int]:
    return [each.id for each in found]


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda r: [r.get(9)], [9]),
        (lambda r: [r.operation(9)], [9]),
        (lambda r: r.operations(), list(range(10, 0, -1))),
        (lambda r: r.operations(workflow_id="nightly"), list(range(9, 0, -1))),
        (lambda r: r.operations(node_id="node-1"), [10, *range(8, 0, -1)]),
        (lambda r: r.operations(workflow_id="nightly", node_id="node-2"), [9]),
        (
            lambda r: r.operations(workflow_id="nightly", node_id="node-1", version_id="v1"),
            list(range(8, 0, -1)),
        ),
        (lambda r: r.failed_operations(), [10, 9]),
        (lambda r: r.failed_operations("nightly"), [9]),
        (lambda r: r.operations(metadata={"packages": ["numpy"]}, operation="add_deps"), [3]),
        (lambda r: r.where("metadata.packages", "numpy"), [3, 4]),
        (lambda r: r.search("error AND package"), [10]),
        (lambda r: r.search("error NOT package"), [9]),
        (lambda r: r.search("error", newest_first=True), [10, 9]),
        (lambda r: r.by_task("T1"), [11, 12]),
        (lambda r: r.by_task("T1", newest_first=True), [12, 11]),
        (lambda r: r.where("repo_id", "r2"), [12]),
        (lambda r: r.refusals(), [15, 14, 13]),
        (lambda r: r.refusals(agent_id="agent:1"), [15, 13]),
        (lambda r: r.events(since=r.get(14).created_at_ns), [14, 15]),
        (lambda r: r.events(until=r.get(2).created_at_ns), [1]),
        (lambda r: r.events(limit=2, newest_first=True), [15, 14]),
    ],
)
def test_each_way_to_read_finds_what_was_recorded_in_its_order(
    served: Path, read: Callable[[LogReader], Iterable[Any]], expected: list[int]
) -> None:
    with LogReader(served) as reader:
        assert ids(read(reader)) == expected


def test_a_failed_operation_says_all_that_there_is_to_know(served: Path) -> None:
    with LogReader(served) as reader:
        (failed,) = reader.failed_operations("nightly")
    assert (failed.status, failed.exit_code) == ("failed", 1)
    assert failed.stderr == "Error: no module named numpy"
    assert failed.metadata == {"error": "exit 1"}


@pytest.mark.usefixtures("writer")
def test_a_search_never_misses_what_was_committed_before_it_began(directory: Path) -> None:
    with AuditLog(directory) as log, LogReader(directory) as reader:
        for number in range(60):  # past the moments at which the index is brought up to date
            with log.operation("run", workflow_id="wf", node_id="n") as op:
                op.failed("no", stderr=f"the package number{number} failed")
            assert log.flush(30)
            assert ids(reader.search(f"number{number}")) == [number + 1]
        assert len(ids(reader.search("packages"))) == 60


@pytest.mark.usefixtures("writer")
def test_readers_in_other_processes_see_a_growing_whole_while_events_are_entered(
    directory: Path, run_script: Script
) -> None:
    with AuditLog(directory) as log:
        log.record("step.done", sync=True)
        readers = [run_script(READS_ON, directory, 3_000) for _ in range(3)]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for number in range(3_000):
            log.record("step.done", {"n": number})
        assert log.flush(30)
    for reader in readers:
        answer, complaints = reader.communicate(timeout=60)
        assert complaints == ""
        assert int(answer) >= 3_000


@pytest.mark.usefixtures("writer")
def test_a_follower_sees_each_entry_as_it_is_committed(directory: Path, run_script: Script) -> None:
    program = """
import json, sys
from hansard.reader import LogReader

with LogReader(sys.argv[1]) as reader:
    events = reader.follow(0, interval=0.005)
    for _ in range(50):
        event = next(events)
        print(json.dumps([event.id, event.data["n"]]), flush=True)
"""
    with AuditLog(directory) as log:
        log.record("step.done", {"n": 0}, sync=True)
        follower = run_script(program, directory)
        assert follower.stdout is not None
        for number in range(50):
            assert json.loads(follower.stdout.readline()) == [number + 1, number]
            log.record("step.done", {"n": number + 1})
    wait_until(lambda: follower.poll() is not None, "it has seen enough")
    assert follower.returncode == 0
