"""The disk under the log, in three stages: room enough, little of it, too little to take anything.

`stage_of` decides. `Disk` looks, holds the reserve file, and says what changes. It knows no batch
and no store.
"""

import logging
import os
import stat
from enum import Enum
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard.settings import Settings
from hansard_writer.sqlite_errors import NO_ROOM

LOOK_S: Final = 1.0
MARGIN_SHARE: Final = 8  # of a limit: so much more room it takes to leave a stage than to enter it

_LOG: Final = logging.getLogger("hansard.writer")


class Stage(Enum):
    """How much room there is."""

    ENOUGH = "enough"
    LOW = "low"
    SUSPENDED = "suspended"  # nothing is taken in


def stage_of(spare: int, warn: int, suspend: int, before: Stage) -> Stage:
    """The stage for so many ``spare`` bytes. A stage is left with a margin, or a disk around a
    limit would change it all the time."""
    if spare < suspend + (suspend // MARGIN_SHARE if before is Stage.SUSPENDED else 0):
        return Stage.SUSPENDED
    if spare < warn + (0 if before is Stage.ENOUGH else warn // MARGIN_SHARE):
        return Stage.LOW
    return Stage.ENOUGH


class Reserve:
    """A file of some size, fully allocated: room to be had at once on a full disk."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self.size_bytes = size_bytes
        self.is_held = self._is_whole()  # an earlier run's

    def hold(self) -> None:
        """Allocate it; of no size, remove it. Raises OSError, with nothing allocated."""
        if self.size_bytes:
            self._allocate()
        else:
            self._path.unlink(missing_ok=True)
        self.is_held = True

    def release(self) -> bool:
        """Give its room away; whether there was any."""
        self.is_held = False
        try:
            had_room = self._path.stat().st_blocks > 0
            self._path.unlink()
        except OSError:
            return False
        return had_room

    def _is_whole(self) -> bool:
        try:
            facts = self._path.lstat()
        except OSError:
            return False
        allocated = facts.st_blocks * 512  # whatever the disk's own blocks are: man 2 stat
        return facts.st_size == self.size_bytes <= allocated and stat.S_ISREG(facts.st_mode)

    def _allocate(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, layout.PRIVATE_FILE_MODE)
        try:
            os.ftruncate(descriptor, self.size_bytes)
            os.posix_fallocate(descriptor, 0, self.size_bytes)
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


class Disk:
    """Looks at the disk of a log's directory. ``reason`` is why nothing is taken in, empty while
    it is; ``next_look`` when to look again."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._reserve = Reserve(directory / layout.RESERVE, settings.reserve_bytes)
        self._stage = Stage.ENOUGH
        self._fulls = 0
        self._is_full = False
        self._has_complained = False
        self._spare_bytes = 0  # when it was last looked at
        self.reason = ""
        self.next_look = 0.0

    @property
    def suspended(self) -> bool:
        """Whether nothing is to be taken in."""
        return bool(self.reason)

    def figures(self) -> dict[str, object]:
        """For `hansard stats`."""
        return {
            "suspended": self.suspended,
            "suspended_by": self.reason,
            "disk": self._stage.value,
            "disk_free_bytes": self._spare_bytes,
            "reserve_bytes": self._reserve.size_bytes if self._reserve.is_held else 0,
        }

    def look(self, now: float, fulls: int, *, is_waited_for: bool) -> None:
        """Look again. ``fulls`` is how often the store found no room so far; ``is_waited_for``
        whether something is still to be written that found none.

        Full, it gives the reserve away, to whoever writes next. It is full no more once all is
        written, and there is room for the reserve and as much again.
        """
        self.next_look = now + LOOK_S
        before = self._fulls
        if fulls > before:
            self._is_full = True
            if self._reserve.release():
                _LOG.warning("the disk is full: %s is released", layout.RESERVE)
        self._fulls = fulls
        spare = self._spare_bytes = self._spare()
        if self._is_full and not is_waited_for and spare >= self._reserve.size_bytes:
            self._is_full = fulls > before
        stage = self._stage_for(spare)
        if stage is not Stage.SUSPENDED and not self._holds() and self._stage is Stage.SUSPENDED:
            self._is_full, stage = (
                True,
                Stage.SUSPENDED,
            )  # whatever the disk says of itself: a quota
        self._enter(stage, spare)

    # --- inside ---

    def _spare(self) -> int:
        """The room beside the reserve, whether that is held now or not."""
        facts = os.statvfs(self._directory)
        free = facts.f_bavail * facts.f_frsize
        return free if self._reserve.is_held else max(free - self._reserve.size_bytes, 0)

    def _stage_for(self, spare: int) -> Stage:
        settings = self._settings
        if self._is_full:
            return Stage.SUSPENDED
        return stage_of(spare, settings.disk_warn, settings.disk_suspend, self._stage)

    def _holds(self) -> bool:
        """False where there is no room for the reserve. What else stands in its way is said, and
        it is done without."""
        if not self._reserve.is_held:
            try:
                self._reserve.hold()
            except OSError as error:
                if not self._has_complained:
                    _LOG.warning("no %s can be made: %s", layout.RESERVE, error.strerror)
                self._has_complained = True
                return error.errno not in NO_ROOM
        self._has_complained = False
        return True

    def _enter(self, stage: Stage, spare: int) -> None:
        before, self._stage = self._stage, stage
        self.reason = self._why_suspended(spare) if stage is Stage.SUSPENDED else ""
        if stage is before:
            return
        free = f"{spare >> 20} MiB"
        if stage is Stage.SUSPENDED:
            _LOG.error("intake is suspended, and spools take over: %s", self.reason)
        elif stage is Stage.LOW and before is Stage.ENOUGH:
            _LOG.warning("only %s are free on the disk of %s: make room", free, self._directory)
        elif before is Stage.SUSPENDED:
            _LOG.warning("%s are free: intake goes on", free)
        else:
            _LOG.info("%s are free again", free)

    def _why_suspended(self, spare: int) -> str:
        if self._is_full:
            return f"the disk of {self._directory} is full: make room on it"
        return (
            f"{spare >> 20} MiB are free on the disk of {self._directory}, and disk_suspend is "
            f"{self._settings.disk_suspend >> 20} MiB: make room on it"
        )
