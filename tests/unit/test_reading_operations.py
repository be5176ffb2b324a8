"""Operations, refusals and tasks, read back as their predecessors' readers did."""

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from handmade_log import BEGIN, SECOND, Log, ids, plan_of, statements_of
from hansard.reader import LogReader, Operation, Refusal, paging

FACTS = {
    "version_id": "v1",
    "operation": "add_deps",
    "status": "failed",
    "stdout": "out",
    "stderr": "No solution found",
    "exit_code": 2,
    "duration_ms": 12.25,
    "metadata": {"packages": ["numpy"], "error": "exit 2"},
}
LOOKUPS: list[dict[str, str]] = [
    {"workflow_id": "wf"},
    {"workflow_id": "wf", "node_id": "n"},
    {"workflow_id": "wf", "node_id": "n", "version_id": "v1"},
    {"node_id": "n"},
    {"node_id": "n", "operation": "add_deps"},
    {"version_id": "v1"},
    {"operation": "add_deps"},
    {"status": "failed"},
    {"status": "failed", "workflow_id": "wf"},
    {"workflow_id": "wf", "operation": "add_deps"},
    {"workflow_id": "wf", "version_id": "v1", "status": "failed"},
]


def write_operations(log: Log) -> None:
    """Two workflows, nodes, versions, names and outcomes in all combinations, among others."""
    for workflow in ("wf", "other"):
        for node in ("n", "m"):
            for version in ("v1", None):
                for operation in ("add_deps", "run"):
                    for status in ("success", "failed"):
                        log.add_operation(
                            workflow, node, version_id=version, operation=operation, status=status
                        )
                        log.add("a.b", payload='{"workflow_id": "wf", "status": "failed"}')


# --- operations ---


def test_an_operation_is_read_by_its_id_with_all_its_facts(log: Log) -> None:
    log.add_operation("wf", "n", **FACTS)
    log.add()
    with LogReader(log.directory) as reader:
        operation = reader.operation(1)
        assert operation == Operation(
            1, "wf", "n", "v1", "add_deps", "failed", "out", "No solution found", 2, 12.25,
            {"packages": ["numpy"], "error": "exit 2"}, "2026-01-01T00:00:01.000000Z",
        )  # fmt: skip
        assert reader.operation(2) is None, "another event"
        assert reader.operation(3) is None
        with pytest.raises(dataclasses.FrozenInstanceError):
            operation.status = "success"  # type: ignore[misc, union-attr]


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"stderr": "Traceback:\n  1/0\nZeroDivisionError\n \n"}, "ZeroDivisionError"),
        ({"stderr": "last", "metadata": {"error": "exit status 1"}}, "last"),
        ({"stderr": " \n", "metadata": {"error": "RuntimeError: boom"}}, "RuntimeError: boom"),
        ({"stderr": 5, "metadata": ["error"]}, None),
        ({"stderr": None, "metadata": {"error": 5}}, None),
        ({"stderr": "a warning", "status": "success"}, None),
    ],
)
def test_a_failed_operation_says_in_a_line_why(
    log: Log, facts: dict[str, Any], error: str | None
) -> None:
    log.add_operation(**{"status": "failed", **facts})
    with LogReader(log.directory) as reader:
        operation = reader.operation(1)
        assert operation is not None
        assert operation.error == error


@pytest.mark.parametrize("by_index", [True, False], ids=["by index", "in order"])
@pytest.mark.parametrize("conditions", LOOKUPS, ids="+".join)
def test_operations_are_read_newest_first_by_every_lookup(
    log: Log, monkeypatch: pytest.MonkeyPatch, conditions: Any, by_index: bool
) -> None:
    monkeypatch.setattr(paging, "IDS_PER_PASS_MAX", 3)
    monkeypatch.setattr(paging, "PAGE_ROWS", 2)
    if not by_index:
        monkeypatch.setattr(paging, "IDS_BY_INDEX_MAX", 1)
    write_operations(log)
    where = " AND ".join(f"{name} = '{value}'" for name, value in conditions.items())
    expected = [
        row[0] for row in log.execute(f"SELECT id FROM env_operations WHERE {where} ORDER BY id")
    ]
    assert expected
    with LogReader(log.directory) as reader:
        assert ids(reader.operations(**conditions)) == expected[::-1]
        assert ids(reader.operations(**conditions, newest_first=False)) == expected
        assert ids(reader.operations(**conditions, limit=3)) == expected[::-1][:3]
        assert ids(reader.operations(**conditions, after_id=expected[0])) == expected[:0:-1]
        assert reader.count_operations(**conditions) == len(expected)


