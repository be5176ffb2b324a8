"""Archives: entries that leave a log, with what it takes to prove them later without it. Pure.

JSON lines. The first has ``hansard_archive`` 1, ``log_id`` (hex), ``first`` and ``last`` seq, and
``edge``: the edge of the log's tree in front of ``first``, a base64 text a level. Then each entry,
as `LoggedEntry` has it. The last has ``checkpoint``, a signed note of ``last`` entries or more, and
``consistency``: the hashes, in base64, of the proof that the tree of the first ``last`` entries is
the beginning of that (RFC 6962, section 2.1.2). Without the last line an archive is cut short.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from hansard.wire import INT64_MAX
from hansard_writer.proof.base64_text import decode, encode
from hansard_writer.proof.checkpoint import Checkpoint, read_checkpoint
from hansard_writer.proof.logged_entry import LoggedEntry, MalformedEntry
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    BadProof,
    Edge,
    edge_positions,
    grow,
    require_consistent,
    root,
)
from hansard_writer.proof.proofs import MalformedProof, NotProven
from hansard_writer.proof.signed_note import VerifierKey, open_note

VERSION: Final = 1
LEAVES_AT_ONCE: Final = 100  # of entries up to 1 MiB each
EDGE_LEVELS_MAX: Final = 16
PROOF_HASHES_MAX: Final = 128

Progress = Callable[[int], None]
"""Is told of each so many entries more."""


class Head(NamedTuple):
    """Which entries of which log: those from ``first`` to ``last``, and the edge of the tree of
    those in front of them."""

    log_id: str
    last: int
    edge: Edge = Edge()

    @property
    def first(self) -> int:
        return self.edge.size + 1


class Seal(NamedTuple):
    """A signed checkpoint that covers the entries, and the proof that it does."""

    note: str
    consistency: Sequence[bytes]


class Archived(NamedTuple):
    """What an archive proves: these entries, so many of them redacted, were in the log of this
    checkpoint when these keys signed it."""

    head: Head
    redacted: int
    checkpoint: Checkpoint
    signers: tuple[VerifierKey, ...]


def archive_lines(
    head: Head, entries: Iterable[LoggedEntry], seal: Seal, progress: Progress = lambda _: None
) -> Iterator[bytes]:
    """The lines of an archive, made as they are asked for. Raises `NotProven` at the last one
    where the entries are not those of the checkpoint; then what was made MUST be thrown away."""
    edge = [encode(row) for row in head.edge.rows]
    facts = {"log_id": head.log_id, "first": head.first, "last": head.last, "edge": edge}
    yield _line({"hansard_archive": VERSION, **facts})
    tree = _Regrown(head)
    for some in _batches(entries):
        tree.add(some)
        progress(len(some))
        for entry in some:
            yield entry.to_json() + b"\n"
    tree.require(read_checkpoint(seal.note), seal.consistency)
    yield _line({"checkpoint": seal.note, "consistency": list(map(encode, seal.consistency))})


def check_archive(lines: Iterator[bytes], keys: Iterable[VerifierKey]) -> Archived:
    """What an archive proves, each payload included. Only as many entries are held at a time as
    `LEAVES_AT_ONCE`. Raises `MalformedProof`, `NotProven`, and what `open_note` raises of the
    checkpoint."""
    head = _head(_object(next(lines, b"")))
    tree = _Regrown(head)
    redacted = 0
    for some in _batches(_entries(islice(lines, head.last - head.edge.size), head.first)):
        tree.add(some)
        redacted += sum(each.is_redacted for each in some)
    seal = _seal(_object(next(lines, b"")))
    if next(lines, None) is not None:
        raise MalformedProof("the archive goes on behind its last line")
    opened = open_note(seal.note, keys)
    checkpoint = Checkpoint.parse(opened.text)
    tree.require(checkpoint, seal.consistency)
    return Archived(head, redacted, checkpoint, opened.signers)


class _Regrown:
    """The tree of an archive's entries, behind those in front of them."""

    def __init__(self, head: Head) -> None:
        self._last = head.last
        self._edge = head.edge

    def add(self, entries: Sequence[LoggedEntry]) -> None:
        """Raises `NotProven` unless they are the next ones."""
        for seq, entry in enumerate(entries, self._edge.size + 1):
            _require_next(entry, seq)
            if seq > self._last:
                raise NotProven(f"entry {seq:,} is more than there should be")
        leaves = b"".join(entry.leaf_hash for entry in entries)
        self._edge, _ = grow(self._edge, leaves)

    def require(self, checkpoint: Checkpoint, consistency: Sequence[bytes]) -> None:
        """Raises `NotProven` unless they are all, and those that the checkpoint covers."""
        size = self._edge.size
        if size != self._last:
            raise NotProven(f"entries {size + 1:,} to {self._last:,} are missing")
        if checkpoint.size < size:
            raise NotProven(f"the checkpoint is of {checkpoint.size:,} entries: it covers not all")
        try:
            new = (checkpoint.size, checkpoint.root)
            require_consistent(size, root(self._edge), *new, consistency)
        except BadProof as error:
            raise NotProven(f"these entries are not those that were signed: {error}") from error


