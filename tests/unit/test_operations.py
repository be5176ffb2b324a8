"""Operations: when an entry is due, what it says, and that the caller's exceptions are his."""
# ruff: noqa: PT012 - a block and what happens in it are one statement to whoever reads them

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import AuditLog, ClosedError, InvalidEvent, QueueFull, operations
from hansard.exclusive import exclusively
from hansard.operations import Operation
from hansard.producer import Producer
from recorder import WHERE, Recorder


@pytest.fixture
def log(directory: Path) -> Iterator[Recorder]:
    log = Recorder(directory, spool_bytes=2 << 20)
    yield log
    log.close(0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The monotonic clock in ns, moved by hand."""
    now = [5_000_000]
    monkeypatch.setattr(operations, "monotonic_ns", lambda: now[0])
    return now


# --- blocks ---


def test_a_block_is_one_entry_at_its_end(log: Recorder, clock: list[int]) -> None:
    with log.operation("add_deps", **WHERE, version_id="v", metadata={"packages": ["a"]}) as op:
        assert (op.entry, op.status, log.told) == (None, None, [])
        clock[0] += 1_234_567
    assert op.entry is not None
    assert op.entry.event_type == "env.operation"
    assert log.told == [
        (
            "env.operation",
            "info",
            {
                "workflow_id": "wf",
                "node_id": "n1",
                "version_id": "v",
                "operation": "add_deps",
                "status": "success",
                "stdout": None,
                "stderr": None,
                "exit_code": None,
                "duration_ms": 1.235,
                "metadata": {"packages": ["a"]},
            },
        )
    ]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("no such package"), "ValueError: no such package"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "SystemExit: 3"),
        (SystemExit("bye"), "SystemExit: bye"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
)
@pytest.mark.parametrize("twin", [False, True])
def test_an_exception_makes_it_failed_and_goes_on_up(
    log: Recorder, error: BaseException, told: str, twin: bool
) -> None:
    def run() -> None:
        with log.operation("run", **WHERE):
            raise error

    async def arun() -> None:
        async with log.operation("run", **WHERE):
            raise error

    with pytest.raises(type(error)) as raised:
        arun().send(None) if twin else run()
    assert raised.value is error
    ((_, level, payload),) = log.told
    assert (level, payload["status"]) == ("error", "failed")
    assert payload["metadata"] == {"error": told}


@pytest.mark.parametrize("code", [None, 0])
def test_leaving_the_program_without_complaint_is_a_success(log: Recorder, code: Any) -> None:
    with pytest.raises(SystemExit), log.operation("run", **WHERE):
        raise SystemExit(code)
    assert log.only()["status"] == "success"


def test_a_block_may_say_its_outcome_and_an_exception_overrules_it(log: Recorder) -> None:
    with log.operation("run", **WHERE) as op:
        assert op.success(stdout="out", exit_code=0, metadata={"a": 1}) is None
    with pytest.raises(KeyError), log.operation("run", **WHERE) as op:
        op.success(stdout="out", stderr=b"err", exit_code=0)
        raise KeyError("late")
    with log.operation("run", **WHERE) as op:
        op.failed("it looked wrong", exit_code=9)
    first, second, third = (payload for _, _, payload in log.told)
    assert (first["status"], first["stdout"], first["metadata"]) == ("success", "out", {"a": 1})
    assert (second["status"], second["exit_code"]) == ("failed", 0)
    assert (second["stdout"], second["stderr"]) == ("out", "err")
    assert second["metadata"] == {"error": "KeyError: 'late'"}
    assert (third["exit_code"], third["metadata"]) == (9, {"error": "it looked wrong"})


def test_metadata_may_be_added_until_the_end(log: Recorder) -> None:
    given = {"idle_hours": 24}
    with log.operation("cleanup", **WHERE, metadata=given) as op:
        op.metadata["deleted"] = 3
    assert log.only()["metadata"] == {"idle_hours": 24, "deleted": 3}
    assert given == {"idle_hours": 24}, "the caller's own mapping stays as it is"


def test_metadata_that_was_spoiled_meanwhile_costs_itself_only(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    packages: list[Any] = ["numpy"]
    with (
        pytest.raises(ZeroDivisionError),
        log.operation("add_deps", **WHERE, metadata={"packages": packages}),
    ):
        packages.append(object())
        raise ZeroDivisionError("the business's own")
    assert log.only()["metadata"] == {
        "packages": ["numpy"],
        "error": "ZeroDivisionError: the business's own",
    }
    assert "entered without 'packages', or with the value of the start" in caplog.text


def test_metadata_that_cannot_be_entered_costs_its_own_key_only(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with log.operation("add_deps", **WHERE, metadata={"packages": ["numpy"], "gone": 1}) as op:
        del op.metadata["gone"]
        op.metadata |= {"a": 1, "thing": object(), "size": 2**70, "packages": ["numpy", "scipy"]}
        op.metadata |= {"log": "x" * (200 << 10), "more": "x" * (200 << 10), "b": [2]}
    metadata = log.only()["metadata"]
    assert list(metadata) == ["packages", "a", "size", "log", "b"]
    assert metadata["packages"] == ["numpy", "scipy"]
    assert "entered without 'thing', 'more', or with the value of the start" in caplog.text


def test_metadata_that_is_no_mapping_any_more_is_that_of_the_start(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    with log.operation("sync", **WHERE, metadata={"a": 1}) as op:
        op.metadata = 5  # type: ignore[assignment]
    assert log.only()["metadata"] == {"a": 1}
    assert "metadata is an int: it must be a mapping; entered with its first" in caplog.text


@pytest.mark.parametrize("failure", [OSError("no disk"), ClosedError("closed"), RuntimeError("x")])
def test_a_log_that_fails_at_the_end_of_a_block_is_warned_of_and_nothing_else(
    log: Recorder, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    log.failure = failure
    with log.operation("run", **WHERE) as op:
        pass

    async def run() -> None:
        async with log.operation("run", **WHERE):
            pass

    asyncio.run(run())
    assert op.entry is None
    assert f"operation 'run' was not recorded: {failure}" in caplog.text


def test_no_failure_of_the_log_hides_the_blocks_exception(directory: Path) -> None:
    log = Recorder(directory, best_effort=False)
    log.failure = QueueFull("full")
    with pytest.raises(ValueError, match="business"), log.operation("run", **WHERE):
        raise ValueError("business")
    log.close(0)


def test_a_failure_of_the_log_is_raised_where_that_was_asked_for(directory: Path) -> None:
    with Recorder(directory, best_effort=False) as log:
        log.failure = OSError("no disk")
        with pytest.raises(OSError, match="no disk"), log.operation("run", **WHERE):
            pass
        with Recorder(directory, on_full="raise") as other:
            other.failure = QueueFull("full")
            with pytest.raises(QueueFull), other.operation("run", **WHERE):
                pass


def test_a_child_that_is_forked_inside_leaves_the_entry_to_its_parent(log: Recorder) -> None:
    operation = log.operation("run", **WHERE)
    with operation:
        operation._pid += 1  # as if this were the child
    assert log.told == []


def test_a_block_is_entered_once(log: Recorder) -> None:
    with (
        log.operation("run", **WHERE) as op,
        pytest.raises(InvalidEvent, match="'run' is a block already"),
        op,
    ):
        pass
    with pytest.raises(InvalidEvent, match="'run' has ended: it ends once"), op:
        pass
    assert len(log.told) == 1


# --- begun and ended by name ---


def test_a_begun_operation_is_recorded_when_it_ends(log: Recorder, clock: list[int]) -> None:
    op = log.start_operation("delete_env", **WHERE)
    clock[0] += 2_000_000
    entry = op.success(stdout="gone", exit_code=0)
    assert entry is not None
    assert entry is op.entry
    assert (log.only()["status"], log.only()["duration_ms"]) == ("success", 2.0)
    assert (log.only()["stdout"], log.only()["stderr"]) == ("gone", None)


@pytest.mark.parametrize("error", ["no space", OSError("no space")])
def test_a_failure_has_its_error_in_the_metadata(log: Recorder, error: Any) -> None:
    op = log.start_operation("create_env", **WHERE, metadata={"python_version": "3.12"})
    op.failed(error=error, stderr="ENOSPC", exit_code=28, metadata={"tried": 2})
    ((_, level, payload),) = log.told
    assert (level, payload["status"], payload["exit_code"]) == ("error", "failed", 28)
    assert payload["metadata"] == {
        "python_version": "3.12",
        "tried": 2,
        "error": "no space" if isinstance(error, str) else "OSError: no space",
    }


def test_an_operation_ends_once(log: Recorder) -> None:
    op = log.start_operation("run", **WHERE)
    op.success()
    for end in (op.success, lambda: op.failed("late"), lambda: op.run(["true"])):
        with pytest.raises(InvalidEvent, match="the operation 'run' has ended: it ends once"):
            end()
    assert len(log.told) == 1


def test_an_end_that_found_no_room_may_be_tried_again(log: Recorder) -> None:
    op = log.start_operation("run", **WHERE)
    log.failure = QueueFull("full")
    with pytest.raises(QueueFull):
        op.success()
    log.failure = None
    assert op.success() is op.entry
    assert len(log.told) == 1


def test_a_bad_end_is_refused_and_the_operation_goes_on(log: Recorder) -> None:
    op = log.start_operation("run", **WHERE)
    for end, rule in (
        (lambda: op.success(metadata=[1]), "metadata is a list"),  # type: ignore[arg-type]
        (lambda: op.success(stdout=1), "stdout is an int"),  # type: ignore[arg-type]
        (lambda: op.failed(error=None), "error is None"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidEvent, match=rule):
            end()
    op.success()
    assert log.only()["status"] == "success"


def test_an_operation_that_does_not_end_is_not_recorded(log: Recorder) -> None:
    log.start_operation("run", **WHERE)
    assert log.told == []


# --- bound once ---


def test_an_environment_is_bound_once_and_used_for_many(log: Recorder) -> None:
    env = log.environment("wf", "n1", "v2")
    with env.operation("create_env"):
        pass
    env.start_operation("sync", metadata={"a": 1}).success()
    told = [payload for _, _, payload in log.told]
    assert [each["operation"] for each in told] == ["create_env", "sync"]
    assert {(e["workflow_id"], e["node_id"], e["version_id"]) for e in told} == {("wf", "n1", "v2")}


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"workflow_id": ""}, "workflow_id has 0 characters: it must have 1 to 255"),
        ({"workflow_id": 7}, "workflow_id is an int"),
        ({"node_id": "n" * 256}, "node_id has 256 characters: it must have 1 to 255"),
        ({"version_id": ""}, "version_id has 0 characters"),
        ({"name": "o" * 51}, "name has 51 characters: it must have 1 to 50"),
        ({"name": None}, "name is None"),
        ({"metadata": "x"}, "metadata is a str: it must be a mapping"),
        ({"metadata": {"x": object()}}, "metadata cannot be encoded as JSON"),
    ],
)
def test_what_breaks_a_rule_is_refused_at_the_start_by_name(
    log: Recorder, changed: dict[str, Any], rule: str
) -> None:
    arguments: dict[str, Any] = {"name": "run", **WHERE, **changed}
    with pytest.raises(InvalidEvent, match=rule):
        log.operation(**arguments)
    with pytest.raises(InvalidEvent, match=rule):
        log.start_operation(**arguments)


def test_the_longest_names_are_taken_and_so_is_a_name_of_ones_own(log: Recorder) -> None:
    with log.operation("o" * 50, workflow_id="w" * 255, node_id="n" * 255, version_id="v" * 255):
        pass
    assert log.only()["operation"] == "o" * 50


def test_a_log_that_allows_other_types_only_refuses_at_the_start(directory: Path) -> None:
    rule = "'env.operation' is not among the allowed"
    with (
        AuditLog(directory, event_types=("task.done",)) as log,
        pytest.raises(InvalidEvent, match=rule),
    ):
        log.operation("run", **WHERE)


def test_the_conventional_names_are_documented_with_their_metadata() -> None:
    rows = Operation.__doc__ or ""
    for name, metadata in {
        "create_env": "python_version, packages, requirements_file",
        "delete_env": "",
        "add_deps": "packages, requirements_file",
        "update_deps": "packages, requirements_file",
        "remove_deps": "packages, requirements_file",
        "sync": "",
        "run": "timeout, code",
        "cleanup": "idle_hours, deleted",
    }.items():
        (row,) = [row for row in rows.splitlines() if row.split()[:1] == [name]]
        assert row.endswith(metadata)


# --- never ended ---

NEVER = (
    "operation 'run' was never ended and is not recorded: use it as a with block, "
    "or call success() or failed()"
)


@pytest.mark.parametrize("use", [lambda op: op.run(["true"]), lambda op: op.metadata, repr])
def test_an_operation_that_is_thrown_away_is_complained_of(
    log: Recorder, caplog: pytest.LogCaptureFixture, use: Any
) -> None:
    use(log.operation("run", **WHERE))
    assert caplog.messages == [NEVER]
    assert log.told == []


def test_an_operation_whose_caller_failed_is_complained_of(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        op = log.start_operation("run", **WHERE)
        raise LookupError(op.name)

    with contextlib.suppress(LookupError):
        work()
    assert caplog.messages == [NEVER]


def test_an_operation_that_ends_is_not_complained_of(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    async def block() -> None:
        async with log.operation("run", **WHERE):
            pass

    with log.operation("run", **WHERE):
        pass
    with pytest.raises(LookupError), log.operation("run", **WHERE):
        raise LookupError
    asyncio.run(block())
    log.operation("run", **WHERE).success()
    log.operation("run", **WHERE).failed("why")
    with pytest.raises(InvalidEvent):
        log.operation("", **WHERE)
    log.failure = ClosedError("the log is closed")
    with pytest.raises(ClosedError):
        log.operation("run", **WHERE).success()
    assert caplog.messages == []


def test_an_operation_of_another_process_is_not_complained_of(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    op = log.operation("run", **WHERE)
    op._pid += 1
    del op
    assert caplog.messages == []


def test_a_complaint_from_within_a_call_waits_until_its_lock_is_free(
    log: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    @exclusively
    def within(_producer: Producer) -> None:
        log.operation("run", **WHERE)
        assert caplog.messages == []

    within(log._producer)
    log._complaints.say()
    assert caplog.messages == [NEVER]
