"""Proof files: that an entry is in a log, and that one log is the beginning of another. Pure.

Both are text, lines that end with a newline, and self-contained: who checks one needs the verifier
key of the log (its ``writer.pub``) and nothing else. Which keys to trust, the caller says.

**Inclusion** is C2SP's tlog-proof, version 1 (https://c2sp.org/tlog-proof)::

    c2sp.org/tlog-proof@v1
    extra <base64 of the entry as JSON, see `logged_entry`>
    index <seq - 1>
    <the audit path: a hash in base64 a line, the leaf's sibling first>

    <a checkpoint, verbatim>

The extra data is what the leaf is made of, so it is proven with it. Any implementation of
tlog-proof that is given the leaf checks such a file; ours wants the entry in it.

**Consistency** has no file format at C2SP, but the body of a witness's ``add-checkpoint`` request
(https://c2sp.org/tlog-witness) is one but for the older root. So a file is a line that names the
format, that body byte for byte, an empty line, and the older checkpoint::

    hansard/consistency-proof@v1
    old <size of the older checkpoint>
    <the consistency proof: a hash in base64 a line, as in RFC 6962, section 2.1.2>

    <the newer checkpoint, verbatim>

    <the older checkpoint, verbatim>

Every base64 is that of RFC 4648, section 4, in its one form; numbers are decimal, without zeros in
front. Hashes are none where sizes are equal, or the older one is 0, and 63 at most.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from hansard.errors import AuditLogError
from hansard_writer.proof.base64_text import decode, encode
from hansard_writer.proof.checkpoint import SIZE_MAX, Checkpoint, read_checkpoint
from hansard_writer.proof.logged_entry import LoggedEntry, MalformedEntry
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    BadProof,
    require_consistent,
    root_of_path,
)
from hansard_writer.proof.signed_note import MalformedNote, VerifierKey, open_note

INCLUSION: Final = "c2sp.org/tlog-proof@v1"
CONSISTENCY: Final = "hansard/consistency-proof@v1"
PROOF_BYTES_MAX: Final = 16 << 20  # an entry of 1 MiB is 3 MiB in the worst case
HASHES_MAX: Final = 63

_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_EMPTY_LINE: Final = "\n\n"


class ProofError(AuditLogError, ValueError):
    """A file that proves nothing. Says what is wrong with it."""


class MalformedProof(ProofError):
    """Text that is no proof file. Get it once more, as it was written."""


class NotProven(ProofError):
    """A proof that does not lead to what was signed: something in it was changed, or it is of
    another log. Keep it, and ask who made it."""


class InclusionProof(NamedTuple):
    """What an inclusion proof consists of; nothing is checked but the entry's payload against its
    hash."""

    entry: LoggedEntry
    path: tuple[bytes, ...]
    checkpoint: str  # the note


class ConsistencyProof(NamedTuple):
    """What a consistency proof consists of; nothing is checked."""

    hashes: tuple[bytes, ...]
    older: str  # the notes
    newer: str


class ProvenEntry(NamedTuple):
    """That this entry was in the log when it had ``checkpoint.size`` entries, and who says so."""

    entry: LoggedEntry
    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]


class ProvenConsistency(NamedTuple):
    """That the ``older.size`` first entries of the newer checkpoint's log are those of the older
    one's, unaltered, and who says so. Two origins are of one log that has taken another one."""

    older: Checkpoint
    newer: Checkpoint
    signers: tuple[VerifierKey, ...]


# --- making ---


def make_inclusion_proof(entry: LoggedEntry, path: Sequence[bytes], checkpoint: str) -> str:
    """The proof file of an entry: its audit path in the tree of a checkpoint, which is given as
    its note. Raises `NotProven` where path and entry do not lead to the checkpoint's root; whose
    signature the checkpoint has is not looked at."""
    _require_included(entry, path, read_checkpoint(checkpoint))
    extra = encode(entry.to_json())
    lines = [INCLUSION, f"extra {extra}", f"index {entry.seq - 1}", *map(encode, path)]
    return "\n".join(lines) + _EMPTY_LINE + checkpoint


def make_consistency_proof(hashes: Sequence[bytes], older: str, newer: str) -> str:
    """The proof file that one checkpoint's log is the beginning of another's: both as their notes,
    with the consistency proof between them. Raises `NotProven` where that does not hold; whose
    signatures they have is not looked at."""
    claimed = read_checkpoint(older)
    _require_consistent(claimed, read_checkpoint(newer), hashes)
    lines = [CONSISTENCY, f"old {claimed.size}", *map(encode, hashes)]
    return "\n".join(lines) + _EMPTY_LINE + newer + "\n" + older


# --- checking ---


def check_inclusion_proof(
    text: str | bytes, keys: Iterable[VerifierKey], *, origin: str | None = None
) -> ProvenEntry:
    """The entry that a proof file proves: to whom trusts one of the keys to sign for its log, and,
    with ``origin``, for a log of that name only.

    Raises `MalformedProof` for what is no such file, `NotProven` for one that does not prove its
    entry, and `signed_note.NoteError` for a checkpoint that none of the keys has signed.
    """
    proof = parse_inclusion_proof(text)
    checkpoint, signers = _opened(proof.checkpoint, keys, origin)
    _require_included(proof.entry, proof.path, checkpoint)
    return ProvenEntry(proof.entry, checkpoint, signers)


