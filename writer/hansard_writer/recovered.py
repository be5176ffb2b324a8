"""What a killed writer left in the WAL, made durable before anybody is told of it.

After a sync that failed, Linux takes the pages for clean: recovery reads from memory what is not on
the disk, and no later sync writes it. Written once more, the same bytes are to be written again.
It opens no database.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CHUNK_BYTES: Final = 1 << 20


def rewrite(wal: Path) -> int:
    """Write a WAL's own bytes over it, and sync file and directory; how many there are.

    MUST be called while holding SQLite's write lock, or a commit of another program's could be
    overwritten. SQLite takes no lock on this file (they are all on the database and its shared
    memory), so that closing a descriptor of it drops none. Raises OSError, after which the process
    MUST end: nobody knows what of it is on the disk.
    """
    try:
        descriptor = os.open(wal, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    with _closing(descriptor):
        size = os.fstat(descriptor).st_size
        if not size:
            return 0
        offset = 0
        while offset < size and (chunk := os.pread(descriptor, CHUNK_BYTES, offset)):
            offset += os.pwrite(descriptor, chunk, offset)
        os.fsync(descriptor)
    with _closing(os.open(wal.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
        os.fsync(directory)  # its name may be as new as its content
    return offset


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)
