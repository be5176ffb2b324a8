"""asyncio: the event loop goes on, whatever a call waits for."""

import asyncio
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from acceptance.conftest import MortalWriter
from hansard import AuditLog, ClosedError, Entry, InvalidEvent, WriterUnavailable
from support import assert_log_is_sound, count_entries, query, wait_until

Result = TypeVar("Result")

TICK_S = 0.005
BLOCKED_S = 2.0  # how long a call waits here, and a loop that it blocked would stand still
GAP_S_MAX = BLOCKED_S / 2


async def beating(work: Coroutine[Any, Any, Result]) -> Result:
    """What ``work`` returns; fails if the loop stood still meanwhile, or the work did not wait."""
    ticks, gap_s, begin = 0, 0.0, time.monotonic()

    async def beat() -> None:
        nonlocal ticks, gap_s
        before = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            ticks, gap_s, before = ticks + 1, max(gap_s, now - before), now

    heart = asyncio.create_task(beat())
    try:
        result = await work
    finally:
        heart.cancel()
    assert time.monotonic() - begin > GAP_S_MAX, "nothing was waited for: the test says nothing"
    assert gap_s < GAP_S_MAX, f"the loop stood still for {gap_s:.2f} s"
    assert ticks > 20
    return result


@pytest.fixture
def frozen(directory: Path, mortal_writer: MortalWriter) -> Iterator[MortalWriter]:
    """A writer that is there, and does nothing."""
    mortal_writer.start()
    mortal_writer.freeze()
    yield mortal_writer
    mortal_writer.thaw()


def thaw_later(writer: MortalWriter) -> threading.Timer:
    timer = threading.Timer(BLOCKED_S, writer.thaw)
    timer.start()
    return timer


@pytest.mark.usefixtures("writer")
def test_the_twins_do_what_they_are_twins_of(directory: Path) -> None:
    async def main(log: AuditLog) -> None:
        assert await log.aflush() is True
        first = await log.arecord("task.created", {"n": 1}, actor="a", task_id="T", level="debug")
        assert (first.id, first.status) == (-1, "queued")
        assert await log.aflush() is True
        assert first.key is not None
        assert (found := log.lookup(first.key)).id == 1
        assert found.created_at == first.created_at
        second = await log.arecord("task.done", created_at=7, sync=True)
        assert second == Entry(2, "committed", (first.key[0], 2), "task.done", 7)

    with AuditLog(directory) as log:
        asyncio.run(main(log))
    assert query(directory, "SELECT event_type, level, actor, task_id, payload FROM entries") == [
        ("task.created", "debug", "a", "T", '{"n":1}'),
        ("task.done", "info", None, None, None),
    ]


@pytest.mark.usefixtures("writer")
def test_many_tasks_get_the_id_of_their_own_event(directory: Path) -> None:
    with AuditLog(directory, sync=True, ack_timeout=30) as log:
        calls = [log.arecord("sync.call", {"n": n}) for n in range(500)]
        entries = asyncio.run(gather(calls))
    rows = query(directory, "SELECT payload ->> 'n', seq FROM entries")
    assert dict(rows) == {n: entry.id for n, entry in enumerate(entries)}


def test_the_loop_and_its_threads_go_on_while_callers_wait_for_their_acks(
    directory: Path, frozen: MortalWriter
) -> None:
    async def main(log: AuditLog) -> list[Entry]:
        await log.arecord("first.event")
        calls = [log.arecord("sync.call", sync=True, timeout=BLOCKED_S) for _ in range(50)]
        waiting = asyncio.create_task(beating(gather(calls)))
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.to_thread(int), GAP_S_MAX)  # 50 are more than it has
        entries = await waiting
        assert not log._producer._tickets, "who waits no longer has given up"
        return entries

    with AuditLog(directory, close_timeout=10) as log:
        entries = asyncio.run(main(log))
        assert {(entry.id, entry.status) for entry in entries} == {(-1, "unknown")}
        frozen.thaw()
    assert count_entries(directory) == 51


