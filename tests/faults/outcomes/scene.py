"""A scene of one fault: a log of its own, its real writer, clients of this process and others.

It starts, ends, notes and accounts; what is done to whom is the scenarios' business.
"""

import contextlib
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from faults import crowd
from faults.checker import Account, Noted, account
from hansard import AuditLog, Entry
from hansard_writer.running_writer import RunningWriter, start
from support import query, wait_until

SPOOL_BYTES: Final = 2 << 20
PATIENCE_S: Final = 60.0


class Unmakeable(Exception):
    """The fault cannot be made here: says what it needs."""


class Client:
    """A real client in this process, whose events carry its name and a number."""

    def __init__(self, scene: "Scene", name: str, **settings: Any) -> None:
        self._scene = scene
        self.name = name
        self.number = 0
        self.log = AuditLog(scene.directory, **{"spool_bytes": SPOOL_BYTES, **settings})

    def record(self, events: int = 1, **options: Any) -> Entry:
        """Record some; the last one's entry. What has a key is noted."""
        for _ in range(events):
            self.number += 1
            event = {"w": self.name, "n": self.number}
            entry = self.log.record("step.done", event, **options)
            if entry.key is not None:
                self._scene.noted.append(Noted(self.name, self.number, *entry.key))
        return entry

    def dropped(self, cause: str) -> int:
        """How many were dropped so far for a cause."""
        return int(self.log.statistics()["dropped"].get(cause, 0))

    def drain(self) -> None:
        """Until everything is in the log."""
        assert self.log.drain(PATIENCE_S), f"{self.name}: {self.log.statistics()}"


class Scene:
    """Everything of one fault; nothing of it is left when its block ends."""

    def __init__(self, place: Path, seed: str) -> None:
        self.place = place
        self.directory = place / "log"
        self.spools = self.directory / "spool"
        self.random = random.Random(seed)
        self.noted: list[Noted] = []
        self.said: list[str] = []  # of the clients, as warnings
        self._writer: RunningWriter | None = None
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        self._hears = _Hears(self.said)
        logger = logging.getLogger("hansard")
        self._propagates, logger.propagate = logger.propagate, False
        logger.addHandler(self._hears)
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.log.close(0)
        if self._writer is not None:
            self.kill_writer()
        logger = logging.getLogger("hansard")
        logger.removeHandler(self._hears)
        logger.propagate = self._propagates
        shutil.rmtree(self.place, ignore_errors=True)

    # --- the writer ---

    @property
    def writer(self) -> int:
        """The pid of the one that serves."""
        assert self._writer is not None, "no writer was started"
        return self._writer.pid

    def start_writer(self, **settings: Any) -> None:
        """Start it, and wait until it can be used."""
        self._writer = start(self.directory, log_level="error", **settings)

    def kill_writer(self) -> None:
        """SIGKILL."""
        os.kill(self.writer, signal.SIGKILL)
        self.writers_end()

    def stop_writer(self) -> None:
        """SIGTERM."""
        os.kill(self.writer, signal.SIGTERM)
        assert self.writers_end() == 0

    def writers_end(self) -> int:
        """Wait for it to end; its exit status."""
        assert self._writer is not None
        process, self._writer = self._writer.process, None
        if process.stdout:
            process.stdout.close()
        return process.wait(PATIENCE_S)

    def serve(self) -> "subprocess.Popen[str]":
        """One more `hansard serve`, which may be refused."""
        return self.run("-m", "hansard_writer", "serve", "--dir", str(self.directory))

    def run(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        """A Python process, to be read from and ended by whoever runs it."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": crowd.python_path(), **environment},
        )

    # --- clients ---

    def client(self, name: str = "w", **settings: Any) -> Client:
        """A client that is closed at the end."""
        self._clients.append(Client(self, name, **settings))
        return self._clients[-1]

    def hears(self, output: str) -> int:
        """Note what a worker printed, a line an event: name, number, hash, seq; how many."""
        lines = [line.split() for line in output.splitlines() if line]
        for name, number, producer_hash, seq in lines:
            self.noted.append(Noted(name, int(number), bytes.fromhex(producer_hash), int(seq)))
        return len(lines)

    # --- what came of it ---

    def settle(self) -> None:
        """Everybody's events are in, and no dead one's spool is left."""
        for client in self._clients:
            client.drain()
        live = {client.log._producer._store for client in self._clients}
        names = {getattr(store, "path", None) for store in live}
        wait_until(lambda: set(self.spools.glob("*.spool")) <= names, "spools are adopted")

    def account(self) -> Account:
        """All that was noted is in the log, once and in order."""
        found = account(self.directory, self.noted)
        assert found.entered == found.recorded, found
        return found

    def lost(self) -> int:
        """How many events the log itself says it lost."""
        rows = query(
            self.directory,
            "SELECT coalesce(sum(payload ->> 'count'), 0) FROM entries"
            " WHERE event_type = 'hansard.lost'",
        )
        return int(rows[0][0])

    @contextlib.contextmanager
    def frozen(self, *pids: int) -> Iterator[None]:
        """SIGSTOP, and SIGCONT behind the block."""
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


class _Hears(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self._said = said

    def emit(self, record: logging.LogRecord) -> None:
        self._said.append(record.getMessage())
