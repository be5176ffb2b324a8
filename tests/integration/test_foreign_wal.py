"""A backup that was copied over a killed writer's log, whose WAL is still there."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hansard_writer import recovered
from hansard_writer.unusable import LogUnusable
from stepped import Log

SIZES = {  # events since the backup: in the database, and in the WAL alone
    "as many pages": (1, 1),
    "as many pages still": (20, 1),
    "a WAL that adds no page": (300, 1),
    "a WAL that adds pages": (300, 300),
}


@pytest.fixture(params=SIZES.values(), ids=SIZES.keys())
def backup(request: pytest.FixtureRequest, log: Log, tmp_path: Path) -> Callable[[], None]:
    """The log has entries, a backup, more entries in the database, and some in the WAL alone; its
    writer was killed. Puts the backup in place of the database."""
    worker = log.worker()
    worker.record(50)
    log.settle()
    log.stop_writer()
    shutil.copy(log.directory / "log.db", tmp_path / "backup.db")
    log.start_writer()
    in_database, in_wal = request.param
    worker.record(in_database)
    log.settle()
    assert log.store
    assert log.store.handle.checkpoint_truncate()
    worker.record(in_wal)
    log.settle()
    log.kill_writer()
    return lambda: shutil.copyfile(tmp_path / "backup.db", log.directory / "log.db") and None


def test_a_backup_beside_anothers_wal_is_refused_and_both_are_left_as_they_are(
    log: Log, backup: Callable[[], None]
) -> None:
    backup()
    log.is_honest = False
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
    log.accepted = {"accept_rollback": True}
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


@pytest.mark.parametrize("events", [50, 300])
def test_another_logs_database_beside_a_killed_ones_wal_is_refused(
    log: Log, tmp_path: Path, events: int
) -> None:
    other = Log(tmp_path / "other").start_writer()
    other.worker("other").record(50)
    other.settle()
    other.stop_writer()
    log.worker().record(events)
    log.settle()
    log.kill_writer()
    shutil.copyfile(other.directory / "log.db", log.directory / "log.db")
    with pytest.raises(LogUnusable):
        log.start_writer()
    log.is_honest = False
    other.close()


def test_another_log_that_comes_with_its_own_wal_is_taken(log: Log, tmp_path: Path) -> None:
    other = Log(tmp_path / "other").start_writer()
    other.worker("other").record(5)
    other.settle()
    other.kill_writer()
    log.worker().record(5)
    log.settle()
    log.kill_writer()
    for path in log.files():
        path.unlink()
    for path in other.files():
        path.rename(log.directory / path.name)
    log.start_writer()
    assert log.entered("other") == [1, 2, 3, 4, 5]
    for worker in other.workers:
        worker.producer.close()


def test_where_the_lock_file_is_gone_too_a_killed_writers_own_wal_is_taken(
    log: Log, backup: Callable[[], None]
) -> None:
    log.predecessor = None
    log.start_writer()
    log.workers[0].record()
    log.settle()
    log.assert_all_is_in()


def test_a_copy_of_a_living_log_whose_files_are_of_two_moments_is_refused(
    log: Log, tmp_path: Path
) -> None:
    """Its WAL has an old page for a newer database. The lock file that came along names the run,
    but another WAL."""
    store = log.store
    assert store
    with store.transaction() as connection:
        connection.execute("CREATE TABLE mine(name TEXT UNIQUE, value INTEGER)")
        connection.execute("INSERT INTO mine VALUES('old', 0)")
    assert store.handle.checkpoint_truncate()
    with store.transaction() as connection:
        connection.execute("UPDATE mine SET value = 1")  # a page of the table, none of its index
    copied_wal = store.handle.wal.read_bytes()
    with store.transaction() as connection:
        connection.execute("INSERT INTO mine VALUES('new', 2)")
    assert store.handle.checkpoint_truncate()
    copy = Log(tmp_path / "copy")
    copy.predecessor = log.predecessor
    shutil.copyfile(log.directory / "log.db", copy.directory / "log.db")
    (copy.directory / "log.db-wal").write_bytes(copied_wal)
    with pytest.raises(LogUnusable, match="copy of a log that was in use"):
        copy.start_writer()


def test_a_new_log_whose_wal_has_the_number_of_an_old_ones_file_is_taken(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File systems give the numbers of files that are gone to new ones: the lock file is still the
    old log's when the writer that makes a new one is killed."""
    new, killed = Log(tmp_path / "new"), Log(tmp_path / "killed")

    def keep(wal: Path) -> int:
        for path in (new.directory / "log.db", wal):
            shutil.copyfile(path, killed.directory / path.name)
        return 0

    monkeypatch.setattr(recovered, "rewrite", keep)
    new.start_writer()
    monkeypatch.undo()
    assert log.predecessor
    wal_inode = (killed.directory / "log.db-wal").stat().st_ino
    killed.predecessor = log.predecessor._replace(wal_inode=wal_inode)
    killed.start_writer()
    new.close()
    killed.close()
