"""Rows of `entries` as the proof sees them: their leaves, and whether payloads are what was hashed.

Pure but for the text of its queries. It compares nothing with the tree.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hansard_writer.proof import leaves
from hansard_writer.proof.digests import Digests
from hansard_writer.proof.leaves import SALT_BYTES

Row = tuple[Any, ...]
"""seq, producer, producer_seq, created_at, event_type, level, actor, task_id, payload_hash, and
what is hashed of the payload: salt and payload in one, None where there is neither, empty where one
is without the other, or of another kind: SQLite takes JSON that is stored as bytes for JSONB."""

SEQ: Final = 0
PRODUCER: Final = 1
EVENT_TYPE: Final = 4
HASH: Final = 8
HASHED: Final = 9

_FACTS: Final = "seq, producer, producer_seq, created_at"
_TEXTS: Final = ("event_type", "level", "actor", "task_id")
# One value of two columns: half a microsecond less an entry than to fetch and to join them.
_SALTED: Final = (
    f"CASE WHEN length(salt) = {SALT_BYTES} AND payload < x''"  # texts; a number's hash differs
    " THEN CAST(salt || payload AS BLOB) WHEN coalesce(payload, salt) IS NOT NULL THEN x'' END"
)
_AMONG: Final = "FROM entries WHERE seq BETWEEN ? AND ? ORDER BY seq"
READ: Final = f"SELECT {_FACTS}, {', '.join(_TEXTS)}, payload_hash, {_SALTED} {_AMONG}"
READ_UNDECODED: Final = (
    f"SELECT {_FACTS}, {', '.join(f'CAST({name} AS BLOB)' for name in _TEXTS)},"
    f" payload_hash, {_SALTED} {_AMONG}"
)
"""The same where a text is no UTF-8, which nothing that the writer entered is; see `decoded`."""

PAYLOAD_CHANGED: Final = "its payload or its salt is not what was hashed"
PAYLOAD_ADDED: Final = "it has a payload, and was entered without one"
PAYLOAD_HALF: Final = "of its payload and its salt one is missing, or is of another kind"

_digests = Digests()


def leaf_hashes(rows: Sequence[Row], producers: Mapping[int, bytes | None]) -> bytes:
    """The leaf hashes of rows, joined; ``producers`` has the hash of every producer by its id."""
    version, pack = leaves.LEAF_VERSION, leaves.pack_list
    packed = [
        pack([version, seq, producers[owner], number, at, event_type, level, actor, task, hidden])
        for seq, owner, number, at, event_type, level, actor, task, hidden, _ in rows
    ]
    return b"".join(leaves.leaf_digests(packed))


def unlike_their_hash(rows: Sequence[Row]) -> list[Row]:
    """The rows whose payload is not what their payload_hash is of; redacted ones among them."""
    digests = _digests([row[9] or b"" for row in rows])
    return [row for row, digest in zip(rows, digests, strict=True) if row[8] != (row[9] and digest)]


def is_redacted(row: Row) -> bool:
    """Whether its payload and salt are gone, and the hash is left."""
    return row[HASHED] is None and row[HASH] is not None


def complaint(row: Row) -> str:
    """What is wrong with one that is unlike its hash and not redacted."""
    if not row[HASHED]:
        return PAYLOAD_HALF
    return PAYLOAD_ADDED if row[HASH] is None else PAYLOAD_CHANGED


def payload_text(row: Row) -> str:
    """The payload, empty where there is none."""
    return (row[HASHED] or b"")[SALT_BYTES:].decode(errors="replace")


def decoded(row: Row) -> Row:
    """A row of `READ_UNDECODED` with texts where they are UTF-8. Others stay bytes, and so give
    another leaf than any text."""
    return (*row[:EVENT_TYPE], *map(_decoded, row[EVENT_TYPE:HASH]), *row[HASH:])


def _decoded(data: bytes | None) -> str | bytes | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return data
