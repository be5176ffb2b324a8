"""A writer from Python: a real process, started and stopped around a block."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final

from hansard import directory as layout
from hansard.errors import AuditLogError
from hansard.settings import ENVIRONMENT_PREFIX, load_settings

STOP_S: Final = 10.0


class RunningWriter:
    """A writer process that can be used. ``process`` is its `subprocess.Popen`."""

    def __init__(self, directory: Path, process: "subprocess.Popen[str]", ready_line: str) -> None:
        self.directory = directory
        self.process = process
        self.ready_line = ready_line

    def __repr__(self) -> str:
        return f"<RunningWriter {str(self.directory)!r} pid {self.pid}>"

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def stop(self) -> int:
        """SIGTERM, and wait; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)  # one that is stopped could not obey
        assert self.process.stdout is not None
        self.process.stdout.close()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AuditLogError(
                f"the writer (pid {self.pid}) did not stop within {STOP_S:g} s and was killed"
            ) from None


@contextlib.contextmanager
def running(
    directory: str | os.PathLike[str],
    *,
    operations: Sequence[str] = (),
    log_level: str = "info",
    accept_rollback: bool = False,
    migrate: bool = False,
    stderr: IO[str] | None = None,
    **settings: Any,
) -> Iterator[RunningWriter]:
    """``with running("DIR") as writer:`` a writer serves DIR within the block, and no longer than
    this process lives.

    ``operations`` are modules of named operations; settings as in the README's table;
    ``accept_rollback`` and ``migrate`` as for `hansard serve`; what it logs goes to ``stderr``, by
    default this process's. Raises `AuditLogError` when it does
    not start; why, it has said on stderr.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            writer = start(
                Path(directory),
                operations=operations,
                log_level=log_level,
                accept_rollback=accept_rollback,
                migrate=migrate,
                lifeline=theirs.fileno(),
                stderr=stderr,
                **settings,
            )
        try:
            yield writer
        finally:
            writer.stop()


@contextlib.contextmanager
def a_writer(directory: Path) -> Iterator[RunningWriter | None]:
    """A writer serves DIR within the block: the one that does already (None), or one of our own,
    with the settings that DIR says; the group of a shared one is let in as before. Raises as
    `running`."""
    if layout.a_writer_lives(directory):
        yield None
        return
    group = load_settings(directory).group or layout.group_of(directory)
    with running(directory, log_level="warning", group=group) as writer:
        yield writer


def start(
    directory: Path,
    *,
    operations: Sequence[str] = (),
    log_level: str = "info",
    accept_rollback: bool = False,
    migrate: bool = False,
    lifeline: int | None = None,
    stderr: IO[str] | None = None,
    **settings: Any,
) -> RunningWriter:
    """Start a writer process and wait until it can be used; whoever calls it stops it. With a
    ``lifeline``, an end of a socket pair, it stops by itself once nobody has the other end."""
    settings = {name: value for name, value in settings.items() if value is not None}
    load_settings(directory, settings)  # the caller learns of a mistake here, and by its name
    environment = {**os.environ}
    for name, value in settings.items():
        text = ",".join(value) if isinstance(value, tuple | list) else str(value)
        environment[ENVIRONMENT_PREFIX + name.upper()] = text
    modules = [operations] if isinstance(operations, str) else operations
    command = [sys.executable, "-P", "-m", "hansard_writer", "serve", "--dir", str(directory)]
    if accept_rollback:
        command.append("--accept-rollback")
    if migrate:
        command.append("--migrate")
    if lifeline is not None:
        command.append(f"--lifeline={lifeline}")
    process = subprocess.Popen(
        [*command, f"--log-level={log_level}", *(f"--operations={each}" for each in modules)],
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env=environment,
        pass_fds=() if lifeline is None else [lifeline],
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("hansard ready"):
        process.stdout.close()
        status = process.wait()
        raise AuditLogError(
            f"the writer of {directory} did not start (exit {status}): its reason is on stderr"
        )
    return RunningWriter(directory, process, line.strip())
