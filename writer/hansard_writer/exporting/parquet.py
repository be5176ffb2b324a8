"""Entries as Apache Parquet, typed, through pyarrow. Pure: its bytes are collected and handed on.

Columns: ``id`` and ``producer_seq`` (int64); ``created_at`` (timestamp, ns, UTC: exact, and so
without a second column); ``event_type``, ``level``, ``producer`` and ``host`` (strings with a
dictionary); ``actor``, ``task_id`` and ``payload`` (strings; null where there is none); ``pid``
(int64); ``redacted`` (bool). ``payload`` is its JSON text as it was recorded; a null one was never
there, unless ``redacted`` is true. The file's metadata names the log: ``hansard.log_id``, and
``hansard.entries``, how many it had.

A row group is held in memory until it is full, so it is bounded in rows and in bytes. pyarrow is
loaded when the first encoder is made.
"""

import io
from operator import attrgetter
from typing import Any, Final

from hansard.errors import AuditLogError
from hansard.reader import Event, Extent
from hansard_writer.arrow import (
    COMPRESSION,
    ROW_GROUP_BYTES_MAX,
    ROW_GROUP_ENTRIES_MAX,
    load_arrow,
)

BATCH_ENTRIES: Final = 1_000  # that are Python's objects at a time

_COLUMNS: Final = (
    "id", "created_at", "event_type", "level", "actor", "task_id", "payload", "producer",
    "producer_seq", "host", "pid", "redacted",
)  # fmt: skip
_VALUES: Final = attrgetter(
    *("created_at_ns" if name == "created_at" else name for name in _COLUMNS)
)
_MAY_BE_NULL: Final = frozenset({"actor", "task_id", "payload"})


class Parquet:
    """An `Encoder`. Raises `ConfigError` without pyarrow; `add` and `end` raise `AuditLogError`
    for an entry that only an altered log can have."""

    def __init__(self, extent: Extent) -> None:
        self._arrow, parquet = load_arrow()
        self._schema = _schema(self._arrow, extent)
        self._made = _Collected()
        self._writer = parquet.ParquetWriter(self._made, self._schema, compression=COMPRESSION)
        self._rows: list[tuple[Any, ...]] = []  # not packed yet
        self._batches: list[Any] = []
        self._entries = self._payload_bytes = 0  # of both

    def begin(self) -> bytes:
        return self._made.take()

    def add(self, event: Event) -> bytes:
        self._rows.append(_VALUES(event))
        self._entries += 1
        self._payload_bytes += len(event.payload or "")
        if self._entries == ROW_GROUP_ENTRIES_MAX or self._payload_bytes >= ROW_GROUP_BYTES_MAX:
            self._write_row_group()
            return self._made.take()
        if len(self._rows) == BATCH_ENTRIES:
            self._pack()
        return b""

    def end(self) -> bytes:
        if self._entries:
            self._write_row_group()
        self._writer.close()
        return self._made.take()

    def _pack(self) -> None:
        """Python's objects into Arrow's arrays, which take a fraction of the memory."""
        first, last = self._rows[0][0], self._rows[-1][0]
        columns = zip(*self._rows, strict=True)
        self._rows = []
        try:
            arrays = [
                self._arrow.array(values, type=field.type)
                for values, field in zip(columns, self._schema, strict=True)
            ]
        except self._arrow.ArrowException as error:
            raise AuditLogError(
                f"one of the entries {first:,} to {last:,} was altered ({error}); "
                "see `hansard verify`"
            ) from error
        self._batches.append(self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema))

    def _write_row_group(self) -> None:
        if self._rows:
            self._pack()
        table = self._arrow.Table.from_batches(self._batches, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(table))
        self._batches, self._entries, self._payload_bytes = [], 0, 0


class _Collected(io.RawIOBase):
    """A file for pyarrow to write into: what it holds is taken out as it comes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:  # a buffer of any kind
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def take(self) -> bytes:
        """All since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _schema(arrow: Any, extent: Extent) -> Any:
    text, number = arrow.string(), arrow.int64()
    word = arrow.dictionary(arrow.int32(), text)
    types = {
        "id": number,
        "created_at": arrow.timestamp("ns", tz="UTC"),
        "event_type": word,
        "level": word,
        "producer": word,
        "producer_seq": number,
        "host": word,
        "pid": number,
        "redacted": arrow.bool_(),
    }
    fields = [
        arrow.field(name, types.get(name, text), nullable=name in _MAY_BE_NULL) for name in _COLUMNS
    ]
    about = {"hansard.log_id": extent.log_id, "hansard.entries": str(extent.last_id)}
    return arrow.schema(fields, metadata=about)