def _batches(entries: Iterable[LoggedEntry]) -> Iterator[list[LoggedEntry]]:
    left = iter(entries)
    while some := list(islice(left, LEAVES_AT_ONCE)):
        yield some


def _entries(lines: Iterable[bytes], first: int) -> Iterator[LoggedEntry]:
    for seq, line in enumerate(lines, first):
        try:
            entry = LoggedEntry.from_json(line)
        except MalformedEntry as error:
            raise NotProven(f"entry {seq:,} is not as it was: {error}") from error
        _require_next(entry, seq)  # before a line behind the entries is taken for one
        yield entry


def _require_next(entry: LoggedEntry, seq: int) -> None:
    if entry.seq != seq:
        raise NotProven(f"entry {seq:,} is missing: there is {entry.seq:,} in its place")


# --- the first and the last line ---


def _line(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise MalformedProof("it is no archive, or cut short: the first or last line is not there")
    return members


def _head(members: dict[str, Any]) -> Head:
    if members.get("hansard_archive") != VERSION:
        raise MalformedProof(f"it is no archive of version {VERSION}: others are not known")
    log_id: Any = members.get("log_id")
    first: Any = members.get("first")
    last: Any = members.get("last")
    if not (_is_seq(first) and _is_seq(last) and first <= last):
        raise MalformedProof("first and last of an archive are ids, in order")
    if not isinstance(log_id, str):
        raise MalformedProof("log_id of an archive is text")
    rows = _hashes("edge", members.get("edge"), EDGE_LEVELS_MAX)
    counts = [count * HASH_BYTES for _, _, count in edge_positions(first - 1)]
    if list(map(len, rows)) != counts:
        raise MalformedProof(f"edge of an archive is not of a tree of {first - 1:,} leaves")
    return Head(log_id, last, Edge(first - 1, tuple(rows)))


def _seal(members: dict[str, Any]) -> Seal:
    note = members.get("checkpoint")
    if not isinstance(note, str):
        raise MalformedProof("the last line of an archive has a checkpoint; this is cut short")
    hashes = _hashes("consistency", members.get("consistency"), PROOF_HASHES_MAX)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise MalformedProof(f"consistency of an archive has hashes of {HASH_BYTES} bytes")
    return Seal(note, hashes)


def _hashes(name: str, texts: Any, most: int) -> list[bytes]:
    if not isinstance(texts, list) or len(texts) > most:
        raise MalformedProof(f"{name} of an archive is a list of at most {most}")
    hashes = [decode(each) if isinstance(each, str) else None for each in texts]
    if None in hashes:
        raise MalformedProof(f"{name} of an archive is base64")
    return [each for each in hashes if each is not None]


def _is_seq(value: object) -> bool:
    return type(value) is int and 0 < value <= INT64_MAX
