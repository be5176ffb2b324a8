"""The entries of one log at a far end: all that is recomputed of them, page by page. Pure.

What is missing is held against the log's own words later; whose signatures count is not known here.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge, split_hashes
from hansard_writer.proof.verifying.entry_pass import MISSING, NO_PRODUCER
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
from hansard_writer.proof.verifying.findings import FINDINGS_NAMED_MAX, Findings
from hansard_writer.proof.verifying.statements import TYPES, Ranges, Statements
from hansard_writer.shipping.batch import own_producer_hash
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.verifying.regrown_tree import Claims, RegrownTree, Told, is_whole

OTHER_LEAF: Final = "it is not what was entered: the leaf hash that is kept beside it is another"
LEAF_CHANGED: Final = "the leaf hash that is kept beside it was changed; the tree has the row's"
NO_LEAF: Final = "no leaf hash is kept beside it"
OTHER_TYPES: Final = "its columns are of other types than an entry's"
NOT_A_SEQ: Final = "no log has such an entry"
PRUNED_THERE: Final = "it is there, and what is kept says that it was pruned"
TWICE: Final = "it is there twice, or not in its place"
BEHIND_END: Final = "behind the end of what was shipped"
EDGE_BROKEN: Final = "the tree's edge in front of the first entry is none"
NO_HEAD: Final = "nothing is kept that says how much of it was shipped"

_NO_HASH: Final = bytes(HASH_BYTES)


class FarEntries:
    """Goes through the entries that are kept of one log, in their order."""

    def __init__(self, origin: str, head: Head | None, claims: Claims, findings: Findings) -> None:
        self._findings = findings
        self._own = own_producer_hash(origin)
        self._head = head
        begun = head.begun if head else Edge()
        is_broken = not is_whole(begun)
        self.tree = RegrownTree(Edge() if is_broken else begun, claims)
        if head is None:
            findings.add(NO_HEAD)
        if is_broken:
            findings.add(EDGE_BROKEN)
            self.tree.skip(max(begun.size, 0))
        self._pending: list[tuple[int, list[str]]] = []  # rows that are not of their kept leaves
        self._pending_more = 0
        self.gone_to = self.tree.size  # the beginning of the log that is not there
        self.statements = Statements()
        self.redacted = Ranges()
        self.entries = 0

    @property
    def size(self) -> int:
        """How far it has come."""
        return self.tree.size

    def take(self, page: Page) -> None:
        """Hold a page against its hashes, and grow the tree by it."""
        rows, kept = page.rows, page.leaves
        misfits: dict[int, list[str]] = defaultdict(list)
        for seq, what in page.misfits:
            misfits[seq].append(what)
        while rows:
            rows, kept = self._without_strays(rows, kept)
            count = self._run_of(rows)
            if count:
                self._take(rows[:count], kept[:count], page.owners, misfits)
            rows, kept = rows[count:], kept[count:]

    def finish(self) -> None:
        """Note what no root has told, and where the end is not as it is said to be."""
        self._note_pending(self.size, OTHER_LEAF)
        if self._head is not None and self.size > self._head.size:
            first, last = max(self._head.size, self.gone_to) + 1, self.size
            self._findings.add(BEHIND_END, first, last, count=min(last - first + 1, self.entries))

    def tell(self, told: Told) -> None:
        """Note what rows, or what leaves, were changed, now that a root tells."""
        self._note_pending(told.size, OTHER_LEAF if told.kept_fits else LEAF_CHANGED)

    # --- which rows ---

    def _run_of(self, rows: list[Row]) -> int:
        """How many of the rows come one behind the other, and behind what was taken."""
        seqs, first = [row[SEQ] for row in rows], self.size + 1
        if seqs == list(range(first, first + len(seqs))):
            return len(seqs)
        count = 0
        while count < len(seqs) and seqs[count] == first + count:
            count += 1
        if not count and seqs:
            self._findings.add(MISSING, first, seqs[0] - 1, count=seqs[0] - first)
            self.tree.skip(seqs[0] - first)
        return count

    def _without_strays(
        self, rows: list[Row], kept: list[bytes | None]
    ) -> tuple[list[Row], list[bytes | None]]:
        """The rows from the first on that can come behind what was taken; others are noted."""
        at = 0
        for row in rows:
            seq = row[SEQ]
            if type(seq) is int and seq > self.size:
                break
            if type(seq) is not int:
                self._findings.add(OTHER_TYPES)
            elif seq < 1:
                self._findings.add(NOT_A_SEQ, seq, seq)
            else:
                self._findings.add(PRUNED_THERE if seq <= self.gone_to else TWICE, seq, seq)
            at += 1
        return (rows[at:], kept[at:]) if at else (rows, kept)

    # --- what they come to ---

    def _take(
        self,
        rows: list[Row],
        kept: list[bytes | None],
        owners: Mapping[int, bytes | None],
        misfits: dict[int, list[str]],
    ) -> None:
        """Rows one behind the other."""
        wrong = _of(rows, misfits)
        try:
            unlike, leaves = unlike_their_hash(rows), leaf_hashes(rows, owners)
        except (TypeError, ValueError, KeyError, OverflowError):
            unlike, leaves = _one_by_one(rows, owners, wrong)
        for row in unlike:
            if is_redacted(row):
                self.redacted.add(row[SEQ], row[SEQ])
            else:
                wrong.setdefault(row[SEQ], []).insert(0, complaint(row))
        stored = _joined(kept)
        if stored != leaves:
            stored = self._note_leaves(rows, kept, split_hashes(leaves), owners, wrong)
        for seq in sorted(wrong):
            self._findings.add("; ".join(wrong[seq]), seq, seq)
        for told in self.tree.append(leaves, stored):
            self.tell(told)
        self._heed(rows, owners)
        self.entries += len(rows)

    def _heed(self, rows: list[Row], owners: Mapping[int, bytes | None]) -> None:
        """Heed what the log's own writer says in them."""
        if self._own is None:
            return
        own = {number for number, each in owners.items() if each == self._own}
        for row in rows if own else ():
            if row[PRODUCER] in own and row[EVENT_TYPE] in TYPES:
                self.statements.heed(row[SEQ], row[EVENT_TYPE], payload_text(row))

    def _note_leaves(
        self,
        rows: list[Row],
        kept: list[bytes | None],
        computed: list[bytes],
        owners: Mapping[int, bytes | None],
        wrong: dict[int, list[str]],
    ) -> bytes:
        """Keep the rows that are not of their kept leaf until a root tells; the leaves to go on
        with as the kept ones."""
        found = []
        for row, theirs, ours in zip(rows, kept, computed, strict=True):
            seq = row[SEQ]
            if theirs is None or len(theirs) != HASH_BYTES:
                wrong.setdefault(seq, []).append(NO_LEAF)
                found.append(ours)
                continue
            found.append(theirs)
            if theirs == ours:
                continue
            words = wrong.pop(seq, [])
            if owners.get(row[PRODUCER]) is None:
                words.append(NO_PRODUCER)
            if len(self._pending) < FINDINGS_NAMED_MAX:
                self._pending.append((seq, words))
            else:
                self._pending_more += 1
        return b"".join(found)

    def _note_pending(self, size: int, words: str) -> None:
        """Note what is pending of the first ``size`` entries."""
        for seq, wrong in [each for each in self._pending if each[0] <= size]:
            is_said = NO_PRODUCER in wrong and words == OTHER_LEAF
            self._findings.add("; ".join(wrong if is_said else [*wrong, words]), seq, seq)
        self._pending = [each for each in self._pending if each[0] > size]
        if not self._pending:
            self._findings.count += self._pending_more  # so many are never named
            self._pending_more = 0


