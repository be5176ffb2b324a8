"""Warnings about the log itself: through stdlib logging, each cause at most once a minute.

The logger is ``hansard``; nothing that records through Hansard may record these.
"""

import collections
import logging
import threading
import time
from typing import Final

LOGGER: Final = logging.getLogger("hansard")
QUIET_S: Final = 60.0
CAUSES_MAX: Final = 64


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
