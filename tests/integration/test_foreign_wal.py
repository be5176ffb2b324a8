"""A backup that was copied over a killed writer's log, whose WAL is still there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hansard_writer.damage import LogUnusable
from stepped import Log


@pytest.fixture(params=[1, 300], ids=["a WAL that adds no page", "a WAL that adds pages"])
def backup(request: pytest.FixtureRequest, log: Log, tmp_path: Path) -> Callable[[], None]:
    """The log has entries, a backup, more entries in the database, and some in the WAL alone; its
    writer was killed. Puts the backup in place of the database."""
    worker = log.worker()
    worker.record(50)
    log.settle()
    log.stop_writer()
    shutil.copy(log.directory / "log.db", tmp_path / "backup.db")
    log.start_writer()
    worker.record(300)
    log.settle()
    assert log.store
    assert log.store.handle.checkpoint_truncate()
    worker.record(request.param)
    log.settle()
    log.kill_writer()
    return lambda: shutil.copyfile(tmp_path / "backup.db", log.directory / "log.db") and None


def test_a_backup_beside_anothers_wal_is_refused_and_both_are_left_as_they_are(
    log: Log, backup: Callable[[], None]
) -> None:
    backup()
    files = [log.directory / name for name in ("log.db", "log.db-wal")]
    before = [path.read_bytes() for path in files]
    with pytest.raises(LogUnusable, match=r"move log\.db-wal and log\.db-shm away"):
        log.start_writer()
    assert [path.read_bytes() for path in files] == before


def test_it_is_served_once_the_wal_is_away_and_says_what_is_lost(
    log: Log, backup: Callable[[], None]
) -> None:
    backup()
    for name in ("log.db-wal", "log.db-shm"):
        (log.directory / name).unlink()
    log.start_writer()
    log.workers[0].record()
    log.settle()
    (lost,) = log.entries("hansard.lost")
    assert lost["count"] == len(log.recorded["w"]) - 51
    assert len(log.entered("w")) == 51


def test_a_killed_writers_own_wal_is_taken(log: Log, backup: Callable[[], None]) -> None:
    log.start_writer()
    log.workers[0].record()
    log.settle()
    log.assert_all_is_in()
