"""What a writer says over its lifeline, and what the supervisor makes of it."""

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from hansard_writer import lifeline
from hansard_writer.lifeline import LINE_BYTES_MAX, Heard, speak_over
from support import wait_until


@pytest.fixture
def ends() -> Iterator[tuple[Heard, socket.socket]]:
    """What the supervisor has heard, and the writer's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Heard(ours), theirs


def test_nothing_said_is_nothing_heard(ends: tuple[Heard, socket.socket]) -> None:
    heard, _ = ends
    assert heard.take() == []
    assert (heard.ready, heard.stopping, heard.reason, heard.is_open) == (False, False, "", True)


def test_what_a_service_manager_understands_is_to_be_passed_on(
    ends: tuple[Heard, socket.socket],
) -> None:
    heard, theirs = ends
    theirs.send(b"READY=1\nSTATUS=serving\nX_HANSARD_REASON=no: room\nMAINPID=1\nWATCHDOG=1\n")
    assert heard.take() == ["READY=1", "STATUS=serving", "WATCHDOG=1"]
    assert (heard.ready, heard.stopping, heard.reason) == (True, False, "no: room")
    theirs.send(b"STOPPING=1\n")
    assert heard.take() == ["STOPPING=1"]
    assert heard.stopping


def test_a_line_that_comes_in_pieces_is_one_line(ends: tuple[Heard, socket.socket]) -> None:
    heard, theirs = ends
    theirs.send(b"STOPP")
    assert heard.take() == []
    theirs.send(b"ING=1\nSTAT")
    assert heard.take() == ["STOPPING=1"]


def test_what_nobody_should_say_is_not_heard_and_not_kept(
    ends: tuple[Heard, socket.socket],
) -> None:
    heard, theirs = ends
    theirs.send(b"\xff\xfe\n\n=\nREADY=0\n" + b"x" * 20_000)
    assert heard.take() == ["READY=0"]
    assert not heard.ready
    assert len(heard._begun) == LINE_BYTES_MAX


def test_what_was_said_last_is_heard_after_the_writers_end(
    ends: tuple[Heard, socket.socket],
) -> None:
    heard, theirs = ends
    theirs.send(b"STOPPING=1\n")
    theirs.close()
    assert heard.take() == ["STOPPING=1"]
    assert heard.take() == []
    assert not heard.is_open


# --- the writer's end ---


@pytest.fixture
def asked_to_end(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set where the writer would get its SIGTERM."""
    asked = threading.Event()

    def kill(pid: int, number: int) -> None:
        assert (pid, number) == (os.getpid(), signal.SIGTERM)
        asked.set()

    monkeypatch.setattr(lifeline.os, "kill", kill)
    return asked


@pytest.fixture
def writers_end(asked_to_end: threading.Event) -> Iterator[tuple[socket.socket, int]]:
    """The supervisor's end, and the descriptor that a writer is given."""
    ours, theirs = socket.socketpair()
    with ours:
        yield ours, theirs.detach()
    assert asked_to_end.wait(10), "the supervisor's end is a SIGTERM"


def test_the_supervisors_end_is_a_sigterm(
    writers_end: tuple[socket.socket, int], asked_to_end: threading.Event
) -> None:
    ours, descriptor = writers_end
    speak_over(descriptor, {})
    assert not asked_to_end.is_set()
    ours.close()
    assert asked_to_end.wait(10)


def test_also_where_the_supervisor_has_not_read_all_that_was_said(
    writers_end: tuple[socket.socket, int],
) -> None:
    speak_over(writers_end[1], {}).ready("never read")


def test_a_program_that_the_writer_starts_does_not_get_the_lifeline(
    writers_end: tuple[socket.socket, int],
) -> None:
    os.set_inheritable(writers_end[1], True)
    speak_over(writers_end[1], {})
    assert not os.get_inheritable(writers_end[1])


def test_a_writer_beats_over_its_lifeline_as_often_as_its_supervisor_must(
    writers_end: tuple[socket.socket, int],
) -> None:
    ours, descriptor = writers_end
    assert speak_over(descriptor, {"WATCHDOG_USEC": "4000000"}).beat(0.0) == 2.0
    assert Heard(ours).take() == ["WATCHDOG=1"]


def test_a_supervisor_that_is_stopped_for_days_does_not_stop_the_writer(
    writers_end: tuple[socket.socket, int],
) -> None:
    ours, descriptor = writers_end
    notifier = speak_over(descriptor, {})
    for _ in range(5_000):
        notifier.status("fine")
    heard = Heard(ours)
    wait_until(lambda: not heard.take(), "all is read")
    notifier.stopping("over")
    heard.take()
    assert heard.stopping
