"""Which processes read from a WAL at this moment, as the kernel lists their locks.

`readers_of` is pure. Linux only; elsewhere, and beyond this PID namespace, nobody is seen.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LOCKS: Final = Path("/proc/locks")
_READ_MARKS: Final = range(123, 128)  # bytes of the -shm: https://www.sqlite.org/walformat.html
COMMAND_CHARS_MAX: Final = 80


def readers_of(locks: Iterable[str], device: int, inode: int) -> set[int]:
    """The pids of those who hold a read mark, from the lines of ``/proc/locks``: ``1: POSIX
    ADVISORY READ 24058 fe:00:3073088 123 123``; ``->`` in a line is one who waits."""
    pids = set()
    for line in locks:
        fields = line.split()
        if len(fields) != 8 or fields[1] != "POSIX" or fields[3] != "READ":
            continue
        _, _, _, _, pid, place, start, end = fields
        if not _is_at(place, device, inode):
            continue
        if end != "EOF" and int(start) in _READ_MARKS and int(end) in _READ_MARKS and int(pid) > 0:
            pids.add(int(pid))
    return pids


def readers(shared_memory: Path) -> set[int]:
    """The pids of the other processes that read now, as far as they can be seen."""
    try:
        facts = shared_memory.stat()  # never opened: its close would drop this process's locks
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return set()
    return readers_of(lines, facts.st_dev, facts.st_ino) - {os.getpid()}


def in_the_way(wal: Path) -> str:
    """Says that a WAL cannot be emptied, who reads from it, and what to do."""
    pids = readers(wal.with_name(wal.name.removesuffix("-wal") + "-shm"))
    who = ", ".join(map(named, sorted(pids)))
    return (
        f"a read transaction keeps {wal} from being emptied: end it, or its process: "
        f"{who or 'which cannot be seen from here (/proc/locks lists it)'}"
    )


def named(pid: int) -> str:
    """A process for people: its pid and its command."""
    command = ""
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        text = words.decode(errors="replace").strip()
        command = "".join(each if each.isprintable() else "?" for each in text)
    return f"pid {pid} ({command[:COMMAND_CHARS_MAX]})" if command else f"pid {pid}"


def _is_at(place: str, device: int, inode: int) -> bool:
    """Whether a lock's place, ``fe:00:3073088``, is the file. Btrfs has one device for locks, and
    one a subvolume for stat."""
    major, _, rest = place.partition(":")
    minor, _, number = rest.partition(":")
    if not number.isdecimal() or int(number) != inode:
        return False
    numbers = int(major, 16), int(minor, 16)
    return numbers == (os.major(device), os.minor(device)) or numbers[0] == os.major(device) == 0
