"""The processes of a campaign, from outside: started, watched through /proc, ended.

It reads their notes. What they do is in `faults.load`; what the log made of it, `faults.checker`
says.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from faults.checker import Noted
from support import wait_until

END_S: Final = 90.0
SETTING: Final = "HANSARD_"


def python_path(*first: Path) -> str:
    """For the environment of a process that is to import what this one can."""
    return os.pathsep.join(filter(None, [*map(str, first), *sys.path]))


class Figures(NamedTuple):
    """A process as the kernel sees it."""

    rss_bytes: int
    rss_bytes_max: int
    anonymous_bytes: int
    descriptors: int
    threads: int


def figures(pid: int) -> Figures | None:
    """What /proc says of a process, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - only how many
        facts = dict(line.split(":", 1) for line in text.splitlines())
        sizes = [int(facts[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM", "RssAnon")]
    except (OSError, KeyError):  # a zombie has no memory
        return None
    return Figures(*sizes, descriptors, int(facts["Threads"]))


def scheduled_s(pid: int) -> tuple[float, float]:
    """How long a process's main thread has computed, and waited for a processor to do so."""
    computed_ns, waited_ns, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    return int(computed_ns) / 1e9, int(waited_ns) / 1e9


class Told(NamedTuple):
    """What the workers noted: events to be found in the log, and how many were dropped."""

    noted: list[Noted]
    dropped: int


class Crowd:
    """Worker processes of one log. Leaves none behind when its block ends."""

    def __init__(self, directory: Path, notes: Path, seed: int, **settings: Any) -> None:
        self.directory = directory
        self._notes = notes
        self._seed = seed
        self._environment = {
            **os.environ,
            "PYTHONPATH": python_path(),
            **{SETTING + name.upper(): str(value) for name, value in settings.items()},
        }
        self.workers: dict[str, subprocess.Popen[str]] = {}
        self.killed: list[str] = []
        notes.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.workers.values():
            process.kill()
            process.communicate()

    def start(self, kind: str, name: str, **environment: str) -> None:
        """One more worker, of a kind of `faults.load.KINDS`."""
        arguments = [kind, str(self.directory), name, str(self._notes), str(self._seed)]
        self.workers[name] = subprocess.Popen(
            [sys.executable, "-m", "faults.load", *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**self._environment, **environment},
        )

    def wait_for_all(self) -> None:
        """Until each hears signals, and records."""
        for name in self.workers:
            wait_until((self._notes / f"{name}.notes").exists, f"worker {name} is there")

    def kill(self, name: str) -> None:
        """SIGKILL, whatever it is doing."""
        process = self.workers.pop(name)
        process.kill()
        process.communicate()
        self.killed.append(name)

    def end(self) -> list[dict[str, Any]]:
        """SIGTERM to all: each delivers what it has. Their statistics."""
        self.wait_for_all()
        for process in self.workers.values():
            process.send_signal(signal.SIGTERM)
        statistics = []
        for name, process in self.workers.items():
            output, _ = process.communicate(timeout=END_S)
            assert process.returncode == 0, f"worker {name} ended with {process.returncode}"
            statistics.append(json.loads(output))
        self.workers.clear()
        return statistics

    def figures(self) -> list[Figures]:
        """Of the workers that live."""
        found = (figures(process.pid) for process in self.workers.values())
        return [each for each in found if each]

    def told(self) -> Told:
        """All that was noted so far."""
        return told(sorted(self._notes.glob("*.notes")))


def told(paths: Sequence[Path]) -> Told:
    """What is in files of notes; a line that a kill cut short was not noted."""
    noted, dropped = [], 0
    for line in _lines(paths):
        name, number, producer_hash, seq, status = line.split()
        if status == "dropped":
            dropped += 1
        elif producer_hash != "-":
            noted.append(Noted(name, int(number), bytes.fromhex(producer_hash), int(seq)))
    return Told(noted, dropped)


def _lines(paths: Sequence[Path]) -> Iterator[str]:
    for path in paths:
        with path.open() as file:
            yield from (line for line in file if line.endswith("\n"))


@contextlib.contextmanager
def beside(*command: str, directory: Path) -> Iterator["subprocess.Popen[str]"]:
    """``hansard COMMAND --dir DIRECTORY`` runs within the block; nobody reads what it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "hansard_writer", *command, "--dir", str(directory)],
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