def check_consistency_proof(
    text: str | bytes, keys: Iterable[VerifierKey], *, origin: str | None = None
) -> ProvenConsistency:
    """The two checkpoints of which a proof file proves that the older one's log is the beginning
    of the newer one's; each MUST be signed by one of the keys. Raises as `check_inclusion_proof`
    does."""
    proof, keys = parse_consistency_proof(text), list(keys)
    older, of_older = _opened(proof.older, keys, origin)
    newer, of_newer = _opened(proof.newer, keys, origin)
    _require_consistent(older, newer, proof.hashes)
    return ProvenConsistency(older, newer, tuple(dict.fromkeys((*of_older, *of_newer))))


def check_proof(
    text: str | bytes, keys: Iterable[VerifierKey], *, origin: str | None = None
) -> ProvenEntry | ProvenConsistency:
    """What a proof file of either kind proves, by its first line. Raises as the two others do."""
    first = _text(text).partition("\n")[0]
    if first == CONSISTENCY:
        return check_consistency_proof(text, keys, origin=origin)
    if first == INCLUSION:
        return check_inclusion_proof(text, keys, origin=origin)
    raise MalformedProof(
        f"it begins with {first[:60]!r}: a proof begins with {INCLUSION!r} or {CONSISTENCY!r}"
    )


def _opened(
    note: str, keys: Iterable[VerifierKey], origin: str | None
) -> tuple[Checkpoint, tuple[VerifierKey, ...]]:
    opened = open_note(note, keys)
    checkpoint = Checkpoint.parse(opened.text)
    if origin not in (None, checkpoint.origin):
        raise NotProven(f"its log is {checkpoint.origin!r:.100}, not {origin!r}")
    return checkpoint, opened.signers


def _require_included(entry: LoggedEntry, path: Sequence[bytes], checkpoint: Checkpoint) -> None:
    try:
        root = root_of_path(entry.leaf_hash, entry.seq - 1, checkpoint.size, path)
    except BadProof as error:
        raise NotProven(f"entry {entry.seq} is not proven: {error}") from error
    if root != checkpoint.root:
        raise NotProven(
            f"entry {entry.seq} is not proven: entry and path do not lead to the root that was "
            f"signed for {checkpoint.size:,} entries"
        )


def _require_consistent(older: Checkpoint, newer: Checkpoint, hashes: Sequence[bytes]) -> None:
    try:
        require_consistent(older.size, older.root, newer.size, newer.root, hashes)
    except BadProof as error:
        raise NotProven(
            f"the log of {older.size:,} entries is not proven to be the beginning of that of "
            f"{newer.size:,}: {error}"
        ) from error


# --- reading ---


def parse_inclusion_proof(text: str | bytes) -> InclusionProof:
    """What an inclusion proof consists of. Raises `MalformedProof`."""
    head, _, note = _text(text).partition(_EMPTY_LINE)
    version, *lines = head.split("\n")
    if version != INCLUSION:
        raise MalformedProof(f"an inclusion proof begins with {INCLUSION!r}")
    if len(lines) < 2 or not lines[0].startswith("extra "):
        raise MalformedProof("its second line is 'extra' with the entry, and its third 'index'")
    extra, index, *hashes = lines
    try:
        entry = LoggedEntry.from_json(_decoded(extra.removeprefix("extra "), "extra data"))
    except MalformedEntry as error:
        raise MalformedProof(f"the entry in its extra data is none: {error}") from error
    if _number("index", index) != entry.seq - 1:
        raise MalformedProof(f"its index is not that of its entry: entry {entry.seq}")
    return InclusionProof(entry, _hashes(hashes), _note("checkpoint", note))


def parse_consistency_proof(text: str | bytes) -> ConsistencyProof:
    """What a consistency proof consists of. Raises `MalformedProof`."""
    head, *parts = _text(text).split(_EMPTY_LINE)
    version, *lines = head.split("\n")
    if version != CONSISTENCY:
        raise MalformedProof(f"a consistency proof begins with {CONSISTENCY!r}")
    old, *hashes = lines or [""]
    size = _number("old", old)
    if len(parts) != 4:  # each checkpoint is a text and signatures
        raise MalformedProof("two checkpoints follow its hashes, with an empty line before each")
    newer = _note("newer checkpoint", _EMPTY_LINE.join(parts[:2]) + "\n")
    older = _note("older checkpoint", _EMPTY_LINE.join(parts[2:]))
    if size != read_checkpoint(older).size:
        raise MalformedProof(f"its older checkpoint is not one of {size:,} entries")
    return ConsistencyProof(_hashes(hashes), older, newer)


def _text(text: str | bytes) -> str:
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > PROOF_BYTES_MAX:
            raise MalformedProof(f"a proof has at most {PROOF_BYTES_MAX:,} bytes here")
        return data.decode()
    except UnicodeError:
        raise MalformedProof("a proof is UTF-8") from None


def _note(what: str, note: str) -> str:
    try:
        read_checkpoint(note)
    except MalformedNote as error:
        raise MalformedProof(f"its {what} is none: {error}") from error
    return note


def _number(name: str, line: str) -> int:
    before, _, number = line.partition(" ")
    if before != name or not _NUMBER.fullmatch(number) or int(number) > SIZE_MAX:
        raise MalformedProof(f"{line!r:.60} is not the line '{name}' with a number")
    return int(number)


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > HASHES_MAX:
        raise MalformedProof(f"{len(lines):,} hashes: a proof has at most {HASHES_MAX}")
    hashes = tuple(_decoded(line, "hash") for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise MalformedProof(f"a hash has {HASH_BYTES} bytes")
    return hashes


def _decoded(text: str, what: str) -> bytes:
    data = decode(text)
    if not data:
        raise MalformedProof(f"{text[:40]!r} is no base64, and so no {what}")
    return data
