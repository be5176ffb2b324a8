"""A worker process under load, of one of many kinds; it notes what `record()` returned for.

Run as ``python -m faults.load KIND DIR NAME NOTES SEED``, with settings in ``HANSARD_*``. It goes
on until SIGTERM, or until its parent is gone; then it delivers what it has and prints its
statistics. It checks nothing.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import apsw

from hansard import AuditLog, Entry, reader

ROUND_S: Final = 0.1  # between two rounds of the kinds that do not hurry
DRAIN_S: Final = 60.0
SLEEPS_S: Final = 2.0  # of a reader in its transaction
SLEEP_INTERVAL_S: Final = 15.0
SEARCHES_OF: Final = 500  # ids, from the end
WAIT_S_MIN: Final = 0.001  # a record() that takes longer has waited for room


class Notes:
    """What `record()` has returned for, a line an event, shared by the threads and children of a
    worker: appends of one write each, so that a kill loses none that was made."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def take(self, name: str, number: int, entry: Entry) -> None:
        producer_hash, seq = entry.key or (b"", 0)
        line = f"{name} {number} {producer_hash.hex() or '-'} {seq} {entry.status}\n"
        os.write(self._descriptor, line.encode())


class Teller:
    """Whoever tells of numbered events under one name: a process, a thread or a child."""

    def __init__(self, name: str, notes: Notes) -> None:
        self.name = name
        self._notes = notes
        self._number = 0

    def event(self, **more: Any) -> dict[str, Any]:
        self._number += 1
        return {"w": self.name, "n": self._number, **more}

    def heard(self, event: dict[str, Any], entry: Entry) -> None:
        self._notes.take(self.name, event["n"], entry)

    def beside(self, suffix: object) -> "Teller":
        return Teller(f"{self.name}.{suffix}", self._notes)


class Worker:
    """One process: its log, its name, and what it does in a round."""

    def __init__(self, directory: Path, name: str, notes: Path, seed: str) -> None:
        self._ended = False
        signal.signal(signal.SIGTERM, self._end)  # before the notes, which say that it is there
        self.log = AuditLog(directory)
        self.directory = directory
        self.teller = Teller(name, Notes(notes / f"{name}.notes"))
        self.random = random.Random(f"{seed}:{name}")
        self.rounds = 0
        self.waited_s = 0.0  # of those that flood, for room
        self._parent = os.getppid()
        self._tellers: dict[int, Teller] = {}

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ended = True

    def goes_on(self) -> bool:
        return not self._ended and os.getppid() == self._parent

    def record(self, teller: Teller | None = None, **options: Any) -> None:
        teller = teller or self.teller
        event = teller.event(**options.pop("more", {}))
        teller.heard(event, self.log.record("step.done", event, **options))

    def nth(self, number: int) -> Teller:
        """One of several threads or tasks, which goes on with its own numbers each round."""
        return self._tellers.setdefault(number, self.teller.beside(number))


def steady(worker: Worker) -> None:
    for _ in range(30):
        worker.record()


def synchronous(worker: Worker) -> None:
    worker.record(sync=True)


def together(worker: Worker) -> None:
    events = [worker.teller.event() for _ in range(25)]
    rows = [{"event_type": "step.done", "payload": event} for event in events]
    for event, entry in zip(events, worker.log.record_many(rows), strict=True):
        worker.teller.heard(event, entry)


def threads(worker: Worker) -> None:
    def record_some(number: int) -> None:
        for _ in range(5):
            worker.record(worker.nth(number))

    started = [threading.Thread(target=record_some, args=(number,)) for number in range(4)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def asynchronous(worker: Worker) -> None:
    async def record_some(number: int) -> None:
        teller = worker.nth(number)
        for sync in (False, False, True):
            event = teller.event()
            teller.heard(event, await worker.log.arecord("step.done", event, sync=sync))

    async def record_all() -> None:
        await asyncio.gather(*map(record_some, range(5)))
        await worker.log.aflush()

    asyncio.run(record_all())


def others(worker: Worker) -> None:
    """What is no plain event: operations with output, refusals, tasks, calls."""
    log, number = worker.log, worker.rounds
    with log.operation("soak", workflow_id="wf", node_id=f"n{number % 7}") as op:
        op.run(["/bin/sh", "-c", "echo out of the way; echo not found >&2"])
    log.refusal(f"agent:{number % 5}", {"kind": "deploy"}, {"decision": "refuse"})
    log.register_task(f"{worker.teller.name}/{number}", title="a task")
    worker.record(task_id=f"{worker.teller.name}/{number}")
    log.call("count_up", f"counter {number % 3}")


def parent(worker: Worker) -> None:
    """A child a round, which records at once and ends in one of four ways."""
    end = worker.random.choice(["close", "exit", "no hooks", "killed"])
    teller = worker.teller.beside(worker.rounds)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for _ in range(20):
            worker.record(teller)
        if end == "close":
            worker.log.close()
        elif end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "exit":
            sys.exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    worker.record()


def flood(worker: Worker) -> None:
    """As fast as it can, for a moment."""
    until = time.monotonic() + ROUND_S
    padding = "x" * int(os.environ.get("FLOOD_BYTES", "0"))
    while (before := time.monotonic()) < until:
        worker.record(more={"padding": padding})
        took_s = time.monotonic() - before
        worker.waited_s += took_s if took_s > WAIT_S_MIN else 0.0


def read(worker: Worker) -> None:
    """Queries beside it all, and now and then a read transaction that somebody sleeps in."""
    with reader.LogReader(worker.directory, considerate=True) as log:
        newest = next(log.events(limit=1, newest_first=True), None)
        after = max((newest.id if newest else 0) - SEARCHES_OF, 0)
        list(log.events("step.done", after_id=after, limit=100))
        list(log.search("found", limit=5, newest_first=True))
        list(log.where("n", 7, after_id=after, limit=5))
        log.count_refusals("agent:1")
    if worker.rounds % int(SLEEP_INTERVAL_S / PAUSES_S["read"]) == 0:
        path = str(worker.directory / "log.db")
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM producers").fetchall()
        time.sleep(SLEEPS_S)
        connection.close()


KINDS: Final[dict[str, Callable[[Worker], None]]] = {
    "steady": steady,
    "synchronous": synchronous,
    "together": together,
    "threads": threads,
    "asynchronous": asynchronous,
    "others": others,
    "parent": parent,
    "flood": flood,
    "read": read,
}
PAUSES_S: Final = {"flood": 0.0, "others": 0.5, "read": 1.0}


def main() -> None:
    """Rounds of one kind, until the end."""
    kind, directory, name, notes, seed = sys.argv[1:]
    worker = Worker(Path(directory), name, Path(notes), seed)
    do, pause_s = KINDS[kind], PAUSES_S.get(kind, ROUND_S)
    began = time.monotonic()
    while worker.goes_on():
        do(worker)
        worker.rounds += 1
        time.sleep(pause_s)
    waited_share = worker.waited_s / (time.monotonic() - began)
    worker.log.drain(DRAIN_S)
    facts = {**worker.log.statistics(), "waited_share": waited_share}
    print(json.dumps({**facts, "left": worker.log.close(10.0)}), flush=True)


if __name__ == "__main__":
    main()
