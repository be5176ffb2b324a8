"""When the writer commits, whom it answers when, and what it does while it cannot commit."""

import os
from pathlib import Path
from typing import Any

import apsw
import pytest

from frames import event
from hansard import wire
from hansard.settings import MIB
from hansard_writer.place import DirectoryReplaced, Place
from hooked_vfs import HookedVfs
from stepped import TURN_S, Log, Worker, write_lock_taken


def welcomed(log: Log, name: str = "w") -> Worker:
    worker = log.worker(name)
    log.turn()
    assert worker.transmission.welcomed
    return worker


def commits(log: Log) -> int:
    count: int = log.writer.figures()["commits"]
    return count


# --- group commit ---


def test_a_batch_is_committed_when_it_is_full_of_events(directory: Path) -> None:
    log = Log(directory, batch_events_max=10, commit_interval=60).start_writer()
    worker = welcomed(log)
    for _ in range(9):
        worker.record()
        worker.send()
    log.step()
    assert log.entered("w") == []
    worker.record()
    worker.send()
    log.step()
    assert len(log.entered("w")) == 10
    log.close()


def test_a_batch_is_committed_when_it_is_full_of_bytes(directory: Path) -> None:
    log = Log(directory, batch_bytes_max=200_000, commit_interval=60).start_writer()
    worker = welcomed(log)
    worker.record(1, task_id="x" * 1_000)
    worker.send()
    log.step()
    assert log.entered("w") == []
    worker.record(200, task_id="x" * 1_000)
    worker.send()
    log.step()
    assert len(log.entered("w")) == 201
    log.close()


def test_a_full_batch_leaves_the_rest_for_the_next_step(directory: Path) -> None:
    log = Log(directory, batch_events_max=10).start_writer()
    worker = welcomed(log)
    for _ in range(25):
        worker.record()
        worker.send()
    for entered in (10, 20):
        assert log.step() == 0, "there is more to read"
        assert len(log.entered("w")) == entered
    assert 0 < log.step() <= 0.005
    log.pass_time(TURN_S)
    log.step()
    assert len(log.entered("w")) == 25
    log.close()


def test_a_batch_is_committed_when_its_oldest_event_has_waited_long_enough(
    directory: Path,
) -> None:
    log = Log(directory, commit_interval=0.05).start_writer()
    worker = welcomed(log)
    worker.record()
    worker.send()
    assert log.step() == pytest.approx(0.05)
    log.pass_time(0.03)
    worker.record()
    worker.send()
    assert log.step() == pytest.approx(0.02)
    assert log.entered("w") == []
    log.pass_time(0.021)
    log.step()
    assert log.entered("w") == [1, 2]
    assert commits(log) == 1
    log.close()


def test_a_batch_is_committed_at_once_when_somebody_waits(directory: Path) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker, other = welcomed(log), welcomed(log, "other")
    other.record(3)
    other.send()
    ticket = worker.ticket(worker.record())
    worker.send()
    log.step()
    worker.hear()
    assert (ticket.status, ticket.id) == ("committed", 4)
    assert log.entered("other") == [1, 2, 3], "one commit is for all"
    assert commits(log) == 1
    log.close()


def test_an_urgent_frame_is_committed_before_its_wait_has_come(directory: Path) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker = welcomed(log)
    ticket = worker.ticket(worker.record())
    worker.send()
    late = log.link.requests.pop()
    log.step()
    assert log.entered("w") == [1]
    assert commits(log) == 1
    log.link.requests.append(late)
    log.step()
    worker.hear()
    assert (ticket.status, ticket.id, commits(log)) == ("committed", 1, 1)
    log.close()


def test_a_wait_that_comes_during_the_commit_is_answered_behind_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker = welcomed(log)
    ticket = worker.ticket(worker.record())
    worker.send()
    late, commit = log.link.requests.pop(), log.writer._commit

    def commit_and_hear(now: float) -> None:
        commit(now)
        log.link.requests.append(late)

    monkeypatch.setattr(log.writer, "_commit", commit_and_hear)
    log.step()
    worker.hear()
    assert (ticket.status, ticket.id) == ("committed", 1)
    log.close()


