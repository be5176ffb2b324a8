"""The lifeline between a supervisor, or who runs a writer for a while, and that writer: a pair of
sockets, an end for each.

The writer says over it what sd_notify(3) has words for; its end of file tells the writer that who
started it is gone, however that came about. It starts and ends no process.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import MutableMapping
from typing import Final

from hansard_writer.sd_notify import REASON, REFUSED, Notifier, watchdog_seconds

READ_BYTES: Final = 65_536  # more than a writer says in hours
LINE_BYTES_MAX: Final = 4_096  # what is longer was not said by a writer

_LOG: Final = logging.getLogger("hansard.supervisor")
_PASSED_ON: Final = ("READY=", "STATUS=", "STOPPING=", "WATCHDOG=")


class Heard:
    """The supervisor's end: what the writer of one life has said. One owner, its main thread."""

    def __init__(self, lifeline: socket.socket) -> None:
        self.lifeline = lifeline
        self.is_open = True
        self.ready = False
        self.stopping = False
        self.reason = ""  # why it could not go on
        self.refused = False  # what another start would not change
        self._begun = b""  # a line whose end has not come yet
        lifeline.setblocking(False)

    def take(self) -> list[str]:
        """Read what there is; returns the lines that a service manager is to hear, too."""
        received = self._received()
        *lines, self._begun = (self._begun + received).split(b"\n")
        self._begun = self._begun[:LINE_BYTES_MAX]
        said = [line.decode(errors="replace") for line in lines]
        for line in said:
            self.ready |= line == "READY=1"
            self.stopping |= line == "STOPPING=1"
            self.refused |= line == f"{REFUSED}=1"
            if line.startswith(f"{REASON}="):
                self.reason = line.partition("=")[2]
        return [line for line in said if line.startswith(_PASSED_ON)]

    def _received(self) -> bytes:
        try:
            found = self.lifeline.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            found = b""
        self.is_open = bool(found)
        return found


def speak_over(descriptor: int, environment: MutableMapping[str, str]) -> Notifier:
    """The writer's end: who speaks over it. From now on the end of who started it is as good as a
    SIGTERM."""
    lifeline = socket.socket(fileno=descriptor)
    lifeline.set_inheritable(False)
    threading.Thread(target=_wait, args=[lifeline], name="hansard-lifeline", daemon=True).start()
    return Notifier(
        lambda message: lifeline.send(message, socket.MSG_DONTWAIT), watchdog_seconds(environment)
    )


def _wait(lifeline: socket.socket) -> None:
    with lifeline, contextlib.suppress(ConnectionError):  # of one that had not read all
        lifeline.recv(1)
    _LOG.warning("who started this writer is gone: ending as on SIGTERM")
    os.kill(os.getpid(), signal.SIGTERM)
