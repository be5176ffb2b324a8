"""What the writer's loop reads and answers, whatever carries it: sockets, or lists in a test."""

from typing import Protocol, TypeAlias

from hansard_writer.remote.rights import Peer

Message: TypeAlias = tuple[list[bytes], Peer | None]
"""The parts of what a producer pushed, and who sent it: None for somebody on this host."""

Request: TypeAlias = tuple[list[bytes], bytes, Peer | None]
"""An envelope, to be given back whole with the answer; what is asked; and by whom, as above."""


class Transport(Protocol):
    """Where messages and requests come from, and replies go to. Nothing of it waits. An envelope's
    first part MUST tell one peer from all others."""

    def message(self) -> Message | None: ...
    def request(self) -> Request | None: ...
    def reply(self, envelope: list[bytes], content: bytes) -> None: ...
