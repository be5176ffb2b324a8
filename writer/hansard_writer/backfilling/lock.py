"""The lock of a backfill: who holds ``DIR/backfill.lock`` fills the log's derived fields.

Two would not harm each other, but each would undo the other's plan. The kernel lets go of it for
one that is killed; the file stays.
"""

import fcntl
import json
import os
from pathlib import Path
from typing import Self

from hansard import directory as layout
from hansard.errors import AuditLogError

_BYTES_MAX = 200


class AnotherBackfill(AuditLogError):
    """Another backfill of this log is running. Wait for it or end it: the message names its pid."""


class BackfillLock:
    """The lock, held from construction to `close`. Raises `AnotherBackfill`, and OSError."""

    def __init__(self, directory: Path) -> None:
        path = directory / layout.BACKFILL_LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, layout.PRIVATE_FILE_MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(self._descriptor)
            self.close()
            raise AnotherBackfill(
                f"another backfill (pid {pid}) of {directory} is running: let it end, or stop it "
                "(what it has filled stays), then repeat this one"
            ) from None
        line = json.dumps({"pid": os.getpid()}).encode() + b"\n"
        os.pwrite(self._descriptor, line, 0)
        os.ftruncate(self._descriptor, len(line))

    def close(self) -> None:
        """Let go of it."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _pid(descriptor: int) -> object:
    """Of who holds it; it may not have said so yet."""
    try:
        return json.loads(os.pread(descriptor, _BYTES_MAX, 0))["pid"]
    except (ValueError, KeyError, TypeError):
        return "unknown"
