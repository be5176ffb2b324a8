"""The supervisor: a small parent process that starts the writer again whenever it crashes.

It opens no database and no socket, and knows no option of the writer's: it runs the command that
it is given. The writer holds the reading end of a pipe, the lifeline, whose writing end only the
supervisor has: its end of file says that the supervisor is gone, however that came about.
"""

import collections
import contextlib
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final

from hansard.errors import AuditLogError
from hansard.wording import counted

DELAY_FIRST_S: Final = 0.1  # before the first restart; twice as long before each one after it
DELAY_MAX_S: Final = 5.0
RESTARTS_MAX: Final = 10  # within…
WINDOW_S: Final = 60.0
STOP_S: Final = 30.0  # for a writer that was asked to stop, before it is killed

_LOG: Final = logging.getLogger("hansard.supervisor")
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

Command = Callable[[int, int], Sequence[str]]  # the writer's, from its lifeline and its restarts


class GaveUp(AuditLogError):
    """The writer crashes again and again. Mend what it says on stderr, then start it again."""


class Restarts:
    """Decides when a writer that has crashed is started again, and when no more. No clock."""

    def __init__(self, limit: int = RESTARTS_MAX, window_s: float = WINDOW_S) -> None:
        self.count = 0
        self._limit = limit
        self._window_s = window_s
        self._recent: collections.deque[float] = collections.deque()

    def delay_after_crash(self, now: float) -> float | None:
        """How long (s) to wait before the next start; None when the window's limit is reached."""
        while self._recent and now - self._recent[0] >= self._window_s:
            self._recent.popleft()
        if len(self._recent) >= self._limit:
            return None
        delay = min(DELAY_FIRST_S * 2.0 ** len(self._recent), DELAY_MAX_S)
        self._recent.append(now)
        self.count += 1
        return delay

    @property
    def limit(self) -> str:
        """For people."""
        return f"{counted(self._limit, 'restart')} within {self._window_s:g} s"


def supervise(command: Command, settled: Container[int], restarts: Restarts) -> int:
    """Run the writer until it ends as it was asked to; returns the exit status to end with.

    SIGTERM, SIGINT and SIGHUP are passed on. ``settled`` are the exit statuses that another start
    would not change. Raises `GaveUp`. For the main thread of a process of its own.
    """
    lifeline, held = os.pipe()
    try:
        with _Signals.watched() as signals:
            while True:
                status, end = _one_life(command(lifeline, restarts.count), lifeline, signals)
                if signals.asked or status in settled:
                    return _exit_status(status, signals.asked)
                delay = restarts.delay_after_crash(time.monotonic())
                if delay is None:
                    raise GaveUp(
                        f"the writer {end}, after {restarts.limit}: it is not started again; "
                        "what it said is above"
                    )
                number = restarts.count
                _LOG.warning("the writer %s: starts again in %g s, restart %d", end, delay, number)
                if signals.stop_within(delay):
                    return 0
    finally:
        os.close(lifeline)
        os.close(held)


def end_without_supervisor(lifeline: int) -> None:
    """In the writer: from now on, the end of the supervisor is as good as a SIGTERM."""

    def wait() -> None:
        os.read(lifeline, 1)
        _LOG.warning("the supervisor is gone: ending as on SIGTERM")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="hansard-lifeline", daemon=True).start()


class _Signals:
    """What came, through the wake-up descriptor: waiting for it misses nothing and needs no poll.

    One owner, the main thread.
    """

    def __init__(self, wake: int) -> None:
        self._wake = wake
        self.asked: signal.Signals | None = None

    @classmethod
    @contextlib.contextmanager
    def watched(cls) -> Iterator["_Signals"]:
        """Within, the signals that stop a writer, and its death, only wake."""
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        before = {
            number: signal.signal(number, lambda _number, _frame: None)
            for number in (*_STOPS, signal.SIGCHLD)
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN)  # nohup
        }
        fd_before = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        try:
            yield cls(wake_read)
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake_read)
            os.close(wake_write)

    def wait(self, timeout: float | None) -> bool:
        """Until any signal came; whether one to stop was among them."""
        select.select([self._wake], [], [], timeout)
        try:
            came = os.read(self._wake, 4_096)
        except BlockingIOError:
            return False
        stops = [number for number in _STOPS if number in came]
        if stops:
            self.asked = stops[0]
        return bool(stops)

    def stop_within(self, seconds: float) -> bool:
        """Wait so long at most; whether a signal to stop came."""
        until = time.monotonic() + seconds
        while self.asked is None and (left := until - time.monotonic()) > 0:
            self.wait(left)
        return self.asked is not None


def _one_life(command: Sequence[str], lifeline: int, signals: _Signals) -> tuple[int, str]:
    """Start a writer and wait for its end: its status as `subprocess` gives it, and in words."""
    try:
        writer = subprocess.Popen(command, pass_fds=[lifeline])
    except OSError as error:
        return 1, f"could not be started: {error.strerror}"
    _LOG.info("the writer started, pid %d", writer.pid)
    kill_at = None
    while (status := writer.poll()) is None:
        if signals.wait(None if kill_at is None else max(kill_at - time.monotonic(), 0)):
            assert signals.asked is not None
            writer.send_signal(signals.asked)
            writer.send_signal(signal.SIGCONT)  # one that is stopped could not obey
            kill_at = kill_at or time.monotonic() + STOP_S
        elif kill_at is not None and time.monotonic() >= kill_at:
            _LOG.error("the writer (pid %d) did not stop in %g s: killing it", writer.pid, STOP_S)
            writer.kill()
            status = writer.wait()
            break
    how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
    return status, f"(pid {writer.pid}) ended with {how}"


def _exit_status(status: int, asked: signal.Signals | None) -> int:
    """What the supervisor ends with, as a shell would say it."""
    if asked and status in (-asked, 128 + asked):
        return 0  # it was asked to stop before it could listen: it had not begun
    return status if status >= 0 else 128 - status
