"""Warnings about the log itself: said, but not said again and again."""

import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hansard import complaints
from hansard.complaints import CAUSES_MAX, LOGGER, QUIET_S, Complaints


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(complaints, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.mark.usefixtures("clock")
def test_a_complaint_is_a_warning_of_the_packages_logger(caplog: pytest.LogCaptureFixture) -> None:
    Complaints().warn("full", "%d events wait", 3)
    assert caplog.record_tuples == [("hansard", logging.WARNING, "3 events wait")]


def test_the_same_cause_is_complained_of_once_a_minute(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    each = Complaints()
    for _ in range(5):
        each.warn("full", "full")
    clock.now += QUIET_S - 0.001
    each.warn("full", "full")
    assert caplog.messages == ["full"]


def test_the_next_complaint_says_how_many_were_held_back(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    each = Complaints()
    for minute in range(3):
        for number in range(4):
            each.warn("full", "full: %d.%d", minute, number)
        clock.now += QUIET_S
    assert caplog.messages == [
        "full: 0.0",
        "full: 1.0 (and 3 more of the kind)",
        "full: 2.0 (and 3 more of the kind)",
    ]


@pytest.mark.usefixtures("clock")
def test_another_cause_is_another_complaint(caplog: pytest.LogCaptureFixture) -> None:
    each = Complaints()
    for cause in ("full", "twin", "full"):
        each.warn(cause, cause)
    assert caplog.messages == ["full", "twin"]


@pytest.mark.usefixtures("clock")
def test_two_logs_complain_each_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    Complaints().warn("full", "one")
    Complaints().warn("full", "other")
    assert caplog.messages == ["one", "other"]


@pytest.mark.usefixtures("clock")
def test_causes_are_not_remembered_without_bound() -> None:
    each = Complaints()
    for number in range(10 * CAUSES_MAX):
        for _ in range(2):
            each.warn(f"cause {number}", "why")
    assert len(each._last) <= CAUSES_MAX
    assert len(each._held_back) <= CAUSES_MAX


@pytest.mark.usefixtures("clock")
def test_new_causes_do_not_make_all_the_others_loud_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    each = Complaints()
    for number in range(2 * CAUSES_MAX):
        each.warn(f"cause {number}", "why")
        each.warn(f"cause {max(number - 1, 0)}", "again")
    assert set(caplog.messages) == {"why"}


def test_a_handler_that_complains_itself_does_not_hang() -> None:
    each = Complaints()
    seen = []

    class Complaining(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(record.getMessage())
            each.warn("full", "again")
            each.warn("other", "inside")

    handler = Complaining()
    LOGGER.addHandler(handler)
    try:
        each.warn("full", "full")
    finally:
        LOGGER.removeHandler(handler)
    assert seen == ["full", "inside"]


def test_an_interruption_inside_a_complaint_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    each = Complaints()

    def interrupted() -> float:
        monkeypatch.undo()
        each.warn("other", "from the signal handler")
        return 0.0

    monkeypatch.setattr(complaints, "time", SimpleNamespace(monotonic=interrupted))
    each.warn("full", "full")
    each._lock.acquire()  # as if a handler came up while it is held
    each.warn("third", "third")
    each._lock.release()
    assert "third" not in caplog.messages
    assert "full" in caplog.messages


def test_a_fault_of_ours_is_an_error_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError("a bug")
    except RuntimeError as error:
        Complaints().crash("the sender ended", error)
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "the sender ended")
    assert record.exc_info is not None
    assert "a bug" in str(record.exc_info[1])


FORK_BESIDE_A_COMPLAINT = """
import logging, os, threading
from hansard.complaints import LOGGER, Complaints

speaking, forking, never = threading.Event(), threading.Event(), threading.Event()

class Slow(logging.Handler):
    def emit(self, record):
        speaking.set()
        forking.wait(20)
        never.wait(0.2)  # the fork would be over by now
        speaking.clear()

LOGGER.addHandler(Slow())
other = threading.Thread(target=Complaints().warn, args=("full", "full"))
other.start()
speaking.wait(20)
os.register_at_fork(before=forking.set)
child = os.fork()
if child == 0:
    os._exit(speaking.is_set())
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

FORK_INSIDE_A_COMPLAINT = """
import logging, os
from hansard.complaints import FORK_WAITS_S_MAX, LOGGER, Complaints

class Forks(logging.Handler):
    def emit(self, record):
        self.child = os.fork()
        if self.child == 0:
            self.emit = lambda record: os._exit(0)
            Complaints().warn("child", "in the child")

handler = Forks()
LOGGER.addHandler(handler)
Complaints().warn("full", "full")
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(handler.child, 0)[1]))
"""


@pytest.mark.parametrize("program", [FORK_BESIDE_A_COMPLAINT, FORK_INSIDE_A_COMPLAINT])
def test_a_child_never_inherits_a_stream_that_another_thread_is_writing_a_complaint_to(
    program: str,
) -> None:
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
