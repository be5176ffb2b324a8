"""Warnings about the log itself: through stdlib logging, each cause at most once a minute.

The logger is ``hansard``; nothing that records through Hansard may record these.
"""

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

    def warn(self, cause: str, message: str, *args: object) -> None:
        """Log a WARNING, unless the same ``cause`` was complained of within the minute."""
        now = time.monotonic()
        if not self._lock.acquire(blocking=False):  # a signal handler inside a complaint
            return
        try:
            if now - self._last.get(cause, -QUIET_S) < QUIET_S:
                self._held_back[cause] = self._held_back.get(cause, 0) + 1
                return
            if len(self._last) >= CAUSES_MAX:
                self._last.clear()
            self._last[cause] = now
            held_back = self._held_back.pop(cause, 0)
        finally:
            self._lock.release()
        if held_back:
            message, args = message + " (and %d more of the kind)", (*args, held_back)
        LOGGER.warning(message, *args)

    def crash(self, message: str, error: BaseException) -> None:
        """Log an ERROR with its traceback: a fault of ours."""
        LOGGER.error(message, exc_info=error)
