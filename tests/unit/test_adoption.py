"""The adopter looks at files that anybody may have put there, and waits for none of them."""

import fcntl
import os
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from frames import event
from hansard import wire
from hansard.spool import Identity, Spool, SpoolState
from hansard_writer import adoption
from hansard_writer.adoption import SCAN_S, Adopter
from hansard_writer.intake import Intake, ProducerState

LOG = b"l" * 16


@pytest.fixture
def taking() -> Intake:
    ids = iter(range(1, 1_000))
    own = ProducerState(0, bytes(32), "", 0, 0, is_stored=True)
    return Intake(lambda _hash: None, lambda: next(ids), own)


def leave_spool(directory: Path, number: int = 1, log_id: bytes | None = None) -> Path:
    """What a worker leaves that was killed after three events."""
    identity = Identity(bytes([number]) * 16, "host", 7, 5)
    spool = Spool(directory, 1 << 16, 0o600, identity, SpoolState(log_id=log_id))

    crc = 0
    for seq in range(1, 4):
        crc = zlib.crc32(event(), crc)
        assert spool.append(seq, crc, event())
    spool.close(remove=False)
    return spool.path


def step(adopter: Adopter, taking: Intake, times: int = 10) -> None:
    for number in range(times):
        adopter.step(taking, float(number), 5)


def test_a_spool_is_fed_and_removed_when_it_is_committed(tmp_path: Path, taking: Intake) -> None:
    path = leave_spool(tmp_path)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking)
    assert taking.batch.events == 3
    assert path.exists()
    adopter.committed()
    assert not path.exists()
    assert not adopter.is_working
    assert adopter.adopted == 1


def test_a_step_feeds_at_most_one_frame(tmp_path: Path, taking: Intake) -> None:
    for number in range(1, 4):
        leave_spool(tmp_path, number)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    for events in (3, 6, 9, 9):
        adopter.step(taking, 0.0, 5)
        assert taking.batch.events == events
    adopter.close()


def test_the_directory_is_looked_through_twice_a_second(tmp_path: Path, taking: Intake) -> None:
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    adopter.step(taking, 100.0, 5)
    assert adopter.next_scan() == 100.0 + SCAN_S
    leave_spool(tmp_path)
    adopter.step(taking, 100.4, 5)
    assert not taking.batch
    adopter.step(taking, 100.5, 5)
    assert taking.batch.events == 3
    adopter.close()


def test_what_is_not_through_is_left_for_the_next_run(tmp_path: Path, taking: Intake) -> None:
    path = leave_spool(tmp_path)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking, 1)
    adopter.close()
    assert path.exists()
    again = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(again, taking)
    again.committed()
    assert not path.exists()


def test_a_spool_of_another_log_is_looked_at_once_and_left(
    tmp_path: Path, taking: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    path = leave_spool(tmp_path, log_id=b"o" * 16)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking)
    assert not taking.batch
    assert path.exists()
    assert adopter.foreign == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("log_id", [None, LOG])
def test_a_spool_of_this_log_or_of_none_yet_is_entered(
    tmp_path: Path, taking: Intake, log_id: bytes | None
) -> None:
    leave_spool(tmp_path, log_id=log_id)
    step(Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0), taking)
    assert taking.batch.events == 3


def test_a_directory_that_is_gone_is_no_reason_to_stop(tmp_path: Path, taking: Intake) -> None:
    step(Adopter(tmp_path / "gone", LOG, lambda *_: True, lambda *_: 0), taking)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.mkdir(), id="a directory"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), id="a link to a file"),
        pytest.param(lambda path: path.symlink_to(path), id="a link to itself"),
        pytest.param(lambda path: path.symlink_to("/nowhere"), id="a link to nothing"),
        pytest.param(lambda path: path.symlink_to("/dev/zero"), id="a link to a device"),
        pytest.param(os.mkfifo, id="a pipe"),
        pytest.param(lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), id="a socket"),
    ],
)
def test_what_is_no_file_is_set_aside_and_spools_beside_it_are_entered(
    tmp_path: Path, taking: Intake, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "0.spool")
    leave_spool(tmp_path)
    make(tmp_path / "z.spool")
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking, 100)
    assert taking.batch.events == 3
    assert adopter.damaged == 2
    assert sorted(each.name for each in tmp_path.glob("*.damaged")) == ["0.damaged", "z.damaged"]
    said = [each.message for each in caplog.records if "it is no regular file" in each.message]
    assert len(said) == 2
    adopter.close()


