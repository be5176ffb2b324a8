"""Files that are written whole and durably: after a power cut the old one or the new.

It knows nothing of what is in them.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def written_whole(path: Path, mode: int, *, replace: bool) -> Iterator[BinaryIO]:
    """Within, a file to write into, under another name; at the end it is durable and gets its own,
    with ``replace`` in place of what has it, else FileExistsError. Raises OSError.

    Whatever is raised, by whomever, the old one is in place, or the new one is there and perhaps
    not durable. What a process of the same pid left there when it was killed goes.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _forget(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            os.link(temporary, path)  # unlike a rename, it replaces nothing
    finally:
        _forget(temporary)
    sync_directory(path.parent)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Put content into a file, in place of what it holds. Raises as `written_whole`."""
    with written_whole(path, mode, replace=True) as file:
        file.write(content)


def write_new_file(path: Path, content: bytes, mode: int) -> None:
    """Put content into a file that MUST NOT be there yet: else FileExistsError. Raises as
    `written_whole`."""
    with written_whole(path, mode, replace=False) as file:
        file.write(content)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make what is in a file durable. It MUST NOT be a database that this process has open: the
    close drops SQLite's locks. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _forget(temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