def test_failed_operations_are_read_of_one_workflow_or_of_all(log: Log) -> None:
    log.add_operation("a", status="failed")
    log.add_operation("a")
    log.add_operation("b", status="failed")
    with LogReader(log.directory) as reader:
        assert ids(reader.failed_operations()) == [3, 1]
        assert ids(reader.failed_operations("a")) == [1]
        assert ids(reader.failed_operations(limit=1, newest_first=False)) == [1]
        assert ids(reader.failed_operations("c")) == []


def test_operations_are_read_by_time(log: Log) -> None:
    for day in range(1, 5):
        log.add_operation(created_at=BEGIN + day * 86_400 * SECOND)
    log.add("a.b", created_at=BEGIN + 2 * 86_400 * SECOND)
    with LogReader(log.directory) as reader:
        assert ids(reader.operations(since="2026-01-03", until="2026-01-05")) == [3, 2]
        assert ids(reader.operations(workflow_id="wf", since="2026-01-04")) == [4, 3]
    assert log.execute("SELECT created_at FROM env_operations WHERE id = 2") == [
        ("2026-01-03T00:00:00.000000Z",)
    ]


def test_metadata_contains_packages_together_with_a_column(log: Log) -> None:
    log.add_operation(operation="add_deps", metadata={"packages": ["numpy", "pandas"]})
    log.add_operation(operation="remove_deps", metadata={"packages": ["numpy"]})
    log.add_operation(operation="add_deps", metadata={"packages": ["scipy"]})
    with LogReader(log.directory) as reader:
        wanted = {"packages": ["numpy"]}
        assert ids(reader.operations(metadata=wanted)) == [2, 1]
        assert ids(reader.operations(metadata=wanted, operation="add_deps")) == [1]
        assert ids(reader.where("metadata.packages", "numpy")) == [1, 2]


def test_what_an_odd_payload_lacks_is_none(log: Log) -> None:
    log.add("env.operation", payload="{}")
    log.add("env.operation")
    with LogReader(log.directory) as reader:
        for operation in reader.operations():
            assert (operation.workflow_id, operation.exit_code, operation.metadata) == (
                None, None, {},
            )  # fmt: skip


def test_an_operation_is_what_its_view_shows(log: Log) -> None:
    write_operations(log)
    log.add_operation("wf", "n", **FACTS)
    columns = ", ".join(Operation.__dataclass_fields__)
    shown = log.execute(f"SELECT {columns} FROM env_operations ORDER BY id")
    with LogReader(log.directory) as reader:
        read = [
            (*dataclasses.astuple(each)[:-2], json.dumps(each.metadata), each.created_at)
            for each in reader.operations(newest_first=False)
        ]
    assert read == [(*row[:-2], json.dumps(json.loads(row[-2])), row[-1]) for row in shown]


# --- by which index ---


