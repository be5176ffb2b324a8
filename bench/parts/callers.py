"""Synchronous callers, 1 to 64 at once, which share the writer's commits: acks/s and latency.

They are threads of at most four processes, or tasks of one event loop. Each calls again as soon as
it is answered. Every number of callers has fresh logs, by turns with the others.
"""

import asyncio
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, Found, distribution, latency_curve, median
from bench.measuring.processes import SPAWN, started
from bench.workloads import TASKS
from bench.workloads.event import Event
from hansard import AuditLog

PART: Final = "sync"
PLOT: Final = "sync latency"
CALLERS: Final = (1, 4, 16, 64)
CALLERS_QUICK: Final = (1, 64)
PROCESSES_MAX: Final = 4
TIMES_MAX: Final = 8  # many callers make so many times the calls of one
ROUNDS: Final = 3  # medians of the rates count
START_S_MAX: Final = 60.0
ANSWER_S_MAX: Final = 60.0
RATIO_MIN: Final = 8.0


_Sources = Sequence[list[dict[str, Any]]]  # the arguments of each caller's calls
_Numbers = Sequence["array[int]"]
_Ready = Callable[[AuditLog, _Sources, _Numbers, "array[int]"], Callable[[], None]]


class _Kind(NamedTuple):
    """So many callers at a time, as threads or as tasks."""

    callers: int
    are_tasks: bool = False

    @property
    def name(self) -> str:
        if self.are_tasks:
            return f"{self.callers} asyncio callers"
        return "1 caller" if self.callers == 1 else f"{self.callers} callers"

    @property
    def processes(self) -> int:
        return 1 if self.are_tasks else min(self.callers, PROCESSES_MAX)


class _Calls(NamedTuple):
    """What the callers of one process did; times are of the monotonic clock, which all processes
    share. ``numbers`` are those that the producer gave to each caller's events."""

    producer_hash: bytes
    callers: range
    began_ns: int
    ended_ns: int
    durations: "array[int]"  # ns
    numbers: list["array[int]"]


