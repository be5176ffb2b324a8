"""A batch: a run of consecutive entries that proves itself to whoever has what comes before. Pure.

Whoever has the edge of the tree in front of a batch recomputes the leaves of its entries, grows the
edge by them, and holds the root against a signed checkpoint: with a consistency proof (RFC 6962,
section 2.1.2) where the checkpoint is of more entries than the batch reaches. So no batch is passed
on, or taken in, that is not what was signed. Whose signature counts, others decide.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

import msgpack

from hansard import wire
from hansard.errors import AuditLogError
from hansard_writer.proof.checkpoint import Checkpoint, read_checkpoint
from hansard_writer.proof.leaves import SALT_BYTES
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    BadProof,
    Edge,
    grow,
    require_consistent,
    root,
)
from hansard_writer.proof.signed_note import MalformedNote
from hansard_writer.proof.verifying.entry_rows import (
    EVENT_TYPE,
    PRODUCER,
    SEQ,
    Row,
    complaint,
    is_redacted,
    leaf_hashes,
    payload_text,
    unlike_their_hash,
)
from hansard_writer.proof.verifying.statements import PRUNED, REDACTED, Ranges, Statements

VERSION: Final = 1

_ROW_TYPES: Final = frozenset(  # actor, task_id, payload_hash and what is hashed may be missing
    (int, int, int, int, str, str, *rest)
    for rest in product((str, type(None)), (str, type(None)), *[(bytes, type(None))] * 2)
)


class DoesNotVerify(AuditLogError):
    """A batch that is not what was signed. Nothing of it is shipped; `hansard verify` says more."""


class MalformedBatch(AuditLogError, ValueError):
    """Bytes that are no batch of this version. Somebody else writes to this subject."""


class Owner(NamedTuple):
    """A producer of entries. What is not its hash is unproven; ``started_at`` in ns since 1970."""

    producer_hash: bytes
    host: str
    pid: int
    started_at: int


class Checked(NamedTuple):
    """What a batch came to: the edge of the tree behind it, its leaf hashes, joined, and what its
    own entries say is gone, to be taken out where it is kept."""

    edge: Edge
    leaves: bytes
    redacted: Ranges
    pruned_to: int


class Batch(NamedTuple):
    """Entries of one log, from ``before + 1`` to ``last``.

    ``rows`` are as `entry_rows` has them, their producer an index into ``owners``. ``notes`` are
    signed checkpoints, ascending: the last one covers the batch, those before it are of sizes
    within it. ``proof``: that the tree of ``last`` entries is the beginning of the covering one's.
    ``begun``: the edge in front of it, where the log has pruned what comes before.
    """

    origin: str
    before: int
    last: int
    rows: list[Row]
    owners: list[Owner]
    notes: list[str]
    proof: list[bytes]
    begun: Edge | None = None

    @property
    def covering(self) -> Checkpoint:
        """The checkpoint that covers it."""
        return read_checkpoint(self.notes[-1])

    def behind(self, size: int) -> "Batch":
        """What of it comes behind the first ``size`` entries."""
        if size <= self.before:
            return self
        rows = [row for row in self.rows if row[SEQ] > size]
        return self._replace(before=size, rows=rows, begun=None)

    def checked(self, edge: Edge) -> Checked:
        """Recompute it behind an edge. Raises `DoesNotVerify` where it is not what was signed, or
        does not come behind that edge."""
        edge = self._start(edge)
        hashes: dict[int, bytes | None] = dict(
            enumerate(owner.producer_hash for owner in self.owners)
        )
        for row in unlike_their_hash(self.rows):
            if not is_redacted(row):
                raise DoesNotVerify(f"entry {row[SEQ]} of {self.origin}: {complaint(row)}")
        try:
            leaves = leaf_hashes(self.rows, hashes)
        except (KeyError, TypeError) as error:
            raise DoesNotVerify(f"an entry of {self.origin} is of no known producer") from error
        grown, _ = grow(edge, leaves)
        covering = self.covering
        if covering.origin != self.origin:
            raise DoesNotVerify(
                f"entries {self.before + 1:,} to {self.last:,} of {self.origin} come with a "
                f"checkpoint of {covering.origin!r:.200}"
            )
        try:
            require_consistent(grown.size, root(grown), covering.size, covering.root, self.proof)
        except BadProof as error:
            raise DoesNotVerify(
                f"entries {self.before + 1:,} to {self.last:,} of {self.origin} are not those that "
                f"were signed: {error}"
            ) from error
        said = self.statements()
        return Checked(grown, leaves, said.redacted, said.pruned_to(self.last))

    def statements(self) -> Statements:
        """What its entries of the log's own writer say was taken out."""
        own, said = own_producer_hash(self.origin), Statements()
        writers = {number for number, each in enumerate(self.owners) if each.producer_hash == own}
        for row in self.rows:
            if row[EVENT_TYPE] in (REDACTED, PRUNED) and row[PRODUCER] in writers:
                said.heed(row[SEQ], row[EVENT_TYPE], payload_text(row))
        return said

    def _start(self, edge: Edge) -> Edge:
        """The edge in front of it, and that it holds together."""
        if self.begun is not None and self.begun.size == self.before > edge.size:
            edge = self.begun
        if edge.size != self.before:
            raise DoesNotVerify(
                f"entries {self.before + 1:,} to {self.last:,} of {self.origin} do not come behind "
                f"the first {edge.size:,}"
            )
        if [row[SEQ] for row in self.rows] != list(range(self.before + 1, self.last + 1)):
            raise DoesNotVerify(
                f"some of the entries {self.before + 1:,} to {self.last:,} of {self.origin} are "
                "missing"
            )
        return edge


