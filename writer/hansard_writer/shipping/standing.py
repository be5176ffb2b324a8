"""How far shipping has got: DIR/shipping/TARGET.json, for `hansard stats` and for people.

Who ships writes it; nothing is decided by it. Where shipping goes on, the target alone says.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard_writer.durable_files import replace_file
from hansard_writer.shipping.target import TargetTaken

WRITE_EVERY_S: Final = 1.0  # while entries are shipped
STILL_EVERY_S: Final = 60.0  # while nothing changes
_SUFFIX: Final = ".json"
_LOCK_SUFFIX: Final = ".lock"
_NAME_CHARACTERS: Final = 16

SHIPPING: Final = "shipping"
WAITING: Final = "waiting"
HELD_UP: Final = "held up"
ENDED: Final = "ended"
FAILED: Final = "failed"  # by itself, and has said why
KILLED: Final = "killed"  # by whomever: it has not said that it ended


class Standing:
    """The file of one target, held by one process at a time: `TargetTaken` for a second. Raises
    `ConfigError` where none can be made."""

    def __init__(self, directory: Path, target: str) -> None:
        self._path = path_of(directory, target)
        folder = self._path.parent
        self._target = target
        self._said: dict[str, Any] = {}
        self._said_at = 0.0
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            folder.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, exist_ok=True)
            lock = self._path.with_suffix(_LOCK_SUFFIX)
            self._descriptor = os.open(lock, flags, layout.PRIVATE_FILE_MODE)
        except OSError as error:
            raise ConfigError(
                f"cannot write in {folder} ({error.strerror}), where it stands how far shipping "
                "has got: ship as the user of the log's writer"
            ) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise TargetTaken(
                f"another `hansard ship` ships {directory} to {target}: let that one go on"
            ) from None
        self._told = _read(self._path) or {}

    def told(self, origin: str) -> int:
        """Up to where a log was shipped when that was last said, be it by an earlier process."""
        shipped_to = self._told.get("shipped_to") if self._told.get("origin") == origin else None
        return shipped_to if isinstance(shipped_to, int) else 0

    def note(self, state: str, *, why: str = "", **facts: object) -> None:
        """Say how it stands: ``origin``, ``shipped_to``, ``covered``. Where it cannot be written,
        nothing is lost but the news."""
        now = time.monotonic()
        said = {"target": self._target, "pid": os.getpid(), "state": state, "why": why, **facts}
        self._told = said
        if self._said and now < self._said_at + self._pause_s(said):
            return
        self._said, self._said_at = said, now
        text = json.dumps({**said, "at": round(time.time(), 3)}).encode() + b"\n"
        with contextlib.suppress(OSError):
            replace_file(self._path, text, layout.PRIVATE_FILE_MODE)

    def _pause_s(self, said: Mapping[str, Any]) -> float:
        """How long what is said may wait behind what was said: a batch a second needs no fsync a
        batch, and where nothing changes there is nothing to say."""
        if said == self._said:
            return STILL_EVERY_S
        is_going_on = said["state"] == self._said.get("state") == SHIPPING
        return WRITE_EVERY_S if is_going_on else 0.0

    def close(self) -> None:
        """Let another process ship."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def path_of(directory: Path, target: str) -> Path:
    """The file of one target, which may be removed when nobody ships there any more."""
    name = hashlib.sha256(target.encode()).hexdigest()[:_NAME_CHARACTERS]
    return directory / layout.SHIPPING / (name + _SUFFIX)


def standings(directory: Path) -> list[dict[str, Any]]:
    """What the files of a log's directory say, target by target."""
    found = []
    for path in sorted((directory / layout.SHIPPING).glob(f"*{_SUFFIX}")):
        facts = _read(path)
        if facts is None:
            continue
        if facts.get("state") not in (ENDED, FAILED) and not _is_held(
            path.with_suffix(_LOCK_SUFFIX)
        ):
            facts["state"] = KILLED
        found.append(facts)
    return found


def _read(path: Path) -> dict[str, Any] | None:
    """None for what is not there, is being replaced, or is somebody else's."""
    try:
        facts = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


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
