"""A log, read in batches that prove themselves. It reads, in short transactions, and sends nothing.

What is shipped is what a checkpoint of the log's present origin covers. Where the log was begun
anew under another origin (a rollback, a lost key), all of it is another record: see `LogSource`.
"""

from pathlib import Path
from typing import Any, Final

from hansard.reader_connection import ReadConnection
from hansard_writer.anchoring import NoCheckpoint, take_newest
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.key_chain import KeyChain, read_key_chain
from hansard_writer.proof.merkle_hash_tree import Edge, consistency_proof, root
from hansard_writer.proof.signed_note import NoteError, open_note
from hansard_writer.proof.stored_tree import NodeMissing, StoredTree, stored_tree
from hansard_writer.proof.verifying import entry_rows
from hansard_writer.proof.verifying.entry_rows import HASHED, PRODUCER, Row
from hansard_writer.proof.verifying.looking import FIRST
from hansard_writer.shipping.batch import Batch, DoesNotVerify, Owner, owned

BATCH_ENTRIES_MAX: Final = 5_000
BATCH_BYTES_MAX: Final = 4 << 20  # of payloads; one entry may be larger
PAGE_ENTRIES: Final = 256  # read at once: an entry may have 1 MiB
OWNERS_REMEMBERED_MAX: Final = 10_000
ASK_TIMEOUT_S: Final = 5.0

_COVERED: Final = "SELECT coalesce(max(size), 0) FROM checkpoints WHERE origin = ?"
_WITHIN: Final = "SELECT max(size) FROM checkpoints WHERE origin = ? AND size > ? AND size <= ?"
_COVERING: Final = (
    "SELECT note FROM checkpoints WHERE origin = ? AND size >= ? ORDER BY size LIMIT 1"
)
_TWICE_SIGNED: Final = (  # by which a key vouches for its successor
    "SELECT note FROM checkpoints WHERE origin = ? AND size > ? AND size < ?"
    " AND instr(signature, char(10)) ORDER BY size"
)
_OWNERS: Final = (
    "SELECT id, producer_hash, host, pid, started_at FROM producers"
    " WHERE id IN (SELECT value FROM json_each(?))"
)


class HistoryDiffers(DoesNotVerify):
    """What was shipped before is not the beginning of this log. Keep both, and find out which is
    the true one: `hansard verify` here, and there, with checkpoints that were kept elsewhere."""


