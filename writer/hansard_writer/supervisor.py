"""The supervisor: a small parent process that starts the writer again whenever it crashes.

It opens no database and no socket of the log's, and knows no option of the writer's: it runs the
command that it is given. To a service manager it speaks for both: the writer tells it over the
lifeline, and what a manager should hear is passed on; so systemd needs nothing but the default,
``NotifyAccess=main``.
"""

import collections
import contextlib
import logging
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Container, Iterator, Sequence
from math import inf
from typing import Final, NamedTuple

from hansard.errors import AuditLogError
from hansard.wording import counted
from hansard_writer.hanging import LOOK_INTERVAL_S, LOOKS_MAX, Stillness, look_at
from hansard_writer.lifeline import Heard
from hansard_writer.sd_notify import Notifier, watchdog_variables

DELAY_FIRST_S: Final = 0.1  # before the first restart; twice as long before each one after it
DELAY_MAX_S: Final = 5.0
RESTARTS_MAX: Final = 10  # within…
WINDOW_S: Final = 60.0
STOP_S: Final = 30.0  # for a writer that was asked to stop, before it is killed
ABORT_S: Final = 5.0  # for one that hangs, to leave a traceback, before it is killed

_LOG: Final = logging.getLogger("hansard.supervisor")
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_ENDED_BY_STOP: Final = {*(-each for each in _STOPS), 128 + signal.SIGINT}  # unheard: just begun

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


class End(NamedTuple):
    """How a writer ended: its status as `subprocess` gives it, whether it was because it had been
    asked to, by whomever, whether it had to be killed for that, the end in words, and whether it
    refused what it was to serve."""

    status: int
    was_stopping: bool
    was_overdue: bool
    words: str
    was_refusal: bool = False


def final_status(end: End, settled: Container[int], *, asked: bool) -> int | None:
    """What the supervisor ends with, as a shell would say it; None for "start the writer again".

    ``asked`` is whether the supervisor was asked to stop. A status of 0 alone settles nothing:
    any code in the writer may end the process with it.
    """
    if end.status in _ENDED_BY_STOP:
        return 0
    if end.was_stopping or end.was_overdue or end.was_refusal or end.status in settled:
        return end.status if end.status >= 0 else 128 - end.status
    return 0 if asked else None  # it crashed, and then nobody wanted it any more


def supervise(
    command: Command, settled: Container[int], restarts: Restarts, manager: Notifier
) -> int:
    """Run the writer until it ends as it was asked to; returns the exit status to end with.

    SIGTERM, SIGINT and SIGHUP are passed on. ``settled`` are the exit statuses that another start
    would not change. ``manager`` hears of it all. Raises `GaveUp`. For the main thread of a
    process of its own.
    """
    with _Signals.watched() as signals:
        while True:
            end = _one_life(command, restarts.count, signals, manager)
            status = final_status(end, settled, asked=signals.asked is not None)
            if status is not None:
                _LOG.info("the writer %s", end.words)
                return status
            delay = restarts.delay_after_crash(time.monotonic())
            if delay is None:
                raise GaveUp(
                    f"the writer {end.words}, after {restarts.limit}: it is not started again"
                )
            number = restarts.count
            _LOG.warning(
                "the writer %s: starts again in %g s, restart %d", end.words, delay, number
            )
            manager.status(f"the writer {end.words}: starts again, restart {number}")
            if signals.stop_within(delay, manager):
                return 0


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

    def wait(self, timeout: float, lifeline: socket.socket | None = None) -> bool:
        """Until any signal came, or a word over the lifeline; whether a signal to stop did."""
        watched = [self._wake] if lifeline is None else [self._wake, lifeline.fileno()]
        select.select(watched, [], [], None if timeout == inf else timeout)
        try:
            came = os.read(self._wake, 4_096)
        except BlockingIOError:
            return False
        stops = [number for number in _STOPS if number in came]
        if stops:
            self.asked = stops[0]
        return bool(stops)

    def stop_within(self, seconds: float, manager: Notifier) -> bool:
        """Wait so long at most, alive to the manager; whether a signal to stop came."""
        now = time.monotonic()
        until = now + seconds
        while self.asked is None and now < until:
            self.wait(min(until - now, manager.beat(now)))
            now = time.monotonic()
        return self.asked is not None


