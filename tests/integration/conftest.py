"""A log whose writer and workers are stepped by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hooked_vfs import HookedVfs
from stepped import Log
from support import assert_verifies


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Served by a writer that has just started; in the end it verifies."""
    log = Log(directory).start_writer()
    yield log
    log.close()
    if log.is_honest:
        assert_verifies(directory)


@pytest.fixture
def hooked_vfs() -> Iterator[HookedVfs]:
    """A file system for SQLite with hooks."""
    vfs = HookedVfs()
    yield vfs
    vfs.unregister()