def test_an_urgent_frame_waits_for_the_others_that_can_be_read(directory: Path) -> None:
    log = Log(directory, commit_interval=60, batch_events_max=100).start_writer()
    workers = [welcomed(log, f"w{number}") for number in range(5)]
    for worker in workers:
        worker.ticket(worker.record())
        worker.send()
    log.link.requests.clear()
    log.step()
    assert commits(log) == 1
    assert [log.entered(f"w{number}") for number in range(5)] == [[1]] * 5
    log.close()


def test_nobodys_haste_makes_a_commit_while_there_is_more_to_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit answers many: those whose requests are still to be read, too."""
    monkeypatch.setattr("hansard_writer.writer.REQUESTS_PER_STEP_MAX", 8)
    log = Log(directory, commit_interval=60).start_writer()
    workers = [welcomed(log, f"w{number}") for number in range(10)]
    tickets = []
    for worker in workers:
        tickets.append(worker.ticket(worker.record()))
        worker.send()
    assert log.step() == 0
    assert commits(log) == 0, "two requests are still to be read"
    log.step()
    for worker in workers:
        worker.hear()
    assert commits(log) == 1
    assert [ticket.id for ticket in tickets] == list(range(1, 11))
    log.close()


def test_a_wait_that_nobody_hurries_makes_no_commit(directory: Path) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker = welcomed(log)
    worker.record()
    worker.send()
    log.step()
    assert commits(log) == 0
    log.close()


def test_a_wait_is_answered_within_a_quarter_of_a_second(directory: Path) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker = welcomed(log)
    worker.record()
    worker.send()
    asked_at = log.now
    while (timeout := log.step()) and not log.link.replies:
        log.pass_time(timeout)
    assert log.now - asked_at == pytest.approx(wire.WAIT_S)
    (ack,) = worker.hear()
    assert (ack.status, ack.watermark) == (wire.PENDING, 0)
    log.close()


def test_a_wait_for_what_never_comes_is_answered_again_and_again(log: Log) -> None:
    """The number does not exist yet: pending, each time after 250 ms, and nothing spins."""
    worker = welcomed(log)
    ticket = worker.ticket(5)
    steps = 0
    for _ in range(3):
        worker.send()
        asked_at = log.now
        while (timeout := log.step()) and not log.link.replies:
            log.pass_time(timeout)
            steps += 1
        assert log.now - asked_at == pytest.approx(wire.WAIT_S)
        assert [ack.status for ack in worker.hear()] == [wire.PENDING]
    assert steps < 30
    assert ticket.status == "unknown"


def test_an_idle_writer_waits_for_half_a_second_and_more(log: Log) -> None:
    for _ in range(5):
        log.pass_time(log.step())
    assert log.step() > 0.2


def test_a_writer_with_a_dead_spool_at_work_does_not_wait(log: Log) -> None:
    worker = log.worker()
    worker.record(3_000)
    worker.kill()
    assert log.step() == 0


def test_the_same_peer_waits_once(log: Log) -> None:
    worker = welcomed(log)
    worker.record()
    for _ in range(5):
        worker.transmission.outstanding = None
        worker.send()
    assert len(log.link.requests) == 5
    log.link.frames.clear()
    log.step()
    assert log.writer.figures()["waiting_requests"] == 1


# --- what becomes of an event ---


def reply_to(log: Log, message: bytes) -> Any:
    log.link.requests.append(([b"me", b"\0", b""], message))
    log.step()
    (reply,) = [r for r in log.link.replies if r[0][0] == b"me"]
    log.link.replies.remove(reply)
    return wire.unpack_reply(reply[1])[1]


def test_lookup_tells_committed_rejected_and_unknown(log: Log) -> None:
    worker = log.worker()
    worker.record(2)
    worker.producer.append(b"\x90")
    worker.record(1, event_type="last.one", created_at=77)
    log.settle()
    worker.record(1)

    def look_up(number: int) -> Any:
        return reply_to(log, wire.pack_request(wire.Lookup(worker.producer.hash, number)))

    assert look_up(2)[:2] == ["committed", 2]
    assert look_up(3)[:2] == ["rejected", -1]
    assert look_up(4) == ["committed", 3, "last.one", 77]
    assert look_up(5)[:2] == ["unknown", -1]
    assert look_up(0)[:2] == ["unknown", -1]
    assert reply_to(log, wire.pack_request(wire.Lookup(b"?" * 32, 1)))[:2] == ["unknown", -1]
    log.restart_writer()
    assert look_up(2)[:2] == ["committed", 2]
    assert look_up(3)[:2] == ["rejected", -1]


def test_lookup_does_not_tell_of_what_is_not_committed(directory: Path) -> None:
    log = Log(directory, commit_interval=60).start_writer()
    worker = welcomed(log)
    worker.record()
    worker.send()
    log.step()
    assert log.writer.figures()["uncommitted"] == 1
    assert reply_to(log, wire.pack_request(wire.Lookup(worker.producer.hash, 1)))[0] == "unknown"
    log.close()


def test_lookup_finds_every_event_among_interleaved_producers(log: Log) -> None:
    workers = [log.worker(f"w{number}") for number in range(3)]
    for turn in range(12):
        for worker in workers:
            worker.record(1 + turn % 3)
        if turn % 4:
            log.turn()
        if turn == 6:
            log.settle()
            log.restart_writer()
    log.settle()
    for worker in workers:
        keys = [
            reply_to(log, wire.pack_request(wire.Lookup(worker.producer.hash, number)))
            for number in range(1, worker.producer.seq + 1)
        ]
        assert {key[0] for key in keys} == {"committed"}
        ids = [key[1] for key in keys]
        assert log.query(
            "SELECT seq FROM entries WHERE payload ->> 'w' = ? ORDER BY seq", worker.name
        ) == [(seq,) for seq in ids]


def test_the_ids_of_more_runs_than_a_reply_holds_are_told_in_several(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "RUNS_PER_REPLY_MAX", 3)
    worker, other = welcomed(log), welcomed(log, "other")
    tickets = []
    for _ in range(10):
        tickets.append(worker.ticket(worker.record()))
        worker.send()
        other.record()
        other.send()
    log.settle()
    assert [ticket.status for ticket in tickets] == ["committed"] * 10
    assert [(ticket.id,) for ticket in tickets] == log.query(
        "SELECT seq FROM entries WHERE payload ->> 'w' = 'w' ORDER BY seq"
    )


def test_more_rejections_than_a_reply_holds_are_told_in_several(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = welcomed(log)
    tickets = [worker.ticket(worker.producer.append(b"\x90")) for _ in range(2_500)]
    log.settle()
    assert {ticket.status for ticket in tickets} == {"rejected"}


@pytest.mark.parametrize("rejected", [999, 1_000, 1_001, 2_500])
def test_a_sync_caller_behind_many_rejected_events_is_answered(log: Log, rejected: int) -> None:
    worker = welcomed(log)
    for _ in range(rejected):
        worker.producer.append(b"\x90")
    log.settle()
    ticket = worker.ticket(worker.record())
    log.settle()
    assert (ticket.status, ticket.id) == ("committed", 1)


# --- while it cannot commit ---


def test_a_batch_that_finds_the_store_busy_is_kept_and_committed_later(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    with write_lock_taken(log.directory):
        for _ in range(50):
            worker.record()
            log.turn()
        assert len(log.entered("w")) == 3
        assert log.writer.figures()["busy_retries"] >= 2
        assert worker.producer.waiting == 50
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.resent == 0


def test_a_busy_store_is_tried_again_ten_times_a_second_and_no_more(log: Log) -> None:
    worker = welcomed(log)
    worker.record()
    log.settle()
    with write_lock_taken(log.directory):
        worker.record()
        worker.send()
        started_at, steps = log.now, 0
        while log.now < started_at + 2:
            log.pass_time(max(log.step(), 0.0001))
            steps += 1
        assert log.writer.figures()["busy_retries"] <= 21
        assert steps < 200, "the writer spins"
    log.settle()


def test_a_busy_store_and_an_adoption_do_not_make_the_writer_spin(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(3)
    dead.kill()
    with write_lock_taken(log.directory):
        started_at, steps = log.now, 0
        while log.now < started_at + 2:
            log.pass_time(max(log.step(), 0.0001))
            steps += 1
        assert steps < 200, "the writer spins"
    log.settle()
    log.assert_all_is_in()


def test_a_busy_store_does_not_let_the_batch_grow_beyond_its_limit(directory: Path) -> None:
    log = Log(directory, batch_events_max=50).start_writer()
    worker = welcomed(log)
    with write_lock_taken(log.directory):
        for _ in range(100):
            worker.record(5)
            worker.send()
            log.step()
            log.pass_time(0.01)
        assert log.writer.figures()["uncommitted"] <= 55
        assert not log.writer.takes_messages
        started_at, steps = log.now, 0
        while log.now < started_at + 2:
            log.pass_time(max(log.step(), 0.0001))
            steps += 1
        assert steps < 200, "the writer spins"
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_a_busy_store_while_bad_payloads_are_taken_out_doubles_nothing(log: Log) -> None:
    """The batch is tried, mended, found busy, and tried again."""
    worker = welcomed(log)
    worker.record(2)
    worker.producer.append(event("[]"))
    worker.record(2)
    worker.send()
    store = log.store
    assert store is not None
    write, calls = store._write, []

    def busy_the_second_time(*arguments: Any) -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            with write_lock_taken(log.directory):
                write(*arguments)
        else:
            write(*arguments)

    store._write = busy_the_second_time  # type: ignore[method-assign]
    log.settle()
    assert len(calls) == 3
    log.assert_all_is_in()
    assert log.dead_letters() == [(3, 1, "invalid")]


def test_hellos_are_answered_when_the_busy_store_is_free_again(log: Log, tmp_path: Path) -> None:
    """A hello that changes something waits for its commit."""
    worker = log.worker()
    worker.producer.first_seq = 4
    worker.producer.seq = worker.producer.acked = 3
    with write_lock_taken(log.directory):
        for _ in range(20):
            log.turn()
        assert not worker.transmission.welcomed
    log.pass_time(1)
    log.turn()
    assert worker.transmission.welcomed
    assert [each["count"] for each in log.entries("hansard.lost")] == [3]


@pytest.fixture
def small_disk(log: Log) -> apsw.Connection:
    """The database may not grow beyond what it is now."""
    assert log.store is not None
    connection = log.store._connection
    pages = connection.execute("PRAGMA page_count").get
    connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    return connection


def test_a_batch_that_finds_the_disk_full_is_kept_and_committed_later(
    log: Log, small_disk: apsw.Connection
) -> None:
    worker, other = log.worker(), log.worker("other")
    worker.record(900, task_id="t" * 100)
    other.record(5)
    for _ in range(100):
        log.turn()
    assert log.query("SELECT count(*) FROM entries") == [(0,)]
    assert log.query("SELECT count(*) FROM producers") == [(1,)]
    assert log.writer.figures()["uncommitted"] == 905
    small_disk.execute("PRAGMA max_page_count = 1000000").fetchall()
    log.settle()
    log.assert_all_is_in()
    assert worker.transmission.resent == 0


def test_a_full_disk_at_the_commit_itself_leaves_the_batch_as_it_was(log: Log) -> None:
    worker = welcomed(log)
    worker.record(3)
    worker.send()
    store = log.store
    assert store is not None

    def full(_connection: apsw.Connection, statement: str, _bindings: Any) -> bool:
        if statement == "COMMIT":
            raise apsw.FullError("database or disk is full")
        return True

    store._connection.set_exec_trace(full)
    for _ in range(5):
        log.pass_time(1)
        log.step()
    store._connection.set_exec_trace(None)
    assert log.entered("w") == []
    assert not store._connection.in_transaction
    log.settle()
    log.assert_all_is_in()


def test_a_writer_that_is_stopped_while_the_disk_is_full_leaves_all_in_the_spools(
    log: Log, small_disk: apsw.Connection
) -> None:
    worker = welcomed(log)
    worker.record(900, task_id="t" * 100)
    worker.send()
    log.step()
    log.stop_writer()
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


class Disk:
    """What `os.statvfs` says."""

    def __init__(self, free: int) -> None:
        self.f_bavail, self.f_frsize = free // 4_096, 4_096


def test_intake_is_suspended_while_the_disk_is_nearly_full_and_goes_on_after(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(directory, disk_warn=300 * MIB, disk_suspend=100 * MIB)
    free = [500 * MIB]
    monkeypatch.setattr(os, "statvfs", lambda _path: Disk(free[0]))
    log.start_writer()
    worker, dead = welcomed(log), log.worker("dead")
    worker.record(3)
    log.settle()
    dead.record(2)
    dead.kill()
    free[0] = 50 * MIB
    log.pass_time(1)
    log.turn()
    before = log.query("SELECT count(*) FROM entries")
    for _ in range(200):
        worker.record()
        log.turn()
    assert log.query("SELECT count(*) FROM entries") == before
    assert not log.writer.takes_messages
    figures = reply_to(log, wire.pack_stats_request())
    assert figures["suspended"] is True, "requests are answered all the while"
    worker.hear()
    log.step()
    assert log.step() > 0, "a suspended writer does not spin"
    free[0] = 500 * MIB
    log.pass_time(1)
    log.settle()
    log.assert_all_is_in()
    assert log.writer.figures()["suspended"] is False
    log.close()


def test_what_was_read_before_the_suspension_is_committed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(directory, disk_warn=300 * MIB, disk_suspend=100 * MIB)
    free = [500 * MIB]
    monkeypatch.setattr(os, "statvfs", lambda _path: Disk(free[0]))
    log.start_writer()
    worker = welcomed(log)
    log.pass_time(0.99)
    worker.record()
    worker.send()
    log.step()
    free[0] = 0
    log.pass_time(1)
    log.step()
    assert log.writer.figures()["suspended"] is True
    assert log.entered("w") == [1]
    log.close()


def test_a_disk_that_runs_low_is_warned_of_once(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = Log(directory, disk_warn=300 * MIB, disk_suspend=100 * MIB)
    monkeypatch.setattr(os, "statvfs", lambda _path: Disk(200 * MIB))
    log.start_writer()
    for _ in range(10):
        log.step()
        log.pass_time(2)
    assert len([r for r in caplog.records if "free on the disk" in r.message]) == 1
    log.close()


# --- the WAL ---


def test_the_wal_is_emptied_when_the_writer_is_idle(log: Log) -> None:
    worker = log.worker()
    worker.record(500)
    log.settle()
    wal = log.directory / "log.db-wal"
    assert wal.stat().st_size > 0
    for _ in range(10):
        log.pass_time(max(log.step(), 0.01))
    assert wal.stat().st_size == 0
    assert log.writer.figures()["wal_bytes"] == 0
    worker.record()
    log.settle()
    log.assert_all_is_in()


def test_a_reader_in_the_way_keeps_the_wal_and_nothing_else(log: Log) -> None:
    worker = log.worker()
    worker.record(5)
    log.settle()
    reader = apsw.Connection(str(log.directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM entries").get == 5
    worker.record(5)
    log.settle()
    steps = 0
    until = log.now + 30
    while log.now < until:
        log.pass_time(max(log.step(), 0.001))
        steps += 1
    assert (log.directory / "log.db-wal").stat().st_size > 0
    assert steps < 200
    worker.record(5)
    log.settle()
    reader.close()
    log.assert_all_is_in()


def test_a_large_wal_is_moved_into_the_database_while_events_come(directory: Path) -> None:
    log = Log(directory, wal_bytes_target=MIB).start_writer()
    worker = welcomed(log)
    for _ in range(60):
        worker.record(100, task_id="t" * 900)
        log.turn()
    log.settle()
    written = log.query("SELECT sum(length(task_id)) FROM entries")[0][0]
    assert (log.directory / "log.db-wal").stat().st_size < written / 2
    log.assert_all_is_in()
    log.close()


def test_a_checkpoint_that_another_program_is_at_does_not_stop_the_writer(
    directory: Path, hooked_vfs: HookedVfs
) -> None:
    log = Log(directory).start_writer()
    worker = log.worker()
    worker.record(500)
    log.settle()
    store = log.store
    assert store is not None
    other = apsw.Connection(str(directory / "log.db"), vfs=hooked_vfs.name)
    assert other.execute("SELECT count(*) FROM entries").get == 500

    def meanwhile(_name: str) -> None:
        hooked_vfs.on_write = None
        store.handle.checkpoint_passive()
        assert not store.handle.checkpoint_truncate()

    hooked_vfs.on_write = meanwhile
    other.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    assert hooked_vfs.on_write is None
    other.close()
    worker.record(1)
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_a_disk_that_is_full_at_a_checkpoint_does_not_stop_the_writer(
    directory: Path, hooked_vfs: HookedVfs
) -> None:
    """The database must grow for it; the WAL keeps what is committed until there is room."""

    def full(_name: str) -> None:
        raise apsw.FullError("database or disk is full")

    log = Log(directory)
    log.vfs = hooked_vfs.name
    log.start_writer()
    worker = welcomed(log)
    worker.record(500)
    log.settle()
    hooked_vfs.on_write = full
    try:
        for _ in range(20):
            log.pass_time(1)
            log.step()
        log.writer.finish(log.now)
    finally:
        hooked_vfs.on_write = None
    log.kill_writer()
    log.start_writer()
    worker.record(5)
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_a_failed_fsync_ends_the_writer_and_is_never_tried_again(
    directory: Path, hooked_vfs: HookedVfs
) -> None:
    failed = []

    def fail(name: str) -> None:
        failed.append(name)
        raise apsw.IOError("fsync failed")

    log = Log(directory)
    log.vfs = hooked_vfs.name
    log.start_writer()
    worker = welcomed(log)
    worker.record(5)
    worker.send()
    log.step()
    hooked_vfs.on_sync = fail
    log.pass_time(TURN_S)
    with pytest.raises(apsw.IOError):
        log.step()
    assert len(failed) == 1
    assert not log.link.replies, "nobody is told"
    hooked_vfs.on_sync = None
    log.kill_writer()
    log.start_writer()
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_a_store_that_is_full_is_said_to_be_so(
    log: Log, small_disk: apsw.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    worker = welcomed(log)
    worker.record(900, task_id="t" * 100)
    for _ in range(300):
        log.turn()
    said = [r.message for r in caplog.records if "disk that holds log.db is full" in r.message]
    assert len(said) == 1


def test_a_writer_whose_directory_is_gone_says_so_before_it_looks_at_the_disk(
    directory: Path, tmp_path: Path
) -> None:
    log = Log(directory).start_writer()
    log.writer._require_place = Place(directory).require
    log.step()
    directory.rename(tmp_path / "moved")
    log.pass_time(10)
    with pytest.raises(DirectoryReplaced, match="was removed, moved or replaced"):
        log.step()
    (tmp_path / "moved").rename(directory)
    log.close()
