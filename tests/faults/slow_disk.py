"""A disk that is slow for real: the kernel's own throttle on what a process writes.

Needs root and the block controller of cgroups (version 1); where that is not to be had the disk
stays as it is, and whoever asked is told so.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CONTROLLER: Final = Path("/sys/fs/cgroup/blkio")
_LIMIT: Final = "blkio.throttle.write_bps_device"


class SlowDisk:
    """Slow for the processes that `take` names, with all that they start from then on."""

    def __init__(self, bytes_per_second: int, group: Path | None) -> None:
        self._bytes_per_second = bytes_per_second
        self._group = group

    def __str__(self) -> str:
        if self._group is None:
            return "the disk as it is"
        return f"a disk throttled to {self._bytes_per_second >> 20} MiB/s by the kernel"

    def take(self, pid: int) -> None:
        """From now on the process writes slowly."""
        if self._group is not None:
            (self._group / "cgroup.procs").write_text(str(pid))


@contextlib.contextmanager
def slow_disk(directory: Path, bytes_per_second: int) -> Iterator[SlowDisk]:
    """The disk of ``directory``, slow within the block; the processes taken MUST end within it."""
    group = _CONTROLLER / f"hansard-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield SlowDisk(bytes_per_second, None)
        return
    try:
        try:
            (group / _LIMIT).write_text(f"{_device(directory)} {bytes_per_second}")
        except OSError:  # no disk of its own: memory, an overlay
            yield SlowDisk(bytes_per_second, None)
        else:
            yield SlowDisk(bytes_per_second, group)
    finally:
        group.rmdir()


def _device(directory: Path) -> str:
    """The whole disk's number: partitions cannot be throttled."""
    number = directory.stat().st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve(strict=True)
    disk = device.parent if (device / "partition").exists() else device
    return (disk / "dev").read_text().strip()
