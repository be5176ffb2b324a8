"""What a client on another host may do. Pure.

Who connects over ipc has no rights to look up: file modes have let him in.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hansard import wire
from hansard_writer import administration

RECORD: Final = "record"
CALL: Final = "call"
ADMIN: Final = "admin"
RIGHTS: Final = (RECORD, CALL, ADMIN)

FRAMES: Final = "frames"  # no verb: what is pushed
NOT_ALLOWED: Final = "not_allowed"
NO_RIGHT: Final = "no_right"

NEEDED: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys((FRAMES, "hello", "wait", "compare", "lookup"), RECORD),
        **dict.fromkeys(("call", "lookup_call"), CALL),
        **dict.fromkeys(administration.REQUESTS, ADMIN),
    }
)
"""By verb, the right that it needs. ``stats`` needs to be allowed at all, and
so does what is no verb."""


class Peer(NamedTuple):
    """Who sent something over tcp: its public key, and the name and the rights that this key has at
    this moment, none if it is not allowed any more."""

    key: str
    name: str
    rights: tuple[str, ...]
    address: str


class RightMissing(wire.WireError):
    """Somebody may not do this: his key is `NOT_ALLOWED`, or has `NO_RIGHT`. Its words are for who
    asks."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


def require(peer: Peer, verb: str) -> None:
    """Raises `RightMissing`, which says how the right is given, unless the peer may do it."""
    if not peer.rights:
        raise RightMissing(
            NOT_ALLOWED,
            f"the key {peer.key} is not allowed here: give it a name on the writer's host, "
            f"`hansard keys allow '{peer.key}' --name NAME`",
        )
    needed = NEEDED.get(verb)
    if needed is not None and needed not in peer.rights:
        may = ",".join((*peer.rights, needed))
        raise RightMissing(
            NO_RIGHT,
            f"{verb} needs the right {needed}, which {peer.name} does not have: give it on the "
            f"writer's host, `hansard keys allow '{peer.key}' --name {peer.name} --may {may}`",
        )


def permitted(verb: str, arguments: list[Any], peer: Peer) -> tuple[str, list[Any]]:
    """Verb and arguments of a peer's request, without the token of an owner, which nobody has on
    another host: the right is the permission. Raises `RightMissing`, or `WireError`."""
    if verb == wire.AS_OWNER:
        _, verb, arguments = wire.owners_request_of(arguments)
    require(peer, verb)
    return verb, arguments
