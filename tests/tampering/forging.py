"""What a forger of a log's proof has to compute: leaves, trees and signed notes. Pure.

Sources: DESIGN, section 7; RFC 6962, section 2.1; https://c2sp.org/signed-note and
https://c2sp.org/tlog-checkpoint. Nothing here is the product's.
"""

import base64
import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROW_NODES = 16


class Signer(NamedTuple):
    """A key, and the name it signs in."""

    name: str
    key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        """The signature type and the public half."""
        return b"\x01" + self.key.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.public).digest()[:4]

    @property
    def verifier_key(self) -> str:
        """As outsiders get it."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.public).decode()}"


def new_signer(name: str) -> Signer:
    """A key of the forger's own, in whatever name."""
    return Signer(name, Ed25519PrivateKey.generate())


def payload_hash(salt: bytes, payload: str) -> bytes:
    return hashlib.sha256(salt + payload.encode()).digest()


def leaf_hash(entry: dict[str, Any], producer_hash: bytes) -> bytes:
    """The leaf of a row of `entries`."""
    hashed = [
        1,
        entry["seq"],
        producer_hash,
        entry["producer_seq"],
        entry["created_at"],
        entry["event_type"],
        entry["level"],
        entry["actor"],
        entry["task_id"],
        entry["payload_hash"],
    ]
    return hashlib.sha256(b"\x00" + msgpack.packb(hashed)).digest()


class Tree:
    """The tree of a log: leaves by index from 0; and nodes, by level and index, of as many leaves
    as 16 to the level's power, for where leaves are gone."""

    def __init__(
        self, size: int, leaves: Mapping[int, bytes], nodes: Mapping[tuple[int, int], bytes]
    ) -> None:
        self.size = size
        self._leaves = leaves
        self._nodes = nodes
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, size: int) -> bytes:
        """Of the first leaves. Raises KeyError where too much of them is gone."""
        return self._hash(0, size) if size else hashlib.sha256(b"").digest()

    def rows(self) -> dict[tuple[int, int], bytes]:
        """The rows of the table `tree`, by level and idx: of whole subtrees only, as far as their
        nodes can be known."""
        rows: dict[tuple[int, int], bytes] = {}
        level = 0
        while count := self.size // ROW_NODES**level:
            width = ROW_NODES**level
            for idx in range(-(-count // ROW_NODES)):
                places = range(ROW_NODES * idx, min(ROW_NODES * (idx + 1), count))
                with contextlib.suppress(KeyError):
                    hashes = [self._hash(at * width, (at + 1) * width) for at in places]
                    rows[level, idx] = b"".join(hashes)
            level += 1
        return rows

    def _hash(self, start: int, end: int) -> bytes:
        """MTH(D[start:end]), as RFC 6962 writes it down."""
        if (start, end) not in self._known:
            self._known[start, end] = self._made(start, end)
        return self._known[start, end]

    def _made(self, start: int, end: int) -> bytes:
        if end - 1 not in self._leaves and (kept := self._kept(start, end)):
            return kept
        if end - start == 1:
            return self._leaves[start]
        k = 1
        while 2 * k < end - start:
            k *= 2
        left, right = self._hash(start, start + k), self._hash(start + k, end)
        return hashlib.sha256(b"\x01" + left + right).digest()

    def _kept(self, start: int, end: int) -> bytes | None:
        level = 0
        while ROW_NODES**level < end - start:
            level += 1
        if ROW_NODES**level != end - start:
            return None
        return self._nodes.get((level, start // (end - start)))


def checkpoint_text(origin: str, size: int, root_hash: bytes) -> str:
    return f"{origin}\n{size}\n{base64.b64encode(root_hash).decode()}\n"


def signed(text: str, signers: Sequence[Signer]) -> str:
    """The note of a text."""
    lines = []
    for signer in signers:
        signature = signer.key_id + signer.key.sign(text.encode())
        lines.append(f"— {signer.name} {base64.b64encode(signature).decode()}\n")
    return f"{text}\n{''.join(lines)}"


def key_id_of(line: str) -> bytes:
    """Whose a signature line is."""
    return base64.b64decode(line.rpartition(" ")[2])[:4]