def test_a_pipe_named_like_a_spool_does_not_hang_the_writer(tmp_path: Path) -> None:
    """To open one that nobody writes to waits for ever; with --group any member can make one."""
    os.mkfifo(tmp_path / "0.spool")
    program = (
        "import sys, pathlib\n"
        "from hansard_writer.adoption import Adopter\n"
        "adopter = Adopter(pathlib.Path(sys.argv[1]), b'l' * 16, lambda *_: True, lambda *_: 0)\n"
        "for number in range(5):\n"
        "    adopter.step(None, float(number), 5)\n"
        "print('still here')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
    )
    assert "still here" in done.stdout, done.stderr


def test_a_damaged_spool_that_cannot_be_renamed_does_not_stop_the_writer(
    tmp_path: Path, taking: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "0.spool").write_bytes(b"no spool")
    leave_spool(tmp_path)

    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking, 100)
    assert taking.batch.events == 3
    assert adopter.damaged == 1, "it is said and counted once"
    adopter.close()


def test_a_spool_that_cannot_be_removed_does_not_stop_the_writer(
    tmp_path: Path, taking: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_spool(tmp_path)

    def refuse(self: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking)
    adopter.committed()
    step(adopter, taking)
    adopter.committed()


def test_a_spool_that_cannot_be_read_is_left_and_said_once(
    tmp_path: Path,
    taking: Intake,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = leave_spool(tmp_path)

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(adoption, "lock_orphan", refuse)
    step(Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0), taking)
    assert path.exists()
    assert [record.message for record in caplog.records] == [
        f"cannot adopt {path}: Permission denied; tried again later"
    ]


@pytest.mark.parametrize("state", ["abandoned", "new", "being made"])
def test_what_a_dead_producer_was_making_is_swept_away_and_nothing_else(
    tmp_path: Path, taking: Intake, state: str
) -> None:
    path = tmp_path / "half-made.tmp"
    with path.open("w") as file:
        if state == "being made":
            fcntl.flock(file, fcntl.LOCK_EX)
        if state != "new":
            os.utime(path, (1, 1))
        step(Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0), taking)
    assert path.exists() == (state != "abandoned")


def test_what_is_tried_again_later_is_forgotten_with_its_file(
    tmp_path: Path, taking: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = leave_spool(tmp_path)

    def refuse(_path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(adoption, "lock_orphan", refuse)
    adopter = Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0)
    step(adopter, taking)
    assert adopter._retry_at
    path.unlink()
    adopter.step(taking, 100.0, 5)
    assert not adopter._retry_at


def test_numbers_of_a_source_that_the_log_has_already_are_not_entered_again(
    tmp_path: Path, taking: Intake
) -> None:
    """Another process went on under the same id: its numbers are the file's lines."""
    identity = Identity(b"s" * 16, "host", 7, 5, True)
    spool = Spool(tmp_path, 1 << 16, 0o600, identity, SpoolState())

    spool.append(1, zlib.crc32(event()), event())
    spool.close(remove=False)
    state = taking.greet(wire.Hello(b"s" * 16, 1, 0, "host", 8, 6, None), 0.0, 5)
    body = event() + event('{"other":1}')
    taking.take(state, wire.Frame(b"s" * 16, 1, 2, 0, wire.Drops(), body), 0.0, 5)
    step(Adopter(tmp_path, LOG, lambda *_: True, lambda *_: 0), taking)
    assert taking.batch.events == 2