def test_the_loop_goes_on_while_a_flush_waits(directory: Path, frozen: MortalWriter) -> None:
    async def main(log: AuditLog) -> None:
        await log.arecord("task.created")
        assert await beating(log.aflush(BLOCKED_S)) is False
        assert not log._producer._tickets
        thaw_later(frozen)
        assert await beating(log.aflush(30)) is True

    with AuditLog(directory) as log:
        asyncio.run(main(log))
        assert count_entries(directory) == 1


@pytest.mark.parametrize("sync", [False, True])
def test_the_loop_goes_on_while_a_full_queue_blocks_and_all_goes_on_when_there_is_room(
    directory: Path, frozen: MortalWriter, sync: bool
) -> None:
    async def main(log: AuditLog) -> list[Entry]:
        for _ in range(5):
            await log.arecord("task.created", sync=False)
        thaw_later(frozen)
        return await beating(gather([log.arecord("task.done", sync=sync) for _ in range(20)]))

    with AuditLog(directory, queue_maxsize=5, ack_timeout=30, close_timeout=10) as log:
        entries = asyncio.run(main(log))
    assert {entry.status for entry in entries} == {"committed" if sync else "queued"}
    assert count_entries(directory) == 25
    assert_log_is_sound(directory)


@pytest.mark.usefixtures("frozen")
def test_the_loop_goes_on_while_a_full_queue_blocks_in_vain(directory: Path) -> None:
    async def main(log: AuditLog) -> list[Entry]:
        await log.arecord("task.created")
        return await beating(gather([log.arecord("task.done") for _ in range(3)]))

    with AuditLog(directory, queue_maxsize=1, ack_timeout=BLOCKED_S, close_timeout=0) as log:
        entries = asyncio.run(main(log))
        assert {(entry.id, entry.status) for entry in entries} == {(None, "dropped")}
        assert log.statistics()["dropped"] == {"full": 3}


