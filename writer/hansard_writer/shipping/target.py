"""What a target of shipping is, to whoever ships: the contract of both sides, and its errors."""

from typing import Protocol, runtime_checkable

from hansard.errors import AuditLogError
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import Batch, Checked


class TargetUnavailable(AuditLogError):
    """A target that cannot be reached, or cannot take anything now. It is tried again: what was on
    its way is in it wholly or not at all, and shipping goes on from what it has."""


class TargetRefused(AuditLogError):
    """A target that will not take this, however often it is tried. Read what the message says to
    do, then start shipping again: it goes on from what the target has."""


class TargetTaken(AuditLogError):
    """Somebody else ships this log to this target. Let that one go on, or end it."""


class Target(Protocol):
    """Where logs are shipped to, over one connection; one thread's.

    A caller MUST ask for the edge of an origin before it appends, MUST append batches behind that
    edge, in order, and MUST ask again, on a new target, after any error. It MAY be killed anywhere.

    An implementer MUST take a batch in wholly or not at all: entries, owners, notes and the new
    edge, and with them apply what the batch says is redacted and pruned; durably, before `append`
    returns. It MUST refuse a second shipper of the same origin, or be indifferent to it. It raises
    `TargetUnavailable`, `TargetRefused` and `TargetTaken`, and no errors of the libraries beneath.
    """

    name: str
    """For people and files: as it was given, without passwords."""

    def edge(self, origin: str) -> Edge:
        """The edge of the tree of what it has of a log, empty for nothing; and from now on nobody
        else ships that log to it."""

    def append(self, batch: Batch, checked: Checked) -> None:
        """Take in a batch that comes behind what it has, and what was found by checking it."""

    def close(self) -> None:
        """Let go of it. Idempotent, and raises nothing."""


@runtime_checkable
class Gathers(Protocol):
    """What a target is besides that takes batches in at once, but puts them where they are read
    many at a time. A caller MUST call it often, also while there is nothing to append: some times a
    minute."""

    def put_away_due(self) -> None:
        """Put what has waited long enough where it is read. Raises as `append` does."""


@runtime_checkable
class TakesLess(Protocol):
    """A target that takes less in one batch than a log would give."""

    batch_bytes_max: int
    """How many bytes of payloads; one entry may have more."""
