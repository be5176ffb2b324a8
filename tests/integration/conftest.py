"""A log whose writer and workers are stepped by hand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hansard_writer.proof import verify
from hooked_vfs import HookedVfs
from stepped import Log


@pytest.fixture
def log(directory: Path) -> Iterator[Log]:
    """Served by a writer that has just started; in the end it verifies."""
    log = Log(directory).start_writer()
    yield log
    log.close()
    if log.is_honest:
        report = verify(directory)
        assert report.is_good, f"verify says {report}"


@pytest.fixture
def hooked_vfs() -> Iterator[HookedVfs]:
    """A file system for SQLite with hooks."""
    vfs = HookedVfs()
    yield vfs
    vfs.unregister()
