"""The parent of an import: it feeds chunks to worker processes and counts what they report.

It records nothing itself. A worker that dies is replaced, and its chunk given to another: the key
of a line makes that safe.
"""

import multiprocessing
import time
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final, NamedTuple

from hansard_writer.importing import worker
from hansard_writer.importing.fields import Fields, Place, Reading
from hansard_writer.importing.source import Content, chunks

DEATHS_MAX: Final = 5  # of workers at one chunk
STOP_S: Final = 5.0  # for idle workers to end by themselves

_SPAWN: Final = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold


class NoWriter(Exception):
    """No writer has answered for as long as the import was told to wait."""


class ImportFailed(Exception):
    """The import cannot go on. Says why; what is committed stays."""


@dataclass(slots=True)
class Report:
    """What became of a source: at the end, ``total = entered + already + refused``.

    ``recorded`` events are those that `record()` has returned for, in this import. Of what is
    refused ``kept`` are dead letters; of what is entered ``orphaned`` wait for their tasks.
    """

    path: Path
    total: int
    recorded: int = 0
    entered: int = 0
    already: int = 0
    refused: int = 0
    kept: int = 0
    orphaned: int = 0


class Observer:
    """Who is told of an import's course, from within it. Does nothing unless told to."""

    def refused(self, path: Path, place: Place, reason: str) -> None:
        """A line or a row was not entered, or the chunk that begins at it."""

    def recorded(self, events: int) -> None:
        """So many more events were recorded, not all of them committed."""

    def through(self, lines: int) -> None:
        """So many more lines or rows are entered, or refused."""

    def took(self, record_ns: "array[int]") -> None:
        """So long (ns) the calls of `record()` took, of events that are now committed."""

    def unanswered(self) -> None:
        """The writer has fallen silent."""


class Part(NamedTuple):
    """A chunk of a source, how it is read, and where it counts."""

    chunk: worker.Numbered
    reading: Reading
    report: Report


@dataclass(slots=True)
class _Job:
    chunk: worker.Numbered
    reading: Reading
    report: Report
    already: int | None = None  # before this import first touched it
    recorded: int = 0
    committed: int = 0
    deaths: int = 0

    def count_unfinished(self) -> None:
        """The import ends in the middle of it."""
        already = self.already or 0
        self.report.already += already
        self.report.entered += max(self.committed - already, 0)


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: "Connection[worker.Task, worker.Message]"
    job: _Job | None = None


class Import:
    """One run; `run` or `enter` once. ``wait_s``: for how long no writer may answer; ``guard``: a
    lock that the workers share."""

    def __init__(
        self,
        directory: Path,
        *,
        workers: int,
        wait_s: float,
        observer: Observer | None = None,
        guard: Path | None = None,
    ) -> None:
        self._guard = guard
        self._directory = directory
        self._workers = workers
        self._wait_s = wait_s
        self._observer = observer or Observer()
        self._created_at = time.time_ns()  # one for all: a line's bytes are the same in a retry
        self._silent_since: float | None = None
        self._pool: list[_Worker] = []
        self._again: deque[_Job] = deque()

    def run(self, files: Iterable[tuple[Content, Report, Fields]]) -> None:
        """Enter the lines of examined files, and count them in their reports.

        Raises `NoWriter`, `ImportFailed` and `Unreadable`; the reports then say how far it came.
        """
        self.enter(_of_files(files))

    def enter(self, parts: Iterable[Part]) -> None:
        """Enter the chunks of any sources, and count them in the reports. Raises as `run`."""
        jobs = (_Job(*part) for part in parts)
        try:
            while True:
                self._employ(jobs)
                busy = {each.connection: each for each in self._pool if each.job}
                if not busy:
                    break
                for connection in wait(list(busy)):
                    self._hear(busy[connection])  # type: ignore[index]
        except BaseException:
            for each in self._pool:
                each.process.kill()  # what it has recorded is in its spool
                if each.job:
                    each.job.count_unfinished()
            raise
        finally:
            self._dismiss()

    def _employ(self, jobs: Iterator[_Job]) -> None:
        """Give every worker a job, as long as there are jobs."""
        while sum(each.job is not None for each in self._pool) < self._workers:
            job = self._again.popleft() if self._again else next(jobs, None)
            if job is None:
                return
            each = next((each for each in self._pool if each.job is None), None) or self._hire()
            each.job = job
            try:
                each.connection.send(worker.Task(job.chunk, job.reading, self._created_at))
            except OSError:
                self._bury(each)

    def _hire(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        arguments = (theirs, self._directory, self._guard)
        process = _SPAWN.Process(target=worker.main, args=arguments, daemon=True)
        process.start()
        theirs.close()  # so that its death is the end of the connection
        self._pool.append(_Worker(process, ours))
        return self._pool[-1]

    def _hear(self, each: _Worker) -> None:
        job = each.job
        assert job is not None, "only workers with a job are listened to"
        try:
            message = each.connection.recv()
        except (EOFError, OSError):
            self._bury(each)
            return
        match message:
            case worker.Unanswered():
                self.note_silence()
                return
            case worker.Begun(already) if job.already is None:
                job.already = job.recorded = already
            case worker.Recorded(events, committed):
                grown, job.recorded = max(events - job.recorded, 0), max(events, job.recorded)
                job.committed = committed
                job.report.recorded += grown
                self._observer.recorded(grown)
            case worker.Done():
                each.job = None
                self._finish(job, message)
            case worker.Failed(reason):
                raise ImportFailed(reason)
        self._silent_since = None

    def _finish(self, job: _Job, done: worker.Done) -> None:
        already, report = min(job.already or 0, done.numbers), job.report
        new = [each for each in done.refused if each.number is None or each.number > already]
        kept = sum(each.number is not None for each in new)
        report.already += already
        report.entered += done.numbers - already - kept
        report.kept += kept
        report.refused += job.chunk.size - done.numbers + kept
        report.orphaned += done.orphaned
        self._observer.took(done.record_ns)
        for each in new:
            self._observer.refused(report.path, each.place, each.reason)
        self._observer.through(job.chunk.size)

    def _bury(self, each: _Worker) -> None:
        """A worker has died: its job is done again."""
        self._pool.remove(each)
        each.connection.close()
        each.process.join()
        job = each.job
        assert job is not None, "an idle worker's death shows when it gets a job"
        job.deaths += 1
        if job.deaths == DEATHS_MAX:
            raise ImportFailed(
                f"{job.report.path}: {DEATHS_MAX} worker processes died at the chunk that begins "
                f"at {job.chunk.first_place} (the last with status {each.process.exitcode}); what "
                "they said is above"
            )
        self._again.append(job)

    def note_silence(self) -> None:
        """No writer has answered for a while; raises `NoWriter` once that is too long."""
        now = time.monotonic()
        if self._silent_since is None:
            self._silent_since = now
            self._observer.unanswered()
        if now - self._silent_since >= self._wait_s:
            raise NoWriter(f"no writer has answered in {self._directory} for {self._wait_s:g} s")

    def _dismiss(self) -> None:
        for each in self._pool:
            each.connection.close()
        deadline = time.monotonic() + STOP_S
        for each in self._pool:
            each.process.join(max(deadline - time.monotonic(), 0))
            if each.process.is_alive():
                each.process.kill()
                each.process.join()
        self._pool.clear()


def _of_files(files: Iterable[tuple[Content, Report, Fields]]) -> Iterator[Part]:
    for content, report, fields in files:
        for chunk in chunks(content):
            yield Part(chunk, fields, report)
