"""How a client's sockets reach a writer: values, made by `LocalWriter` or `RemoteWriter`."""

import errno
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import zmq

_HUNG_UP: Final = frozenset({errno.EPIPE, errno.ECONNRESET})
_NO_DETAIL: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)


class Route(NamedTuple):
    """Both endpoints, what every socket is given before it connects, and what its monitor says.

    ``stands`` is the event of a connection that can be used, ``refusals`` those of one that was
    refused, in words. ``close`` MUST be called once the sockets are closed.
    """

    frames: str
    requests: str
    options: Mapping[int, int | bytes]
    stands: int
    refusals: Mapping[int, str]
    close: Callable[[], None]

    def __repr__(self) -> str:
        """Without the options: among them is the secret key."""
        return f"<Route to {self.requests}>"

    @property
    def events(self) -> int:
        """What the monitors watch for besides the end of a connection."""
        return sum(self.refusals) | self.stands

    def refusal(self, event: int, value: int) -> str:
        """Why a connection never stood; empty for a handshake that merely took too long, which
        libzmq begins again."""
        is_slow = event == _NO_DETAIL and value not in _HUNG_UP
        return "" if is_slow else self.refusals.get(event, "")

    def prepare(self, socket: "zmq.Socket[bytes]") -> None:
        """Give a socket its options."""
        for option, value in self.options.items():
            socket.setsockopt(option, value)
