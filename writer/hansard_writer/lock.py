"""The writer's lock: who holds it is the writer of this directory.

An flock on ``DIR/writer.lock``, held for the writer's life, with a JSON line that says who.
"""

import contextlib
import fcntl
import json
import logging
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from hansard import directory as layout
from hansard.errors import AuditLogError

_LOG: Final = logging.getLogger("hansard.writer")

POLL_S: Final = 0.05  # between two tries while others hold the lock, who may let it go
NAMED_S_MAX: Final = 0.5  # for who has just taken it, to write down who that is


class DirectoryTaken(AuditLogError):
    """Another writer serves this directory. Use it, or stop it first; the message names its pid."""


class WriterRun(NamedTuple):
    """A run of a writer: which log it writes, its epoch, and the inode of its WAL, by which that is
    known again."""

    log_id: bytes
    epoch: int
    wal_inode: int

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "WriterRun | None":
        """From what is in the lock file; None where it does not say."""
        try:
            log_id = bytes.fromhex(facts["log_id"])
            return cls(log_id, int(facts["epoch"]), int(facts["wal_inode"]))
        except (KeyError, TypeError, ValueError):
            return None


class WriterLock:
    """The lock, held from construction to `close`. Raises OSError, and `DirectoryTaken`
    after ``patience_s`` in which another writer may end."""

    def __init__(self, directory: Path, mode: int, patience_s: float = 0.0) -> None:
        self._directory = directory
        self._patient_until = time.monotonic() + patience_s
        path = directory / layout.LOCK
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            said = ""
            while in_the_way := self._try():
                if said != in_the_way:
                    _LOG.warning("waiting for %s", in_the_way)
                    said = in_the_way
                time.sleep(POLL_S)  # flock cannot wait without hiding who is in the way
            os.fchmod(self._descriptor, mode)
            left = layout.read_lock_file(directory)
            names = ("log_id", "epoch", "wal_inode")
            kept: dict[str, Any] = {each: left[each] for each in names if each in left}
            self.predecessor = WriterRun.of(kept)
            self._write({"pid": os.getpid(), **kept})  # or a start that fails would forget it
        except BaseException:
            os.close(self._descriptor)
            raise
        _held.add(self)

    def announce(self, run: WriterRun, run_id: bytes) -> None:
        """Write down who holds the lock, for clients, for the next one to try, and for the next
        run."""
        facts = {
            "pid": os.getpid(),
            "epoch": run.epoch,
            "run_id": run_id.hex(),
            "log_id": run.log_id.hex(),
            "wal_inode": run.wal_inode,
        }
        self._write({**facts, "started_at": time.time_ns()})

    def _write(self, facts: dict[str, Any]) -> None:
        line = json.dumps(facts).encode() + b"\n"
        try:
            os.pwrite(self._descriptor, line, 0)
            os.ftruncate(self._descriptor, len(line))
        except OSError as error:
            path = self._directory / layout.LOCK
            raise OSError(error.errno, error.strerror, str(path)) from error

    @property
    def is_held(self) -> bool:
        """Until `close`."""
        return self._descriptor >= 0

    def close(self) -> None:
        """Let go of the lock; the file stays."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _try(self) -> str:
        """Take it; who is in the way, where that may pass: readers share it for a moment."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return ""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._other_writer()
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return f"readers of {self._directory} that hold its lock"

    def _other_writer(self) -> str:
        pid = self._holder()
        left_s = self._patient_until - time.monotonic()
        if left_s <= 0:
            raise DirectoryTaken(
                f"another writer (pid {pid}) serves {self._directory}: "
                "use that one, or stop it first"
            )
        return f"another writer (pid {pid}) of {self._directory} to end"

    def _holder(self) -> object:
        """Its pid. It writes that down a moment after it has taken the lock: until then the file
        is empty, or names who had it before."""
        until = time.monotonic() + NAMED_S_MAX
        while True:
            pid = layout.read_lock_file(self._directory).get("pid", "unknown")
            if Path(f"/proc/{pid}").exists() or time.monotonic() >= until:
                return pid
            time.sleep(POLL_S)


@contextlib.contextmanager
def without_writer(directory: Path) -> Iterator[None]:
    """Within, no writer starts. Unlike the lock it writes nothing. Raises `DirectoryTaken`."""
    try:
        descriptor = os.open(directory / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a copy: no writer has ever run here
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = layout.read_lock_file(directory).get("pid", "unknown")
            raise DirectoryTaken(
                f"a writer (pid {pid}) serves {directory}: stop it first"
            ) from None
        yield
    finally:
        os.close(descriptor)


_held: "weakref.WeakSet[WriterLock]" = weakref.WeakSet()


def is_held_here() -> bool:
    """Whether this process is the writer of some directory."""
    return any(lock.is_held for lock in _held)


def _in_child() -> None:
    for lock in list(_held):
        lock.close()  # or a child that outlives the writer would keep the next one out


os.register_at_fork(after_in_child=_in_child)