@pytest.mark.parametrize(
    ("conditions", "index"),
    [
        ({"workflow_id": "wf"}, "operations_by_workflow (<expr>=?)"),
        ({"workflow_id": "wf", "node_id": "n"}, "operations_by_workflow (<expr>=? AND <expr>=?)"),
        (
            {"workflow_id": "wf", "node_id": "n", "version_id": "v1"},
            "operations_by_workflow (<expr>=? AND <expr>=? AND <expr>=? AND rowid>? AND rowid<?)",
        ),
        ({"node_id": "n"}, "operations_by_node (<expr>=?)"),
        (
            {"node_id": "n", "operation": "run"},
            "operations_by_node (<expr>=? AND <expr>=? AND rowid>? AND rowid<?)",
        ),
        ({"version_id": "v1"}, "operations_by_version (<expr>=? AND rowid>? AND rowid<?)"),
        ({"operation": "run"}, "operations_by_name (<expr>=? AND rowid>? AND rowid<?)"),
        ({"status": "failed"}, "operations_by_status (<expr>=?)"),
        (
            {"status": "failed", "workflow_id": "wf"},
            "operations_by_status (<expr>=? AND <expr>=? AND rowid>? AND rowid<?)",
        ),
        ({"workflow_id": "wf", "since": BEGIN}, "operations_by_workflow (<expr>=?)"),
        ({"workflow_id": "wf", "operation": "run"}, "operations_by_workflow (<expr>=?)"),
        (
            {"workflow_id": "wf", "metadata": {"packages": ["numpy"]}},
            "operations_by_workflow (<expr>=?)",
        ),
        (
            {"operation": "add_deps", "metadata": {"packages": ["numpy"]}},
            "operations_by_name (<expr>=? AND rowid>? AND rowid<?)",
        ),
        ({"metadata": {"packages": ["numpy"]}}, "entries_by_type (event_type=?)"),
        (
            {"since": BEGIN, "until": BEGIN + SECOND},
            "entries_by_type (event_type=? AND created_at>? AND created_at<?)",
        ),
    ],
    ids=lambda each: "+".join(each) if isinstance(each, dict) else "",
)
def test_each_lookup_of_operations_is_by_index(log: Log, conditions: Any, index: str) -> None:
    write_operations(log)
    with LogReader(log.directory) as reader:
        asked = statements_of(reader, lambda: list(reader.operations(**conditions)))
        counted = statements_of(reader, lambda: reader.count_operations(**conditions))
    plans = [plan_of(log, each) for each in asked[1:]]  # the first asks for the end of the log
    assert any(
        f"USING INDEX {index}" in plan or f"COVERING INDEX {index}" in plan for plan in plans
    )
    assert all("SCAN e" not in plan for plan in plans)
    if "rowid" in index:
        assert all("TEMP B-TREE" not in plan for plan in plans), "in order, without sorting"
    assert index.split(" AND rowid", maxsplit=1)[0] in plan_of(log, counted[-1])


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("workflow_id = 'wf' AND node_id = 'n' AND version_id = 'v1'", "operations_by_workflow"),
        ("workflow_id = 'wf'", "operations_by_workflow"),
        ("node_id = 'n' AND operation = 'run'", "operations_by_node"),
        ("version_id = 'v1'", "operations_by_version"),
        ("operation = 'run'", "operations_by_name"),
        ("status = 'failed' AND workflow_id = 'wf'", "operations_by_status"),
    ],
)
def test_the_view_is_looked_up_by_index_too(log: Log, condition: str, index: str) -> None:
    statement = f"SELECT * FROM env_operations WHERE {condition}"
    assert f"USING INDEX {index} (" in plan_of(log, (statement, ()))


def test_a_workflow_with_many_operations_is_neither_scanned_nor_sorted_page_by_page(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "IDS_PER_PASS_MAX", 50)
    monkeypatch.setattr(paging, "PAGE_ROWS", 10)
    for _ in range(120):
        log.add_operation()
    with LogReader(log.directory) as reader:
        asked = statements_of(reader, lambda: list(reader.operations(workflow_id="wf")))
    sorting = [each for each in asked if "TEMP B-TREE" in plan_of(log, each)]
    assert len(sorting) == 3, "a pass through the index for 50 ids"
    assert len(asked) == 2 + 3 + 12, "the end, the count, the passes, the pages"


def test_many_operations_are_iterated_in_constant_memory(log: Log) -> None:
    log.execute("BEGIN")
    for _ in range(20_000):
        log.add_operation(stdout="x" * 200)
    log.execute("COMMIT")

    def peak_of(read: Callable[[LogReader], Any]) -> int:
        with LogReader(log.directory) as reader:
            tracemalloc.start()
            count = sum(1 for _ in read(reader))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert count == 20_000
        return peak

    for read in (
        lambda reader: reader.operations(workflow_id="wf"),
        lambda reader: reader.operations(operation="run"),
        lambda reader: reader.events(),
    ):
        assert peak_of(read) < 2 << 20


# --- refusals ---


def test_refusals_are_read_of_one_agent_or_of_all_newest_first(log: Log) -> None:
    log.add_refusal("agent:1")
    log.add_refusal("agent:2", rule_id="R2", reason="not you")
    log.add_refusal("agent:1")
    log.add("a.b", actor="agent:1")
    with LogReader(log.directory) as reader:
        assert ids(reader.refusals()) == [3, 2, 1]
        assert ids(reader.refusals("agent:1")) == [3, 1]
        assert ids(reader.refusals("agent:1", limit=1, newest_first=False)) == [1]
        assert list(reader.refusals("agent:2")) == [
            Refusal(
                2, "agent:2", {"kind": "shell"},
                {"decision": "refuse", "rule_id": "R1", "reason": "no"}, "R2", "not you",
                "2026-01-01T00:00:00Z", "2026-01-01T00:00:02.000000Z",
            )
        ]  # fmt: skip


