"""A log in memory does what a real one does, as far as its caller can see."""

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import hansard
from hansard import AuditLog, InvalidEvent
from hansard.integrations import shared_log
from hansard.testing import MemoryLog


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with MemoryLog() as log:
        yield log


def test_events_are_entered_when_the_call_returns(log: MemoryLog) -> None:
    queued = log.record("task.created", {"n": 1}, task_id="T1")
    committed = log.record("task.done", {"status": "success"}, task_id="T1", sync=True)
    assert (queued.id, queued.status) == (-1, "queued")
    assert (committed.id, committed.status) == (2, "committed")
    assert [entry.id for entry in log.entries] == [1, 2]
    assert log.lookup(queued.key or (b"", 0)).id == 1
    assert log.lookup((bytes(32), 7)).status == "unknown"


def test_what_is_asked_for_is_found(log: MemoryLog) -> None:
    log.record("task.done", {"status": "success", "level": 3}, task_id="T1", actor="user:7")
    log.record("task.done", {"status": "failed", "tags": ["a"]}, task_id="T2", level="error")
    assert log.recorded("task.done", task_id="T1", status="success", actor="user:7")
    assert log.recorded("task.*", level="error", tags=["a"])[0].id == 2
    assert log.recorded(payload={"level": 3})[0].id == 1
    assert log.recorded(status=lambda status: status.startswith("fail"))[0].id == 2
    assert len(log.recorded()) == 2
    assert not log.recorded("task.gone")
    assert not log.recorded(status=None)
    assert not log.recorded(missing=None)


def test_what_is_not_found_shows_the_nearest(log: MemoryLog) -> None:
    assert repr(log.recorded("a.b")) == "<recorded('a.b'): none, and the log is empty>"
    log.record("task.done", {"status": "failed"}, task_id="T2")
    log.record("other.type", task_id="T1")
    log.record("task.done", {"status": "success"}, task_id="T3")
    assert repr(log.recorded("task.done", task_id="T2", status="success")) == (
        "<recorded('task.done', task_id='T2', status='success'): none of 3; nearest: "
        "#3 'task.done' task_id='T3', status='success'; "
        "#1 'task.done' task_id='T2', status='failed'; "
        "#2 'other.type' task_id='T1', no status>"
    )


def test_rules_context_and_masks_are_the_real_ones(log: MemoryLog) -> None:
    with pytest.raises(InvalidEvent):
        log.record("7 up")
    with pytest.raises(InvalidEvent):
        log.record_many([{"event_type": "a.b"}, {"event_type": "a.b", "level": "loud"}])
    with hansard.bound(actor="user:7", tenant="x"):
        log.record("a.b", {"n": 1})
    assert log.recorded("a.b", actor="user:7", tenant="x", n=1)
    assert len(log.entries) == 1


@pytest.mark.parametrize("text", [b'{"a":', b'{"a":NaN}', b'{"a":"\xed\xa0\x80"}'])
def test_a_text_that_is_no_json_is_rejected_and_the_next_event_is_entered(text: bytes) -> None:
    with MemoryLog() as log:
        entry = log.record("a.b", orjson.Fragment(text), sync=True)
        assert (entry.id, entry.status) == (None, "rejected")
        assert log.lookup(entry.key or (b"", 0)).status == "rejected"
        assert log.record("a.b", sync=True).id == 1


def test_an_orphan_that_is_no_json_is_rejected_once_its_task_is_known() -> None:
    with MemoryLog(enforce_tasks=True) as log:
        entry = log.record("a.b", orjson.Fragment(b'{"a":'), task_id="T1", sync=True)
        assert entry.status == "orphaned"
        log.register_task("T1")
        assert log.lookup(entry.key or (b"", 0)).status == "rejected"
        assert [each.event_type for each in log.entries] == ["hansard.task_registered"]


