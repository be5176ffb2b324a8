"""A worker process of a round: does a block of its program at each line of stdin, and notes every
event that `record()` has returned for. Run as ``python -m faults.chaos.worker``.

It plans nothing. What goes wrong in it, it says on stderr with a traceback: the round looks there.
"""

from __future__ import annotations

import faulthandler
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from faults.chaos.load import Action, WorkerPlan
from faults.chaos.notes import Notes
from faults.chaos.plan import worker_of
from faults.chaos.stream import SYNC_TIMEOUT_S, Stream
from hansard import AckTimeout, AuditLog, WriterUnavailable

if TYPE_CHECKING:
    from multiprocessing.context import ForkProcess

INTERRUPTION_S: Final = 0.0005


class Doing:
    """The actions of a plan, by name, for one process."""

    def __init__(self, directory: Path, plan: WorkerPlan, notes: Notes) -> None:
        self._directory, self._plan, self._notes = directory, plan, notes
        self._lives = itertools.count()
        self._children = itertools.count()
        self._processes: list[ForkProcess] = []
        self._forked: list[int] = []
        self._stream = self._open()

    def block(self, actions: tuple[Action, ...], stream: Stream | None = None) -> None:
        """Do them one after the other."""
        for action in actions:
            act: Callable[[Stream, Action], None] = getattr(self, action.do)
            act(stream or self._stream, action)

    def finish(self, how: str) -> None:
        """Come to the end of the process as ``how`` says: `load.ENDS`."""
        if how == "hard":
            self._stream.end()
            os._exit(0)
        for child in self._forked:
            os.waitpid(child, 0)
        for process in self._processes:
            process.join()
        if how == "close":
            self._close()
        else:
            self._stream.end()
        sys.exit(0)

    # --- what any thread may do ---

    def record(self, stream: Stream, action: Action) -> None:
        for _ in range(action.count):
            stream.record(stream.next_payload(action.bytes))

    def record_sync(self, stream: Stream, action: Action) -> None:
        for _ in range(action.count):
            stream.record(stream.next_payload(action.bytes), sync=True)

    def together(self, stream: Stream, action: Action) -> None:
        stream.together(action.count, action.bytes, sync=False)

    def together_sync(self, stream: Stream, action: Action) -> None:
        stream.together(action.count, action.bytes, sync=True)

    large = record

    def broken(self, stream: Stream, action: Action) -> None:
        """Text that says it is JSON and is none: a dead letter each."""
        for _ in range(action.count):
            text = json.dumps(stream.next_payload(0))
            stream.record(orjson.Fragment(text.replace("}", ",}").encode()))

    def tasked(self, stream: Stream, action: Action) -> None:
        for _ in range(action.count):
            stream.record(stream.next_payload(0), task=f"task-{action.how}")

    def register(self, stream: Stream, action: Action) -> None:
        stream.register(f"task-{action.how}")

    def flush(self, stream: Stream, _: Action) -> None:
        self._wait(lambda: stream.log.flush(SYNC_TIMEOUT_S))

    def drain(self, stream: Stream, _: Action) -> None:
        self._wait(lambda: stream.log.drain(SYNC_TIMEOUT_S))

    def pause(self, _: Stream, action: Action) -> None:
        time.sleep(action.count / 1_000)

    # --- what only the main thread does ---

    def reopen(self, *_: object) -> None:
        """Close the log, and open another instance."""
        self._close()
        self._stream = self._open()

    def threads(self, stream: Stream, action: Action) -> None:
        for thread in list(self._threads(stream, action.inner)):
            thread.join()

    def fork(self, stream: Stream, action: Action) -> None:
        """A child with one program, forked while a thread does the other."""
        mine, others = action.inner
        (thread,) = self._threads(stream, (others,))
        for process in self._processes:
            process.join()  # or the child would believe they are its own
        name = self._child_name()
        child = os.fork()
        if not child:
            self._be_child(name, mine, action.how)
        self._forked.append(child)
        thread.join()

    def process(self, stream: Stream, action: Action) -> None:
        """The same by multiprocessing, whose children run no exit hook but its own."""
        import multiprocessing

        context = multiprocessing.get_context("fork")
        arguments = (self._child_name(), action.inner[0], "return")
        process = context.Process(target=self._be_child, args=arguments)
        process.start()
        self._processes.append(process)

    def coroutines(self, stream: Stream, action: Action) -> None:
        """Two tasks of one event loop."""
        import asyncio  # here and not above: a round starts many of these processes

        branches = [stream.branch(), stream.branch()]

        async def one(branch: Stream) -> None:
            for _ in range(action.count // 2):
                await branch.arecord(branch.next_payload(action.bytes), sync=action.how == "sync")
            branch.end()

        async def both() -> None:
            await asyncio.gather(*map(one, branches))
            if self._plan.settings["best_effort"]:
                await stream.log.aflush(SYNC_TIMEOUT_S)

        asyncio.run(both())

    def interrupted(self, stream: Stream, action: Action) -> None:
        """A signal handler records too, wherever in a `record` the signal comes."""
        handlers = stream.branch()
        may_record = threading.Lock()  # or a signal in the handler would come before its number

        def handle(*_: object) -> None:
            if may_record.acquire(blocking=False):
                handlers.record(handlers.next_payload(0))
                may_record.release()

        signal.signal(signal.SIGALRM, handle)
        signal.setitimer(signal.ITIMER_REAL, INTERRUPTION_S, INTERRUPTION_S)
        self.record(stream, action)
        signal.setitimer(signal.ITIMER_REAL, 0)
        may_record.acquire()  # for good: one that is still to come records nothing
        handlers.end()

    # --- inside ---

    def _open(self) -> Stream:
        log = AuditLog(self._directory, **self._plan.settings)
        return Stream(log, f"{self._notes.process}.{next(self._lives)}", self._notes)

    def _close(self) -> None:
        stream = self._stream
        stream.log.close()
        dropped = stream.log.statistics()["dropped"]
        self._notes.dropped(stream.name, sum(dropped.values()))
        stream.end()

    def _threads(
        self, stream: Stream, programs: tuple[tuple[Action, ...], ...]
    ) -> Iterator[threading.Thread]:
        """Threads that have been started, each with a program and a stream of its own."""

        def run(branch: Stream, program: tuple[Action, ...]) -> None:
            self.block(program, branch)
            branch.end()

        for program in programs:
            thread = threading.Thread(target=run, args=(stream.branch(), program))
            thread.start()
            yield thread

    def _child_name(self) -> str:
        return f"{self._notes.process}-{next(self._children)}"

    def _be_child(self, name: str, program: tuple[Action, ...], end: str) -> None:
        """In a forked child: its own notes and numbers, on the log that it has inherited."""
        notes = Notes(self._notes.directory, name)
        stream = Stream(self._stream.log, name, notes)
        self.block(program, stream)
        if end == "close":
            stream.log.close()
        stream.end()
        if end == "hard":
            os._exit(0)
        if end != "return":
            sys.exit(0)

    def _wait(self, wait: Callable[[], bool]) -> None:
        try:
            wait()
        except (AckTimeout, WriterUnavailable):
            if self._plan.settings["best_effort"]:
                raise


def main() -> None:
    """Arguments: the log's directory, the plan's file, the notes' directory, index, life, beat."""
    directory, plan_path, notes_directory = map(Path, sys.argv[1:4])
    index, life, beat = map(int, sys.argv[4:])
    faulthandler.register(signal.SIGUSR1)
    plan = worker_of(plan_path.read_text(), index)
    if plan.on_terminate == "exit":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    notes = Notes(notes_directory, f"{index}-{life}")
    doing = Doing(directory, plan, notes)
    for beat, _ in enumerate(sys.stdin, beat):  # noqa: B020 - from where the last life ended
        doing.block(plan.blocks[beat])
        notes.done(beat)
    doing.finish(plan.end)


if __name__ == "__main__":
    main()
