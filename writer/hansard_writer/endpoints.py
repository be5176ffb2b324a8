"""The writer's sockets: PULL for frames, ROUTER for requests. Bytes in, bytes out.

Made, used and closed by one thread. A ROUTER, because REP holds one unanswered request only, and
one commit has to answer many. No ZeroMQ heartbeats: where a full PULL has stopped reading and the
peer dies, their timer trips an assertion in libzmq (its issue 4364) and the process aborts.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import zmq

from hansard import directory as layout
from hansard import wire

REQUESTS_QUEUED_MAX: Final = 4  # a peer; a REQ has one, or two when it has given one up
REPLIES_QUEUED_MAX: Final = 4  # and who reads none gets no more: they may be large


class Endpoints:
    """Both sockets, bound. `signals_wake` makes a signal end a `wait`."""

    def __init__(self, directory: Path, mode: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._paths = layout.SocketPaths(directory)
        self._pull = self._bind(zmq.PULL, self._paths.push)
        self._router = self._bind(zmq.ROUTER, self._paths.ack)
        for name in (layout.PUSH_SOCKET, layout.ACK_SOCKET):
            (directory / name).chmod(mode)
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)

    @contextlib.contextmanager
    def signals_wake(self) -> Iterator[None]:
        """Within, a signal ends a `wait` at once. For the main thread."""
        before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def message(self) -> list[bytes] | None:
        """The parts of the next message from a producer, None if there is none."""
        try:
            return self._pull.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def request(self) -> tuple[list[bytes], bytes] | None:
        """The next request: its envelope, to be echoed whole, and its content."""
        try:
            *envelope, content = self._router.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return envelope, content

    def reply(self, envelope: list[bytes], content: bytes) -> None:
        """Answer a request. Who has gone away gets nothing, and nobody waits for him."""
        with contextlib.suppress(zmq.Again):
            self._router.send_multipart([*envelope, content], zmq.NOBLOCK)

    def wait(self, timeout: float, *, frames_too: bool = True) -> None:
        """Until something can be read, a signal came, or ``timeout`` seconds have passed."""
        interests: list[Any] = [(self._router, zmq.POLLIN), (self._wake_read, zmq.POLLIN)]
        if frames_too:
            interests.append((self._pull, zmq.POLLIN))
        zmq.zmq_poll(interests, max(round(timeout * 1_000 + 0.4), 1))
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4_096)

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def close(self) -> None:
        """Close both; answers that are on their way get a moment."""
        self._pull.close(linger=0)
        self._router.close(linger=200)
        self._context.term()
        self._paths.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _bind(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = wire.MESSAGE_BYTES_MAX
        socket.rcvhwm = wire.PIPE_MESSAGES_MAX if kind == zmq.PULL else REQUESTS_QUEUED_MAX
        socket.sndhwm = REPLIES_QUEUED_MAX
        socket.bind(endpoint)
        return socket
