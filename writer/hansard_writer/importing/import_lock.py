"""One import of a source at a time, and the certainty that nobody of the last one is left.

Two locks beside the spools: one that the import holds, and one that its workers share, who outlive
an import that was killed by a moment.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from pathlib import Path
from typing import Final, Self

from hansard import directory as layout
from hansard.errors import AuditLogError, ConfigError

WORKERS_PATIENCE_S: Final = 15.0  # for workers of a killed import to notice
POLL_S: Final = 0.05


class ImportTaken(AuditLogError):
    """Another import of this source into this log is at work. Wait for its end."""


class ImportLock:
    """Held within its block. ``guard`` is what workers share. Raises `ImportTaken`, and
    `ConfigError` where there is no place for it."""

    def __init__(self, directory: Path, source: str) -> None:
        self._source = source
        self._directory = directory
        named = hashlib.sha256(source.encode()).hexdigest()[:16]
        self._path = directory / layout.SPOOL / f"{named}{layout.IMPORT_SUFFIX}"
        self.guard = self._path.with_suffix(layout.IMPORT_WORKERS_SUFFIX)
        self._held: int | None = None

    def __enter__(self) -> Self:
        self._held = self._locked(self._path, patience_s=0)
        try:
            os.close(self._locked(self.guard, WORKERS_PATIENCE_S))
        except BaseException:
            self._let_go()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for path in (self.guard, self._path):
            with contextlib.suppress(OSError):  # another user's, in a directory that is shared
                path.unlink()
        self._let_go()

    def _let_go(self) -> None:
        if self._held is not None:
            os.close(self._held)
        self._held = None

    def _locked(self, path: Path, patience_s: float) -> int:
        deadline = time.monotonic() + patience_s
        while True:
            descriptor = self._opened(path)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_nlink:  # else who held it has removed it meanwhile
                    return descriptor
            except OSError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise ImportTaken(
                        f"another import of {self._source} into {self._directory} is at work: wait "
                        "for its end; the same command then enters what is missing"
                    ) from None
                time.sleep(POLL_S)  # flock cannot wait for a limited time
            os.close(descriptor)

    def _opened(self, path: Path) -> int:
        try:
            mode = layout.spool_file_mode(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        except OSError as error:
            raise ConfigError(
                f"cannot make {path}, by which two imports of {self._source} keep apart: "
                f"{error.strerror}"
            ) from error
