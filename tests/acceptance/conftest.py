"""Fixtures of the acceptance tests: writers to kill, programs to run, directories for strangers."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard_writer.running_writer import RunningWriter
from hansard_writer.running_writer import start as start_writer
from supervised import Start, Supervised
from support import assert_verifies

Script = Callable[..., subprocess.Popen[str]]


class MortalWriter:
    """The writer of one directory, to be started, frozen, thawed and killed as often as needed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: RunningWriter | None = None

    def start(self, **settings: Any) -> None:
        """Start it, and wait until it can be used."""
        assert self._running is None, "it runs already"
        self._running = start_writer(self.directory, **settings)

    @property
    def pid(self) -> int:
        """The process id of the writer that runs."""
        assert self._running is not None, "it does not run"
        return self._running.pid

    def freeze(self) -> None:
        """SIGSTOP: it is there, and does nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; the exit status."""
        os.kill(self.pid, by)
        return self._wait()

    def wait(self) -> int:
        """It ends by itself; the exit status."""
        return self._wait()

    def _wait(self) -> int:
        assert self._running is not None
        process, self._running = self._running.process, None
        status = process.wait(20)
        if process.stdout:
            process.stdout.close()
        return status

    def close(self) -> None:
        """Leave nothing behind, whatever state it is in."""
        if self._running is not None:
            self.kill()


@pytest.fixture
def mortal_writer(directory: Path) -> Iterator[MortalWriter]:
    """A writer for ``directory`` that the test starts, and ends as it likes."""
    mortal = MortalWriter(directory)
    yield mortal
    mortal.close()
    assert_verifies(directory)


@pytest.fixture
def run_script(tmp_path: Path) -> Iterator[Script]:
    """Runs a program given as text from a file of its own, which spawned children can import."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        path = tmp_path / f"program_{len(started)}.py"
        path.write_text(program)
        process = subprocess.Popen(
            [sys.executable, str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children too
        process.communicate()


@pytest.fixture
def start(directory: Path) -> Iterator[Start]:
    """Starts a supervisor on ``directory``; nothing of it outlives the test."""
    started: list[Supervised] = []

    def begin(*options: str, **how: Any) -> Supervised:
        started.append(Supervised(directory, *options, **how))
        return started[-1]

    yield begin
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.process.communicate()


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that every user may enter, unlike pytest's own."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with tempfile.TemporaryDirectory(prefix="hansard-test-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """The interpreter changes threads as often as it can, between any two steps of a call."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
