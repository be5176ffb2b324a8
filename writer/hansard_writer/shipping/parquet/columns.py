"""Entries as columns of Arrow, and back again as the rows that verification reads. Pure.

``origin``, ``event_type``, ``level``, ``actor``, ``task_id``, ``producer`` (the producer's hash in
hex) and ``host`` are strings; ``seq``, ``producer_seq`` and ``pid`` int64; ``created_at`` is a
timestamp in ns, UTC; ``payload`` is its JSON text, character by character; ``redacted`` says that
there was one; ``salt``, ``payload_hash`` and ``leaf``, the hash of the entry's leaf, are binary.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from hansard_writer.arrow import COMPRESSION
from hansard_writer.proof.leaves import SALT_BYTES
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES
from hansard_writer.proof.verifying.entry_rows import SEQ, Row, decoded, is_redacted
from hansard_writer.shipping.batch import Batch
from hansard_writer.shipping.far_end import Page

NANOSECONDS: Final = pa.timestamp("ns", tz="UTC")
_MAY_BE_NULL: Final = frozenset({"actor", "task_id", "payload", "salt", "payload_hash"})
_TYPES: Final = {
    "origin": pa.string(),
    "seq": pa.int64(),
    "created_at": NANOSECONDS,
    "event_type": pa.string(),
    "level": pa.string(),
    "actor": pa.string(),
    "task_id": pa.string(),
    "payload": pa.string(),
    "producer": pa.string(),
    "producer_seq": pa.int64(),
    "host": pa.string(),
    "pid": pa.int64(),
    "redacted": pa.bool_(),
    "salt": pa.binary(),
    "payload_hash": pa.binary(),
    "leaf": pa.binary(),
}
SCHEMA: Final = pa.schema(
    [pa.field(name, type_, nullable=name in _MAY_BE_NULL) for name, type_ in _TYPES.items()]
)

_RANDOM: Final = frozenset({"salt", "payload_hash", "leaf"})  # neither small nor alike
WRITING: Final = {
    "compression": {name: "none" if name in _RANDOM else COMPRESSION for name in _TYPES},
    "use_dictionary": ["origin", "event_type", "level", "actor", "task_id", "producer", "host"],
    "write_statistics": ["seq", "created_at"],  # of a payload they would have its text
}
"""How a file of these columns is written."""

_TEXTS: Final = ("event_type", "level", "actor", "task_id")
_READ: Final = [name for name in _TYPES if name not in ("host", "pid")]
_NOBODY: Final = -1
FLAG_DIFFERS: Final = "its column redacted does not say what its payload and its hash say"
ORIGIN_DIFFERS: Final = "its column origin names another log"


def table_of(batch: Batch, leaves: bytes, metadata: Mapping[bytes, bytes]) -> Any:
    """The entries of a batch. Raises ArrowException and OverflowError for what no column takes."""
    rows, owners = batch.rows, batch.owners
    seqs, owner, numbers, at, event_types, levels, actors, tasks, hashes, hashed = zip(
        *rows, strict=True
    )
    owned_by = pa.array(owner, pa.int64())
    payload_hash = pa.array(hashes, pa.binary())
    payload = pa.array([each and each[SALT_BYTES:] for each in hashed], pa.binary())
    columns = {
        "origin": pa.repeat(batch.origin, len(rows)),
        "seq": seqs,
        "created_at": pa.array(at, pa.int64()).cast(NANOSECONDS),
        "event_type": event_types,
        "level": levels,
        "actor": actors,
        "task_id": tasks,
        "payload": payload.cast(pa.string()),
        "producer": pa.array([each.producer_hash.hex() for each in owners]).take(owned_by),
        "producer_seq": numbers,
        "host": pa.array([each.host for each in owners]).take(owned_by),
        "pid": pa.array([each.pid for each in owners], pa.int64()).take(owned_by),
        "redacted": pc.and_(payload_hash.is_valid(), payload.is_null()),
        "salt": [each and each[:SALT_BYTES] for each in hashed],
        "payload_hash": payload_hash,
        "leaf": _hashes(leaves),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA.with_metadata(dict(metadata)))


def leaves_of(table: Any) -> bytes:
    """The leaf hashes of a table's entries, joined."""
    return b"".join(table["leaf"].to_pylist())


