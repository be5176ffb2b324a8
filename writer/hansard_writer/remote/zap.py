"""ZAP: whether somebody with this key may connect. Pure: a request's parts → those of the answer.

libzmq asks at a socket of ours for each handshake, https://rfc.zeromq.org/spec/27/; by then the
client has proved that it holds the key. The answer's user id comes with each of its messages.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from zmq.utils import z85

ADDRESS: Final = "inproc://zeromq.zap.01"
DOMAIN: Final = b"hansard"
PARTS: Final = 7  # version, request id, domain, address, identity, mechanism, the public key

_VERSION: Final = b"1.0"
_KEY_BYTES: Final = 32


class Asked(NamedTuple):
    """Who would like to connect: its public key (Z85), and from where."""

    request_id: bytes
    key: str
    address: str


def asked_of(parts: Sequence[bytes]) -> Asked | None:
    """What a request asks, None for one that cannot be answered with yes."""
    if len(parts) != PARTS or parts[0] != _VERSION or len(parts[6]) != _KEY_BYTES:
        return None
    if parts[2] != DOMAIN or parts[5] != b"CURVE":
        return None
    return Asked(parts[1], z85.encode(parts[6]).decode(), parts[3].decode(errors="replace"))


def welcome(asked: Asked) -> list[bytes]:
    """The answer to who is allowed."""
    return [_VERSION, asked.request_id, b"200", b"", asked.key.encode(), b""]


def refusal(parts: Sequence[bytes]) -> list[bytes]:
    """The answer to everybody else."""
    request_id = parts[1] if len(parts) > 1 else b""
    return [_VERSION, request_id, b"400", b"this key is not allowed", b"", b""]
