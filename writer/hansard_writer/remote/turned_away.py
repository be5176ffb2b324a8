"""Who was turned away, and why: counted for the figures, said in the writer's log.

Each reason once a minute for one key, or one address where no key is known. It decides nothing, and
keeps nothing of what was refused: whoever may not write here could fill the disk with it.
"""

from collections.abc import Mapping
from typing import Final

from hansard.complaints import Complaints
from hansard_writer.intake import ANOTHERS_PRODUCER
from hansard_writer.remote.rights import NO_RIGHT, NOT_ALLOWED, Peer

MESSAGES: Final[Mapping[str, str]] = {
    NOT_ALLOWED: "its key is not allowed (any more)",
    NO_RIGHT: "it does not have the right",
    ANOTHERS_PRODUCER: "that producer is another's",
}
"""Why what somebody sent was refused, in words."""

UNKNOWN_KEY: Final = "unknown_key"
WRONG_SERVER_KEY: Final = "wrong_server_key"
NO_CURVE: Final = "no_curve"
BROKEN: Final = "broken_handshake"
UNFINISHED: Final = "unfinished_handshake"
CROWDED: Final = "too_many_connections"
HANDSHAKES: Final[Mapping[str, str]] = {
    UNKNOWN_KEY: "its key is not allowed: `hansard keys allow KEY --name NAME` lets it in",
    WRONG_SERVER_KEY: "it expects another server's key: its `server_key` is not this writer's",
    NO_CURVE: "it has no CURVE keys: a client needs `connect`, `server_key` and its own keys",
    BROKEN: "what it said is no handshake",
    UNFINISHED: "it did not finish the handshake in time, or went away",
    CROWDED: "as many as can be served are connected: end some, or raise the limit on open files",
}
"""Why somebody could not connect over tcp, in words."""


class TurnedAway:
    """In one run of a writer. It belongs to its thread."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys((*MESSAGES, *HANDSHAKES), 0)
        self._complaints = Complaints()

    def message(self, reason: str, what: str, peer: Peer | None) -> None:
        """What a peer sent, or somebody over ipc, was refused: a frame, or a verb."""
        self._counts[reason] += 1
        cause = f"{reason} {peer.key if peer else ''}"
        self._complaints.warn(cause, "refused a %s of %s: %s", what, _shown(peer), MESSAGES[reason])

    def handshake(self, reason: str, address: str, key: str = "") -> None:
        """Somebody could not connect, from an address that is empty where it is not known."""
        self._counts[reason] += 1
        of_key = f" with the key {key}" if key else ""
        self._complaints.warn(
            f"{reason} {address}",
            "turned a connection away from %s%s: %s",
            address or "an unknown address",
            of_key,
            HANDSHAKES[reason],
        )

    def figures(self) -> dict[str, int]:
        """By reason, how often since the start."""
        return dict(self._counts)


def _shown(peer: Peer | None) -> str:
    if peer is None:
        return "a client over ipc"
    return f"{peer.name or peer.key} at {peer.address or 'an unknown address'}"
