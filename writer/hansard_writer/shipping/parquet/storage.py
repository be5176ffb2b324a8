"""Files on file systems that may be an object store's: written whole, durable as far as can be had.

There a rename may be a copy, a directory cannot be synced, and a link cannot be made. It turns
what goes wrong into what a target raises, and knows nothing of what is in a file.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from hansard_writer.shipping.parquet.layout import OURS_ALONE
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_UNSUPPORTED: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF})


def put(path: Path, write: Callable[[BinaryIO], None], staging: Path, *, replace: bool) -> None:
    """Have a file written in ``staging``, and give it its name once it is durable; only with
    ``replace`` in place of another. Whatever is raised, the file is there whole, or is not."""
    temporary = staging / f"{OURS_ALONE}{path.name}"
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            sync(file.fileno())
        if not replace and path.exists():
            raise TargetRefused(
                f"{path} is there, and nothing that is known here: see what it is, move it "
                "elsewhere, and start shipping again"
            )
        os.replace(temporary, path)  # noqa: PTH105 - what tests of kills take hold of
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make its names durable, where that is possible."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Make durable what is behind a descriptor, where that is possible."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Within, what goes wrong with files at or below a path is raised as a target's error."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # pyarrow's, of what is in the file
            raise _damaged(path, error) from error
        raise _translated(path, error) from error
    except (pa.ArrowException, ValueError, TypeError, KeyError, OverflowError) as error:
        raise _damaged(path, error) from error


def _translated(path: Path, error: OSError) -> TargetRefused | TargetUnavailable:
    what = f"{error.filename or path}: {error.strerror}"
    if error.errno in _FULL:
        return TargetUnavailable(f"{what}: make room there; nothing is lost meanwhile")
    if error.errno in _FORBIDDEN:
        return TargetRefused(
            f"{what}: let user {os.geteuid()} read and write there, then start again"
        )
    return TargetUnavailable(f"{what}: see whether it is mounted")


def _damaged(path: Path, error: Exception) -> TargetRefused:
    said = " ".join(str(error).split())
    return TargetRefused(
        f"{path} cannot be read as what was shipped ({said:.200}): put a copy of it back, or move "
        "it and all behind it elsewhere and ship again"
    )
