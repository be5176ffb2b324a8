"""One connection of a client to its writer: PUSH for frames, REQ for requests, a monitor on each.

It belongs to the sender's thread, and says neither what to send nor what an answer means.
"""

import contextlib
import select
import struct
from collections.abc import Iterator
from typing import Any, Final, Self

import zmq

from hansard import wire
from hansard.route import Route

_MONITOR_EVENT: Final = struct.Struct("=HI")  # event and value: man 3 zmq_socket_monitor
_NOBLOCK: Final = int(zmq.NOBLOCK)  # plain numbers: the enums' operators are Python
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE: Final = int(zmq.POLLIN)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)


class Connection:
    """Both sockets, and what wakes their thread.

    It waits on the sockets' descriptors itself: `zmq_poll` asks each socket twice, at two system
    calls a time. Such a descriptor becomes readable when a socket has news, once, and says no more
    before it was asked: so each is asked before the thread sleeps, and those that woke it.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        route: Route,
        wake_descriptor: int,
    ) -> None:
        self._asked = False
        self._may_be_answered = False  # the socket for requests has news
        self.connected = False
        self.refusal = ""  # why a connection never stood, as far as that was said
        self._route = route
        self._standing: set[zmq.Socket[bytes]] = set()  # monitors of connections that stand
        self._wake_descriptor = wake_descriptor
        with contextlib.ExitStack() as made:  # where a later one fails, the earlier ones are closed
            self._push_socket = made.enter_context(_socket(context, zmq.PUSH, route))
            self._ack_socket = made.enter_context(_socket(context, zmq.REQ, route))
            monitors = [  # before it is connected: nothing is missed
                socket.get_monitor_socket(route.events | _DISCONNECTED)
                for socket in (self._push_socket, self._ack_socket)
            ]
            self._frames_monitor = monitors[0]
            self._push_socket.connect(route.frames)
            self._ack_socket.connect(route.requests)
            made.pop_all()
        self._monitors = {int(each.getsockopt(zmq.FD)): each for each in monitors}
        self._with_news = list(monitors)  # those that were not asked yet since they woke the thread
        self._descriptors = select.poll()
        self._ack_descriptor = int(self._ack_socket.getsockopt(zmq.FD))
        for each in (*self._monitors, self._ack_descriptor, wake_descriptor):
            self._descriptors.register(each, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for socket in (self._push_socket, self._ack_socket):
            socket.disable_monitor()
        for socket in (*self._monitors.values(), self._push_socket, self._ack_socket):
            socket.close(linger=0)

    def push(self, frame: wire.Frame) -> bool:
        """Hand a frame to ZeroMQ; False when its queue is full."""
        socket = self._push_socket
        try:
            socket.send(wire.pack_header(frame), _MORE)
            socket.send(frame.body, _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def request(self, message: bytes) -> None:
        """Ask; a request that is still unanswered is given up."""
        self._asked = False
        with contextlib.suppress(zmq.Again):  # a stopped writer's pipe is full: asked again later
            self._ack_socket.send(message, _NOBLOCK)
            self._asked = True

    def reply(self) -> bytes | None:
        """The answer to the last request, None if there is none yet.

        NOBLOCK, because a late answer to an earlier request is news, too.
        """
        if not (self._asked and self._may_be_answered):
            return None
        try:
            reply: bytes = self._ack_socket.recv(_NOBLOCK)
        except zmq.Again:
            return None
        self._asked = False
        return reply

    def is_lost(self) -> bool:
        """Whether a connection that stood has been lost; also notices one that stands, or was
        refused."""
        for monitor in self._with_news:
            for event, value in monitored(monitor):
                if event == self._route.stands:
                    self._standing.add(monitor)
                    self.connected = True
                elif event != _DISCONNECTED:
                    self.refusal = self.refusal or self._route.refusal(event, value)
                elif monitor in self._standing:
                    return True
        self._with_news = []
        return False

    @property
    def carries_frames(self) -> bool:
        """Whether the connection for frames stands: that for requests may stand without it."""
        return self._frames_monitor in self._standing

    def wait(self, timeout: float, *, blocked: bool) -> bool:
        """For an answer, a lost connection, a wake-up or, if ``blocked``, for room, up to
        ``timeout`` seconds. Whether the descriptor that wakes can be read."""
        timeout_ms = round(timeout * 1_000 + 0.5)
        if blocked:
            return self._wait_for_room(timeout_ms)
        self._may_be_answered = self._asked and _is_readable(self._ack_socket)
        if self._with_news or self._may_be_answered:
            timeout_ms = 0
        ready = [descriptor for descriptor, _ in self._descriptors.poll(timeout_ms)]
        if self._ack_descriptor in ready:
            self._may_be_answered = self._asked or _is_readable(self._ack_socket)
        self._with_news += [self._monitors[each] for each in ready if each in self._monitors]
        return self._wake_descriptor in ready

    def _wait_for_room(self, timeout_ms: int) -> bool:
        """The same with the socket for frames, whose descriptor has news with each that is read."""
        monitors = list(self._monitors.values())
        interests: list[Any] = [(each, zmq.POLLIN) for each in (*monitors, self._ack_socket)]
        interests += [(self._push_socket, zmq.POLLOUT), (self._wake_descriptor, zmq.POLLIN)]
        ready = zmq.zmq_poll(interests, timeout_ms)
        self._with_news = monitors
        self._may_be_answered = True
        return any(each == self._wake_descriptor for each, _ in ready)


def monitored(monitor: "zmq.Socket[Any]") -> Iterator[tuple[int, int]]:
    """The news of a socket's monitor: events and their values."""
    while _is_readable(monitor):
        yield _MONITOR_EVENT.unpack(monitor.recv_multipart(_NOBLOCK)[0])


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _READABLE)


def _socket(
    context: "zmq.Context[zmq.Socket[bytes]]", kind: int, route: Route
) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndhwm = socket.rcvhwm = wire.PIPE_MESSAGES_MAX
    route.prepare(socket)
    if kind == zmq.REQ:
        socket.req_relaxed = socket.req_correlate = True
    return socket
