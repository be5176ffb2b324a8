"""The writer's sockets: PULL for frames, ROUTER for requests. Bytes in, bytes out.

Made, used and closed by one thread. A ROUTER, because REP holds one unanswered request only, and
one commit has to answer many. No ZeroMQ heartbeats: where a full PULL has stopped reading and the
peer dies, their timer trips an assertion in libzmq (its issue 4364) and the process aborts.
"""

import contextlib
import itertools
import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import zmq

from hansard import directory as layout
from hansard import wire
from hansard_writer.remote.rights import Peer
from hansard_writer.remote.tcp_endpoints import TcpEndpoints
from hansard_writer.transport import Message, Request

REQUESTS_QUEUED_MAX: Final = 4  # a peer; a REQ has one, or two when it has given one up
REPLIES_QUEUED_MAX: Final = 4  # and who reads none gets no more: they may be large
_LOCAL: Final = b"i"  # in front of a peer's identity: at which of the two ROUTERs it is one
_REMOTE: Final = b"t"
_NOBLOCK: Final = int(zmq.NOBLOCK)  # plain numbers: the enums' operators are Python
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE: Final = int(zmq.POLLIN)


class Endpoints:
    """Both sockets, bound; and ``remote`` ones beside them, for other hosts, read in turn, so that
    neither keeps the other waiting. `signals_wake` makes a signal end a `wait`."""

    def __init__(self, directory: Path, mode: int, remote: TcpEndpoints | None = None) -> None:
        self._remote = remote
        self._remotes_message = itertools.cycle((True, False))  # whether it is its turn
        self._remotes_request = itertools.cycle((True, False))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._paths = layout.SocketPaths(directory)
        self._pull = self._bind(zmq.PULL, self._paths.push)
        self._router = self._bind(zmq.ROUTER, self._paths.ack)
        for name in (layout.PUSH_SOCKET, layout.ACK_SOCKET):
            (directory / name).chmod(mode)
        self._wake_read, self._wake_write = os.pipe()
        for descriptor in (self._wake_read, self._wake_write):
            os.set_blocking(descriptor, False)
        others = remote.descriptors if remote else {}
        self._all = _descriptors(self._wake_read, self._router, self._pull, *others.values())
        idle = [each for each in others.values() if each.type != zmq.PULL]
        self._without_frames = _descriptors(self._wake_read, self._router, *idle)

    @contextlib.contextmanager
    def signals_wake(self) -> Iterator[None]:
        """Within, a signal ends a `wait` at once. For the main thread."""
        before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)

    def attend(self, now: float) -> None:
        """What other hosts need besides answers. MUST be called at each turn."""
        if self._remote:
            self._remote.attend(now)

    def message(self) -> Message | None:
        """The parts of the next message from a producer and who sent it, nobody in particular over
        ipc; None if there is none."""
        remote = self._remote
        if remote and next(self._remotes_message) and (received := remote.message()):
            return received
        if _is_readable(self._pull):
            return _received(self._pull), None
        return remote.message() if remote else None

    def request(self) -> Request | None:
        """The next request: its envelope, to be given back whole, its content, and who asks."""
        remote = self._remote
        if remote and next(self._remotes_request) and (received := remote.request()):
            return _request(_REMOTE, *received)
        if _is_readable(self._router):
            return _request(_LOCAL, _received(self._router), None)
        received = remote.request() if remote else None
        return _request(_REMOTE, *received) if received else None

    def reply(self, envelope: list[bytes], content: bytes) -> None:
        """Answer a request. Who has gone away gets nothing, and nobody waits for him."""
        first, *others = envelope
        envelope = [first[1:], *others]
        if self._remote and first.startswith(_REMOTE):
            self._remote.reply(envelope, content)
            return
        with contextlib.suppress(zmq.Again):
            for part in envelope:
                self._router.send(part, _MORE)
            self._router.send(content, _NOBLOCK)

    def wait(self, timeout: float, *, frames_too: bool = True) -> None:
        """Until something can be read, a signal came, or ``timeout`` seconds have passed."""
        if _is_readable(self._router) or (frames_too and _is_readable(self._pull)):
            return
        if self._remote and self._remote.has_news(frames_too=frames_too):
            return
        descriptors = self._all if frames_too else self._without_frames
        ready = descriptors.poll(max(round(timeout * 1_000 + 0.4), 1))
        if any(each == self._wake_read for each, _ in ready):
            os.read(self._wake_read, 4_096)

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"!")

    def close(self) -> None:
        """Close all; answers that are on their way get a moment."""
        self._pull.close(linger=0)
        self._router.close(linger=200)
        self._context.term()
        if self._remote:
            self._remote.close()
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


def _descriptors(wake: int, *sockets: "zmq.Socket[bytes]") -> select.poll:
    """What to wait on. A socket's descriptor becomes readable when there is news, once: the socket
    MUST be asked before each wait. `zmq_poll` asks each twice, at two system calls a time."""
    descriptors = select.poll()
    for each in (wake, *(int(socket.getsockopt(zmq.FD)) for socket in sockets)):
        descriptors.register(each, select.POLLIN)
    return descriptors


def _request(door: bytes, parts: list[bytes], peer: Peer | None) -> Request:
    """A peer may choose its identity: it MUST NOT be taken for one at the other socket."""
    first, *others, content = parts
    return [door + first, *others], content, peer


def _received(socket: "zmq.Socket[bytes]") -> list[bytes]:
    """The parts of a message that is there. As frames, which know whether more follow: to ask the
    socket for that takes as long as to receive a part."""
    frame = socket.recv(_NOBLOCK, copy=False)
    parts = [frame.bytes]
    while frame.more:
        frame = socket.recv(_NOBLOCK, copy=False)
        parts.append(frame.bytes)
    return parts


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)
