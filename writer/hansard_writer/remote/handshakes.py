"""Handshakes that fail, as libzmq's monitor of a socket tells of them; and too many connections.

It tells why, but not from where: the address is that of the connection which ends right behind the
failure, asked of the kernel when it was accepted. What speaks no ZMTP at all ends unsaid.
"""

import contextlib
import errno
import os
import socket
import struct
from typing import Final

import zmq

from hansard_writer.remote import turned_away
from hansard_writer.remote.turned_away import TurnedAway

EVENTS_PER_TURN_MAX: Final = 256

_EVENT: Final = struct.Struct("=HI")  # event and value: man 3 zmq_socket_monitor
_FAILED: Final = int(
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)  # not ..._AUTH: who asked for that has its key, and says it
_HEARD: Final = int(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED) | _FAILED
_ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
_UNFINISHED: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_REASONS: Final = {
    int(zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC): turned_away.WRONG_SERVER_KEY,
    int(zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH): turned_away.NO_CURVE,
}


class Handshakes:
    """Of one bound socket, which MUST NOT be closed before this is. One thread's, as the socket is.

    Who comes while ``connections_max`` stand is shut out: whoever has no key could otherwise take
    all of the process's descriptors. Who is here stays.

    Its queue has no bound, for libzmq's own thread would wait for room in it; it is read at each
    turn, and an event takes some hundred bytes.
    """

    def __init__(
        self,
        watched: "zmq.Socket[bytes]",
        name: str,
        turned_away: TurnedAway,
        connections_max: int,
    ) -> None:
        self._watched = watched
        self._connections_max = connections_max
        self._turned_away = turned_away
        self._addresses: dict[int, str] = {}  # of connections that stand, by descriptor
        self._failed = ""  # why the connection failed whose end is the next event
        watched.monitor(f"inproc://{name}", _HEARD)
        self.socket: zmq.Socket[bytes] = watched.context.socket(zmq.PAIR)
        self.socket.rcvhwm = 0
        self.socket.connect(f"inproc://{name}")

    @property
    def connections(self) -> int:
        """How many stand, or are being made."""
        return len(self._addresses)

    def hear(self) -> bool:
        """Take in what has happened; whether that was all."""
        for _ in range(EVENTS_PER_TURN_MAX):
            try:
                event, value = _EVENT.unpack(self.socket.recv_multipart(zmq.NOBLOCK)[0])
            except zmq.Again:
                return True
            if event == _ACCEPTED:
                is_crowded = len(self._addresses) >= self._connections_max
                self._addresses[value] = address = _address_of(value, end=is_crowded)
                if is_crowded:
                    self._turned_away.handshake(turned_away.CROWDED, address)
            elif event == _DISCONNECTED:
                address = self._addresses.pop(value, "")
                if self._failed:
                    self._turned_away.handshake(self._failed, address)
                self._failed = ""
            elif event == _UNFINISHED:
                self._failed = turned_away.UNFINISHED
            else:
                self._failed = _REASONS.get(value, turned_away.BROKEN)
        return False

    def close(self) -> None:
        """Hear no more. First the socket is told, or its thread would wait for who listens."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)


def _address_of(descriptor: int, *, end: bool) -> str:
    """From where a connection of libzmq's comes, and its ``end`` where it is one too many; empty
    where it has ended, or what has its number by now is another thing."""
    with contextlib.suppress(OSError):
        copy = os.dup(descriptor)
        try:
            connection = socket.socket(fileno=copy)
        except OSError as error:
            if error.errno != errno.EBADF:
                os.close(copy)
            return ""
        with connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6):
                address = str(connection.getpeername()[0])
                if end:  # nobody but libzmq may close it; it does, when nothing can come any more
                    connection.shutdown(socket.SHUT_RDWR)
                return address
    return ""
