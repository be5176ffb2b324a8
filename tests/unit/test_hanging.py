"""When a process counts as hung, and above all when not."""

import os
import signal
import subprocess
import sys

import pytest

from hansard_writer.hanging import LOOKS_MAX, Look, Stillness, look_at
from support import wait_until


def judged(looks: list[Look | None]) -> int | None:
    """After how many looks the process counts as hung; None where it never does."""
    stillness = Stillness()
    for number, look in enumerate(looks):
        if stillness.hangs(look):
            return number
    return None


@pytest.mark.parametrize("state", ["S", "T"])
def test_one_that_has_not_moved_for_so_many_looks_hangs(state: str) -> None:
    assert judged([Look(state, 7)] * 100) == LOOKS_MAX


@pytest.mark.parametrize("state", ["D", "R", "t", "Z", "I"])
def test_one_that_waits_for_the_disk_or_computes_or_is_debugged_never_hangs(state: str) -> None:
    assert judged([Look(state, 7)] * 100) is None


def test_one_that_moves_between_any_two_looks_does_not_hang() -> None:
    assert judged([Look("S", number) for number in range(100)]) is None
    assert judged([Look("S", number // LOOKS_MAX) for number in range(100)]) is None


def test_one_look_at_it_on_the_disk_begins_the_count_anew() -> None:
    still = [Look("S", 7)] * LOOKS_MAX
    assert judged([*still, Look("D", 7)] * 20) is None


def test_what_cannot_be_looked_at_never_hangs() -> None:
    assert judged([None] * 100) is None
    assert judged([*[Look("S", 7)] * LOOKS_MAX, None] * 20) is None


def test_a_real_process_is_seen_to_be_stopped_and_to_go_on() -> None:
    naps = "import time\nfor _ in range(60_000): time.sleep(0.001)"
    with subprocess.Popen([sys.executable, "-c", naps]) as process:
        try:
            first = look_at(process.pid)
            assert first
            wait_until(lambda: look_at(process.pid).switches > first.switches, "it has moved")
            process.send_signal(signal.SIGSTOP)
            wait_until(lambda: look_at(process.pid).state == "T", "it is stopped")
            assert look_at(process.pid) == look_at(process.pid)
            stopped = look_at(process.pid)
            process.send_signal(signal.SIGCONT)
            wait_until(lambda: look_at(process.pid).switches > stopped.switches, "it goes on")
        finally:
            process.kill()


def test_a_process_that_is_not_there_shows_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert look_at(process.pid) is None


def test_this_process_runs() -> None:
    look = look_at(os.getpid())
    assert look
    assert look.switches > 0