def own_producer_hash(origin: str) -> bytes | None:
    """The producer hash of a log's own writer: it follows from the log's id; None for an origin
    that is none of ours."""
    try:
        log_id = bytes.fromhex(origin.split("/")[1])
    except (IndexError, ValueError):
        return None
    return wire.producer_hash(b"hansard writer " + log_id)


# --- as bytes ---


def pack_batch(batch: Batch) -> bytes:
    """A batch as msgpack."""
    begun = batch.begun and list(batch.begun.rows)
    packed: bytes = msgpack.packb(
        [VERSION, batch.origin, batch.before, batch.last, batch.rows, batch.owners, batch.notes,
         batch.proof, begun]
    )  # fmt: skip
    return packed


def unpack_batch(data: bytes) -> Batch:
    """The batch that bytes are. Raises `MalformedBatch`; that it verifies, `Batch.checked` says."""
    try:
        version, origin, before, last, rows, owners, notes, proof, begun = msgpack.unpackb(
            data, use_list=False
        )
        if version != VERSION:
            raise MalformedBatch(f"a batch of version {version!r:.20}: upgrade hansard here")
        batch = Batch(
            origin,
            before,
            last,
            list(map(_row, rows)),
            [_owner(*each) for each in owners],
            [_text(note) for note in notes],
            [_hash(each) for each in proof],
            None if begun is None else Edge(before, tuple(map(_hashes, begun))),
        )
        if not (isinstance(origin, str) and 0 <= before < last and batch.notes):
            raise MalformedBatch("a batch without entries or without a checkpoint")
        batch.covering  # noqa: B018 - that it is one
    except MalformedBatch:
        raise
    except (TypeError, ValueError, MalformedNote, msgpack.UnpackException) as error:
        raise MalformedBatch(f"this is no batch: {error}") from error
    return batch


def _row(values: Sequence[Any]) -> Row:
    row = tuple(values)
    if tuple(map(type, row)) not in _ROW_TYPES:
        raise MalformedBatch("a row of a batch has other values than an entry")
    return row


def _owner(producer_hash: bytes, host: str, pid: int, started_at: int) -> Owner:
    return Owner(_hash(producer_hash), _text(host), _number(pid), _number(started_at))


def _number(value: object) -> int:
    if type(value) is not int:
        raise MalformedBatch("something in a batch should be a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedBatch("something in a batch should be text")
    return value


def _hash(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:
        raise MalformedBatch("something in a batch should be a hash")
    return value


def _hashes(value: object) -> bytes:
    if not isinstance(value, bytes) or len(value) % HASH_BYTES:
        raise MalformedBatch("something in a batch should be hashes")
    return value


def owned(rows: Sequence[Row], owners: Mapping[int, Owner]) -> tuple[list[Row], list[Owner]]:
    """Rows whose producers become indices, and the owners that these are of."""
    index = {id_: at for at, id_ in enumerate(dict.fromkeys(row[PRODUCER] for row in rows))}
    renamed = [(row[SEQ], index[row[PRODUCER]], *row[PRODUCER + 1 :]) for row in rows]
    return renamed, [owners[each] for each in index]


def payloads(rows: Sequence[Row]) -> Iterator[tuple[bytes | None, bytes | None]]:
    """Salt and payload (JSON text in UTF-8) of each, None where there is none."""
    for row in rows:
        hashed = row[-1]
        yield (None, None) if hashed is None else (hashed[:SALT_BYTES], hashed[SALT_BYTES:])
