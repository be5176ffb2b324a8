"""A target of shipping in memory: its two sides, and who writes into it what was never shipped.

What is kept is plain dictionaries, so that a test can put anything there.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge, grow, split_hashes
from hansard_writer.proof.verifying.entry_rows import HASHED, PRODUCER, SEQ, Row
from hansard_writer.shipping.batch import Batch, Checked, Owner
from hansard_writer.shipping.far_end import Head, Page
from hansard_writer.shipping.log_source import LogSource

PAGE_ENTRIES: Final = 200


@dataclass
class Kept:
    """All that is kept of one log; rows with the number of their owner."""

    owners: dict[int, Owner] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    leaves: dict[int, bytes | None] = field(default_factory=dict)
    misfits: dict[int, str] = field(default_factory=dict)
    notes: dict[int, str] = field(default_factory=dict)
    begun: Edge = field(default_factory=Edge)
    hole: Edge | None = None  # the edge behind entries that were pruned before they were shipped
    proof: list[bytes] = field(default_factory=list)
    edge: Edge = field(default_factory=Edge)
    size: int = 0  # as it says itself

    def change(self, seq: int, at: int, value: Any) -> None:
        """Put a value into a row."""
        row = list(self.rows[seq])
        row[at] = value
        self.rows[seq] = tuple(row)

    def owner_number(self, owner: Owner) -> int:
        """The number of an owner, which may be new."""
        for number, each in self.owners.items():
            if each == owner:
                return number
        self.owners[len(self.owners) + 1] = owner
        return len(self.owners)


class Store:
    """Logs by their origins. It outlives the connections to it."""

    def __init__(self) -> None:
        self.logs: dict[str, Kept] = {}

    def copied(self) -> "Store":
        """The same, to be changed."""
        return deepcopy(self)

    def ship(self, directory: Path, *, to: int | None = None, entries_max: int = 5_000) -> str:
        """Ship what is signed of a log, in batches of so many entries at most, and no more of them
        once there are ``to`` entries; the origin."""
        source = LogSource(directory, entries_max=entries_max)
        target = InMemoryTarget(self)
        try:
            edge = target.edge(source.origin)
            source.require_continues(edge)
            while to is None or edge.size < to:
                batch = source.next(edge.size)
                if batch is None:
                    break
                checked = batch.checked(edge)
                target.append(batch, checked)
                edge = checked.edge
            return source.origin
        finally:
            source.close()


class InMemoryTarget:
    """Where logs are shipped to."""

    def __init__(self, store: Store, name: str = "memory") -> None:
        self.name = name
        self._logs = store.logs

    def edge(self, origin: str) -> Edge:
        return self._logs[origin].edge if origin in self._logs else Edge()

    def append(self, batch: Batch, checked: Checked) -> None:
        kept = self._logs.setdefault(batch.origin, Kept())
        if batch.begun is not None:
            kept.hole = batch.begun
            if not kept.rows:
                kept.begun = batch.begun
        numbers = [kept.owner_number(owner) for owner in batch.owners]
        for row, leaf in zip(batch.rows, split_hashes(checked.leaves), strict=True):
            assert row[SEQ] not in kept.rows, "an entry is shipped twice"
            kept.rows[row[SEQ]] = (row[SEQ], numbers[row[PRODUCER]], *row[PRODUCER + 1 :])
            kept.leaves[row[SEQ]] = leaf
        for note in batch.notes:
            kept.notes[read_checkpoint(note).size] = note
        kept.edge, kept.proof, kept.size = checked.edge, list(batch.proof), batch.last
        for first, last in checked.redacted:
            for seq in range(first, last + 1):
                if seq in kept.rows:
                    kept.change(seq, HASHED, None)
        self._prune(kept, checked.pruned_to)

    def _prune(self, kept: Kept, to: int) -> None:
        if kept.hole is not None and kept.begun.size < kept.hole.size <= to:
            kept.begun = kept.hole
        for seq in [seq for seq in sorted(kept.rows) if seq <= to]:
            if seq == kept.begun.size + 1:
                kept.begun, _ = grow(kept.begun, kept.leaves[seq] or b"")
            del kept.rows[seq], kept.leaves[seq]

    def close(self) -> None:
        """Nothing is open."""


class InMemoryFarEnd:
    """The same, to who verifies it."""

    def __init__(self, store: Store, name: str = "memory") -> None:
        self.name = name
        self._logs = store.logs

    def origins(self) -> list[str]:
        return sorted(self._logs)

    def head(self, origin: str) -> Head | None:
        kept = self._logs.get(origin)
        return Head(kept.size, kept.begun, kept.proof) if kept else None

    def notes(self, origin: str) -> Iterator[str]:
        notes = self._logs[origin].notes
        yield from (notes[size] for size in sorted(notes))

    def pages(self, origin: str) -> Iterator[Page]:
        kept = self._logs[origin]
        seqs = sorted(kept.rows)
        for start in range(0, len(seqs), PAGE_ENTRIES):
            page = seqs[start : start + PAGE_ENTRIES]
            rows = [kept.rows[seq] for seq in page]
            numbers = {row[PRODUCER] for row in rows}
            owners = {
                number: kept.owners[number].producer_hash if number in kept.owners else None
                for number in numbers
            }
            leaves = [kept.leaves.get(seq) for seq in page]
            yield Page(
                rows, owners, leaves, [(s, kept.misfits[s]) for s in page if s in kept.misfits]
            )

    def close(self) -> None:
        """Nothing is open."""
