"""What is kept of a log at the far end, to whoever verifies it there: the contract of both sides.

It says how rows are read, and not what they come to: that is `verification`.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.verifying.entry_rows import Row


class Head(NamedTuple):
    """What a far end says of a log: how many entries it has got, the edge of the tree in front of
    the first one that it still keeps, and the consistency proof of the last batch, from ``size`` to
    the size of its covering checkpoint. All of it is only believed as far as signatures bear it."""

    size: int
    begun: Edge
    proof: list[bytes]


class Page(NamedTuple):
    """Entries as they are kept, in the order of their seq, where some may be missing.

    ``rows`` are as `entry_rows` has them; ``owners`` the producer hashes by the producers in them,
    None for one that is not there; ``leaves`` the leaf hash that is kept beside each row, None
    where there is none; ``misfits`` what is wrong with a row that has no part in the proof, such as
    a JSONB that is not its text, by seq.
    """

    rows: list[Row]
    owners: Mapping[int, bytes | None]
    leaves: list[bytes | None]
    misfits: list[tuple[int, str]]


class FarEnd(Protocol):
    """A place that logs were shipped to, opened for reading; one thread's. It writes nothing.

    What it returns for one origin MUST be of one moment, from its `head` to the next one, though
    logs are shipped meanwhile; notes may be asked for more than once. It believes nothing that it
    reads, leaves nothing out, and repairs nothing. It raises
    `TargetUnavailable` and `TargetRefused`, and no errors of the libraries beneath.
    """

    name: str
    """For people: as it was given, without passwords."""

    def origins(self) -> list[str]:
        """The logs that it has something of, in order."""

    def head(self, origin: str) -> Head | None:
        """What it says of a log, None for one that it does not have; and the moment begins."""

    def notes(self, origin: str) -> Iterator[str]:
        """The checkpoints that it keeps of a log, ascending by the size they are kept under."""

    def pages(self, origin: str) -> Iterator[Page]:
        """All entries of a log, page by page."""

    def close(self) -> None:
        """Let go of it. Idempotent, and raises nothing."""
