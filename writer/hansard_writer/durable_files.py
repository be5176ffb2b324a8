"""Small files that are written all at once and durably: after a power cut the old one or the new.

It knows nothing of what is in them.
"""

import contextlib
import os
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Put content into a file, in place of what it holds. Raises OSError, with the old one in
    place, or the new one there and perhaps not durable."""
    temporary = _written_beside(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        _forget(temporary)
        raise
    sync_directory(path.parent)


def write_new_file(path: Path, content: bytes, mode: int) -> None:
    """Put content into a file that MUST NOT be there yet: else FileExistsError. Raises OSError."""
    temporary = _written_beside(path, content, mode)
    try:
        os.link(temporary, path)  # unlike a rename, it replaces nothing
    finally:
        _forget(temporary)
    sync_directory(path.parent)


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


def _written_beside(path: Path, content: bytes, mode: int) -> Path:
    """A durable file with these bytes, under another name. What a process of the same pid left
    there when it was killed goes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    _forget(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        _forget(temporary)
        raise
    return temporary


def _forget(temporary: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
