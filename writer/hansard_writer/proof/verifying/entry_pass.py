"""The pass through the entries: all that is recomputed of them, page by page.

Each page is a read transaction of its own, entries and tree rows of one moment: the log goes on
meanwhile, is redacted and pruned. What a page lacks is held against the log's own words later.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from hansard.reader_connection import ReadConnection
from hansard_writer.proof.merkle_hash_tree import (
    HASH_BYTES,
    Edge,
    audit_path,
    edge_positions,
    root_of_path,
    split_hashes,
)
from hansard_writer.proof.stored_tree import NodeMissing, stored_tree
from hansard_writer.proof.verifying import entry_rows
from hansard_writer.proof.verifying.entry_rows import (
    EVENT_TYPE,
    PRODUCER,
    SEQ,
    Row,
    complaint,
    decoded,
    is_redacted,
    leaf_hashes,
    payload_text,
    unlike_their_hash,
)
from hansard_writer.proof.verifying.findings import Findings
from hansard_writer.proof.verifying.looking import FIRST, OWN_PRODUCER
from hansard_writer.proof.verifying.recomputed_tree import Misfit, RecomputedTree
from hansard_writer.proof.verifying.statements import (
    TYPES,
    TYPES_FROM_THE_BEGINNING,
    Ranges,
    Statements,
)

PAGE_ENTRIES: Final = 512  # whole rows of the tree's two lowest levels
PRODUCERS_REMEMBERED_MAX: Final = 10_000

MISSING: Final = "missing"
NO_PRODUCER: Final = "it belongs to a producer that is not there"
OTHER_LEAF: Final = "it is not what was entered: its leaf in the tree is another"
NO_LEAF: Final = "the tree has no leaf of it"
LEAF_CHANGED: Final = "its leaf in the tree was changed; the entry fits the tree above"
NODE_GONE: Final = "a node of level {level} of the tree above them is gone"
OTHER_NODE: Final = "the node of level {level} of the tree above them is of other hashes"
EDGE_GONE: Final = "the tree's edge behind the pruned entries is gone"

_NO_HASH: Final = bytes(HASH_BYTES)
_ROWS: Final = "SELECT idx, hashes FROM tree WHERE level = ? AND idx BETWEEN ? AND ? ORDER BY idx"
_PRODUCERS: Final = (
    "SELECT id, producer_hash FROM producers WHERE id IN (SELECT value FROM json_each(?))"
)
_EARLIER: Final = (
    f"SELECT seq FROM entries WHERE producer = {OWN_PRODUCER} AND seq <= ?"  # noqa: S608
    f" AND event_type IN ({', '.join(map(repr, TYPES_FROM_THE_BEGINNING))}) ORDER BY seq"
)


class EntryPass:
    """Goes through the entries behind ``edge``, of which somebody else has made sure."""

    def __init__(
        self,
        connection: ReadConnection,
        edge: Edge,
        findings: Findings,
        through: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._rows = connection.rows
        self._findings = findings
        self._through = through
        self._tree = RecomputedTree(edge, self._stored_rows)
        self._producers: dict[int, bytes | None] = {}
        self.statements = Statements()
        self.redacted = Ranges()
        self.gone_to = 0  # the beginning of the log that is not there
        self.entries = 0

    @property
    def size(self) -> int:
        """How far it has come."""
        return self._tree.size

    def root(self) -> bytes:
        """The root of the tree up to there."""
        return self._tree.root()

    def go_on(self, size: int) -> None:
        """Go on until so many entries were looked at."""
        while self._tree.size < size:
            before = self._tree.size
            last = min((before // PAGE_ENTRIES + 1) * PAGE_ENTRIES, size)
            with self._connection.snapshot():
                rows = self._entries(before + 1, last)
                if len(rows) < last - before and self._begins_behind(before + 1):
                    self._begin_later()
                else:
                    self._take(before + 1, last, rows)
            self._through(self._tree.size - before)

    def heed_earlier(self) -> None:
        """Heed what entries say behind which the pass begins; each is led up to that root."""
        tree, size, root = stored_tree(self._rows), self._tree.size, self.root()
        for (seq,) in self._rows(_EARLIER, size):
            rows = self._entries(seq, seq)
            if not rows:
                continue  # pruned since
            self._remember_producers({row[PRODUCER] for row in rows})
            leaf = leaf_hashes(rows, self._producers)
            path = audit_path(seq - 1, size, tree.node)
            if unlike_their_hash(rows):
                self._findings.add(complaint(rows[0]), seq)
            elif root_of_path(leaf, seq - 1, size, path) != root:
                self._findings.add(OTHER_LEAF, seq)
            self._heed(rows[0])

    # --- a page ---

    def _take(self, first: int, last: int, rows: list[Row]) -> None:
        """Hold a page against its hashes and the tree."""
        wrong: dict[int, list[str]] = defaultdict(list)
        owners = {row[PRODUCER] for row in rows}
        self._remember_producers(owners)
        for row in unlike_their_hash(rows):
            if is_redacted(row):
                self.redacted.add(row[SEQ], row[SEQ])
            else:
                wrong[row[SEQ]].append(complaint(row))
        leaves = leaf_hashes(rows, self._producers)
        missing = _gaps(first, last, rows) if len(rows) < last - first + 1 else []
        if missing:
            leaves = _with_gaps(first, last, rows, leaves)
        misfits = self._tree.append(leaves)
        if misfits or wrong or missing:
            self._note(rows, wrong, missing, misfits)
        if OWN_PRODUCER in owners:
            for row in rows:
                if row[PRODUCER] == OWN_PRODUCER:
                    self._heed(row)
        self.entries += len(rows)

    def _note(
        self,
        rows: list[Row],
        wrong: dict[int, list[str]],
        missing: list[tuple[int, int]],
        misfits: list[Misfit],
    ) -> None:
        """Say what is wrong with a page, entry by entry, and then with the nodes above."""
        for first, last in missing:
            self._findings.add(MISSING, first, last, count=last - first + 1)
        owners = {row[SEQ]: row[PRODUCER] for row in rows}
        for misfit in misfits:
            seq = misfit.at + 1
            if misfit.level or seq not in owners:
                continue
            if self._producers[owners[seq]] is None:
                wrong[seq].append(NO_PRODUCER)
            elif not misfit.stored:
                wrong[seq].append(NO_LEAF)
            else:
                wrong[seq].append(LEAF_CHANGED if misfit.stored_is_wrong else OTHER_LEAF)
        for seq in sorted(wrong):
            self._findings.add("; ".join(wrong[seq]), seq, seq)
        for misfit in misfits:
            if misfit.level:
                words = OTHER_NODE if misfit.stored else NODE_GONE
                self._findings.add(words.format(level=misfit.level), *misfit.entries)

    def _heed(self, row: Row) -> None:
        if row[EVENT_TYPE] in TYPES:
            self.statements.heed(row[SEQ], row[EVENT_TYPE], payload_text(row))

    # --- a beginning that is gone ---

    def _begins_behind(self, seq: int) -> bool:
        """Whether the log has nothing up to an entry, and something behind it. Were there anything
        before, this would be a hole; so nothing that was pruned can be put back unseen."""
        first = self._rows(FIRST)[0][0]
        return first is not None and first > seq

    def _begin_later(self) -> None:
        """Go on with the first entry that is there, and the stored edge behind what is not."""
        self.gone_to = self._rows(FIRST)[0][0] - 1
        try:
            edge = stored_tree(self._rows).edge(self.gone_to)
        except NodeMissing:
            self._findings.add(EDGE_GONE)
            counts = [count for _, _, count in edge_positions(self.gone_to)]
            edge = Edge(self.gone_to, tuple(_NO_HASH * count for count in counts))
        self._tree = RecomputedTree(edge, self._stored_rows)

    # --- reading ---

    def _entries(self, first: int, last: int) -> list[Row]:
        try:
            return self._rows(entry_rows.READ, first, last)
        except UnicodeDecodeError:
            return list(map(decoded, self._rows(entry_rows.READ_UNDECODED, first, last)))

    def _stored_rows(self, level: int, first: int, last: int) -> list[tuple[int, bytes]]:
        rows: list[Any] = self._rows(_ROWS, level, first, last)
        return rows

    def _remember_producers(self, owners: set[int]) -> None:
        """The hashes of all producers of a page, None for one that has no row."""
        known = self._producers
        unknown = owners.difference(known)
        if not unknown:
            return
        if len(known) > PRODUCERS_REMEMBERED_MAX:
            known.clear()
            unknown = owners
        known.update(dict.fromkeys(unknown))
        known.update(self._rows(_PRODUCERS, str(sorted(unknown))))


def _gaps(first: int, last: int, rows: list[Row]) -> list[tuple[int, int]]:
    """The ranges of a page that have no entries."""
    seqs = [first - 1, *(row[SEQ] for row in rows), last + 1]
    return [(left + 1, right - 1) for left, right in pairwise(seqs) if right - left > 1]


def _with_gaps(first: int, last: int, rows: list[Row], leaves: bytes) -> bytes:
    """The leaf hashes of a page, with one that is none for each entry that is missing."""
    seqs = (row[SEQ] for row in rows)
    of_seq = dict(zip(seqs, split_hashes(leaves), strict=True))
    return b"".join([of_seq.get(seq, _NO_HASH) for seq in range(first, last + 1)])