def without(table: Any, gone: list[bool]) -> Any:
    """The same entries; those that are marked without payload and salt, and as redacted where
    there was something."""
    mask = pa.array(gone)
    redacted = pc.or_(table["redacted"], pc.and_(mask, table["payload_hash"].is_valid()))
    changed = {"redacted": redacted}
    for name in ("payload", "salt"):
        changed[name] = pc.if_else(mask, pa.scalar(None, _TYPES[name]), table[name])
    columns = [changed.get(name, table[name]) for name in _TYPES]
    return pa.Table.from_arrays(columns, schema=table.schema)


def pages_of(file: Any, origin: str, entries_max: int) -> Iterator[Page]:
    """The entries of an open Parquet file, in pages within its row groups. Raises
    ArrowException, ValueError, TypeError and KeyError for what is no file of ours."""
    for group in range(file.num_row_groups):
        for batch in file.iter_batches(entries_max, [group], columns=_READ, use_threads=False):
            yield _page(batch, origin)


def _page(batch: Any, origin: str) -> Page:
    found = {name: batch.column(name).cast(_TYPES[name]) for name in _READ}
    producers = found["producer"].dictionary_encode()
    hashed = map(_salted, found["salt"].to_pylist(), found["payload"].cast(pa.binary()).to_pylist())
    facts = (
        found["seq"],
        producers.indices.fill_null(_NOBODY),
        found["producer_seq"],
        found["created_at"].cast(pa.int64()),
    )
    texts, are_texts = _texts([found[name] for name in _TEXTS])
    columns = [each.to_pylist() for each in facts] + texts + [found["payload_hash"].to_pylist()]
    rows: list[Row] = list(zip(*columns, hashed, strict=True))
    if not are_texts:
        rows = [decoded(row) for row in rows]
    hashes = producers.dictionary.cast(pa.binary()).to_pylist()
    owners = {_NOBODY: None} | dict(enumerate(map(_unhex, hashes)))
    return Page(rows, owners, found["leaf"].to_pylist(), list(_misfits(found, rows, origin)))


def _texts(columns: list[Any]) -> tuple[list[list[Any]], bool]:
    """Their values, and whether these are texts: bytes, where one is no UTF-8."""
    try:
        return [each.to_pylist() for each in columns], True
    except UnicodeDecodeError:
        return [each.cast(pa.binary()).to_pylist() for each in columns], False


def _misfits(found: Mapping[str, Any], rows: list[Row], origin: str) -> Iterator[tuple[int, str]]:
    """What is wrong with columns that only those read who ask the files."""
    flags, origins = found["redacted"].to_pylist(), found["origin"]
    is_one = pc.all(pc.equal(origins, origin), skip_nulls=False).as_py()
    named = [origin] * len(rows) if is_one else origins.cast(pa.binary()).to_pylist()
    for row, flag, name in zip(rows, flags, named, strict=True):
        if flag is not is_redacted(row):
            yield row[SEQ], FLAG_DIFFERS
        if name not in (origin, origin.encode()):
            yield row[SEQ], ORIGIN_DIFFERS


def _salted(salt: bytes | None, payload: bytes | None) -> bytes | None:
    """As rows have it: empty, where one is without the other."""
    if salt is None and payload is None:
        return None
    if salt is None or payload is None or len(salt) != SALT_BYTES:
        return b""
    return salt + payload


def _unhex(text: bytes | None) -> bytes | None:
    try:
        return bytes.fromhex((text or b"").decode())
    except ValueError:
        return None


def _hashes(joined: bytes) -> Any:
    fixed = pa.binary(HASH_BYTES)
    buffers = [None, pa.py_buffer(joined)]
    array = pa.Array.from_buffers(fixed, len(joined) // HASH_BYTES, buffers)
    return array.cast(pa.binary())
