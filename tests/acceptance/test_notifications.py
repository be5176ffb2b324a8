"""What systemd hears of `hansard serve`, with and without a supervisor, and from whom."""

import itertools
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hansard import AuditLog
from supervised import SERVE, Start
from support import DEADLINE_S, wait_until

_CREDENTIALS = struct.Struct("iii")  # pid, uid, gid: unix(7)


class Heard(NamedTuple):
    """One message, from whom, and when it was read."""

    pid: int
    lines: list[str]
    at: float


class Manager:
    """Listens as systemd does, and knows who speaks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.settimeout(DEADLINE_S)
        self.socket.bind(str(path))

    def next(self) -> Heard:
        """The next message."""
        message, credentials, _, _ = self.socket.recvmsg(4_096, 256)
        pid, _, _ = _CREDENTIALS.unpack(credentials[0][2])
        return Heard(pid, message.decode().splitlines(), time.monotonic())

    def hear(self, pattern: str) -> Heard:
        """Listen up to a line that the pattern fits wholly."""
        while True:
            heard = self.next()
            if any(re.fullmatch(pattern, line) for line in heard.lines):
                return heard

    def said_so_far(self) -> list[str]:
        """The lines that nobody has listened to yet."""
        self.socket.setblocking(False)
        lines = []
        try:
            while True:
                lines += self.next().lines
        except BlockingIOError:
            self.socket.settimeout(DEADLINE_S)
            return lines

    def is_silent_for(self, seconds: float) -> bool:
        """Whether nothing comes so long."""
        return not select.select([self.socket], [], [], seconds)[0] or not self.said_so_far()

    def environment(self, watchdog_s: float | None = None) -> dict[str, str]:
        """As systemd gives it, but for WATCHDOG_PID, which only a started process knows."""
        watchdog = {} if watchdog_s is None else {"WATCHDOG_USEC": f"{watchdog_s * 1e6:.0f}"}
        return {**os.environ, "NOTIFY_SOCKET": str(self.path), **watchdog}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify.sock")
    with listening.socket:
        yield listening


Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(directory: Path, manager: Manager) -> Iterator[Serve]:
    """Starts a writer of ``directory`` that systemd would have started."""
    started: list[subprocess.Popen[str]] = []

    def begin(watchdog_s: float | None = None, for_pid: str = "$$") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            ["bash", "-c", f'WATCHDOG_PID={for_pid} exec "$@"', "", *SERVE, "--dir", directory],
            env=manager.environment(watchdog_s),
            stdout=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


# --- the writer itself ---


def test_a_writer_says_when_it_can_be_used_and_when_it_stops(
    directory: Path, manager: Manager, serve: Serve
) -> None:
    process = serve()
    heard = manager.next()
    assert (heard.pid, heard.lines) == (
        process.pid,
        ["READY=1", "STATUS=serving: 0 entries, epoch 1"],
    )
    with AuditLog(directory) as log:
        assert log.record("a.b", sync=True).status == "committed"
    process.send_signal(signal.SIGTERM)
    assert manager.next().lines == ["STOPPING=1", "STATUS=stopping: SIGTERM"]
    assert process.wait(30) == 0
    assert manager.said_so_far() == []


def test_it_beats_at_half_of_the_watchdogs_time_and_says_how_it_is_doing(
    directory: Path, manager: Manager, serve: Serve
) -> None:
    process = serve(watchdog_s=0.4)
    manager.hear("READY=1")
    beats = [manager.hear("WATCHDOG=1") for _ in range(5)]
    assert {beat.pid for beat in beats} == {process.pid}
    pauses = [later.at - beat.at for beat, later in itertools.pairwise(beats)]
    assert sorted(pauses)[1] < 0.4, "though an idle loop sleeps for a second"
    with AuditLog(directory) as log:
        log.record("a.b", sync=True)
    manager.hear("STATUS=serving: 1 entry, epoch 1")


def test_a_loop_that_hangs_beats_no_more_and_one_that_goes_on_does(
    manager: Manager, serve: Serve
) -> None:
    process = serve(watchdog_s=0.1)
    manager.hear("WATCHDOG=1")
    process.send_signal(signal.SIGSTOP)
    wait_until(
        lambda: ") T " in Path(f"/proc/{process.pid}/stat").read_text(), "the writer is stopped"
    )
    manager.said_so_far()
    assert manager.is_silent_for(0.5)
    process.send_signal(signal.SIGCONT)
    assert manager.next().lines[0] == "WATCHDOG=1"


def test_a_watchdog_that_is_meant_for_another_process_hears_nothing(
    manager: Manager, serve: Serve
) -> None:
    process = serve(watchdog_s=0.05, for_pid="1")
    manager.hear("READY=1")
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    assert manager.said_so_far() == ["STOPPING=1", "STATUS=stopping: SIGTERM"]


def test_why_it_could_not_start_is_its_last_status(
    directory: Path, manager: Manager, serve: Serve
) -> None:
    directory.mkdir()
    (directory / "hansard.toml").write_text("spool_bytes = 1\n")
    assert serve().wait(30) == 2
    assert manager.next().lines[0].startswith("STATUS=spool_bytes ")
    assert manager.said_so_far() == []


# --- under a supervisor ---


def test_a_supervisor_speaks_for_both_through_crash_and_restart(
    manager: Manager, start: Start
) -> None:
    supervised = start(env=manager.environment(watchdog_s=1.0))
    writer = supervised.next_writer()
    heard = [manager.hear("READY=1"), manager.hear(r"STATUS=serving: 0 entries, epoch 1")]
    os.kill(writer, signal.SIGKILL)
    heard.append(manager.hear(r"STATUS=the writer \(pid \d+\) ended with SIGKILL: starts .*"))
    supervised.next_writer()
    heard.append(manager.hear(r"STATUS=serving: 0 entries, epoch 2, 1 restart"))
    supervised.signal(signal.SIGTERM)
    heard.append(manager.hear("STOPPING=1"))
    assert supervised.end()[0] == 0
    assert {each.pid for each in heard} == {supervised.pid}, "as NotifyAccess=main demands"
    assert "READY=1" not in manager.said_so_far()


def test_while_no_writer_can_speak_its_supervisor_beats(
    directory: Path, manager: Manager, start: Start
) -> None:
    directory.mkdir()
    (directory / "writer.lock").touch()
    supervised = start(env=manager.environment(watchdog_s=0.1))
    beats = [manager.hear("WATCHDOG=1") for _ in range(3)]  # python is only being loaded
    assert {beat.pid for beat in beats} == {supervised.pid}


def test_a_writer_that_hangs_is_not_spoken_for(manager: Manager, start: Start) -> None:
    supervised = start(env=manager.environment(watchdog_s=0.1))
    writer = supervised.next_writer()
    manager.hear("STATUS=serving.*")
    os.kill(writer, signal.SIGSTOP)
    wait_until(lambda: ") T " in Path(f"/proc/{writer}/stat").read_text(), "it is stopped")
    wait_until(lambda: manager.is_silent_for(0.5), "what was still under way has come")
    os.kill(writer, signal.SIGCONT)
    assert manager.hear("WATCHDOG=1").pid == supervised.pid


def test_an_operation_cannot_speak_to_the_manager_by_accident(
    directory: Path, tmp_path: Path, manager: Manager, start: Start
) -> None:
    (tmp_path / "shows.py").write_text(
        "import os\nfrom hansard_writer import operation\n"
        "@operation\ndef variables(connection, params): return sorted(os.environ)\n"
    )
    supervised = start("--operations", "shows", env=manager.environment(5), cwd=tmp_path)
    supervised.next_writer()
    with AuditLog(directory) as log:
        variables = log.call("variables", None)
    assert not [name for name in variables if name.startswith(("NOTIFY", "WATCHDOG"))]
