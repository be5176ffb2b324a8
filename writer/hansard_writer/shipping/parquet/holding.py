"""Who ships a log to a directory: one process, which a file there names.

Where the file system has flock, that decides on this host. Where it has none, or the holder is of
another host, what the file says does; whoever was killed there is not known to be dead.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from hansard_writer.shipping.parquet.storage import sync
from hansard_writer.shipping.target import TargetTaken

TRIES: Final = 5  # while others take it and let go of it
BEGINNING_S_MAX: Final = 60.0  # from the file to what it says


class Holding:
    """The file, held from construction to `close`. Raises OSError, and `TargetTaken`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for _ in range(TRIES):
            _remove_if_dead(path)
            with contextlib.suppress(FileExistsError):
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._descriptor = os.open(path, flags, 0o644)
                if _flocked(self._descriptor) is not False:
                    self._say()
                    return
                os.close(self._descriptor)  # somebody took it for a dead one's
        raise TargetTaken(f"others are taking {path} just now: let one of them ship")

    def close(self) -> None:
        """Let go of it. Idempotent; raises OSError."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        try:
            self._path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _say(self) -> None:
        said = {"host": socket.gethostname(), "pid": os.getpid(), "at": int(time.time())}
        try:
            os.write(self._descriptor, json.dumps(said).encode() + b"\n")
            sync(self._descriptor)
        except OSError:
            self.close()
            raise


def _remove_if_dead(path: Path) -> None:
    """Raises `TargetTaken` unless nobody holds it, or somebody who is dead: then it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        is_ours = _flocked(descriptor)
        said = _said(descriptor)
        if is_ours is False:
            raise _taken(path, said, "let that one go on")
        with contextlib.suppress(FileNotFoundError):
            if not os.path.samestat(os.fstat(descriptor), path.stat()):
                return  # another one by now
            age_s = time.time() - path.stat().st_mtime
            _require_dead(path, said, is_ours=bool(is_ours), age_s=age_s)
            path.unlink()
    finally:
        os.close(descriptor)


def _require_dead(path: Path, said: dict[str, Any], *, is_ours: bool, age_s: float) -> None:
    host, pid = said.get("host"), said.get("pid")
    if host not in (None, socket.gethostname()):
        raise _taken(path, said, f"if it is dead, remove {path}")
    if is_ours:
        return
    if host is None and age_s < BEGINNING_S_MAX:
        raise _taken(path, said, "try again in a minute")
    if pid not in (None, os.getpid()) and Path(f"/proc/{pid}").exists():
        raise _taken(path, said, f"let that one go on; if it is something else, remove {path}")


def _flocked(descriptor: int) -> bool | None:
    """Whether it is held now; None where the file system has no flock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _said(descriptor: int) -> dict[str, Any]:
    try:
        said = json.loads(os.pread(descriptor, 4_096, 0))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _taken(path: Path, said: dict[str, Any], way_out: str) -> TargetTaken:
    who = f"pid {said.get('pid', 'unknown')} on host {said.get('host', 'unknown')}"
    return TargetTaken(f"another `hansard ship` ({who}) holds {path.parent}: {way_out}")