def test_runs_operations_refusals_and_tasks_are_entries(log: MemoryLog) -> None:
    ids = [each.id for each in log.record_many([{"event_type": "m.a"}] * 3, sync=True)]
    assert ids == [1, 2, 3]
    with log.operation("sync", workflow_id="wf", node_id="n") as op:
        op.run(["true"])
    assert op.entry is not None
    assert log.recorded("env.operation", operation="sync", status="success")
    assert log.refusal("agent:7", {"kind": "x"}, {"decision": "refuse"})
    assert log.recorded("governance.refusal", agent_id="agent:7", level="warning")
    assert log.register_task("T1", repo="r", sync=True).id == 6
    assert log.recorded("hansard.task_registered", task_id="T1", repo="r")
    assert log.flush()
    assert log.drain()
    assert log.statistics()["appended"] == 6


def test_it_works_in_asyncio_without_a_thread() -> None:
    async def work() -> None:
        log = MemoryLog()
        assert (await log.arecord("a.b", sync=True)).id == 1
        await asyncio.gather(*(log.arecord("a.c") for _ in range(10)))
        assert await log.aflush()
        assert len(log.recorded("a.c")) == 10
        assert threading.active_count() == before

    before = threading.active_count()
    asyncio.run(work())


def test_orphans_wait_for_their_task_where_tasks_are_enforced(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = MemoryLog(enforce_tasks=True)
    entry = log.record("task.done", task_id="T1", sync=True)
    log.record("task.seen", task_id="T2")
    assert (entry.id, entry.status) == (None, "orphaned")
    assert log.lookup(entry.key or (b"", 0)).status == "orphaned"
    assert log.statistics()["orphaned"] == 2
    log.register_task("T1")
    assert [each.event_type for each in log.entries] == ["hansard.task_registered", "task.done"]
    assert log.statistics()["orphaned"] == 1
    assert "'task.seen' event is an orphan: task 'T2' is not registered" in caplog.text


def test_threads_record_each_event_once(log: MemoryLog) -> None:
    def work(name: int) -> None:
        for i in range(100):
            log.record("a.b", {"who": name, "i": i}, sync=i % 10 == 0)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [((e.data or {})["who"], (e.data or {})["i"]) for e in log.entries]
    assert len(seen) == len(set(seen)) == 400
    assert [entry.id for entry in log.entries] == list(range(1, 401))


def test_a_forked_child_has_a_copy(log: MemoryLog) -> None:
    log.record("a.b")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if log.record("a.c", sync=True).id == 2 and len(log.entries) == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(log.entries) == 1


def test_named_operations_are_functions_of_the_tests() -> None:
    log = MemoryLog(calls={"double": lambda params: params["n"] * 2, "fail": lambda _: 1 / 0})
    assert log.call("double", {"n": 4}) == 8
    with pytest.raises(hansard.Rejected, match="ZeroDivisionError"):
        log.call("fail")
    with pytest.raises(hansard.Rejected, match="none of that name"):
        log.call("gone")
    with pytest.raises(InvalidEvent):
        log.call("double", object())


def test_a_closed_one_can_be_asked_and_takes_nothing(log: MemoryLog) -> None:
    log.record("a.b")
    assert log.close() == 0
    with pytest.raises(hansard.ClosedError):
        log.record("a.c")
    assert log.recorded("a.b")
    assert repr(log) == "<MemoryLog closed, 1 recorded>"


def test_what_is_cleared_is_forgotten_and_ids_go_on(log: MemoryLog) -> None:
    log.record("a.b")
    log.clear()
    assert not log.entries
    assert log.record("a.b", sync=True).id == 2


def test_it_touches_no_directory_and_starts_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANSARD_ACTOR", "of the environment")
    before = threading.active_count()
    with MemoryLog(tmp_path / "log") as log:
        log.record("a.b", sync=True)
        assert threading.active_count() == before
        assert log.entries[0].actor is None
    assert not (tmp_path / "log").exists()


def test_it_is_an_audit_log_to_who_asks(log: MemoryLog) -> None:
    assert isinstance(log, AuditLog)
    assert shared_log(log) is log


def test_it_has_every_method_of_an_audit_log(log: MemoryLog) -> None:
    public = {name for name in dir(AuditLog) if name[0] != "_"}
    assert public <= set(dir(log))
    refused: dict[str, Any] = {"seq": 1, "reason": "r"}
    with pytest.raises(hansard.WriterUnavailable, match="real writer"):
        log.redact(**refused)