def run(place: Path, calls: int, tell: Callable[[str], None], *, is_quick: bool) -> Found:
    """``calls`` of one caller, and some times as many of many. Raises `WrongEntries`."""
    place.mkdir()
    kinds = [_Kind(count) for count in (CALLERS_QUICK if is_quick else CALLERS)]
    kinds.append(_Kind(CALLERS[-1], are_tasks=True))
    done: dict[_Kind, list[list[_Calls]]] = {kind: [] for kind in kinds}
    for number in range(1 if is_quick else ROUNDS):
        for kind in kinds:
            tell(kind.name)
            each = max(calls * min(kind.callers, TIMES_MAX) // kind.callers, 1)
            done[kind].append(_round(place / f"{kind.name} {number}", kind, each))
    return _found(done)


def _found(done: dict[_Kind, list[list[_Calls]]]) -> Found:
    found = Found()
    rates = {kind: median([_rate(each) for each in rounds]) for kind, rounds in done.items()}
    for kind, rounds in done.items():
        durations = [ns for calls in rounds for each in calls for ns in each.durations]
        found.figures += distribution(PART, kind.name, durations, TASKS.name)
        found.figures.append(
            Figure(PART, f"{kind.name}, acks", rates[kind], "acks/s", workload=TASKS.name)
        )
        found.curves.append(latency_curve(PLOT, f"Hansard, {kind.name}", durations))
    for kind, rate in rates.items():
        if kind.callers == CALLERS[-1]:
            name, times = f"acks/s of {kind.name} / of 1", rate / rates[_Kind(1)]
            reach = None if kind.are_tasks else RATIO_MIN
            found.figures.append(
                Figure(PART, name, times, "x", reach_min=reach, workload=TASKS.name)
            )
    return found


def _rate(processes: Sequence[_Calls]) -> float:
    """Acks a second, from the first call to the last ack."""
    ns = max(each.ended_ns for each in processes) - min(each.began_ns for each in processes)
    return sum(len(each.durations) for each in processes) * 1e9 / ns


def _round(directory: Path, kind: _Kind, calls_each: int) -> list[_Calls]:
    """Let so many call at once, each so often, and check what they recorded."""
    size = kind.callers // kind.processes
    shares = [range(first, first + size) for first in range(0, kind.callers, size)]
    ready = _tasks if kind.are_tasks else _threads
    with hansard_writer.running(directory, log_level="warning"):
        together = SPAWN.Barrier(len(shares))
        pipes = [started(_call, directory, share, calls_each, ready, together) for share in shares]
        done: list[_Calls] = [pipe.recv() for pipe in pipes]
    entered.check(directory, {each.producer_hash: _recorded(each, calls_each) for each in done})
    return done


def _recorded(calls: _Calls, calls_each: int) -> list[Event]:
    """The events of a process in the order of their numbers, of which the first warmed it."""
    numbered = [
        each
        for caller, numbers in zip(calls.callers, calls.numbers, strict=True)
        for each in zip(numbers, TASKS.events(caller, calls_each), strict=True)
    ]
    return [_warming(calls.callers), *(event for _, event in sorted(numbered))]


def _warming(callers: range) -> Event:
    """What a process records before the clock runs, so that it is connected."""
    return TASKS.events(CALLERS[-1] + callers.start, 1)[0]


def _arguments(event: Event) -> dict[str, Any]:
    return {**event._asdict(), "sync": True, "timeout": ANSWER_S_MAX}


def _call(
    directory: Path,
    callers: range,
    calls_each: int,
    ready: _Ready,
    together: Barrier,
    result: "Connection[Any, Any]",
) -> None:
    """The callers of one process; all begin when those of the other processes can begin too."""
    durations, numbers = array("q"), [array("q") for _ in callers]
    with closing(result), AuditLog(directory, best_effort=False) as log:
        warming = log.record(**_arguments(_warming(callers)))
        sources = [[_arguments(e) for e in TASKS.events(each, calls_each)] for each in callers]
        call_all = ready(log, sources, numbers, durations)
        together.wait(START_S_MAX)
        began_ns = time.monotonic_ns()
        call_all()
        ended_ns = time.monotonic_ns()
        assert warming.key is not None
        result.send(_Calls(warming.key[0], callers, began_ns, ended_ns, durations, numbers))


def _threads(
    log: AuditLog, sources: _Sources, numbers: _Numbers, durations: "array[int]"
) -> Callable[[], None]:
    """A thread for each caller, which waits; what is returned lets them go, and waits for them."""
    clock, start = time.perf_counter_ns, threading.Barrier(len(sources) + 1)

    def call(source: list[dict[str, Any]], own: "array[int]") -> None:
        took = array("q")
        start.wait(START_S_MAX)
        for arguments in source:
            began = clock()
            entry = log.record(**arguments)
            took.append(clock() - began)
            own.append(_number(entry.key))
        durations.extend(took)

    threads = [
        threading.Thread(target=call, args=each) for each in zip(sources, numbers, strict=True)
    ]
    for thread in threads:
        thread.start()

    def call_all() -> None:
        start.wait(START_S_MAX)
        for thread in threads:
            thread.join()

    return call_all


def _tasks(
    log: AuditLog, sources: _Sources, numbers: _Numbers, durations: "array[int]"
) -> Callable[[], None]:
    """The same with a task of one event loop for each caller."""
    clock = time.perf_counter_ns

    async def call(source: list[dict[str, Any]], own: "array[int]") -> None:
        for arguments in source:
            began = clock()
            entry = await log.arecord(**arguments)
            durations.append(clock() - began)
            own.append(_number(entry.key))

    async def all_of_them() -> None:
        await asyncio.gather(*map(call, sources, numbers))

    return lambda: asyncio.run(all_of_them())


def _number(key: Any) -> int:
    assert key is not None
    return int(key[1])
