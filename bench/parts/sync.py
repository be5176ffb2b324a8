"""What a caller waits for the ack of one event, beside the least that any design must wait.

The least is a process that answers each request over a REQ/REP pair of ipc sockets with the
commit of one row, ``synchronous=FULL``: no threads, no validation, no batch. Alternating blocks,
one caller. Behind it come many callers at once, which are `callers`.
"""

import time
from array import array
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any, Final

import zmq

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, Found, distribution, latency_curve, percentile
from bench.measuring.processes import SPAWN, in_fresh_process
from bench.measuring.run import Run
from bench.parts import callers, limit
from bench.workloads import TASKS
from hansard import AuditLog

PART: Final = "sync"
CALLS_SHARE: Final = 200  # one call for so many events of a run
BLOCKS: Final = 10  # of each kind
START_S_MAX: Final = 30.0
ANSWER_MS_MAX: Final = 10_000
ANSWER_S_MAX: Final = 120.0  # beside others
RATIO_MAX: Final = 2.0


def run(share: Run) -> Found:
    """One caller and the least by turns; then many callers. Raises `WrongEntries`."""
    share.place.mkdir()
    calls = max(share.events // CALLS_SHARE, 1)
    share.tell("1 caller and the least")
    found = _alone(share.place, calls)
    found.add(callers.run(share.place / "callers", calls, share.tell, is_quick=share.is_quick))
    return found


def _alone(place: Path, calls: int) -> Found:
    directory, bare = place / "log", place / "bare"
    ready = SPAWN.Event()
    committer = SPAWN.Process(target=_commit_each, args=(bare, ready), daemon=True)
    committer.start()
    with hansard_writer.running(directory, log_level="warning"):
        if not ready.wait(START_S_MAX):
            raise TimeoutError("the bare committer did not start")
        producer_hash, ours, least = in_fresh_process(_measure, directory, _endpoint(bare), calls)
    committer.join()
    entered.check(directory, {producer_hash: TASKS.events(0, len(ours))})
    p50, least_p50 = (percentile(sorted(each), 0.5) for each in (ours, least))
    return Found(
        [
            *distribution(PART, "record(sync=True)", ours, TASKS.name),
            *distribution(PART, "bare REQ/REP and commit", least, TASKS.name),
            Figure(PART, "record(sync=True) p50 / bare p50", p50 / least_p50, "x",
                   RATIO_MAX, workload=TASKS.name),
        ],
        [latency_curve(callers.PLOT, "bare REQ/REP and commit", least)],
    )  # fmt: skip


def call(directory: Path, count: int, result: "Connection[Any, Any]") -> None:
    """Record so many events synchronously, and send how long each took, in ns: in a process of its
    own, beside whatever else is measured."""
    durations, clock = array("q"), time.perf_counter_ns
    with closing(result), AuditLog(directory, sync=True, best_effort=False) as log:
        for number in range(count):
            began = clock()
            log.record("bench.called", {"n": number}, timeout=ANSWER_S_MAX)
            durations.append(clock() - began)
        result.send(durations)


def _endpoint(directory: Path) -> str:
    return f"ipc://{directory}.sock"


def _measure(
    directory: Path, endpoint: str, count: int
) -> tuple[bytes, "array[int]", "array[int]"]:
    ours, least, clock = array("q"), array("q"), time.perf_counter_ns
    size = max(count // BLOCKS, 1)
    source = TASKS.events(0, BLOCKS * size)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with (
        AuditLog(directory, sync=True, best_effort=False) as log,
        context,
        context.socket(zmq.REQ) as socket,
    ):
        socket.connect(endpoint)
        socket.rcvtimeo = ANSWER_MS_MAX
        for start in range(0, len(source), size):
            for event_type, payload, level, actor, task_id in source[start : start + size]:
                began = clock()
                entry = log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
                ours.append(clock() - began)
            for _ in range(size):
                began = clock()
                socket.send(b"commit")
                socket.recv()
                least.append(clock() - began)
        socket.send(b"")
    assert entry.key is not None
    return entry.key[0], ours, least


def _commit_each(directory: Path, ready: Flag) -> None:
    """Commit one row for each request, until an empty one comes."""
    store, connection = limit.open_store(directory)
    row = (0, 1, time.time_ns(), "tool.called", "info", "agent:0", "task-0", '{"n":1}')
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.REP) as socket:
        socket.bind(_endpoint(directory))
        ready.set()
        seq = 0
        while socket.recv():
            seq += 1
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(limit.INSERT, (seq, *row))
            connection.execute("COMMIT")
            socket.send(b"committed")
            limit.keep_wal_small(store)
    store.close()
