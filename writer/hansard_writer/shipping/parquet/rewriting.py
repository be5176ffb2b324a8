"""Files of entries that are written: from a batch, from the batches that waited, and once more
without what was redacted or pruned.

They go through memory a row group at a time, so that is what bounds it.
"""

import contextlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hansard_writer.arrow import ROW_GROUP_BYTES_MAX, ROW_GROUP_ENTRIES_MAX
from hansard_writer.proof.merkle_hash_tree import grow
from hansard_writer.shipping.parquet.columns import SCHEMA, WRITING, leaves_of, without
from hansard_writer.shipping.parquet.facts import Facts, facts_of
from hansard_writer.shipping.parquet.storage import storage_errors

Span = tuple[int, int]
_SECRETS: Final = ["seq", "payload", "salt"]


def written(tables: Iterable[Any], facts: Facts) -> Callable[[BinaryIO], None]:
    """What writes a file of tables, each a row group, or several in one where there is room."""

    def write(file: BinaryIO) -> None:
        schema = SCHEMA.with_metadata(facts.metadata())
        with pq.ParquetWriter(file, schema, **WRITING) as writer:
            for table in _grouped(tables):
                writer.write_table(table.cast(schema), row_group_size=len(table))

    return write


def _grouped(tables: Iterable[Any]) -> Iterator[Any]:
    waiting: list[Any] = []
    for table in tables:
        entries = sum(map(len, waiting)) + len(table)
        bytes_ = sum(each.nbytes for each in waiting) + table.nbytes
        if waiting and (entries > ROW_GROUP_ENTRIES_MAX or bytes_ > ROW_GROUP_BYTES_MAX):
            yield pa.concat_tables(waiting)
            waiting = []
        waiting.append(table)
    if waiting:
        yield pa.concat_tables(waiting)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Raises `TargetRefused` where it is damaged, which names it."""
    with storage_errors(path), pq.ParquetFile(path) as file:
        yield file


def facts_at(path: Path) -> Facts:
    """What a file says of itself."""
    with _opened(path) as file:
        return facts_of(file.metadata.metadata)


def tables_at(path: Path) -> Iterator[Any]:
    """What is in a file, row group by row group."""
    with _opened(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, use_threads=False)


def pieces(table: Any, facts: Facts, entries_max: int) -> Iterator[tuple[Facts, Any]]:
    """A table in as many as it takes; only the last one has the proof and the notes."""
    edge = facts.front
    for start in range(0, len(table), entries_max):
        piece = table.slice(start, entries_max)
        front, (edge, _) = edge, grow(edge, leaves_of(piece))
        is_last = edge.size == facts.edge.size
        rest = (facts.proof, facts.notes) if is_last else ([], [])
        yield Facts(facts.origin, front, edge, *rest), piece


def has_secrets(path: Path, spans: Sequence[Span]) -> bool:
    """Whether something of a payload is there for an entry in one of the spans, which ascend."""
    with _opened(path) as file:
        for batch in file.iter_batches(columns=_SECRETS, use_threads=False):
            there = pc.or_(batch["payload"].is_valid(), batch["salt"].is_valid())
            marked = pa.array(_marks(batch["seq"].to_pylist(), spans))
            if pc.any(pc.and_(there, marked)).as_py():
                return True
    return False


def rewritten(path: Path, redacted: Sequence[Span], pruned_to: int) -> Callable[[BinaryIO], None]:
    """What writes a file once more, without the payloads in the spans, and the entries that are
    pruned."""
    facts = facts_at(path)
    if facts.front.size < pruned_to:
        gone = b"".join(leaves_of(_from(table, 0, pruned_to)) for table in tables_at(path))
        facts = facts._replace(front=grow(facts.front, gone)[0])
    kept = (_from(table, pruned_to, facts.edge.size) for table in tables_at(path))
    cleaned = (without(each, _marks(each["seq"].to_pylist(), redacted)) for each in kept)
    return written((each for each in cleaned if len(each)), facts)


def _from(table: Any, before: int, last: int) -> Any:
    seq = table["seq"]
    return table.filter(pc.and_(pc.greater(seq, before), pc.less_equal(seq, last)))


def _marks(seqs: Sequence[int], spans: Sequence[Span]) -> list[bool]:
    """Which of them are in one of the spans."""
    firsts = [first for first, _ in spans]
    return [(at := bisect_right(firsts, seq)) > 0 and seq <= spans[at - 1][1] for seq in seqs]