def test_refusals_of_an_agent_are_found_by_index_in_order(log: Log) -> None:
    log.add_refusal("agent:1")
    with LogReader(log.directory) as reader:
        asked = statements_of(reader, lambda: list(reader.refusals("agent:1", since=BEGIN)))
    plan = plan_of(log, asked[-1])
    assert "refusals_by_agent (actor=? AND rowid>? AND rowid<?)" in plan
    assert "TEMP B-TREE" not in plan


# --- tasks ---


def test_a_tasks_audits_are_read_in_order_with_their_payload(log: Log) -> None:
    log.add("write", task_id="T", payload='{"repo_id": "r1", "n": 36893488147419103232}')
    log.add("write", task_id="U")
    log.add("done", task_id="T")
    with LogReader(log.directory) as reader:
        first, last = reader.by_task("T")
        assert (first.id, last.id) == (1, 3)
        assert first.data == {"repo_id": "r1", "n": 2**65}
        assert last.data is None
        assert ids(reader.by_task("T", newest_first=True, limit=1)) == [3]
        assert ids(reader.by_task("T", level="error")) == []


def test_the_view_of_task_audits_draws_the_repo_out(log: Log) -> None:
    log.add("write", task_id="T", payload='{"repo_id": "r1"}')
    log.add("write", payload='{"repo_id": "r2"}')
    assert log.execute("SELECT * FROM task_audits") == [
        (1, "T", "r1", "info", "write", '{"repo_id": "r1"}', "2026-01-01T00:00:01.000000Z",
         None, None),
    ]  # fmt: skip
    plan = plan_of(log, ("SELECT * FROM task_audits WHERE task_id = 'T'", ()))
    assert "USING INDEX entries_by_task" in plan


# --- what is refused ---


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda r: r.get("x"), "id is 'x'"),
        (lambda r: r.get(1 << 63), "id is 9223372036854775808"),
        (lambda r: r.get(True), "id is True"),
        (lambda r: r.operation(-1), "id is -1"),
        (lambda r: r.dead_letter(1.5), "id is 1.5"),
        (lambda r: r.events(level="loud"), "level is 'loud': it must be one of"),
        (lambda r: r.events(after_id="3"), "after_id is '3'"),
        (lambda r: r.events(after_id=1 << 64), "after_id is"),
        (lambda r: r.events(limit=-1), "limit is -1"),
        (lambda r: r.events(limit="5"), "limit is '5'"),
        (lambda r: r.dead_letters(limit=2.0), "limit is 2.0"),
        (lambda r: r.dead_letters(7), "reason is an int"),
        (lambda r: r.events(7), "event_type is an int"),
        (lambda r: r.events(actor=b"a"), "actor is a bytes"),
        (lambda r: r.events(task_id="\ud800"), "task_id holds a lone surrogate"),
        (lambda r: r.by_task(None), "task_id is None"),
        (lambda r: r.operations(status="broken"), "status is 'broken': it must be one of success"),
        (lambda r: r.operations(workflow_id=5), "workflow_id is an int"),
        (lambda r: r.operations(metadata=["numpy"]), "metadata is a list"),
        (lambda r: r.refusals(3), "agent_id is an int"),
        (lambda r: r.where("", 1), "path is ''"),
        (lambda r: r.events(where="a=1"), "where is 'a=1'"),
        (lambda r: r.events(where=[("a",)]), r"where has \('a',\)"),
        (lambda r: r.events(since="yesterday"), "since is 'yesterday': write it like"),
        (lambda r: r.events(until=1.5), "until is 1.5"),
        (lambda r: r.follow(-1), "after_id is -1"),
        (lambda r: r.follow(interval=-1), "interval is -1"),
        (lambda r: r.search(5), "query is an int"),
        (lambda r: r.operations(search=b"a"), "search is a bytes"),
    ],
)
def test_bad_input_raises_before_anything_is_read_and_names_the_argument(
    log: Log, ask: Callable[[Any], object], complaint: str
) -> None:
    with LogReader(log.directory) as reader, pytest.raises(ValueError, match=complaint):
        ask(reader)
