"""One turn of one peer: it is served, its workers record their events, what it holds is checked."""

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measuring import machine
from bench.measuring.processes import SPAWN
from bench.peers.peer import Peer, Served, Shape, Took
from bench.peers.stored import check
from bench.workloads import Workload

START_S_MAX: Final = 60.0


class Turn(NamedTuple):
    """What it came to; CPU is that of all workers and the server."""

    events: int
    seconds: float  # from the first event to the last acknowledgement
    cpu_s: float
    stored_bytes: int
    durations_ns: "array[int]"
    retries: int

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


class _Share(NamedTuple):
    """What one process did; times are of the monotonic clock, which all processes share."""

    began_ns: int
    ended_ns: int
    cpu_s: float
    took: list[Took]


def take(peer: Peer, directory: Path, workload: Workload, workers: int, events_each: int) -> Turn:
    """Record ``events_each`` events a worker, the first of the workload, and check them.

    Raises `WrongEntries`, `NotServed`.
    """
    with peer.served(directory) as served:
        shares, server_cpu_s = _record(peer, served, workload, _numbers(peer, workers), events_each)
        stored_bytes = peer.stored_bytes(served)
        recorded = {
            number: workload.events(number, events_each)
            for numbers in _numbers(peer, workers)
            for number in numbers
        }
        check(peer.name, peer.stored(served), recorded)
    took = [each for share in shares for each in share.took]
    durations = array("q")
    for each in took:
        durations += each.durations_ns
    began, ended = min(s.began_ns for s in shares), max(s.ended_ns for s in shares)
    return Turn(
        events=events_each * len(took),
        seconds=(ended - began) / 1e9,
        cpu_s=server_cpu_s + sum(share.cpu_s for share in shares),
        stored_bytes=stored_bytes,
        durations_ns=durations,
        retries=sum(each.retries for each in took),
    )


def _numbers(peer: Peer, workers: int) -> list[range]:
    """The workers that each process plays."""
    match peer.shape:
        case Shape.PROCESSES:
            return [range(number, number + 1) for number in range(workers)]
        case Shape.THREADS:
            return [range(workers)]
        case Shape.ALONE:
            return [range(1)]


def _record(
    peer: Peer, served: Served, workload: Workload, numbers: Sequence[range], events_each: int
) -> tuple[list[_Share], float]:
    """What each process did, and the CPU time of the server meanwhile."""
    go = SPAWN.Event()
    arguments = (peer, served, workload, events_each, go)
    with _processes([(*arguments, each) for each in numbers]) as connections:
        for connection in connections:
            connection.recv()  # it is ready; or EOFError, when it has ended: it has said why
        before = 0.0 if served.pid is None else machine.tree_cpu_s(served.pid)
        go.set()
        shares = [connection.recv() for connection in connections]
        after = 0.0 if served.pid is None else machine.tree_cpu_s(served.pid)
    return shares, after - before


@contextmanager
def _processes(arguments: Sequence[tuple[Any, ...]]) -> "Iterator[list[Connection[Any, Any]]]":
    """One that does `_work` with each; none outlives the block."""
    processes: list[SpawnProcess] = []
    connections: list[Connection[Any, Any]] = []
    try:
        for each in arguments:
            ours, theirs = SPAWN.Pipe(duplex=False)
            process = SPAWN.Process(target=_work, args=(*each, theirs), daemon=True)
            process.start()
            theirs.close()  # or its end would not show when the worker dies
            processes.append(process)
            connections.append(ours)
        yield connections
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


def _work(
    peer: Peer,
    served: Served,
    workload: Workload,
    events_each: int,
    go: Flag,
    numbers: range,
    result: "Connection[Any, Any]",
) -> None:
    prepared = {
        number: peer.prepared(number, workload.events(number, events_each)) for number in numbers
    }
    with result, peer.opened(served) as opened:
        result.send(None)
        if not go.wait(START_S_MAX):
            raise TimeoutError("the others were not ready in time")
        cpu_before, began_ns = machine.own_cpu_s(), time.monotonic_ns()
        took = _record_all(peer, opened, prepared)
        ended_ns, cpu_s = time.monotonic_ns(), machine.own_cpu_s() - cpu_before
        result.send(_Share(began_ns, ended_ns, cpu_s, took))


def _record_all(peer: Peer, opened: Any, prepared: Mapping[int, Sequence[Any]]) -> list[Took]:
    """Each worker's events: one worker's here, those of several in a thread each."""
    if len(prepared) == 1:
        return [peer.record(opened, number, events) for number, events in prepared.items()]
    with ThreadPoolExecutor(len(prepared)) as threads:
        return list(threads.map(partial(peer.record, opened), prepared.keys(), prepared.values()))
