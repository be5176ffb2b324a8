"""The files of one log, to who ships it: what is in them, and how they take in a batch.

A batch is one durable file in the staging folder; what waits there becomes a range in the entries
folder when it is large or old enough. A batch that says that something is redacted or pruned is
pending until that is carried out. So what is to be finished after a kill, names say: batches
that are a range as well, and pending ones. It verifies nothing: that is done before.
"""

import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.proof.signed_note import parse_note
from hansard_writer.proof.verifying.statements import PRUNED, REDACTED, Statements
from hansard_writer.shipping.batch import Batch, Checked, own_producer_hash
from hansard_writer.shipping.parquet import layout
from hansard_writer.shipping.parquet.columns import table_of
from hansard_writer.shipping.parquet.facts import Facts
from hansard_writer.shipping.parquet.holding import Holding
from hansard_writer.shipping.parquet.layout import PARQUET, PENDING, Part
from hansard_writer.shipping.parquet.rewriting import (
    Span,
    facts_at,
    has_secrets,
    pieces,
    rewritten,
    tables_at,
    written,
)
from hansard_writer.shipping.parquet.storage import put, storage_errors, sync_folder
from hansard_writer.shipping.target import TargetRefused
from hansard_writer.shipping.targets import TargetOptions

_OF_STATEMENTS: Final = ("seq", "event_type", "producer", "payload")
STAGED_FILES_MAX: Final = 256  # whoever reads them holds them open
STAGED_BYTES_MAX: Final = 128 << 20