def _of(rows: list[Row], misfits: dict[int, list[str]]) -> dict[int, list[str]]:
    """The misfits of rows."""
    return {row[SEQ]: misfits[row[SEQ]] for row in rows if row[SEQ] in misfits} if misfits else {}


def _joined(kept: list[bytes | None]) -> bytes:
    """Leaf hashes, joined; empty where one is none."""
    if None in kept or set(map(len, kept)) != {HASH_BYTES}:  # type: ignore[arg-type]
        return b""
    return b"".join(kept)  # type: ignore[arg-type]


def _one_by_one(
    rows: list[Row], owners: Mapping[int, bytes | None], wrong: dict[int, list[str]]
) -> tuple[list[Row], bytes]:
    """Those unlike their hash, and the leaf hashes, where some rows have values that nothing can
    be computed with."""
    unlike: list[Row] = []
    leaves = []
    for row in rows:
        known = {row[PRODUCER]: owners.get(row[PRODUCER])}
        try:
            found, leaf = unlike_their_hash([row]), leaf_hashes([row], known)
        except (TypeError, ValueError, OverflowError):
            wrong.setdefault(row[SEQ], []).append(OTHER_TYPES)
            found, leaf = [], _NO_HASH
        unlike += found
        leaves.append(leaf)
    return unlike, b"".join(leaves)
