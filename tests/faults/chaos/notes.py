"""What workers note, in files that survive them: each line one write, behind what it speaks of.

A file a process, so that a write which a kill has cut short is the last one of its file.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

# What became of an event as its caller saw it, besides the statuses of an Entry.
RAISED = "raised"  # QueueFull where that was asked for: not recorded, and not counted either


class Event(NamedTuple):
    """An event that `record()` has returned for. Without a key: it was dropped or raised, or
    recorded inside a `record()` that it interrupted, or its call raised what it then knew."""

    stream: str
    number: int
    status: str
    key: tuple[bytes, int] | None


class Notes:
    """One process's file of notes. Any thread and any signal handler may write."""

    def __init__(self, directory: Path, process: str) -> None:
        self.directory, self.process = directory, process
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(directory / f"{process}.notes", flags, 0o600)

    def open(self, stream: str) -> None:
        """Events of a stream may come."""
        self._write(f"o {stream}\n")

    def begin(self, stream: str, last: int) -> None:
        """Several events, up to ``last``, are about to be recorded together."""
        self._write(f"b {stream} {last}\n")

    def events(self, events: list[Event]) -> None:
        """They were recorded."""
        self._write("".join(map(_line, events)))

    def end(self, stream: str) -> None:
        """Nothing of the stream is on its way, and nothing more comes."""
        self._write(f"x {stream}\n")

    def done(self, beat: int) -> None:
        """The worker's block of a beat is done."""
        self._write(f"d {beat}\n")

    def dropped(self, stream: str, count: int) -> None:
        """What a log's statistics say at its orderly end."""
        self._write(f"s {stream} {count}\n")

    def _write(self, text: str) -> None:
        os.write(self._descriptor, text.encode())


def _line(event: Event) -> str:
    producer_hash, producer_seq = ("-", 0) if event.key is None else event.key
    shown = producer_hash if isinstance(producer_hash, str) else producer_hash.hex()
    return f"e {event.stream} {event.number} {event.status} {shown} {producer_seq}\n"


class Read(NamedTuple):
    """All notes of a round. ``on_the_way``: how many events of a stream that came to no end may
    have been recorded without a note; ``by_statistics``: drops as each log that was closed has
    counted them, by the stream that opened it."""

    events: list[Event]
    on_the_way: dict[str, int]
    by_statistics: dict[str, int]


def read(directory: Path) -> Read:
    """Everything that was noted; a torn line at the end of a file counts as not written."""
    events: list[Event] = []
    last: dict[str, int] = defaultdict(int)
    begun: dict[str, int] = {}
    opened: set[str] = set()
    ended: set[str] = set()
    statistics: dict[str, int] = {}
    for path in sorted(directory.glob("*.notes")):
        for line in path.read_text().split("\n")[:-1]:
            kind, *words = line.split()
            match kind:
                case "e":
                    stream, number, status, shown, producer_seq = words
                    key = None if shown == "-" else (bytes.fromhex(shown), int(producer_seq))
                    events.append(Event(stream, int(number), status, key))
                    last[stream] = max(last[stream], int(number))
                case "o":
                    opened.add(words[0])
                case "b":
                    begun[words[0]] = int(words[1])
                case "x":
                    ended.add(words[0])
                case "s":
                    statistics[words[0]] = int(words[1])
    on_the_way = {stream: max(1, begun.get(stream, 0) - last[stream]) for stream in opened - ended}
    return Read(events, on_the_way, statistics)


class Progress:
    """How far the workers have come, read from what was added to their notes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, int] = defaultdict(int)  # bytes by file
        self.events: dict[str, int] = defaultdict(int)  # by worker, its children's included
        self.beats: dict[str, int] = defaultdict(int)  # the first that a worker has yet to do
        self.total = 0

    def look(self) -> bool:
        """Read on; whether anything was new."""
        before = self.total
        with os.scandir(self._directory) as files:
            for file in files:
                if file.stat().st_size > self._read[file.name]:
                    self._take(file)
        return self.total > before

    def _take(self, file: "os.DirEntry[str]") -> None:
        with open(file.path, "rb") as notes:  # noqa: PTH123 - as scandir gives it
            notes.seek(self._read[file.name])
            added = notes.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read[file.name] += len(whole)
        worker = file.name.split("-")[0]
        lines = whole.split(b"\n")[:-1]
        self.total += len(lines)
        self.events[worker] += sum(line.startswith(b"e ") for line in lines)
        done = [int(line.split()[1]) for line in lines if line.startswith(b"d ")]
        self.beats[worker] = max([self.beats[worker], *(beat + 1 for beat in done)])
