"""Whose signatures count, and what a note of a checkpoint is worth. Pure.

All trust begins with keys that are anchors. One leads to its successors, for which it vouched in
entries under its own signature, and back to those before, whose entries it has signed.
"""

from collections.abc import Iterable
from typing import NamedTuple

from hansard_writer.proof.checkpoint import Checkpoint, read_checkpoint
from hansard_writer.proof.key_chain import ROTATED, KeyChain, Link
from hansard_writer.proof.signed_note import (
    MalformedNote,
    NoteError,
    UntrustedNote,
    VerifierKey,
    open_note,
)


class Trust(NamedTuple):
    """The chain of a log's keys, and which of them count. ``leads`` are the anchors and those that
    they vouch for; ``earlier`` are those before them."""

    chain: KeyChain
    leads: frozenset[VerifierKey]
    earlier: frozenset[VerifierKey]

    @property
    def keys(self) -> frozenset[VerifierKey]:
        """All that count."""
        return self.leads | self.earlier


def trust(chain: KeyChain, anchors: Iterable[VerifierKey]) -> Trust:
    """What anchors lead to. One that is not in the chain leads to nothing but itself."""
    keys = [link.key for link in chain.links]
    leads, earlier = set(anchors), set[VerifierKey]()
    for anchor in leads & set(keys):
        at = len(keys) - 1 - keys[::-1].index(anchor)
        earlier.update(keys[:at])
        for link in chain.links[at + 1 :]:
            if link.reason != ROTATED:
                break
            leads.add(link.key)
    return Trust(chain, frozenset(leads), frozenset(earlier - leads))


def open_own(note: bytes, size: int, size_before: int, chain: KeyChain) -> tuple[Checkpoint, Link]:
    """The checkpoint that the log has for a size, behind one of ``size_before``, and the link of
    the key that had to sign it. Raises `NoteError` where it is another, or lacks a signature."""
    checkpoint = read_checkpoint(note)
    if checkpoint.size != size:
        raise MalformedNote(f"it is one of size {checkpoint.size:,}")
    link = chain.at(size)
    if checkpoint.origin != link.origin:
        raise UntrustedNote(f"its origin is {checkpoint.origin!r:.100}, not {link.origin!r:.100}")
    required = chain.signers(size, size_before)
    signers = open_note(note, required).signers
    for key in required:
        if key not in signers:
            raise UntrustedNote(
                f"it is the first behind a new key, and {key.name} ({key.id.hex()}), which retired "
                "or began there, has not signed it"
            )
    return checkpoint, link


def open_other(
    note: bytes | str, keys: Iterable[VerifierKey]
) -> tuple[Checkpoint, frozenset[VerifierKey]]:
    """A checkpoint from elsewhere, and who of these keys has signed it: one at least. Raises
    `NoteError`."""
    opened = open_note(note, keys)
    checkpoint = Checkpoint.parse(opened.text)
    signers = frozenset(key for key in opened.signers if key.name == checkpoint.origin)
    if not signers:
        raise UntrustedNote(f"it is of {checkpoint.origin!r:.100}, and signed in another name")
    return checkpoint, signers


def log_of(origin: str) -> str:
    """The first origin of the log that has this one: a later one has a number behind it."""
    return "/".join(origin.split("/")[:2])


def claimed_size(note: bytes | str) -> int | None:
    """The size that a note says, whoever has signed it; None for what is no checkpoint."""
    try:
        return read_checkpoint(note).size
    except NoteError:
        return None
