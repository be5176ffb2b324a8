"""Rows of a batch as PostgreSQL's binary COPY has them. Pure.

The format: "Binary Format" in the manual's page of COPY; of JSONB one byte of version, then text.
Assembled by hand, since psycopg formats value by value, which takes four times as long.
"""

import re
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from hansard_writer.proof.leaves import SALT_BYTES
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES
from hansard_writer.proof.verifying.entry_rows import HASHED, Row

COLUMNS: Final = (
    "origin", "seq", "producer", "producer_seq", "created_at", "leaf", "event_type", "level",
    "actor", "task_id", "payload_hash", "salt", "payload", "document",
)  # fmt: skip
PIECE_ROWS: Final = 500
TEXTS_REMEMBERED_MAX: Final = 10_000  # with others than these, it starts over
PLAIN_BYTES_MAX: Final = 16_384  # a number of more digits than `numeric` takes is longer than that

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)  # no flags, no extension
_TRAILER: Final = struct.pack("!h", -1)
_NULL: Final = struct.pack("!i", -1)
_NO_PAYLOAD: Final = _NULL * 4
_JSONB_VERSION: Final = 1

_facts = struct.Struct(f"!h ii iq ii iq iq i{HASH_BYTES}s").pack
_hidden = struct.Struct(f"!i{HASH_BYTES}s").pack
_salted = struct.Struct(f"!i{HASH_BYTES}s i{SALT_BYTES}s i").pack  # and the payload's length
_jsonb = struct.Struct("!ib").pack
_length = struct.Struct("!i").pack
_leaves = struct.Struct(f"{HASH_BYTES}s").iter_unpack

# What JSONB refuses though it is JSON, where that can be seen at a glance: U+0000, and halves of
# surrogate pairs. A pair is not refused; the server is asked.
_suspicious = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])").search


class CopyEncoder:
    """Makes the data of one COPY after the other. One thread's."""

    def __init__(self) -> None:
        self._texts: dict[tuple[str | None, ...], bytes] = {}

    def encode(
        self,
        origin: int,
        rows: Sequence[Row],
        leaves: bytes,
        producers: Mapping[int, int],
        refused: Collection[int],
    ) -> Iterator[bytes]:
        """The data of a COPY of `COLUMNS`, piece by piece: the server works on the one while the
        next is made. ``producers``: their ids in the database, by those in the rows; ``refused``:
        the seqs of rows whose payload JSONB does not take."""
        yield _HEADER
        for start in range(0, len(rows), PIECE_ROWS):
            piece = rows[start : start + PIECE_ROWS]
            hashes = leaves[start * HASH_BYTES : (start + PIECE_ROWS) * HASH_BYTES]
            yield self._piece(origin, piece, hashes, producers, refused)
        yield _TRAILER

    def _piece(
        self,
        origin: int,
        rows: Sequence[Row],
        leaves: bytes,
        producers: Mapping[int, int],
        refused: Collection[int],
    ) -> bytes:
        known = self._texts
        if len(known) > TEXTS_REMEMBERED_MAX:
            known.clear()
        parts: list[bytes] = []
        add = parts.append
        count, fixed = len(COLUMNS), HASH_BYTES
        for row, (leaf,) in zip(rows, _leaves(leaves), strict=True):
            seq, owner, number, created_at, _, _, _, _, hidden, hashed = row
            add(
                _facts(
                    count, 4, origin, 8, seq, 4, producers[owner], 8, number, 8, created_at, fixed,
                    leaf,
                )
            )  # fmt: skip
            texts = row[4:8]
            add(known.get(texts) or self._encoded(texts))
            if hashed is None:
                add(_NO_PAYLOAD if hidden is None else _hidden(fixed, hidden) + _NO_PAYLOAD[4:])
                continue
            payload = hashed[SALT_BYTES:]
            size = len(payload)
            add(_salted(fixed, hidden, SALT_BYTES, hashed, size))  # of it the first bytes
            add(payload)
            if seq in refused:
                add(_NULL)
            else:
                add(_jsonb(size + 1, _JSONB_VERSION))
                add(payload)
        return b"".join(parts)

    def _encoded(self, texts: tuple[str | None, ...]) -> bytes:
        parts = []
        for text in texts:
            if text is None:
                parts.append(_NULL)
            else:
                data = text.encode()
                parts += _length(len(data)), data
        encoded = self._texts[texts] = b"".join(parts)
        return encoded


def suspects(rows: Sequence[Row]) -> list[int]:
    """The indices of rows whose payload JSONB may refuse. Of others it refuses hardly any: numbers
    beyond what `numeric` has."""
    return [
        at
        for at, row in enumerate(rows)
        if (hashed := row[HASHED]) and (len(hashed) > PLAIN_BYTES_MAX or _suspicious(hashed))
    ]
