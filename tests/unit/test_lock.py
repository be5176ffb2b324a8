"""Who holds the lock is the writer: one at a time, and nobody by accident."""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hansard import directory as layout
from hansard_writer import lock
from hansard_writer.lock import DirectoryTaken, WriterLock, WriterRun


@pytest.fixture
def held(tmp_path: Path) -> Iterator[WriterLock]:
    held = WriterLock(tmp_path, 0o600)
    held.announce(WriterRun(b"L" * 16, 3, 7), b"r" * 16)
    yield held
    held.close()


def test_a_second_writer_is_refused_with_the_pid_of_the_first(
    tmp_path: Path, held: WriterLock
) -> None:
    with pytest.raises(DirectoryTaken, match=rf"pid {os.getpid()}\b.* stop it first"):
        WriterLock(tmp_path, 0o600)


@pytest.mark.usefixtures("held")
def test_who_has_just_taken_it_is_named_once_that_is_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [{}, {"pid": 2**30}, {"pid": os.getpid()}]  # nothing yet; who had it before; who has it
    monkeypatch.setattr(lock.layout, "read_lock_file", lambda _: said.pop(0))
    with pytest.raises(DirectoryTaken, match=f"pid {os.getpid()}"):
        WriterLock(tmp_path, 0o600)


def test_who_is_refused_leaves_what_the_holder_wrote(tmp_path: Path, held: WriterLock) -> None:
    before = (tmp_path / layout.LOCK).read_bytes()
    for _ in range(3):
        with pytest.raises(DirectoryTaken):
            WriterLock(tmp_path, 0o600)
    assert (tmp_path / layout.LOCK).read_bytes() == before
    assert layout.a_writer_lives(tmp_path)


def test_the_lock_says_who_holds_it(tmp_path: Path, held: WriterLock) -> None:
    facts = layout.read_lock_file(tmp_path)
    assert facts["pid"] == os.getpid()
    assert (facts["epoch"], facts["run_id"]) == (3, (b"r" * 16).hex())
    assert facts["started_at"] > 1_600_000_000_000_000_000


def test_a_shorter_announcement_replaces_a_longer_one(tmp_path: Path, held: WriterLock) -> None:
    held.announce(WriterRun(b"L" * 16, 10**15, 7), b"r" * 16)
    held.announce(WriterRun(b"L" * 16, 4, 7), b"s" * 16)
    assert layout.read_lock_file(tmp_path)["epoch"] == 4


def test_the_next_writer_gets_it_when_the_first_has_ended(tmp_path: Path) -> None:
    for _ in range(3):
        WriterLock(tmp_path, 0o600).close()
    assert not layout.a_writer_lives(tmp_path)


def test_closing_twice_closes_nothing_of_anybody_elses(tmp_path: Path) -> None:
    held = WriterLock(tmp_path, 0o600)
    held.close()
    descriptor = os.open("/dev/null", os.O_RDONLY)
    held.close()
    os.close(descriptor)


def test_the_lock_file_stays(tmp_path: Path, held: WriterLock) -> None:
    held.close()
    assert (tmp_path / layout.LOCK).exists()


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_the_lock_file_has_its_mode_also_when_it_was_there(tmp_path: Path, mode: int) -> None:
    (tmp_path / layout.LOCK).touch(mode=0o644)
    WriterLock(tmp_path, mode).close()
    assert stat.S_IMODE((tmp_path / layout.LOCK).stat().st_mode) == mode


def test_readers_that_share_the_lock_are_waited_for_and_refuse_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = os.open(tmp_path / layout.LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(reader, fcntl.LOCK_SH)
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.close(reader)

    monkeypatch.setattr(lock.time, "sleep", wait)
    WriterLock(tmp_path, 0o600).close()
    assert len(waits) == 3


def test_a_reader_that_looks_whether_a_writer_lives_takes_nothing_away(
    tmp_path: Path, held: WriterLock
) -> None:
    for _ in range(3):
        assert layout.a_writer_lives(tmp_path)
    with pytest.raises(DirectoryTaken):
        WriterLock(tmp_path, 0o600)


def test_a_forked_child_that_outlives_the_writer_does_not_keep_the_lock(tmp_path: Path) -> None:
    held = WriterLock(tmp_path, 0o600)
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(ready_write, b"!")
        signal.pause()
        os._exit(0)
    try:
        os.read(ready_read, 1)
        with pytest.raises(DirectoryTaken):
            WriterLock(tmp_path, 0o600)  # the child took nothing away
        held.close()
        WriterLock(tmp_path, 0o600).close()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready_read)
        os.close(ready_write)


def test_the_lock_is_not_inherited_by_a_program_that_is_started(
    tmp_path: Path, held: WriterLock
) -> None:
    assert not os.get_inheritable(held._descriptor)


class Patience:
    """Time that passes only where the lock waits, and what happens meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.happens: dict[int, Callable[[], None]] = {}
        self.waits = 0
        monkeypatch.setattr(lock.time, "sleep", self._sleep)
        monkeypatch.setattr(lock.time, "monotonic", lambda: self.now)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.waits += 1
        self.happens.get(self.waits, lambda: None)()


def test_who_has_patience_takes_the_lock_when_the_other_writer_ends(
    tmp_path: Path,
    held: WriterLock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    patience = Patience(monkeypatch)
    patience.happens[5] = held.close
    WriterLock(tmp_path, 0o600, patience_s=10.0).close()
    assert patience.waits == 5
    assert caplog.messages == [
        f"waiting for another writer (pid {os.getpid()}) of {tmp_path} to end"
    ]


def test_patience_with_another_writer_has_an_end(
    tmp_path: Path, held: WriterLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = Patience(monkeypatch)
    with pytest.raises(DirectoryTaken, match=f"pid {os.getpid()}"):
        WriterLock(tmp_path, 0o600, patience_s=10.0)
    assert patience.now == pytest.approx(1_010.0, abs=2 * lock.POLL_S)


def test_a_disk_without_room_for_the_lock_is_said_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match=r"No space left.*writer\.lock"):
        WriterLock(tmp_path, 0o600)
    monkeypatch.undo()
    WriterLock(tmp_path, 0o600).close()


def test_what_the_last_run_said_of_its_log_is_known_to_the_next_one_that_can_serve_it(
    tmp_path: Path, held: WriterLock
) -> None:
    """A start that fails in between, and has said nothing, forgets nothing."""
    held.close()
    for _ in range(2):
        next_one = WriterLock(tmp_path, 0o600)
        assert next_one.predecessor == WriterRun(b"L" * 16, 3, 7)
        assert "run_id" not in layout.read_lock_file(tmp_path)
        next_one.close()


@pytest.mark.parametrize(
    "left", ["", "{}", "nonsense", '{"log_id": 7, "epoch": 1, "wal_inode": 1}', '{"log_id": "zz"}']
)
def test_a_lock_file_that_says_nothing_of_the_last_run_is_no_error(
    tmp_path: Path, left: str
) -> None:
    (tmp_path / layout.LOCK).write_text(left)
    lock = WriterLock(tmp_path, 0o600)
    assert lock.predecessor is None
    lock.close()
