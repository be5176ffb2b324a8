"""Whatever call of SQLite's fails, all is entered once; and no failed fsync is tried again."""

from pathlib import Path

import apsw
import pytest

from faults import io_errors
from hansard.errors import AuditLogError
from hooked_vfs import HookedVfs
from stepped import TURN_S, Log


def test_calls_that_fail_lose_nothing_and_double_nothing() -> None:
    """In small; scripts/faults io_errors is the whole."""
    rows = io_errors.run(300)
    assert sum(row.count for row in rows) >= 300


@pytest.mark.parametrize("failing", [9, 10])
def test_a_writer_whose_first_commit_cannot_be_synced_does_not_sync_when_it_closes(
    directory: Path, hooked_vfs: HookedVfs, failing: int
) -> None:
    """The epoch's commit, or the one before it; the last connection's close is a checkpoint."""
    syncs = 0

    def fail(_name: str) -> None:
        nonlocal syncs
        syncs += 1
        if syncs == failing:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    hooked_vfs.on_sync = fail
    log = Log(directory)
    log.vfs = hooked_vfs.name
    with pytest.raises((apsw.IOError, AuditLogError)):
        log.start_writer()
    assert not hooked_vfs.retried_syncs
    log.start_writer().close()


def test_a_sync_on_a_handle_whose_sync_has_failed_is_seen(
    directory: Path, hooked_vfs: HookedVfs
) -> None:
    """That the campaign can fail."""

    def fail(_name: str) -> None:
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    log = Log(directory)
    log.vfs = hooked_vfs.name
    log.start_writer()
    worker = log.worker()
    worker.record(5)
    log.settle()
    worker.record(5)
    worker.send()
    log.step()
    hooked_vfs.on_sync = fail
    log.pass_time(TURN_S)
    with pytest.raises(apsw.IOError):
        log.step()
    hooked_vfs.on_sync = None
    assert log.store is not None
    log.store.connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    assert hooked_vfs.retried_syncs == ["log.db-wal"]
    log.close()
