"""Recovery: from `kill -9` of the writer to the first new ack, and until all is in that was
spooled.

`hansard serve --supervise` starts the writer again, as for a user. The writer is stopped first, so
that the workers' events are in their spools, and all of them to come; then it is killed, with the
workers or without. The first ack is that of another process's `record(sync=True)`, which begins at
the kill: an event that may have to wait behind what the new writer takes in first.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.measuring import entered
from bench.measuring.figures import Figure, Found, median
from bench.measuring.processes import SPAWN
from bench.measuring.run import Run
from bench.workloads import TASKS
from bench.workloads.event import Event
from hansard import AuditLog
from hansard.reader_connection import ReadConnection

PART: Final = "recover"
SPOOLED: Final = 100_000
WORKERS: Final = 4
ROUNDS: Final = 3  # of each kind, by turns; their medians count
FIRST_ACK_S_MAX: Final = 1.0
COMMITTED_S_MAX: Final = 3.0
WAIT_S_MAX: Final = 60.0
POLL_S: Final = 0.005
STOP_S_MAX: Final = 30.0

_CALLER: Final = WORKERS  # its number, behind the workers'
_LOOKS: Final = {"workers alive": False, "workers killed too": True}


class _Recovery(NamedTuple):
    """Times (s) since the kill."""

    first_ack: float
    committed: float


class _Process(NamedTuple):
    """One that records, what is said to it and by it, and the hash of its producer."""

    process: Any
    pipe: "Connection[Any, Any]"
    producer_hash: bytes

    def receive(self) -> Any:
        """What it says next."""
        if not self.pipe.poll(WAIT_S_MAX):
            raise TimeoutError(f"nothing came of a process within {WAIT_S_MAX:g} s")
        return self.pipe.recv()


def run(share: Run, *, spooled: int = SPOOLED, rounds: int = ROUNDS) -> Found:
    """Kill so often, with so many events spooled. Raises `WrongEntries`."""
    share.place.mkdir()
    recoveries: dict[str, list[_Recovery]] = {name: [] for name in _LOOKS}
    for number in range(rounds):
        for name, kills_workers in _LOOKS.items():
            share.tell(f"{name}, {number + 1} of {rounds}")
            directory = share.place / f"{number}-{kills_workers}"
            recovery = _recover(directory, spooled // WORKERS, kills_workers=kills_workers)
            recoveries[name].append(recovery)
    return Found([each for name in _LOOKS for each in _figures(name, spooled, recoveries[name])])


def _figures(name: str, spooled: int, recoveries: list[_Recovery]) -> Iterator[Figure]:
    for what, values, reach in (
        ("first new ack", [each.first_ack for each in recoveries], FIRST_ACK_S_MAX),
        (f"{spooled:,} spooled events in", [each.committed for each in recoveries],
         COMMITTED_S_MAX),
    ):  # fmt: skip
        yield Figure(PART, f"{name}: {what}", median(values), "s", reach, workload=TASKS.name)


def _recover(directory: Path, events_each: int, *, kills_workers: bool) -> _Recovery:
    with _supervised(directory) as writer_pid, _recording(directory, events_each) as processes:
        *workers, caller = processes
        os.kill(writer_pid, signal.SIGSTOP)
        for each in workers:
            each.pipe.send("record")
        for each in workers:
            each.receive()
        with closing(ReadConnection(directory)) as log:
            if (early := _count(log)) != len(processes):
                raise TimeoutError(f"{early:,} events are in already: the writer did not stop")
            if kills_workers:
                for each in workers:
                    each.process.kill()
                    each.process.join()
            caller.pipe.send("call")
            killed = time.monotonic()
            os.kill(writer_pid, signal.SIGKILL)
            if not kills_workers:
                for each in workers:
                    each.pipe.send("flush")
                committed = max(each.receive() for each in workers)
            else:
                committed = _when_entered(log, WORKERS * events_each + len(processes) + 1)
        acked: float = caller.receive()
    recorded = {
        each.producer_hash: TASKS.events(number, events_each + 1)
        for number, each in enumerate(workers)
    }
    entered.check(directory, recorded | {caller.producer_hash: TASKS.events(_CALLER, 2)})
    return _Recovery(acked - killed, committed - killed)


@contextmanager
def _supervised(directory: Path) -> Iterator[int]:
    """A supervised writer; the process id of the first."""
    command = [sys.executable, "-m", "hansard_writer", "serve", "--supervise"]
    with subprocess.Popen(
        [*command, "--dir", str(directory), "--log-level=error"],
        stdout=subprocess.PIPE,
        text=True,
    ) as supervisor:
        try:
            assert supervisor.stdout is not None
            ready = supervisor.stdout.readline()
            if " pid=" not in ready:
                raise ChildProcessError("the supervised writer did not start")
            yield int(ready.partition(" pid=")[2].split()[0])
        finally:
            supervisor.terminate()
            supervisor.wait(STOP_S_MAX)


@contextmanager
def _recording(directory: Path, events_each: int) -> Iterator[list[_Process]]:
    """The workers, and the caller behind them, each with one event committed."""
    started, processes = [], []
    try:
        for number in range(WORKERS + 1):
            ours, theirs = SPAWN.Pipe()
            work, count = (_call, 2) if number == _CALLER else (_work, events_each + 1)
            process = SPAWN.Process(target=work, args=(directory, number, count, theirs))
            process.start()
            theirs.close()
            started.append((process, ours))
        for process, ours in started:
            processes.append(_Process(process, ours, _Process(process, ours, b"").receive()))
        yield processes
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _work(directory: Path, number: int, count: int, pipe: "Connection[Any, Any]") -> None:
    """Record one event, and when told the others; when told say when all are committed."""
    first, *others = TASKS.events(number, count)
    with AuditLog(directory) as log:
        pipe.send(_hash_of_first(log, first))
        pipe.recv()
        for event_type, payload, level, actor, task_id in others:
            log.record(event_type, payload, level=level, actor=actor, task_id=task_id)
        pipe.send("recorded")
        pipe.recv()
        if not log.flush(WAIT_S_MAX):
            raise TimeoutError(f"not committed within {WAIT_S_MAX:g} s")
        pipe.send(time.monotonic())


def _call(directory: Path, number: int, count: int, pipe: "Connection[Any, Any]") -> None:
    """Record one event, and when told another; say when that is acked."""
    first, second = TASKS.events(number, count)
    with AuditLog(directory, best_effort=False) as log:
        pipe.send(_hash_of_first(log, first))
        pipe.recv()
        log.record(**second._asdict(), sync=True, timeout=WAIT_S_MAX)
        pipe.send(time.monotonic())


def _hash_of_first(log: AuditLog, first: Event) -> bytes:
    """The producer's hash, from an event that is then committed."""
    entry = log.record(**first._asdict(), sync=True, timeout=WAIT_S_MAX)
    assert entry.key is not None
    return entry.key[0]


def _when_entered(log: ReadConnection, count: int) -> float:
    deadline = time.monotonic() + WAIT_S_MAX
    while (entries := _count(log)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {entries:,} of {count:,} events were in after all that time")
        time.sleep(POLL_S)
    return time.monotonic()


def _count(log: ReadConnection) -> int:
    """Entries: seqs are without holes."""
    ((last,),) = log.rows("SELECT coalesce(max(seq), 0) FROM entries")
    return int(last)
