"""The proof, once more: written from the contract (DESIGN section 7) and RFC 6962, section 2.1.

Like the checker it knows words and schema, and nothing of the product's code. Logs that nobody has
redacted or pruned only.
"""

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import apsw
import msgpack

ROW = 16  # hashes of a row of `tree`; a node of level L is of ROW**L leaves


def check_proof(connection: apsw.Connection) -> None:
    """Leaves are of what the columns hold, the tree is of the leaves, and so is every checkpoint;
    fails with the first thing that is not."""
    leaves = [_leaf(*row) for row in connection.execute(
        "SELECT seq, producer_hash, producer_seq, e.created_at, event_type, level, actor, task_id,"
        " payload_hash, payload, salt FROM entries AS e JOIN producers AS p ON p.id = producer"
        " ORDER BY seq"
    )]  # fmt: skip
    rows = connection.execute("SELECT level, idx, hashes FROM tree ORDER BY level, idx").fetchall()
    assert rows == _tree(leaves), "the tree is not that of the leaves"
    for size, note in connection.execute("SELECT size, note FROM checkpoints"):
        _, said, root, *_ = note.split("\n")
        assert int(said) == size <= len(leaves), f"checkpoint of size {size}: says {said}"
        expected = base64.b64encode(_hash_of(leaves[:size])).decode()
        assert root == expected, f"checkpoint of size {size}: another root"


def _leaf(seq: int, *facts: Any) -> bytes:
    *hashed, payload_hash, payload, salt = facts
    expected = None if payload is None else hashlib.sha256(salt + payload.encode()).digest()
    assert payload_hash == expected, f"entry {seq}: its payload is not what was hashed"
    assert salt is None or len(salt) == 16, f"entry {seq}: a salt of {len(salt)} bytes"
    entry = msgpack.packb([1, seq, *hashed, payload_hash], use_bin_type=True)
    return hashlib.sha256(b"\x00" + entry).digest()


def _tree(leaves: list[bytes]) -> list[tuple[int, int, bytes]]:
    """The rows of all levels."""
    rows, level, nodes = [], 0, leaves
    while nodes:
        starts = range(0, len(nodes), ROW)
        rows += [(level, at // ROW, b"".join(nodes[at : at + ROW])) for at in starts]
        nodes = [_hash_of(nodes[at : at + ROW]) for at in starts if at + ROW <= len(nodes)]
        level += 1
    return rows


def _hash_of(hashes: Sequence[bytes]) -> bytes:
    """MTH, of leaf hashes, or of complete subtrees of one size."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + _hash_of(hashes[:k]) + _hash_of(hashes[k:])).digest()
