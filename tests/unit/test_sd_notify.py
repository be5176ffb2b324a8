"""What a service manager is told, and that a bad one never hurts."""

import os
import socket
from collections.abc import Iterator
from math import inf
from pathlib import Path

import pytest

from hansard_writer import sd_notify
from hansard_writer.sd_notify import NOBODY, STATUS_CHARS_MAX, Notifier, service_manager

OWN_PID = "this process"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its name as the environment has it."""
    name = str(tmp_path / "notify")
    address = name
    if request.param == "abstract":
        name, address = f"@{name}", f"\0{name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(5)
        yield listening, name


def received(listening: socket.socket) -> list[str]:
    """The lines of the next message."""
    return listening.recv(4_096).decode().splitlines()


def test_a_manager_hears_of_a_whole_life(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    notifier = service_manager({"NOTIFY_SOCKET": name})
    notifier.ready("serving")
    assert received(listening) == ["READY=1", "STATUS=serving"]
    notifier.status("17 entries")
    assert received(listening) == ["STATUS=17 entries"]
    notifier.stopping("SIGTERM")
    assert received(listening) == ["STOPPING=1", "STATUS=SIGTERM"]
    notifier.failed("no room")
    assert received(listening) == ["STATUS=no room", "X_HANSARD_REASON=no room"]
    notifier.pass_on(["STATUS=a child's", "WATCHDOG=1"])
    assert received(listening) == ["STATUS=a child's", "WATCHDOG=1"]


def test_the_variables_are_taken_out_so_that_no_child_speaks_for_us() -> None:
    environment = {
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "WATCHDOG_USEC": "1000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    assert service_manager(environment).watchdog_s == 1.0
    assert environment == {"HOME": "/"}


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@nobody"])
def test_a_manager_that_cannot_be_reached_is_not_missed(address: str) -> None:
    notifier = service_manager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"})
    notifier.ready("serving")
    notifier.beat(0.0)
    notifier.stopping("over")


def test_without_a_manager_nothing_is_said_and_nobody_waits_for_a_beat() -> None:
    assert service_manager({}) is NOBODY
    assert NOBODY.beat(5.0, lambda: pytest.fail("nobody asked")) == inf


def test_a_manager_that_does_not_read_is_waited_for_a_moment_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sd_notify, "SEND_S", 0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        notifier = service_manager({"NOTIFY_SOCKET": str(tmp_path / "deaf")})
        for _ in range(600):  # more than the queue of a datagram socket holds
            notifier.status("x" * 400)


def test_a_status_is_one_line_of_bounded_length(manager: tuple[socket.socket, str]) -> None:
    listening, name = manager
    notifier = service_manager({"NOTIFY_SOCKET": name})
    notifier.status("a\nREADY=1\r\n" + "b" * 10_000)
    assert received(listening) == [("STATUS=a READY=1 " + "b" * 10_000)[: 7 + STATUS_CHARS_MAX]]
    notifier.status("\udcff")
    assert received(listening) == ["STATUS=?"]


# --- the watchdog ---


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected_s"),
    [
        ("3000000", None, 3.0),
        ("3000000", OWN_PID, 3.0),
        ("3000000", "1", None),  # meant for a wrapper, or for our parent
        ("3000000", "", None),
        ("0", None, None),
        ("-1", None, None),
        ("soon", None, None),
        ("", None, None),
        ("9" * 40, None, None),
    ],
)
def test_a_watchdog_is_heeded_that_is_meant_for_this_process(
    microseconds: str, pid: str | None, expected_s: float | None
) -> None:
    environment = {"WATCHDOG_USEC": microseconds}
    if pid is not None:
        environment["WATCHDOG_PID"] = str(os.getpid()) if pid == OWN_PID else pid
    assert sd_notify.watchdog_seconds(environment) == expected_s
    assert environment == {}


def test_a_childs_watchdog_is_what_it_was_told() -> None:
    assert sd_notify.watchdog_seconds(sd_notify.watchdog_variables(2.5)) == 2.5
    assert sd_notify.watchdog_variables(None) == {}


def test_a_beat_is_sent_at_once_and_then_at_half_of_the_watchdogs_time() -> None:
    said: list[bytes] = []
    notifier = Notifier(said.append, 10.0)
    assert notifier.beat(100.0, lambda: "fine") == 5.0
    assert said == [b"WATCHDOG=1\nSTATUS=fine\n"]
    assert notifier.beat(104.0) == 1.0
    assert len(said) == 1
    assert notifier.beat(105.0) == 5.0
    assert said[1:] == [b"WATCHDOG=1\n"]