class LogSource:
    """The log in a directory. One thread's.

    ``origin`` is that of its present checkpoints, under which it is known wherever it is shipped
    to. A log that went back in time has another one from then on, and is shipped again under that.
    ``entries_max``: of a batch.
    """

    def __init__(self, directory: Path, *, entries_max: int = BATCH_ENTRIES_MAX) -> None:
        self.directory = directory
        self._entries_max = entries_max
        self._connection = ReadConnection(directory, to_scan=True)
        self._rows = self._connection.rows
        self._owners: dict[int, Owner] = {}
        self._chain = self._read_chain()
        self.origin = self._chain.current.origin

    def close(self) -> None:
        """End. Idempotent."""
        self._connection.close()

    def seal(self) -> str:
        """Have the writer sign all that is committed, where one runs; what it leaves unsigned, in
        words, empty for nothing. Raises `NoCheckpoint` for a log that was never signed."""
        return take_newest(self.directory, ASK_TIMEOUT_S, must_answer=False).notice

    def covered(self) -> int:
        """How many of its entries a checkpoint covers."""
        size: int = self._rows(_COVERED, self.origin)[0][0]
        return size

    def has_new_origin(self) -> bool:
        """Whether it was begun anew since this was made."""
        return self._read_chain().current.origin != self.origin

    def require_continues(self, edge: Edge) -> None:
        """Raises `HistoryDiffers` where an edge is not that of the log's own beginning."""
        with self._connection.snapshot():
            covered = self.covered()
            if edge.size > covered:
                raise HistoryDiffers(
                    f"{edge.size:,} entries of {self.origin} were shipped, and "
                    f"{self.directory} has {covered:,} that are signed"
                )
            try:
                own = stored_tree(self._rows).root(edge.size)
            except NodeMissing:  # pruned: what a batch behind it proves, proves this
                return
        if own != root(edge):
            raise HistoryDiffers(
                f"the {edge.size:,} entries of {self.origin} that were shipped are not those that "
                f"{self.directory} begins with"
            )

    def next(self, before: int, bytes_max: int | None = None) -> Batch | None:
        """What comes behind the first ``before`` entries, with so many bytes of payloads at most;
        None where no checkpoint covers more.
        Raises `DoesNotVerify` where it is not what was signed."""
        with self._connection.snapshot():
            covered = self.covered()
            if covered <= before:
                return None
            tree, begun = stored_tree(self._rows), None
            first = self._rows(FIRST)[0][0]
            if first is not None and first > before + 1:
                before, begun = first - 1, self._edge(tree, first - 1)
            last = min(before + self._entries_max, covered)
            last = self._rows(_WITHIN, self.origin, before, last)[0][0] or last
            rows = self._entries(before, last, min(bytes_max or BATCH_BYTES_MAX, BATCH_BYTES_MAX))
            if not rows:
                raise DoesNotVerify(f"entry {before + 1:,} of {self.origin} is missing")
            last = rows[-1][entry_rows.SEQ]
            note: str = self._rows(_COVERING, self.origin, last)[0][0]
            twice = [each for (each,) in self._rows(_TWICE_SIGNED, self.origin, before, last)]
            proof = self._proof(tree, last, read_checkpoint(note).size)
            renamed, owners = owned(rows, self._owners_of(rows))
        self._require_signed(note)
        return Batch(
            self.origin, before, last, renamed, owners,
            [*(each for each in twice if each != note), note], proof, begun,
        )  # fmt: skip

    # --- inside ---

    def _read_chain(self) -> KeyChain:
        chain = read_key_chain(self._connection.rows)
        if chain is None:
            raise NoCheckpoint(
                f"the log in {self.directory} was never signed, and only what is signed is "
                f"shipped: start its writer, `hansard serve --dir {self.directory}`"
            )
        return chain

    def _require_signed(self, note: str) -> None:
        try:
            open_note(note, self._chain.keys)
        except NoteError:
            self._chain = self._read_chain()  # a key that is newer
            try:
                open_note(note, self._chain.keys)
            except NoteError as error:
                raise DoesNotVerify(f"a checkpoint of {self.origin}: {error}") from error

    def _entries(self, before: int, last: int, room: int) -> list[Row]:
        """Entries behind ``before``, up to ``last`` or as many as a batch may hold."""
        found: list[Row] = []
        while before < last and room > 0:
            to = min(before + PAGE_ENTRIES, last)
            page: list[Row] = self._page(before + 1, to)
            for row in page:
                size = len(row[HASHED] or b"")
                if found and size > room:
                    return found
                found.append(row)
                room -= size
            before = to
        return found

    def _page(self, first: int, last: int) -> list[Row]:
        try:
            return self._rows(entry_rows.READ, first, last)
        except UnicodeDecodeError as error:
            raise DoesNotVerify(
                f"one of the entries {first:,} to {last:,} of {self.origin} has text that is no "
                "UTF-8"
            ) from error

    def _owners_of(self, rows: list[Row]) -> dict[int, Owner]:
        known = self._owners
        unknown = {row[PRODUCER] for row in rows}.difference(known)
        if unknown:
            if len(known) > OWNERS_REMEMBERED_MAX:
                known.clear()
                unknown = {row[PRODUCER] for row in rows}
            found: list[Any] = self._rows(_OWNERS, str(sorted(unknown)))
            known.update((id_, Owner(*facts)) for id_, *facts in found)
        if missing := unknown.difference(known):
            raise DoesNotVerify(f"producer {min(missing)} of {self.origin} is not there")
        return known

    def _edge(self, tree: StoredTree, size: int) -> Edge:
        try:
            return tree.edge(size)
        except NodeMissing as error:
            raise DoesNotVerify(f"the tree of {self.origin}: {error}") from error

    def _proof(self, tree: StoredTree, size: int, covering: int) -> list[bytes]:
        try:
            return consistency_proof(size, covering, tree.node)
        except NodeMissing as error:
            raise DoesNotVerify(f"the tree of {self.origin}: {error}") from error
