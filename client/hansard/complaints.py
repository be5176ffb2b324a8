"""Warnings about the log itself: through stdlib logging, each cause at most once a minute.

The logger is ``hansard``; nothing that records through Hansard may record these.
"""

import collections
import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Final

LOGGER: Final = logging.getLogger("hansard")
QUIET_S: Final = 60.0
CAUSES_MAX: Final = 64
FORK_WAITS_S_MAX: Final = 1.0


class _Speaking:
    """Which threads are inside a logging call of ours: a fork waits for the others of them.

    A child inherits the lock of a stream that the sender's thread is writing to, and would wait for
    it at its own first line for ever. The wait is bounded: a handler may wait for who forks. The
    lock is reentrant, because a signal handler may complain inside a complaint.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._threads: collections.Counter[int] = collections.Counter()

    @contextlib.contextmanager
    def now(self) -> Iterator[None]:
        me = threading.get_ident()
        with self._changed:
            self._threads[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._threads[me] -= 1
                if not self._threads[me]:
                    del self._threads[me]
                self._changed.notify_all()

    def wait_before_fork(self) -> None:
        me = threading.get_ident()
        self._changed.acquire()
        self._changed.wait_for(lambda: self._threads.keys() <= {me}, FORK_WAITS_S_MAX)

    def go_on(self) -> None:
        self._changed.release()

    def become_child(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        me = threading.get_ident()
        self._threads = collections.Counter({me: self._threads[me]})


_speaking: Final = _Speaking()
os.register_at_fork(
    before=_speaking.wait_before_fork,
    after_in_parent=_speaking.go_on,
    after_in_child=_speaking.become_child,
)


class Complaints:
    """Says what is wrong, and how often it was since it last said so. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}
        self._later: collections.deque[tuple[str, str, tuple[object, ...]]] = collections.deque(
            maxlen=CAUSES_MAX
        )

    def later(self, cause: str, message: str, *args: object) -> None:
        """Remember a warning until `say`. For whoever holds a lock: a logging handler may hold
        its own and wait, in a `record()` of its own, for that very lock."""
        self._later.append((cause, message, args))

    def say(self) -> None:
        """Warn of what was remembered. MUST be called without a lock."""
        while self._later:
            try:
                cause, message, args = self._later.popleft()
            except IndexError:  # another thread said it
                return
            self.warn(cause, message, *args)

    def warn(self, cause: str, message: str, *args: object) -> None:
        """Log a WARNING, unless the same ``cause`` was complained of within the minute."""
        held_back = self._is_due(cause)
        if held_back is None:
            return
        if held_back:
            message, args = message + " (and %d more of the kind)", (*args, held_back)
        with _speaking.now():
            LOGGER.warning(message, *args)

    def warn_of_orphan(self, event_type: str, reason: str) -> None:
        """Log a WARNING of an event whose task is not registered; the reason names the task."""
        self.warn(
            f"orphan {reason} {event_type}",
            "a %r event is an orphan: %s; it is entered when register_task() makes it known",
            event_type,
            reason,
        )

    def crash(self, message: str, error: BaseException) -> None:
        """Log an ERROR with its traceback: a fault of ours. As seldom as a warning."""
        if self._is_due(type(error).__name__) is not None:
            with _speaking.now():
                LOGGER.error(message, exc_info=error)

    def _is_due(self, cause: str) -> int | None:
        """How many of the kind were held back, None if this one is to be, too."""
        now = time.monotonic()
        if not self._lock.acquire(blocking=False):  # a signal handler inside a complaint
            return None
        try:
            if now - self._last.get(cause, -QUIET_S) < QUIET_S:
                self._held_back[cause] = self._held_back.get(cause, 0) + 1
                return None
            held_back = self._held_back.pop(cause, 0)
            self._last.pop(cause, None)
            if len(self._last) >= CAUSES_MAX:
                oldest = next(iter(self._last))
                del self._last[oldest]
                self._held_back.pop(oldest, None)
            self._last[cause] = now
            return held_back
        finally:
            self._lock.release()
