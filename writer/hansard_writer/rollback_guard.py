"""Whether a log is the one that was signed last: what its database says against DIR/checkpoint.

Everybody who can write the directory can also replace both; then only an outsider's checkpoint
tells. It reads, and changes nothing.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from hansard import directory as layout
from hansard_writer import damage
from hansard_writer.handle import Handle
from hansard_writer.proof.checkpoint import (
    Checkpoint,
    encode_root,
    open_checkpoint,
    read_checkpoint,
)
from hansard_writer.proof.key_chain import (
    READ_KEY_ENTRIES,
    ROLLBACK,
    BrokenChain,
    KeyChain,
    read_key_chain,
)
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import NoteError, VerifierKey
from hansard_writer.proof.stored_tree import READ_ROW, NodeMissing, StoredTree
from hansard_writer.unusable import LogRefused, LogUnusable

ORIGIN_PREFIX: Final = "hansard/"
NOTE_BYTES_READ_MAX: Final = 1 << 20

_READ_LOG_ID: Final = "SELECT value FROM meta WHERE key = 'log_id'"
_READ_NEWEST: Final = "SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1"
_READ_NOTE: Final = "SELECT note FROM checkpoints WHERE size = ?"

_LOG: Final = logging.getLogger("hansard.writer")


class Said(NamedTuple):
    """What the database says: which log it is, how far it goes, whose keys signed it, what was
    signed last, and over which checkpoints (size, root) a rollback was accepted."""

    log_id: bytes | None
    size: int
    root_at: Callable[[int], bytes]
    chain: KeyChain | None
    newest: Checkpoint | None
    accepted: frozenset[tuple[int, str]]

    @property
    def origin(self) -> str | None:
        """The first of the log's origins."""
        return None if self.log_id is None else ORIGIN_PREFIX + self.log_id.hex()


def said_by(handle: Handle, edge: Edge, path: Path) -> Said:
    """What the database at ``path`` says. Raises `LogUnusable` where it contradicts itself."""
    note = handle.one(_READ_NEWEST)
    tree = StoredTree(lambda *row: handle.one(READ_ROW, row))

    def root_at(size: int) -> bytes:
        try:
            return tree.root(size)
        except NodeMissing:  # pruned: the log's own word for it
            kept = handle.one(_READ_NOTE, (size,))
            return b"" if kept is None else read_checkpoint(kept).root

    try:
        chain = read_key_chain(handle.rows)
        accepted = _accepted(handle.rows(READ_KEY_ENTRIES))
        newest = None if note is None else read_checkpoint(note)
        if newest and (newest.size > edge.size or root_at(newest.size) != newest.root):
            raise damage.checkpoint_disagrees(path, newest.size, edge.size)
    except (NoteError, BrokenChain) as error:
        raise damage.keys_disagree(path, error) from error
    return Said(handle.one(_READ_LOG_ID), edge.size, root_at, chain, newest, accepted)


def claimed_by(path: Path, said: Said, given: Iterable[bytes]) -> Checkpoint | None:
    """The checkpoint in a file, which a key of the log must have signed, or one whose public half
    is ``given``; None without a file. Raises `LogUnusable` for any other."""
    try:
        with path.open("rb") as file:
            note = file.read(NOTE_BYTES_READ_MAX)
    except FileNotFoundError:
        if said.newest:
            _LOG.warning("%s is missing: it is made anew from the log", path)
        return None
    except OSError as error:
        raise LogUnusable(f"cannot read {path}: {error.strerror}") from error
    try:
        origin = read_checkpoint(note).origin
        known = dict.fromkeys(VerifierKey(origin, each) for each in given)
        known |= dict.fromkeys(said.chain.keys if said.chain else ())
        return open_checkpoint(note, known)
    except NoteError as error:
        raise LogRefused(
            f"{path} is not what this log's writer left there ({error}): put it back as it was, or "
            "the key it was signed with; or move it away, and then nothing shows any more whether "
            "the log went back in time"
        ) from error


def went_back(said: Said, claimed: Checkpoint | None) -> str:
    """Why the log is not the one that a checkpoint was signed for; empty where it is."""
    if claimed is None or (claimed.size, encode_root(claimed.root)) in said.accepted:
        return ""
    name = layout.CHECKPOINT
    if said.origin is None or not is_of(said.origin, claimed.origin):
        return f"{name} beside it is of another log ({claimed.origin})"
    if claimed.size > said.size:
        return f"it has {said.size:,} entries, and {name} says that there were {claimed.size:,}"
    if said.root_at(claimed.size) != claimed.root:
        return f"its first {claimed.size:,} entries are not those that {name} was signed for"
    return ""


def is_of(first: str, origin: str) -> bool:
    """Whether an origin is one of the log that began with the first."""
    return origin == first or origin_number(first, origin) > 0


def origin_number(first: str, origin: str) -> int:
    """The number behind an origin that is not a log's first; 0 for any other."""
    number = origin.removeprefix(f"{first}/")
    return int(number) if number.isascii() and number.isdigit() and number != origin else 0


def _accepted(entries: list[tuple[Any, ...]]) -> frozenset[tuple[int, str]]:
    facts: list[Any] = [
        orjson.loads(text) for _, kind, text in entries if kind == ROLLBACK and text
    ]
    return frozenset((each.get("checkpoint_size"), each.get("checkpoint_root")) for each in facts)