class LogFiles:
    """One log's, held against others who ship it from construction to `close`. Raises
    `TargetUnavailable`, `TargetRefused` and `TargetTaken`; after any of them it MUST be closed, and
    another one made."""

    def __init__(self, directory: Path, origin: str, options: TargetOptions) -> None:
        self._origin = origin
        self._options = options
        self._place = layout.place_of(directory, origin)
        self._is_sound = False
        with storage_errors(directory):
            for folder in self._place:
                folder.mkdir(parents=True, exist_ok=True)
            self._holding = Holding(self._place.holder)
        try:
            with storage_errors(directory):
                self._finish()
        except BaseException:
            self._release()
            raise
        self._since = time.monotonic()  # the oldest that waits
        self._is_sound = True

    def append(self, batch: Batch, checked: Checked) -> None:
        """Take in a batch that comes behind ``edge``; or nothing of it."""
        self._is_sound = False
        with storage_errors(self._place.staging):
            if self._waiting + len(batch.rows) > self._options.rows_per_file:
                self._put_away()
            if not self._staged:
                self._since = time.monotonic()
            self._stage(batch, checked)
            self.edge = checked.edge
            if self._is_full():
                self._put_away()
        self._is_sound = True

    def put_away_due(self) -> None:
        """Make a range of what has waited long enough."""
        if self._staged and self._is_full():
            self._is_sound = False
            with storage_errors(self._place.staging):
                self._put_away()
            self._is_sound = True

    def close(self) -> None:
        """Make a range of what waits, unless something went wrong, and let others ship. Raises as
        `append` does; idempotent."""
        try:
            if self._is_sound:
                self._is_sound = False
                with storage_errors(self._place.staging):
                    self._put_away()
        finally:
            self._release()

    # --- how it starts ---

    def _finish(self) -> None:
        """Finish what was under way when the last one was killed."""
        for path in layout.leftovers_in(self._place):
            path.unlink()
        self._remove_doubles()
        for part in layout.parts_in(self._place.staging):
            if part.is_pending:
                self._carry_out(part)
        ranges, self._staged = self._listed()
        parts = [*ranges, *self._staged]
        for part, following in pairwise(parts):
            if following.first <= part.last:
                raise TargetRefused(
                    f"{part.path} and {following.path} have the same entries: see which one is "
                    "right, move the other elsewhere, and start shipping again"
                )
        self._bytes = sum(part.path.stat().st_size for part in self._staged)
        self.edge = facts_at(parts[-1].path).edge if parts else Edge()
        if parts and self.edge.size != parts[-1].last:
            raise ValueError(f"{parts[-1].path} ends with entry {self.edge.size:,}")

    def _remove_doubles(self) -> None:
        """What waits and is a range as well, and ranges of a batch of which not all is in any."""
        ranges, staged = self._listed()
        for part in staged:
            doubled = [each for each in ranges if each.has_some(part.first, part.last)]
            if not doubled:
                continue
            first, last = doubled[0].first, doubled[-1].last
            if first <= part.first and part.last <= last and len(list(_runs(doubled))) == 1:
                part.path.unlink()
            elif part.first <= first and last <= part.last:
                for each in doubled:
                    each.path.unlink()
        sync_folder(self._place.staging)

    def _listed(self) -> tuple[list[Part], list[Part]]:
        return layout.parts_in(self._place.entries), layout.parts_in(self._place.staging)

    # --- a batch ---

    def _stage(self, batch: Batch, checked: Checked) -> None:
        front = self.edge if batch.before == self.edge.size else batch.begun
        assert front is not None, "it was checked behind an edge"
        facts = Facts(self._origin, front, checked.edge, batch.proof, batch.notes)
        try:
            table = table_of(batch, checked.leaves, facts.metadata())
        except (pa.ArrowException, OverflowError) as error:
            raise TargetRefused(
                f"one of the entries {batch.before + 1:,} to {batch.last:,} of {self._origin} has "
                f"a value that no column takes: {error}"
            ) from error
        takes_out = checked.pruned_to > 0 or checked.redacted.count > 0
        suffix = PENDING if takes_out else PARQUET
        part = self._place.staged(batch.before + 1, batch.last, suffix)
        put(part.path, written([table], facts), self._place.staging, replace=False)
        if takes_out:
            self._carry_out(part)
            self._staged = layout.parts_in(self._place.staging)
        else:
            self._staged.append(part)
        self._bytes += self._staged[-1].path.stat().st_size

    @property
    def _waiting(self) -> int:
        """How many entries do."""
        return sum(part.last - part.first + 1 for part in self._staged)

    def _is_full(self) -> bool:
        return (
            self._waiting >= self._options.rows_per_file
            or len(self._staged) >= STAGED_FILES_MAX
            or self._bytes >= STAGED_BYTES_MAX
            or time.monotonic() - self._since >= self._options.file_age_s
        )

    # --- what a batch says is gone ---

    def _carry_out(self, part: Part) -> None:
        """Take out what a pending batch says is redacted or pruned; as often as it is called."""
        said = self._statements(part.path)
        redacted, pruned_to = list(said.redacted), said.pruned_to(part.last)
        ranges, staged = self._listed()
        for each in [*ranges, *staged]:
            left = self._take_out(each, redacted, pruned_to)
            if left and each == part:
                part = left
        for folder in (self._place.entries, self._place.staging):
            sync_folder(folder)
        os.replace(part.path, part.named(part.first, PARQUET).path)  # noqa: PTH105 - as in storage
        sync_folder(self._place.staging)

    def _take_out(self, part: Part, redacted: Sequence[Span], pruned_to: int) -> Part | None:
        """The same for one file; None where nothing of it is left."""
        if part.last <= pruned_to:
            part.path.unlink()
            return None
        spans = among(redacted, part.first, part.last)
        is_cut = part.first <= pruned_to
        if is_cut or (spans and has_secrets(part.path, spans)):
            write = rewritten(part.path, spans, pruned_to)
            put(part.path, write, self._place.staging, replace=True)
        if not is_cut:
            return part
        # Whole under the old name first: so nobody sees an entry twice, or one missing.
        left = part.named(pruned_to + 1, part.path.suffix)
        os.replace(part.path, left.path)  # noqa: PTH105 - as in storage
        return left

    def _statements(self, path: Path) -> Statements:
        own, said = own_producer_hash(self._origin), Statements()
        for table in tables_at(path):
            columns = (table[name].to_pylist() for name in _OF_STATEMENTS)
            for seq, event_type, producer, payload in zip(*columns, strict=True):
                if event_type in (REDACTED, PRUNED) and own and producer == own.hex():
                    said.heed(seq, event_type, payload or "")
        return said

    # --- what waits becomes a range ---

    def _put_away(self) -> None:
        for run in _runs(self._staged):
            said = [facts_at(part.path) for part in run]
            self._keep_notes(said)
            for facts, tables in self._ranges(run, said):
                part = self._place.range(facts.front.size + 1, facts.edge.size)
                put(part.path, written(tables, facts), self._place.staging, replace=False)
        for part in self._staged:
            part.path.unlink()
        sync_folder(self._place.staging)
        self._staged, self._bytes = [], 0

    def _ranges(self, run: list[Part], said: list[Facts]) -> Iterator[tuple[Facts, Iterable[Any]]]:
        """What batches become: one range, or more where one batch alone is too large."""
        most = self._options.rows_per_file
        if run[-1].last - run[0].first < most:
            whole = said[-1]._replace(front=said[0].front, notes=[])
            yield whole, chain.from_iterable(tables_at(part.path) for part in run)
            return
        for part, facts in zip(run, said, strict=True):
            table = pa.concat_tables(tables_at(part.path))
            for piece_facts, piece in pieces(table, facts._replace(notes=[]), most):
                yield piece_facts, [piece]

    def _keep_notes(self, said: list[Facts]) -> None:
        """The checkpoint that covers all, and those in which a key vouches for its successor."""
        notes = [note for facts in said for note in facts.notes]
        for note in notes:
            if note is notes[-1] or len(parse_note(note).signatures) > 1:
                path = self._place.checkpoint(read_checkpoint(note).size)
                if not path.exists():
                    write = partial(_write_text, note)
                    put(path, write, self._place.staging, replace=False)

    def _release(self) -> None:
        with storage_errors(self._place.holder):
            self._holding.close()


def among(spans: Sequence[Span], first: int, last: int) -> Sequence[Span]:
    """Those of spans that ascend that have something between first and last."""
    start = bisect_left(spans, first, key=lambda span: span[1])
    return spans[start : bisect_right(spans, last, key=lambda span: span[0])]


def _runs(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts that follow each other, together."""
    run: list[Part] = []
    for part in parts:
        if run and part.first != run[-1].last + 1:
            yield run
            run = []
        run.append(part)
    if run:
        yield run


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode())
