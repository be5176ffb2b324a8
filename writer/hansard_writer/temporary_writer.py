"""A real writer for a test: a process, a short-lived directory, and ways to ask what is in it.

`hansard_writer.pytest_plugin` makes fixtures of it; it knows nothing of pytest.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from hansard import AuditLog, lifecycle
from hansard.errors import AuditLogError
from hansard.reader import Event, LogReader
from hansard.recorded import Recorded, recorded_among
from hansard_writer.running_writer import RunningWriter, running

WITHIN_S: Final = 5.0  # for what another process records
LOOK_S: Final = 0.01
SAID_CHARS_MAX: Final = 4_000
FLUSH_S: Final = 10.0


class TemporaryWriter:
    """A writer process that serves ``directory`` as long as the block of `temporary_writer`.

    It can be stopped and started in between, for tests of what happens while it is away.
    """

    def __init__(self, home: Path, how: dict[str, Any]) -> None:
        self.directory = home / "log"
        self._said = home / "writer.log"
        self._how = how
        self._log: AuditLog | None = None
        self._running: RunningWriter | None = None
        self._block = contextlib.ExitStack()
        self._readers = contextlib.ExitStack()

    @property
    def log(self) -> AuditLog:
        """A log of this process on the directory; one that was closed is followed by another."""
        if self._log is None or not self._log.is_open:
            self._log = AuditLog(self.directory)
        return self._log

    @property
    def pid(self) -> int | None:
        """The writer's process id; None while it is stopped."""
        return None if self._running is None else self._running.pid

    def reader(self) -> LogReader:
        """A reader of what is committed, for this thread; closed with the writer. What `log` was
        told is committed first."""
        self._flush()
        return self._readers.enter_context(LogReader(self.directory))

    @property
    def entries(self) -> list[Event]:
        """All entries that are committed by now, what `log` was told among them, oldest first."""
        self._flush()
        with LogReader(self.directory) as reader:
            return list(reader.events())

    def recorded(
        self, event_type: str | None = None, *, within: float = WITHIN_S, **conditions: Any
    ) -> Recorded:
        """As `hansard.testing.MemoryLog.recorded`, of whatever process recorded it: waits up to
        ``within`` seconds for the first one. With 0 it says what is committed now."""
        deadline = time.monotonic() + within
        while True:
            found = recorded_among(self.entries, event_type, **conditions)
            if found or time.monotonic() >= deadline:
                return found
            time.sleep(LOOK_S)

    def start(self) -> Self:
        """Start it, and wait until it can be used. Raises `AuditLogError` saying why not."""
        with self._said.open("a") as stderr:
            try:
                self._running = self._block.enter_context(
                    running(self.directory, stderr=stderr, **self._how)
                )
            except AuditLogError as error:
                raise AuditLogError(f"{error}:\n{self.said}") from error
        return self

    def stop(self) -> None:
        """End it, as SIGTERM does. Events wait in the spools meanwhile."""
        self._running = None
        self._block.close()

    @property
    def said(self) -> str:
        """The end of what it logged."""
        return self._said.read_text(errors="replace")[-SAID_CHARS_MAX:].strip()

    def close(self) -> None:
        """End it, and let go of all that this process has opened there, whoever opened it."""
        self._readers.close()
        with contextlib.suppress(Exception):  # a test's log may raise; the writer must end
            for log in lifecycle.logs_of(self.directory):
                log.close()
        self.stop()

    def _flush(self) -> None:
        if self._log is not None and self._log.is_open and self._running is not None:
            self._log.flush(FLUSH_S)

    def __repr__(self) -> str:
        state = "stopped" if self._running is None else f"pid {self.pid}"
        return f"<TemporaryWriter {str(self.directory)!r} {state}>"


@contextlib.contextmanager
def temporary_writer(*, log_level: str = "warning", **how: Any) -> Iterator[TemporaryWriter]:
    """``with temporary_writer() as writer:`` a writer serves a new directory within the block, and
    nothing is left of it. ``operations`` and settings as for `hansard_writer.running`.

    The directory is no test's own (`tmp_path` may be too long for a socket), and each block has its
    own, so any number of test processes may have one at a time.
    """
    home = Path(tempfile.mkdtemp(prefix="hansard-"))
    writer = TemporaryWriter(home, {"log_level": log_level, **how})
    try:
        yield writer.start()
    finally:
        try:
            writer.close()
        finally:
            shutil.rmtree(home, ignore_errors=True)
