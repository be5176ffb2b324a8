"""What a service manager hears of this process: ready, how it is doing, alive, stopping.

The protocol is systemd's, sd_notify(3) and sd_watchdog_enabled(3): a datagram of KEY=VALUE lines.
Best effort: a manager that is not there, or does not listen, never hurts and is never waited for
longer than `SEND_S`.
"""

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterable, MutableMapping
from math import inf
from typing import Final

SEND_S: Final = 0.5  # for a manager whose queue is full
STATUS_CHARS_MAX: Final = 500
REASON: Final = "X_HANSARD_REASON"  # of our own, for a supervisor of ours; others ignore it
REFUSED: Final = "X_HANSARD_REFUSED"

_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG_US: Final = "WATCHDOG_USEC"
_WATCHDOG_PID: Final = "WATCHDOG_PID"
_MICROSECONDS: Final = re.compile(r"[1-9][0-9]{0,18}")


class Notifier:
    """Speaks for this process through ``send``; says nothing without one.

    ``watchdog_s`` is how long the manager hears nothing before it takes the process for hung, None
    where it never does.
    """

    def __init__(
        self, send: Callable[[bytes], object] | None = None, watchdog_s: float | None = None
    ) -> None:
        self.watchdog_s = None if send is None else watchdog_s
        self._send = send
        self._interval_s = inf if self.watchdog_s is None else self.watchdog_s / 2
        self._beat_at = -inf

    def ready(self, status: str) -> None:
        """It can be used from now on."""
        self._say("READY=1", _status(status))

    def stopping(self, status: str) -> None:
        """It ends, because it was asked to."""
        self._say("STOPPING=1", _status(status))

    def status(self, status: str) -> None:
        """How it is doing, for people."""
        self._say(_status(status))

    def failed(self, reason: str, *, is_refused: bool = False) -> None:
        """It ends, because it cannot go on; ``is_refused``: nor could another start."""
        refused = [f"{REFUSED}=1"] if is_refused else []
        self._say(_status(reason), f"{REASON}={_line(reason)}", *refused)

    def pass_on(self, lines: Iterable[str]) -> None:
        """Say what a child has said."""
        self._say(*lines)

    def beat(self, now: float, status: Callable[[], str] | None = None) -> float:
        """Say that the process is alive, and its status, whenever half of the watchdog's time has
        passed. Returns in how many seconds it is to be called again at the latest."""
        if now >= self._beat_at:
            self._beat_at = now + self._interval_s
            if self._interval_s < inf:
                self._say("WATCHDOG=1", *([] if status is None else [_status(status())]))
        return self._beat_at - now

    def _say(self, *lines: str) -> None:
        if self._send is not None and lines:
            with contextlib.suppress(OSError):
                self._send("".join(line + "\n" for line in lines).encode(errors="replace"))


NOBODY: Final = Notifier()


def service_manager(environment: MutableMapping[str, str]) -> Notifier:
    """The manager that the environment names, if any. Takes its variables out of there, or every
    child of this process would speak for it."""
    address = environment.pop(_SOCKET, "")
    if address[:1] not in {"/", "@"}:
        return NOBODY

    def send(message: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.settimeout(SEND_S)
            to.connect("\0" + address[1:] if address[0] == "@" else address)
            to.send(message)

    return Notifier(send, watchdog_seconds(environment))


def watchdog_seconds(environment: MutableMapping[str, str]) -> float | None:
    """Within how many seconds a word from this process is expected; None when none is. Takes the
    variables out, too."""
    microseconds = environment.pop(_WATCHDOG_US, "")
    pid = environment.pop(_WATCHDOG_PID, str(os.getpid()))
    if not _MICROSECONDS.fullmatch(microseconds) or pid != str(os.getpid()):
        return None
    return int(microseconds) / 1e6


def watchdog_variables(watchdog_s: float | None) -> dict[str, str]:
    """What tells a child that a word from it is expected within so many seconds."""
    return {} if watchdog_s is None else {_WATCHDOG_US: str(round(watchdog_s * 1e6))}


def _status(text: str) -> str:
    return f"STATUS={_line(text)}"


def _line(text: str) -> str:
    """One line of at most so many characters, whatever the text."""
    return " ".join(text.split())[:STATUS_CHARS_MAX]
