"""Process families: a process of ours with all its descendants, to signal, to watch and to end.

Each is a session of its own, and holds the writing end of a pipe: its end of file says that
nobody of the family lives, whoever has reaped them. It decides nothing.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

READY: Final = b"hansard ready"
UNEXPECTED: Final = ("Traceback", "Assertion failed")  # libzmq's are the latter
_NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"


class Family:
    """A process that was started in a session of its own; what it says on stderr goes to a file."""

    def __init__(
        self, arguments: list[str], stderr: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.stderr = stderr
        with stderr.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment() | dict(environment or {}),
                start_new_session=True,
                bufsize=0,
            )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self.said = b""
        self._ended = False
        self.was_signalled = False  # by us, with something that may end it

    @property
    def pid(self) -> int:
        """Of the first of the family, and of its session."""
        return self.process.pid

    @property
    def name(self) -> str:
        """As its files are called."""
        return self.stderr.stem

    @property
    def first_lives(self) -> bool:
        """Whether its first process does."""
        return self.process.poll() is None

    @property
    def lives(self) -> bool:
        """Whether anybody of it does. Also reads what it says."""
        assert self.process.stdout
        while not self._ended:
            try:
                said = os.read(self.process.stdout.fileno(), 4_096)
            except BlockingIOError:
                return True
            self.said += said
            self._ended = not said
        self.process.poll()
        return False

    def tell(self, line: bytes) -> None:
        """Write to its stdin; whoever is dead hears nothing."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(line)

    def tell_no_more(self) -> None:
        """Close its stdin."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def send(self, number: signal.Signals, pid: int | None = None) -> bool:
        """To its first process, or to another of it; whether that lived."""
        pid = self.pid if pid is None else pid
        self.process.poll()
        if is_dead(pid):
            return False
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.was_signalled = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        return True

    def send_all(self, number: signal.Signals) -> bool:
        """To all of the family; whether anybody lived."""
        lived = self.lives
        if number not in (signal.SIGSTOP, signal.SIGCONT):
            self.was_signalled = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)
        return lived

    def check_what_it_said(self) -> None:
        """Raises `AssertionError` where it has met what it did not expect."""
        said = self.stderr.read_text()
        for word in UNEXPECTED:
            assert word not in said, f"{word} in {self.stderr.name}"

    def close(self) -> None:
        """Kill what is left, and let go of it."""
        self.send_all(signal.SIGKILL)
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Server(Family):
    """A writer, or a supervisor with its writer."""

    def __init__(
        self, directory: Path, stderr: Path, settings: Mapping[str, object], *, supervised: bool
    ) -> None:
        command = ["-m", "hansard_writer", "serve", "--dir", str(directory)]
        environment = {f"HANSARD_{name.upper()}": str(value) for name, value in settings.items()}
        super().__init__([*command, *["--supervise"] * supervised], stderr, environment)
        self.supervised = supervised

    @property
    def writer_pid(self) -> int | None:
        """Of the writer that lives now, None while there is none."""
        if not self.supervised:
            return None if is_dead(self.pid) else self.pid
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except OSError:
            return None
        return next((int(child) for child in children if not is_dead(int(child))), None)

    @property
    def is_ready(self) -> bool:
        """Whether the newest writer that said it is ready lives."""
        if not self.lives:
            return False
        _, found, rest = self.said.rpartition(READY)
        if not found or b"\n" not in rest:
            return False
        pid = next(word for word in rest.split() if word.startswith(b"pid="))
        return not is_dead(int(pid[4:]))


class Worker(Family):
    """A process of load, with its children; ``life`` counts those who had its place before."""

    def __init__(self, directory: Path, home: Path, index: int, life: int, first_beat: int) -> None:
        numbers = map(str, (index, life, first_beat))
        paths = map(str, (directory, home / "plan.json", home / "notes"))
        # Forks of processes with threads are what is to be tried here.
        arguments = ["-W", "ignore::DeprecationWarning", "-m", "faults.chaos.worker"]
        tests = str(Path(__file__).parents[2])
        path = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        super().__init__(
            [*arguments, *paths, *numbers], home / f"{index}-{life}.err", {"PYTHONPATH": path}
        )
        self.index = index


def _environment() -> dict[str, str]:
    """Ours, but for what would make each of the many starts compile everything anew."""
    return {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}


def is_dead(pid: int) -> bool:
    """Whether a process has ended, though perhaps nobody has asked how."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
