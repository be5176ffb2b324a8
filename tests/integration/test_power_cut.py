"""What was answered survives a power cut, although recovery shows commits never synced, and
although syncs fail; `faults.power_cut` cuts at every call of a longer history."""

import math
from pathlib import Path
from typing import Any

import apsw
import msgpack
import pytest

from faults import power_cut
from faults.disk import SURVIVORS
from frames import Chain, event, parts
from hansard import wire
from hansard_writer.sealing import Sealer
from hansard_writer.unusable import LogUnusable
from hooked_vfs import HookedVfs, watched_descriptors
from stepped import TURN_S, Killed, Log, leave_as_after_a_kill

ENVELOPE = [b"me", b"\0", b""]


def answered(log: Log, chain: Chain) -> int:
    """Say hello; the watermark that is answered."""
    log.link.requests.append((ENVELOPE, wire.pack_request(chain.hello())))
    for _ in range(10):
        log.step()
        if log.link.replies:
            _, verb, content = msgpack.unpackb(log.link.replies.popleft()[1])
            assert verb == "hello"
            return wire.Welcome(*content).watermark
        log.pass_time(0.01)
    raise AssertionError("no answer")


def cut_power(log: Log, vfs: HookedVfs) -> None:
    assert log.store is not None
    leave_as_after_a_kill(log.store)
    log.store = None
    log.adopter.close()
    log.disconnect()
    vfs.cut_power()


@pytest.fixture
def log(directory: Path, hooked_vfs: HookedVfs) -> Any:
    log = Log(directory)
    log.vfs = hooked_vfs.name
    yield log.start_writer()
    log.close()


def test_a_commit_is_synced_before_it_is_answered(log: Log, hooked_vfs: HookedVfs) -> None:
    worker = log.worker()
    worker.record(5)
    ticket = worker.ticket(5)
    while ticket.status != "committed":
        log.turn()
    cut_power(log, hooked_vfs)
    log.start_writer()
    assert log.entered("w") == [1, 2, 3, 4, 5]


def test_each_commit_syncs_the_wal(log: Log, hooked_vfs: HookedVfs) -> None:
    worker = log.worker()
    for _ in range(5):
        before = hooked_vfs.syncs.count("log.db-wal")
        worker.record()
        log.settle()
        assert hooked_vfs.syncs.count("log.db-wal") > before