def _one_life(command: Command, restarts: int, signals: _Signals, manager: Notifier) -> End:
    """Start a writer, and see it through to its end."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            lifeline = theirs.fileno()
            environment = {**os.environ, **watchdog_variables(manager.watchdog_s)}
            try:
                process = subprocess.Popen(
                    command(lifeline, restarts), pass_fds=[lifeline], env=environment
                )
            except OSError as error:
                return End(1, False, False, f"could not be started: {error.strerror}")
        _LOG.info("the writer started, pid %d", process.pid)
        return _Life(process, Heard(ours), signals, manager).see_through()


class _Life:
    """One writer process, from its start to its end."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        heard: Heard,
        signals: _Signals,
        manager: Notifier,
    ) -> None:
        self._process = process
        self._heard = heard
        self._signals = signals
        self._manager = manager
        self._stillness = Stillness()
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        self._kill_at: float | None = None  # where it is being ended
        self._overdue = False
        self._hung = False

    def see_through(self) -> End:
        """Pass signals and words on until it has ended."""
        while (status := self._process.poll()) is None:
            lifeline = self._heard.lifeline if self._heard.is_open else None
            if self._signals.wait(self._wait_at_most(time.monotonic()), lifeline):
                self._pass_on_signal()
            self._listen()
            self._look(time.monotonic())
        self._listen()
        heard = self._heard
        return End(status, heard.stopping, self._overdue, self._in_words(status), heard.refused)

    def _wait_at_most(self, now: float) -> float:
        """Where the writer does not speak for itself, the manager hears from us that all is well:
        what takes time then has limits of its own."""
        heard = self._heard
        speaks = heard.ready and not heard.stopping and self._kill_at is None
        due = self._look_at if self._kill_at is None else self._kill_at
        return max(min(due - now, inf if speaks else self._manager.beat(now)), 0.0)

    def _pass_on_signal(self) -> None:
        asked = self._signals.asked
        assert asked is not None
        self._manager.stopping(f"stopping: {asked.name}")
        self._process.send_signal(asked)
        self._process.send_signal(signal.SIGCONT)  # one that is stopped could not obey
        if self._kill_at is None:
            self._kill_at = time.monotonic() + STOP_S

    def _listen(self) -> None:
        self._manager.pass_on(self._heard.take())

    def _look(self, now: float) -> None:
        """See whether it hangs; and whether its time to end is over."""
        if self._kill_at is not None and now >= self._kill_at:
            self._kill()
        elif self._kill_at is None and now >= self._look_at:
            self._look_at = now + LOOK_INTERVAL_S
            is_in_its_loop = self._heard.ready  # a start may wait for whatever it needs
            if is_in_its_loop and self._stillness.hangs(look_at(self._process.pid)):
                self._abort()

    def _abort(self) -> None:
        """SIGABRT leaves a traceback of where it hangs."""
        _LOG.error("the writer (pid %d) hangs: ending it", self._process.pid)
        self._hung = True
        self._kill_at = time.monotonic() + ABORT_S
        self._process.send_signal(signal.SIGABRT)
        self._process.send_signal(signal.SIGCONT)

    def _kill(self) -> None:
        if not self._hung:
            _LOG.error(
                "the writer (pid %d) did not stop in %g s: killing it", self._process.pid, STOP_S
            )
            self._overdue = True
        self._kill_at = inf
        self._process.kill()

    def _in_words(self, status: int) -> str:
        how = f"exit status {status}" if status >= 0 else signal.Signals(-status).name
        words = f"(pid {self._process.pid}) ended with {how}"
        if self._hung:
            return f"{words}, for it had not moved for {LOOK_INTERVAL_S * LOOKS_MAX:g} s"
        if status == 0 and not self._heard.stopping:
            return f"{words}, which nobody had asked for"
        return f"{words} ({self._heard.reason})" if self._heard.reason else words
