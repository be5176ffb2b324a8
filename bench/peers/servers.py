"""Other people's servers, as processes of the bench: started, waited for, stopped."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from signal import SIGTERM
from typing import Final

from bench.peers.peer import NotServed

START_S_MAX: Final = 30.0
STOP_S_MAX: Final = 30.0
LOOK_S: Final = 0.02  # between two looks whether it is ready
LOG_BYTES_SHOWN: Final = 500
BENCH_EXTRA: Final = "pip install '.[bench]'"


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    is_ready: Callable[[], bool],
    stop_signal: int = SIGTERM,
) -> Iterator[int]:
    """A server runs within the block; its process id. What it prints goes to ``log``.

    In a session of its own, or Ctrl-C on the terminal would end it before those who use it. Raises
    `NotServed`.
    """
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S_MAX
        while not is_ready():
            if server.poll() is not None:
                raise NotServed(f"{command[0]} ended with {server.returncode}: {_end(log)}")
            if time.monotonic() > deadline:
                raise NotServed(f"{command[0]} was not ready in {START_S_MAX:g} s: {_end(log)}")
            time.sleep(LOOK_S)
        yield server.pid
    finally:
        server.send_signal(stop_signal)
        try:
            server.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def not_installed(*modules: str) -> str | None:
    """Which of the modules is not there, and how to get it."""
    absent = [module for module in modules if find_spec(module) is None]
    return f"{' and '.join(absent)} not installed: {BENCH_EXTRA}" if absent else None


def _end(log: Path) -> str:
    return log.read_bytes()[-LOG_BYTES_SHOWN:].decode(errors="replace").strip()
