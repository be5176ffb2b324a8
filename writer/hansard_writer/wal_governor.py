"""The WAL's governor: when its pages move into the database, and who keeps them from it.

It decides about checkpoints by size, idleness and readers, and complains of a reader that stays.
It ends nobody's transaction.
"""

import logging
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

from hansard.settings import Settings
from hansard_writer import wal_readers
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.handle import FRAME_BYTES, Handle

IDLE_S: Final = 1.0  # without a commit, before the WAL is emptied
LOOK_S: Final = 1.0  # at a WAL that is too large, or held
TRUNCATE_RETRY_S: Final = 10.0  # after a reader stood in the way
PASSIVE_SHARE: Final = 8  # of wal_bytes_target: checkpoint well before it is reached

_LOG: Final = logging.getLogger("hansard.writer")


class Held(NamedTuple):
    """A mark in the WAL that somebody still reads at: the frames behind it cannot be moved.
    ``pids`` are those who have read every time that was looked since."""

    mark: int
    frames: int
    since: float
    pids: frozenset[int] | None


def held_after(before: Held | None, frames: int, moved: int, now: float) -> Held | None:
    """What is held after a checkpoint moved ``moved`` of ``frames``. The same mark is the same
    reader, unless the WAL began anew meanwhile, which no reader in it allows."""
    if moved >= frames:
        return None
    if before is None or before.mark != moved or frames < before.frames:
        return Held(moved, frames, now, None)
    return before._replace(frames=frames)


class WalGovernor:
    """Keeps one log's WAL small. `wrote` after each commit, `step` in each turn of the loop."""

    def __init__(
        self,
        handle: Handle,
        settings: Settings,
        readers: Callable[[Path], set[int]] = wal_readers.readers,
    ) -> None:
        self._handle = handle
        self._settings = settings
        self._readers = readers
        self._shared_memory = handle.wal.with_name(handle.wal.name.removesuffix("-wal") + "-shm")
        self._held: Held | None = None
        self._has_complained = False
        self._wrote_at = -inf
        self._retry_at = 0.0  # to truncate, after somebody stood in the way
        self._look_at = 0.0

    def wrote(self, now: float) -> None:
        """Something was committed."""
        self._wrote_at = now

    def step(self, now: float, *, is_idle: bool) -> None:
        """PASSIVE by pages, because a blocking checkpoint would stall. TRUNCATE when idle, and
        under load where the file has become too large: it waits for nobody either."""
        if self._wrote_at == now and self._is_large():
            self._move(now)
        if self._handle.wal_pages and is_idle and now >= self._idle_at:
            self._truncate(now)
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._look(now)

    def due(self, *, is_idle: bool) -> float:
        """When to step again although nothing happens."""
        moments = [self._look_at if self._held else inf]
        if self._handle.wal_pages and is_idle:
            moments.append(self._idle_at)
        return min(moments)

    def make_room(self, now: float) -> None:
        """The disk is full: the WAL's file may be room that nobody needs."""
        self._truncate(now)

    def figures(self, now: float) -> dict[str, Any]:
        """For `hansard stats`; ages are at least so long."""
        held = self._held
        return {
            "wal_bytes": self._handle.wal_bytes,
            "wal_bytes_held": (held.frames - held.mark) * FRAME_BYTES if held else 0,
            "wal_held_by": self._holders(),
            "reader_age": round(now - held.since, 1) if held else 0.0,
            "wal_checkpoints": self._handle.checkpoints,
        }

    # --- inside ---

    @property
    def _idle_at(self) -> float:
        """When to truncate if nothing more is written."""
        return max(self._wrote_at + IDLE_S, self._retry_at)

    def _is_large(self) -> bool:
        wal_bytes = self._handle.wal_pages * PAGE_BYTES
        return wal_bytes * PASSIVE_SHARE >= self._settings.wal_bytes_target

    def _move(self, now: float) -> None:
        done = self._handle.checkpoint_passive()
        if done is None:
            return
        before = self._held
        self._held = held_after(before, *done, now)
        if self._held is None or before is None or self._held.since != before.since:
            self._has_complained = False
        if self._held is None and before:
            self._retry_at = now  # nobody is in the way any more

    def _truncate(self, now: float) -> None:
        if self._handle.checkpoint_truncate():
            self._held = None
            return
        self._retry_at = now + TRUNCATE_RETRY_S
        self._move(now)

    def _look(self, now: float) -> None:
        """Once in a while: whether a reader is still there, and the file not too large."""
        if self._held:
            self._move(now)
        elif self._handle.wal_bytes > self._settings.wal_bytes_target and now >= self._retry_at:
            self._truncate(now)
        held = self._held
        if held is None:
            return
        seen = frozenset(self._readers(self._shared_memory))
        self._held = held._replace(pids=seen if held.pids is None else held.pids & seen)
        age = now - held.since
        if age >= self._settings.reader_age_max and not self._has_complained:
            self._has_complained = True
            _LOG.warning(
                "a read transaction has kept the WAL from being emptied for %d s (reader_age_max), "
                "and it has %d MiB: end it, or its process: %s",
                age,
                self._handle.wal_bytes >> 20,
                self._holders() or "which cannot be seen from here (/proc/locks lists it)",
            )

    def _holders(self) -> str:
        pids = self._held.pids if self._held else None
        return ", ".join(map(wal_readers.named, sorted(pids or ())))
