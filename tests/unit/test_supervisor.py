"""The supervisor's decisions: when a crashed writer starts again, and when no more."""

import signal

import pytest

from hansard_writer.supervisor import (
    DELAY_FIRST_S,
    DELAY_MAX_S,
    RESTARTS_MAX,
    WINDOW_S,
    End,
    Restarts,
    final_status,
)


class Clock:
    """Time as the test says it."""

    def __init__(self) -> None:
        self.now = 1_000.0


def delays(restarts: Restarts, clock: Clock, *, lived_s: float = 0.0) -> list[float]:
    """The delays of a writer that crashes after ``lived_s`` seconds, until it is given up."""
    found: list[float] = []
    while len(found) < 1_000:
        clock.now += lived_s
        delay = restarts.delay_after_crash(clock.now)
        if delay is None:
            break
        found.append(delay)
        clock.now += delay
    return found


def test_a_first_crash_is_followed_by_a_start_almost_at_once() -> None:
    assert Restarts().delay_after_crash(0.0) == DELAY_FIRST_S <= 0.1


def test_each_crash_in_a_row_doubles_the_delay_up_to_its_limit() -> None:
    found = delays(Restarts(limit=8, window_s=1_000), Clock())
    assert found == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, DELAY_MAX_S, DELAY_MAX_S]


def test_a_writer_that_crashes_at_once_every_time_is_given_up_within_the_window() -> None:
    restarts, clock = Restarts(), Clock()
    began = clock.now
    assert len(delays(restarts, clock, lived_s=0.5)) == restarts.count == RESTARTS_MAX
    assert clock.now - began < WINDOW_S


def test_once_given_up_it_stays_given_up_while_the_window_lasts() -> None:
    restarts, clock = Restarts(limit=2, window_s=60), Clock()
    delays(restarts, clock)
    assert restarts.delay_after_crash(clock.now) is None
    assert restarts.count == 2


def test_a_writer_that_crashes_now_and_then_is_never_given_up() -> None:
    restarts = Restarts()
    found = delays(restarts, Clock(), lived_s=WINDOW_S)
    assert found == [DELAY_FIRST_S] * 1_000
    assert restarts.count == 1_000


@pytest.mark.parametrize("limit", [1, 3])
def test_only_crashes_within_the_window_count(limit: int) -> None:
    restarts = Restarts(limit=limit, window_s=10)
    for second in range(limit):
        assert restarts.delay_after_crash(float(second)) is not None
    assert restarts.delay_after_crash(9.9) is None
    assert restarts.delay_after_crash(10.0) is not None, "the first has left the window"
    assert restarts.delay_after_crash(10.5) is None


# --- what an end means ---

SETTLED = {2, 4}
KILLED, SEGFAULT = -signal.SIGKILL, -signal.SIGSEGV


def meant(status: int, *, stopping: bool = False, overdue: bool = False, asked: bool) -> int | None:
    """What the supervisor ends with; None where it starts the writer again."""
    return final_status(End(status, stopping, overdue, "ended"), SETTLED, asked=asked)


@pytest.mark.parametrize("status", [0, 1, 3, 7, KILLED, SEGFAULT])
def test_an_end_that_nobody_asked_for_is_a_crash_whatever_its_status(status: int) -> None:
    assert meant(status, asked=False) is None


@pytest.mark.parametrize("status", [0, 1, 7, KILLED, SEGFAULT])
def test_a_crash_just_when_it_was_to_stop_is_no_failure(status: int) -> None:
    assert meant(status, asked=True) == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_writer_that_was_stopping_is_not_started_again_and_how_it_went_is_told(
    asked: bool,
) -> None:
    assert meant(0, stopping=True, asked=asked) == 0
    assert meant(1, stopping=True, asked=asked) == 1
    assert meant(KILLED, stopping=True, asked=asked) == 137


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("status", SETTLED)
def test_what_another_start_would_not_change_is_told(status: int, asked: bool) -> None:
    assert meant(status, asked=asked) == status


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("status", [-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 130])
def test_one_that_was_stopped_before_it_could_listen_has_ended_well(
    status: int, asked: bool
) -> None:
    assert meant(status, asked=asked) == 0


def test_one_that_had_to_be_killed_is_told() -> None:
    assert meant(KILLED, overdue=True, asked=True) == 137
