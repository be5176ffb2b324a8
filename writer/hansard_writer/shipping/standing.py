"""How far shipping has got: DIR/shipping/TARGET.json, for `hansard stats` and for people.

Who ships writes it; nothing is decided by it. Where shipping goes on, the target alone says.
"""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, Final, Self

from hansard import directory as layout
from hansard_writer.durable_files import replace_file
from hansard_writer.shipping.target import TargetTaken

WRITE_EVERY_S: Final = 1.0  # unless something else than numbers changes
_SUFFIX: Final = ".json"
_LOCK_SUFFIX: Final = ".lock"
_NAME_CHARACTERS: Final = 16

SHIPPING: Final = "shipping"
WAITING: Final = "waiting"
HELD_UP: Final = "held up"
ENDED: Final = "ended"
KILLED: Final = "killed"  # by whomever: it has not said that it ended


class Standing:
    """The file of one target, held by one process at a time: `TargetTaken` for a second."""

    def __init__(self, directory: Path, target: str) -> None:
        folder = directory / layout.SHIPPING
        folder.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, exist_ok=True)
        name = hashlib.sha256(target.encode()).hexdigest()[:_NAME_CHARACTERS]
        self._path = folder / (name + _SUFFIX)
        self._written_at, self._state = 0.0, ""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        lock = folder / (name + _LOCK_SUFFIX)
        self._descriptor = os.open(lock, flags, layout.PRIVATE_FILE_MODE)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise TargetTaken(
                f"another `hansard ship` ships {directory} to {target}: let that one go on"
            ) from None
        self._facts: dict[str, Any] = {"target": target, "pid": os.getpid()}

    def note(self, state: str, *, why: str = "", **facts: object) -> None:
        """Say how it stands: ``origin``, ``shipped_to``, ``covered``; durable at the next moment
        that is one. Raises OSError."""
        now = time.time()
        self._facts |= {"state": state, "why": why, "at": round(now, 3), **facts}
        if state == self._state == SHIPPING and now - self._written_at < WRITE_EVERY_S:
            return
        self._state, self._written_at = state, now
        text = json.dumps(self._facts).encode() + b"\n"
        replace_file(self._path, text, layout.PRIVATE_FILE_MODE)

    def close(self) -> None:
        """Let another process ship."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def standings(directory: Path) -> list[dict[str, Any]]:
    """What the files of a log's directory say, target by target."""
    found = []
    for path in sorted((directory / layout.SHIPPING).glob(f"*{_SUFFIX}")):
        try:
            facts = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue  # it is being replaced, or somebody else's
        if not isinstance(facts, dict):
            continue
        if facts.get("state") != ENDED and not _is_held(path.with_suffix(_LOCK_SUFFIX)):
            facts["state"] = KILLED
        found.append(facts)
    return found


def _is_held(lock: Path) -> bool:
    """Whether somebody ships at this moment."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
