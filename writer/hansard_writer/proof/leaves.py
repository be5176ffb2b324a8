"""An entry's leaf: which bytes of an entry are hashed, and how a payload is hidden in them. Pure.

The leaf holds the payload's salted hash and not the payload, so that a redacted entry stays
provable; and without the salt nobody can guess a short payload from its hash.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

from hansard_writer.proof.digests import Digests

LEAF_VERSION: Final = 1
SALT_BYTES: Final = 16

_salts = struct.Struct(f"{SALT_BYTES}s").iter_unpack  # faster than slices
_pack = msgpack.Packer().pack  # shortest integers, str, bin, nil
_sha256 = hashlib.sha256

pack_list = msgpack.Packer(strict_types=True).pack
"""What `entry_bytes` makes, of a list of `LEAF_VERSION` and what it takes. Asks of no value whether
it is of a subclass, and refuses it: a tenth less."""

leaf_digests = Digests(b"\x00")  # RFC 6962, section 2.1
"""The leaf hashes of entries as `entry_bytes` has them."""


def payload_hash(salt: bytes, payload: bytes) -> bytes:
    """What an entry's leaf has of its payload, the JSON text in UTF-8."""
    return _sha256(salt + payload).digest()


def entry_bytes(
    seq: int,
    producer_hash: bytes,
    producer_seq: int,
    created_at: int,
    event_type: str,
    level: str,
    actor: str | None,
    task_id: str | None,
    hidden: bytes | None,
) -> bytes:
    """What is hashed of an entry: a msgpack array, behind its version. ``hidden`` is the payload's
    hash, None where the event had no payload; ``created_at`` is in ns since 1970 UTC."""
    facts = (producer_hash, producer_seq, created_at, event_type, level, actor, task_id, hidden)
    packed: bytes = _pack((LEAF_VERSION, seq, *facts))
    return packed


def hide(payloads: Sequence[str | None]) -> tuple[list[bytes | None], list[bytes | None]]:
    """Fresh salts for payloads, and their hashes; None for None."""
    sha256 = _sha256
    random = os.urandom(SALT_BYTES * len(payloads))
    salts: list[bytes | None] = [salt for (salt,) in _salts(random)]
    hashes: list[bytes | None] = [
        None if payload is None else sha256(salt + payload.encode()).digest()  # type: ignore[operator]
        for salt, payload in zip(salts, payloads, strict=True)
    ]
    if None in hashes:
        salts = [None if each is None else salt for salt, each in zip(salts, hashes, strict=True)]
    return salts, hashes


def leaf_hashes(entries: Iterable[tuple[Any, ...]]) -> bytes:
    """The leaf hashes of entries, joined. An entry is a tuple of `LEAF_VERSION` and what
    `entry_bytes` takes, in its order."""
    pack = _pack
    packed = [pack(entry) for entry in entries]  # all, then hashed: by turns costs a tenth more
    return b"".join(leaf_digests(packed))
