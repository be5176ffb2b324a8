"""The address of a writer that other hosts reach: ``tcp://HOST:PORT``. Pure.

Requests go to that port, frames to the next one: two sockets, and nobody has to be asked where the
second is.
"""

import re
from typing import Final, NamedTuple

from hansard.errors import ConfigError

PORT_MAX: Final = 65_534  # the next one is taken, too

_ADDRESS: Final = re.compile(r"tcp://(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[A-Za-z0-9_.*-]+):([0-9]{1,5})")


class TcpPorts(NamedTuple):
    """The ZeroMQ endpoints of one writer."""

    requests: str
    frames: str


def tcp_ports(address: str, shown: str = "the address") -> TcpPorts:
    """Both endpoints of an address. Raises `ConfigError`, in which ``shown`` is what it is called.

    An IPv6 address stands in brackets.
    """
    found = _ADDRESS.fullmatch(address)
    if not found or not 0 < int(found[2]) <= PORT_MAX:
        raise ConfigError(
            f"{shown} is {address!r}: it must be tcp://HOST:PORT, with a port from 1 to "
            f"{PORT_MAX:,}; the next port is used, too"
        )
    host, port = found[1], int(found[2])
    return TcpPorts(f"tcp://{host}:{port}", f"tcp://{host}:{port + 1}")
