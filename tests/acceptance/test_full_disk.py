"""A disk that is really full: a file system of a few MiB, with the log and its spools."""

import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hansard import AuditLog
from hansard.requester import ask
from hansard.wire import pack_stats_request
from hansard_writer.running_writer import running
from support import assert_log_is_sound, query, wait_until

DISK_MIB = 24
SMALL = {"disk_warn": 0, "disk_suspend": 0, "reserve_bytes": 2 << 20}
SPOOL_BYTES = 4 << 20


class Disk:
    """A mounted file system, that can be filled."""

    def __init__(self, path: Path) -> None:
        self.log = path / "log"
        self._filler = path / "filler"

    def fill(self, leave_bytes: int = 0) -> None:
        """Take all the room there is, but for some."""
        with self._filler.open("ab", buffering=0) as file:
            size = 1 << 20
            while size >= 4_096:
                facts = os.statvfs(self._filler)
                if facts.f_bavail * facts.f_frsize < leave_bytes + size:
                    size //= 2
                    continue
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def empty(self) -> None:
        """Give it back."""
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    yield Disk(path)
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def figures(disk: Disk) -> dict[str, Any]:
    found: dict[str, Any] = ask(disk.log, pack_stats_request(), 20.0)[1]
    return found


def numbers(disk: Disk) -> list[int]:
    return [row[0] for row in query(disk.log, "SELECT payload ->> 'n' FROM entries ORDER BY seq")]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def test_a_disk_that_is_full_suspends_intake_and_nothing_is_lost(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """The spool takes over, acks say so, and all goes on by itself once there is room."""
    with (
        running(disk.log, **SMALL) as writer,
        AuditLog(disk.log, spool_bytes=SPOOL_BYTES) as log,
    ):
        log.record("first", {"n": 0}, sync=True)
        wait_until(lambda: figures(disk)["reserve_bytes"] == 2 << 20, "the reserve is held")
        disk.fill()
        for number in range(1, 2_500):
            log.record("while.full", {"n": number, "text": "x" * 1_000})
        wait_until(lambda: figures(disk)["suspended"], "intake is suspended")
        assert figures(disk)["disk"] == "suspended"
        assert figures(disk)["reserve_bytes"] == 0, "the reserve was released"
        wait_until(lambda: log.statistics()["suspended"], "an ack says so")
        assert log.statistics()["waiting"] > 0
        before = cpu_s(writer.pid)
        assert not log.flush(2)
        assert cpu_s(writer.pid) - before < 1, "it does not spin"
        assert figures(disk)["store_errors"].get("SQLITE_FULL", 0) > 0
        disk.empty()
        assert log.flush(20)
        wait_until(lambda: not figures(disk)["suspended"], "intake goes on")
        log.record("last", {"n": 2_500}, sync=True)
        wait_until(lambda: not log.statistics()["suspended"], "an ack says so again")
        wait_until(lambda: figures(disk)["reserve_bytes"] == 2 << 20, "the reserve is held again")
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    assert any(
        "the writer takes nothing in: the disk of" in each and "make room" in each
        for each in warnings
    )
    assert numbers(disk) == list(range(2_501))
    assert_log_is_sound(disk.log)


def test_a_writer_starts_on_a_full_disk_with_the_room_of_its_reserve(disk: Disk) -> None:
    with running(disk.log, **SMALL), AuditLog(disk.log, spool_bytes=SPOOL_BYTES) as log:
        log.record("first", {"n": 0}, sync=True)
        wait_until(lambda: figures(disk)["reserve_bytes"], "the reserve is held")
    disk.fill()
    with running(disk.log, **SMALL):
        assert not (disk.log / "reserve").exists()
        disk.empty()
        with AuditLog(disk.log, spool_bytes=SPOOL_BYTES) as log:
            log.record("second", {"n": 1}, sync=True, timeout=20)
    assert numbers(disk) == [0, 1]
