"""Real files through real workers, the writer killed on the way, and a count.

What was lost or doubled is counted by holding the database against the files. It prints nothing.
"""

import hashlib
import os
import re
import signal
import time
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.reader import LogReader
from hansard_writer import importing
from hansard_writer.running_writer import start

WAIT_S: Final = 60.0
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_.:/-]")
_TYPE_CHARS: Final = 200

Texts = Counter[tuple[str, bytes]]  # event type and hash of the payload: how often


@dataclass(frozen=True, slots=True)
class EventSet:
    """A file, and what became of its events. ``entered`` is counted in the database."""

    name: str
    lines: int
    refused: int
    recorded: int
    entered: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration has shown. ``record_ns`` are all calls' times, in order of size."""

    sets: list[EventSet]
    seconds: float
    record_ns: list[int]
    was_killed: bool
    lost: int
    doubled: int


def run(
    directory: Path, files: list[Path], *, workers: int, kill: bool, tell: Callable[[str], None]
) -> Outcome:
    """Import ``files`` into a new log in ``directory``; ``tell`` gets a line as things happen.

    Raises `ConfigError` when there is a log already, and what an import raises.
    """
    if (directory / layout.DATABASE).exists():
        raise ConfigError(f"{directory} has a log already: name a directory that has none")
    layout.prepare_for_client(directory)
    contents = _contents(files)
    reports = {name: importing.Report(each.path, each.lines) for name, each in contents.items()}
    with _Writers(directory, tell) as writers:
        course = _Course(writers, sum(each.lines for each in contents.values()), kill=kill)
        began = time.monotonic()
        run = importing.Import(directory, workers=workers, wait_s=WAIT_S, observer=course)
        run.run(
            (contents[name], report, importing.Fields(event_type=name))
            for name, report in reports.items()
        )
        seconds = time.monotonic() - began
    expected, found = _expected(contents, course.refused_lines), _found(directory, contents)
    return Outcome(
        list(_sets(reports, found)),
        seconds,
        sorted(course.record_ns),
        course.was_killed,
        *lost_and_doubled(expected, found),
    )


def lost_and_doubled(expected: Texts, found: Texts) -> tuple[int, int]:
    """How many lines have no entry, and how many entries no line."""
    return (expected - found).total(), (found - expected).total()


class _Writers:
    """The one writer process that runs at a time."""

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self.directory = directory
        self.tell = tell

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.stop()

    def start(self) -> None:
        """The same command as a user would type, quieter."""
        self._writer = start(self.directory, log_level="warning")
        try:
            self.tell(f"writer {self._writer.pid} started")
        except BaseException:  # whoever is told has gone, and must not leave a writer behind
            self._writer.stop()
            raise

    def kill(self) -> int:
        """As `kill -9` does; how many events the log has then."""
        os.kill(self._writer.pid, signal.SIGKILL)
        self._writer.process.wait()
        with LogReader(self.directory) as reader:
            return reader.count()


class _Course(importing.Observer):
    """Kills the writer once half of the events are recorded, and not all of these committed."""

    def __init__(self, writers: _Writers, events: int, *, kill: bool) -> None:
        self._writers = writers
        self._kill_at = events // 2 if kill else None
        self._recorded = 0
        self.was_killed = False
        self.refused_lines: set[tuple[Path, importing.Place]] = set()
        self.record_ns = array("q")

    def refused(self, path: Path, place: importing.Place, reason: str) -> None:
        self.refused_lines.add((path, place))
        self._writers.tell(f"{path}:{place}: {reason}")

    def took(self, record_ns: "array[int]") -> None:
        self.record_ns.extend(record_ns)

    def recorded(self, events: int) -> None:
        self._recorded += events
        if self._kill_at is None or self._recorded < self._kill_at:
            return
        committed = self._writers.kill()
        if committed < self._recorded:
            self._kill_at, self.was_killed = None, True
            state = f"{self._recorded:,} events recorded, {committed:,} of them committed"
        else:  # the workers' word is a little late: kill it again at the next
            state = f"with all {committed:,} events committed"
        self._writers.tell(f"writer killed with -9: {state}")
        self._writers.start()


def _contents(files: list[Path]) -> dict[str, importing.Content]:
    """The files, examined, by the event type that is made from their name."""
    contents: dict[str, importing.Content] = {}
    seen: set[bytes] = set()
    for path in files:
        content = importing.examine(path)
        if content.sha256 in seen:
            continue  # the same lines have the same keys
        seen.add(content.sha256)
        name = _FORBIDDEN.sub("_", path.name.split(".")[0])[:_TYPE_CHARS]
        name = name if name[:1].isalpha() else f"set_{name}"
        while name in contents:
            name += "_"
        contents[name] = content
    return contents


def _sets(reports: dict[str, importing.Report], found: Texts) -> Iterator[EventSet]:
    entered: Counter[str] = Counter()
    for (name, _), count in found.items():
        entered[name] += count
    for name, report in reports.items():
        yield EventSet(
            name,
            report.total,
            report.refused,
            report.recorded,
            entered[name],
        )


def _expected(
    contents: dict[str, importing.Content], refused: set[tuple[Path, importing.Place]]
) -> Texts:
    """Type and payload hash of every line that was not refused."""
    expected: Texts = Counter()
    for name, content in contents.items():
        for chunk in importing.chunks(content):
            for number, line in chunk.items:
                if (content.path, number) not in refused:
                    expected[name, hashlib.sha256(line).digest()] += 1
    return expected


def _found(directory: Path, types: Collection[str]) -> Texts:
    """Type and payload hash of every entry of these types in the database."""
    found: Texts = Counter()
    with LogReader(directory) as reader:
        for event in reader.events():
            if event.event_type in types:
                payload = (event.payload or "").encode()
                found[event.event_type, hashlib.sha256(payload).digest()] += 1
    return found
