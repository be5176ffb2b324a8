"""A backup, seen as a log; its file is read where it is, and never changed.

Whether it is one is not asked here: the child process asks, which may load what that takes.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hansard import directory as layout


@contextlib.contextmanager
def shown_as_log(backup: Path) -> Iterator[Path]:
    """A directory in which a backup is a log, for as long as it is looked at."""
    with tempfile.TemporaryDirectory(prefix="hansard-view-") as place:
        (Path(place) / layout.DATABASE).symlink_to(backup.absolute())
        yield Path(place)
