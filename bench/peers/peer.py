"""What a contestant must be able to do. It starts no process and measures nothing: that is
`bench.peers.turn`'s."""

import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from bench.measuring.machine import directory_bytes
from bench.peers.stored import Stored
from bench.workloads.event import Event


class NotServed(Exception):
    """A peer's server did not start. Says why, in its own words."""


class Shape(Enum):
    """Who records: each worker a process, each a thread of the same process, or one process alone,
    with the first worker's events."""

    PROCESSES = "processes"
    THREADS = "threads of one process"
    ALONE = "one process"


class Served(NamedTuple):
    """Where a peer keeps its events: a directory, what the workers connect to, and the server
    process, if there is one."""

    directory: Path
    address: str
    pid: int | None = None


class Took(NamedTuple):
    """What recording was for its caller.

    * ``durations_ns``: how long each event held it; empty where events are not recorded one by one.
    * ``retries``: calls that it had to make again, because the peer refused the event.
    """

    durations_ns: "array[int]"
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Peer(ABC):
    """One way to keep events.

    * ``durability``: when what is acknowledged is on the disk.
    * ``share``: of the run's events, how many it gets, so that no turn takes much longer than
      another; what counts is the rate.
    * ``has_server``: it needs a process that is no part of this project.

    A peer goes to its worker processes by pickle, and MUST load its client library in its methods
    only.
    """

    name: str
    durability: str
    share: float
    shape: Shape = Shape.PROCESSES
    has_server: bool = False

    def missing(self) -> str | None:
        """What is not installed, and the way to get it; None when nothing is missing."""
        return None

    @abstractmethod
    def served(self, directory: Path) -> AbstractContextManager[Served]:
        """It can be recorded to within the block: a fresh one, with all its data in ``directory``.
        Raises `NotServed`."""

    @abstractmethod
    def opened(self, served: Served) -> AbstractContextManager[Any]:
        """What the workers of one process record with, made before the clock runs."""

    def prepared(self, number: int, events: Sequence[Event]) -> Sequence[Any]:  # noqa: ARG002
        """What `record` is given of a worker's events, made before the clock runs."""
        return events

    @abstractmethod
    def record(self, opened: Any, number: int, events: Sequence[Any]) -> Took:
        """Record the events of one worker. MUST NOT return before the last one is acknowledged,
        with the durability that the peer has."""

    @abstractmethod
    def stored(self, served: Served) -> Iterator[Stored]:
        """All that it holds, read back; the events of one worker in the order it holds them."""

    def stored_bytes(self, served: Served) -> int:
        """Bytes on disk of all that it holds."""
        return directory_bytes(served.directory)


@contextmanager
def in_files(directory: Path, address: str = "") -> Iterator[Served]:
    """`Peer.served` of one that needs no server: a directory."""
    directory.mkdir()
    yield Served(directory, address or str(directory))


def timed(call: Callable[[int, Event], object], events: Sequence[Event]) -> "array[int]":
    """Call with each event and its number, from 1; what each call took, in ns."""
    durations, clock = array("q"), time.perf_counter_ns
    for seq, event in enumerate(events, 1):
        began = clock()
        call(seq, event)
        durations.append(clock() - began)
    return durations