def test_a_commit_that_recovery_shows_is_synced_before_it_is_answered(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    """The writer is killed between writing a commit and syncing it. The next run finds it in the
    WAL, tells the producer, who frees it. Then the power fails."""
    chain = Chain()
    assert answered(log, chain) == 0
    hooked_vfs.loses_syncs = True
    log.link.frames.append(parts(chain.frame(event(), event())))
    log.step()
    log.pass_time(1)
    log.step()
    log.kill_writer()
    hooked_vfs.loses_syncs = False
    log.start_writer()
    first_answer = answered(log, chain)
    assert first_answer == 2, "recovery shows the commit"
    cut_power(log, hooked_vfs)
    log.start_writer()
    assert answered(log, chain) >= first_answer


def test_without_the_sync_of_the_new_epoch_that_commit_would_be_gone(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    """That the test above can fail: the same, with a disk that ignores the new run's syncs."""
    chain = Chain()
    answered(log, chain)
    hooked_vfs.loses_syncs = True
    log.link.frames.append(parts(chain.frame(event(), event())))
    log.step()
    log.pass_time(1)
    log.step()
    log.kill_writer()
    log.start_writer()
    assert answered(log, chain) == 2
    cut_power(log, hooked_vfs)
    hooked_vfs.loses_syncs = False
    log.predecessor = None  # such a disk keeps no lock file either
    with pytest.raises(LogUnusable, match="went back in time"):
        log.start_writer()
    log.accepted = {"accept_rollback": True}
    log.start_writer()
    assert answered(log, chain) == 0


def test_every_start_is_a_new_epoch_and_synced_before_anything_is_answered(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    assert log.store is not None
    epochs = [log.store.epoch]
    for _ in range(3):
        hooked_vfs.syncs.clear()
        log.restart_writer()
        assert "log.db-wal" in hooked_vfs.syncs
        cut_power(log, hooked_vfs)
        log.start_writer()
        epochs.append(log.store.epoch)
    assert epochs == [1, 3, 5, 7]


def test_the_epoch_grows_although_nothing_else_is_ever_written(log: Log) -> None:
    assert log.store is not None
    log_id, first = log.store.log_id, log.store.epoch
    for number in range(1, 4):
        log.stop_writer()
        log.start_writer()
        assert (log.store.log_id, log.store.epoch) == (log_id, first + number)


def test_a_power_cut_at_any_turn_loses_nothing_that_was_freed(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    """Workers outlive the writer's machine here (their spools are on another): all is in."""
    workers = [log.worker("a"), log.worker("b")]
    for turn in range(25):
        for worker in workers:
            worker.record(1 + turn % 4)
        log.turn()
        if turn % 5 == 4:
            cut_power(log, hooked_vfs)
            log.start_writer()
    log.settle()
    log.assert_all_is_in()
    assert log.entries("hansard.lost") == []


def test_a_power_cut_behind_a_checkpoint_leaves_the_database_sound(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    worker = log.worker()
    for _ in range(4):
        worker.record(300)
        log.settle()
        for _ in range(5):
            log.pass_time(1)
            log.step()
        assert log.writer.figures()["wal_bytes"] == 0
        cut_power(log, hooked_vfs)
        log.start_writer()
    log.settle()
    log.assert_all_is_in()


@pytest.mark.parametrize("survives", SURVIVORS)
def test_a_power_cut_while_the_log_is_made_lets_the_next_run_make_it(
    directory: Path, hooked_vfs: HookedVfs, survives: str
) -> None:
    """Its first page is written under a rollback journal, and may be zeros, or there in part."""

    is_dead = False

    def dies(method: str, name: str) -> None:
        nonlocal is_dead
        is_dead = is_dead or (method, name) == ("xSync", "log.db")
        if is_dead and method in ("xWrite", "xSync", "xTruncate", "xDelete"):
            raise Killed

    hooked_vfs.before_call = dies
    log = Log(directory)
    log.vfs = hooked_vfs.name
    with pytest.raises(Killed):
        log.start_writer()
    hooked_vfs.before_call = None
    hooked_vfs.cut_power(survives)
    log.start_writer()
    assert log.store is not None
    assert log.store.epoch == 1
    log.close()


# --- syncs that fail ---


def commit(log: Log, chain: Chain) -> None:
    """One event, so that the WAL has a beginning."""
    log.link.frames.append(parts(chain.frame(event())))
    log.step()
    log.pass_time(TURN_S)
    log.step()
    assert answered(log, chain) == 1


def first_answer_after_a_failed_sync(log: Log, vfs: HookedVfs, chain: Chain) -> int:
    """The sync of a commit fails and the writer ends of it. What the next run answers: it finds
    the commit in the page cache, which takes its pages for written."""

    def fail(_name: str) -> None:
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    assert answered(log, chain) == 0
    commit(log, chain)
    vfs.on_sync = fail
    log.link.frames.append(parts(chain.frame(event(), event())))
    log.step()
    log.pass_time(TURN_S)
    with pytest.raises(apsw.IOError):
        log.step()
    vfs.on_sync = None
    log.kill_writer()
    log.start_writer()
    return answered(log, chain)


def test_a_commit_whose_sync_failed_is_on_the_disk_before_recovery_tells_of_it(
    log: Log, hooked_vfs: HookedVfs
) -> None:
    chain = Chain()
    with watched_descriptors(hooked_vfs):
        first_answer = first_answer_after_a_failed_sync(log, hooked_vfs, chain)
    assert first_answer == 3, "recovery shows the commit"
    cut_power(log, hooked_vfs)
    log.start_writer()
    assert answered(log, chain) >= first_answer


def test_were_the_wal_not_written_once_more_that_commit_would_be_gone(
    log: Log, hooked_vfs: HookedVfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the test above can fail: the same, on a disk that takes no notice of it."""
    monkeypatch.setattr(Sealer, "due", math.inf)  # what it commits would begin the WAL anew
    chain = Chain()
    first_answer = first_answer_after_a_failed_sync(log, hooked_vfs, chain)
    assert first_answer == 3
    cut_power(log, hooked_vfs)
    log.start_writer()
    assert answered(log, chain) == 1


# --- everywhere ---


def test_a_power_cut_at_any_call_loses_nothing_that_was_answered() -> None:
    """In small; scripts/faults power_cut is the whole."""
    said: list[str] = []
    rows = power_cut.run(300, say=said.append)
    assert sum(row.count for row in rows) >= 300
