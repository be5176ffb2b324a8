"""Proofs out of a log: what a proof takes is read from the database, and put together.

It reads only. What it makes has led to the checkpoint's root; whose signature that has, who checks
the proof looks at.
"""

from typing import Any, Final

from hansard.errors import AuditLogError
from hansard.reader_connection import ReadConnection
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.logged_entry import READ_ENTRIES, LoggedEntry, MalformedEntry
from hansard_writer.proof.merkle_hash_tree import audit_path, consistency_proof
from hansard_writer.proof.proofs import NotProven, make_consistency_proof, make_inclusion_proof
from hansard_writer.proof.stored_tree import READ_SIZE, NodeMissing, stored_tree

NEAREST: Final = 2  # checkpoints that are named on each side of one that is not there

_ENTRY: Final = f"{READ_ENTRIES} WHERE e.seq = ?"
_NEWEST: Final = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
_OF_SIZE: Final = "SELECT note FROM checkpoints WHERE size = ?"
_NEAR: Final = (
    "SELECT size FROM (SELECT size FROM checkpoints WHERE size < ?1 ORDER BY size DESC LIMIT ?2)"
    " UNION SELECT size FROM (SELECT size FROM checkpoints WHERE size > ?1 ORDER BY size LIMIT ?2)"
    " ORDER BY size"
)
_PRUNED_TO: Final = "SELECT value FROM meta WHERE key = 'pruned_to'"


class NotProvable(AuditLogError):
    """The log does not have what the proof takes. The message says what is missing, and why."""


class NotCovered(NotProvable):
    """No checkpoint was signed yet that covers the entry. Ask the writer for one, or wait."""


def prove_entry(log: ReadConnection, seq: int, checkpoint: str | None = None) -> str:
    """The inclusion proof of an entry, in the tree of a checkpoint, given as its note, or else of
    the newest.

    Raises `NotProvable` where there is no such entry, or a part of the tree is gone; `NotCovered`
    where no checkpoint is as large yet; and `NotProven` where the log's entry or tree is not the
    one that was signed.
    """
    with log.snapshot():
        entry = _entry(log, seq)
        note = checkpoint if checkpoint is not None else _newest(log)
        size = 0 if note is None else read_checkpoint(note).size
        if note is None or size < seq:
            raise NotCovered(
                f"entry {seq:,} is not covered by {_of(size) if note else 'any checkpoint'}"
            )
        _require_size(log, size)
        try:
            path = audit_path(seq - 1, size, stored_tree(log.rows).node)
        except NodeMissing as error:
            raise NotProvable(f"entry {seq:,} cannot be proven: {error}{_pruned(log)}") from error
    try:
        return make_inclusion_proof(entry, path, note)
    except NotProven as error:
        raise NotProven(f"{error}; `hansard verify` says what was altered") from error


def prove_consistency(log: ReadConnection, older: str, newer: str) -> str:
    """The proof that the log of one checkpoint is the beginning of that of another, both given as
    their notes. Raises `NotProvable` where a part of the tree is gone, and `NotProven` where one
    of them is not of this log."""
    old, new = read_checkpoint(older).size, read_checkpoint(newer).size
    if old > new:
        raise NotProvable(f"the older checkpoint is the larger one: {old:,} entries, then {new:,}")
    with log.snapshot():
        _require_size(log, new)
        tree = stored_tree(log.rows)
        try:
            hashes = consistency_proof(old, new, tree.node)
            roots = [tree.root(size) for size in (old, new)]
        except NodeMissing as error:
            raise NotProvable(f"this cannot be proven: {error}{_pruned(log)}") from error
    for note, root in zip((older, newer), roots, strict=True):
        claimed = read_checkpoint(note)
        if claimed.root != root:
            raise NotProven(
                f"{_of(claimed.size)} has another root than this log had at that size: it is of "
                "another log, or of another history of this one; see `hansard verify`"
            )
    return make_consistency_proof(hashes, older, newer)


def newest_checkpoint(log: ReadConnection) -> str:
    """The note of the newest checkpoint. Raises `NotProvable` where there is none."""
    note = _newest(log)
    if note is None:
        raise NotProvable("this log has no checkpoint yet: its writer signs them")
    return note


def checkpoint_of_size(log: ReadConnection, size: int) -> str:
    """The note of the checkpoint at a size. Raises `NotProvable` where there is none, and says
    which sizes are near."""
    found = log.rows(_OF_SIZE, size)
    if found:
        return str(found[0][0])
    near = [f"{each:,}" for (each,) in log.rows(_NEAR, size, NEAREST)]
    if not near:
        raise NotProvable("this log has no checkpoint yet: its writer signs them")
    raise NotProvable(f"there is no checkpoint of size {size:,}; near it are {', '.join(near)}")


def pruned_to(log: ReadConnection) -> int:
    """Up to which seq entries were pruned; 0 where none was."""
    return int(_one(log, _PRUNED_TO) or 0)


def _newest(log: ReadConnection) -> str | None:
    found: str | None = _one(log, _NEWEST)
    return found


def _entry(log: ReadConnection, seq: int) -> LoggedEntry:
    try:
        found = log.rows(_ENTRY, seq)
        if found:
            return LoggedEntry(*found[0])
    except (MalformedEntry, UnicodeDecodeError) as error:
        raise NotProven(f"entry {seq:,} was altered: {error}; see `hansard verify`") from error
    size = _one(log, READ_SIZE)
    if not 1 <= seq <= size:
        raise NotProvable(f"there is no entry {seq:,}: the log has {size:,}")
    if seq > pruned_to(log):
        raise NotProven(f"entry {seq:,} was removed, and not by pruning; see `hansard verify`")
    raise NotProvable(f"there is no entry {seq:,} any more{_pruned(log)}")


def _require_size(log: ReadConnection, size: int) -> None:
    """A checkpoint from elsewhere may be of a log that has grown further."""
    found = _one(log, READ_SIZE)
    if found < size:
        raise NotProvable(
            f"{_of(size)} is of more entries than this log has, {found:,}: it is of another log, "
            "or this one is an old copy"
        )


def _pruned(log: ReadConnection) -> str:
    last = pruned_to(log)
    return f"; entries 1 to {last:,} were pruned" if last else "; see `hansard verify`"


def _of(size: int) -> str:
    return f"the checkpoint of size {size:,}"


def _one(log: ReadConnection, sql: str, *arguments: object) -> Any:
    found = log.rows(sql, *arguments)
    return found[0][0] if found else None