def test_the_loop_goes_on_while_the_spool_is_made(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate = os.posix_fallocate

    def slowly(*arguments: Any) -> None:
        threading.Event().wait(BLOCKED_S)
        allocate(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", slowly)
    with AuditLog(directory, close_timeout=0) as log:
        assert asyncio.run(beating(log.arecord("task.created"))).status == "queued"


@pytest.mark.parametrize("call", ["arecord", "arecord, sync", "aflush"])
def test_the_loop_goes_on_while_another_thread_is_inside(directory: Path, call: str) -> None:
    with AuditLog(directory, close_timeout=0) as log:
        log.record("task.created")
        inside = threading.Event()

        def hold() -> None:
            with log._producer._lock:
                inside.set()
                threading.Event().wait(BLOCKED_S)

        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(10)
        if call == "aflush":
            assert asyncio.run(beating(log.aflush(0))) is False
        else:
            sync = call != "arecord"
            entry = asyncio.run(beating(log.arecord("task.done", sync=sync, timeout=0)))
            assert entry.status == ("unknown" if sync else "queued")
        thread.join()
        assert not log._producer._tickets
        assert log.statistics()["waiting"] == 1 + (call != "aflush")


def test_who_is_cancelled_gives_up_and_the_event_is_entered(
    directory: Path, frozen: MortalWriter
) -> None:
    async def main(log: AuditLog) -> None:
        await log.arecord("task.created")
        waiting = [asyncio.create_task(log.arecord("task.done", sync=True, timeout=60))]
        waiting.append(asyncio.create_task(log.aflush(60)))
        both_wait = lambda: len(log._producer._tickets) == 2  # noqa: E731
        await asyncio.to_thread(wait_until, both_wait, "both wait")  # the lock may have been held
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert all(task.cancelled() for task in waiting)
        assert not log._producer._tickets

    with AuditLog(directory, close_timeout=10) as log:
        asyncio.run(main(log))
        frozen.thaw()
    assert count_entries(directory) == 2


def test_who_is_cancelled_while_the_queue_is_full_is_told_at_once(
    directory: Path, frozen: MortalWriter
) -> None:
    async def main(log: AuditLog) -> None:
        await log.arecord("task.created")
        task = asyncio.create_task(log.arecord("task.done", sync=True, timeout=60))
        await asyncio.to_thread(wait_until, lambda: log._producer._blocked, "it waits for room")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert log._producer._blocked
        frozen.thaw()

    with AuditLog(directory, queue_maxsize=1, ack_timeout=60, close_timeout=10) as log:
        asyncio.run(main(log))
    assert count_entries(directory) == 2


def test_who_is_cancelled_before_there_was_a_ticket_leaves_none_behind(directory: Path) -> None:
    async def main(log: AuditLog) -> None:
        producer = log._producer
        inside, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with producer._lock:
                inside.set()
                leave.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(10)
        task = asyncio.create_task(log.arecord("task.done", sync=True, timeout=60))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        leave.set()
        thread.join()
        is_kept = lambda: producer.seq == 2  # noqa: E731
        await asyncio.to_thread(wait_until, is_kept, "the event is recorded all the same")
        nobody_waits = lambda: not producer._tickets  # noqa: E731
        await asyncio.to_thread(wait_until, nobody_waits, "nobody waits for it")

    with AuditLog(directory, close_timeout=0) as log:
        log.record("task.created")
        asyncio.run(main(log))


def test_a_loop_that_is_closed_while_the_writer_thinks_harms_nobody(
    directory: Path, frozen: MortalWriter
) -> None:
    with AuditLog(directory, close_timeout=10) as log:
        log.record("task.created")
        loop = asyncio.new_event_loop()
        task = loop.create_task(log.arecord("task.done", sync=True, timeout=60))
        while log._producer.seq < 2:  # another thread may be inside for a moment
            loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # it is meant to be forgotten
        loop.close()
        frozen.thaw()
        assert log.flush(30)
        assert log.record("task.done", sync=True).id == 3


def test_errors_are_those_of_their_twins(directory: Path) -> None:
    async def main() -> None:
        with AuditLog(directory, best_effort=False, ack_timeout=0.05, close_timeout=0) as log:
            with pytest.raises(InvalidEvent, match="event_type"):
                await log.arecord("7")
            with pytest.raises(InvalidEvent, match="timeout is 'x'"):
                await log.arecord("a.b", sync=True, timeout="x")  # type: ignore[arg-type]
            with pytest.raises(InvalidEvent, match="timeout is 'x'"):
                await log.aflush("x")  # type: ignore[arg-type]
            assert log.statistics()["submitted"] == 0
            with pytest.raises(WriterUnavailable):
                await log.arecord("a.b", sync=True)
            with pytest.raises(WriterUnavailable):
                await log.aflush()
        for sync in (False, True):
            with pytest.raises(ClosedError):
                await log.arecord("a.b", sync=sync)

    asyncio.run(main())


@pytest.mark.usefixtures("writer")
def test_one_tasks_events_are_entered_in_its_order(directory: Path) -> None:
    async def work(log: AuditLog, task: int) -> None:
        for n in range(200):
            await log.arecord("step.done", {"task": task, "n": n}, sync=n % 50 == 0)

    async def main(log: AuditLog) -> None:
        await asyncio.gather(*(work(log, task) for task in range(5)))
        assert await log.aflush(30)

    with AuditLog(directory, queue_maxsize=20, ack_timeout=30) as log:
        asyncio.run(main(log))
    for task in range(5):
        rows = query(
            directory,
            "SELECT payload ->> 'n' FROM entries WHERE payload ->> 'task' = ? ORDER BY seq",
            (task,),
        )
        assert [row[0] for row in rows] == list(range(200))


@pytest.mark.usefixtures("frozen")
def test_the_loop_goes_on_while_an_operation_ends(directory: Path) -> None:
    async def work(log: AuditLog) -> Entry | None:
        async with log.operation("sync", workflow_id="wf", node_id="n") as op:
            await op.arun(["true"])
        return op.entry

    with AuditLog(directory, sync=True, ack_timeout=BLOCKED_S, close_timeout=0) as log:
        entry = asyncio.run(beating(work(log)))
        assert entry is not None
        assert entry.status == "unknown"


async def gather(calls: list[Coroutine[Any, Any, Entry]]) -> list[Entry]:
    return list(await asyncio.gather(*calls))
