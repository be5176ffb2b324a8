"""The place of a log: whether the files of a writer's run are still those that their names lead to.

It looks, and changes nothing.
"""

import os
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard.errors import AuditLogError

_Identity = tuple[int, int]


class DirectoryReplaced(AuditLogError):
    """The directory, or the database in it, was removed, moved or replaced under its writer, which
    serves nobody any more. Put it back where it was, or start a writer for what is there now."""


class Place:
    """The lock and the database of a directory, as they are now.

    MUST be made once the lock is held and the database open.
    """

    _FILES: Final = (layout.LOCK, layout.DATABASE)

    def __init__(self, directory: Path) -> None:
        files = [str(directory / name) for name in self._FILES]
        self._known = [(file, _identity(file)) for file in files]

    def require(self) -> None:
        """Raises `DirectoryReplaced` unless both are still there: somebody else may lock another
        lock, and what is entered into a database without a name is lost when its writer ends."""
        for file, known in self._known:
            if _identity(file) != known:
                raise DirectoryReplaced(
                    f"{file} was removed, moved or replaced under its writer, "
                    "which ends: what is in spools there is left for the next one"
                )


def _identity(file: str) -> _Identity | None:
    """By `os.stat`: it is asked behind each commit, and `Path.stat` takes three times as long."""
    try:
        facts = os.stat(file)  # noqa: PTH116
    except OSError:
        return None
    return facts.st_dev, facts.st_ino
