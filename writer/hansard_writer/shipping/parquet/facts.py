"""What a file of entries says of itself, in its metadata, beside its rows. Pure.

hansard.origin      the log
hansard.front       the edge of the tree in front of the file's entries, as JSON
hansard.edge        the edge behind them
hansard.proof       the consistency proof from there to the size of the covering checkpoint
hansard.notes       a batch's checkpoints, as long as it waits
"""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hansard_writer.proof.merkle_hash_tree import HASH_BYTES, Edge

_ORIGIN: Final = b"hansard.origin"
_FRONT: Final = b"hansard.front"
_EDGE: Final = b"hansard.edge"
_PROOF: Final = b"hansard.proof"
_NOTES: Final = b"hansard.notes"


class Facts(NamedTuple):
    """Of one file."""

    origin: str
    front: Edge
    edge: Edge
    proof: list[bytes]
    notes: list[str]

    def metadata(self) -> dict[bytes, bytes]:
        """As a file has them."""
        texts = {
            _ORIGIN: self.origin,
            _FRONT: _edge_text(self.front),
            _EDGE: _edge_text(self.edge),
            _PROOF: json.dumps([each.hex() for each in self.proof]),
            _NOTES: json.dumps(self.notes),
        }
        return {key: text.encode() for key, text in texts.items()}


def facts_of(metadata: Mapping[bytes, bytes] | None) -> Facts:
    """What a file says. Raises ValueError where it says nothing that we write."""
    try:
        found = metadata or {}
        return Facts(
            found[_ORIGIN].decode(),
            _edge(json.loads(found[_FRONT])),
            _edge(json.loads(found[_EDGE])),
            [_hashes(each, 1) for each in json.loads(found[_PROOF])],
            [str(each) for each in json.loads(found[_NOTES])],
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata is not what was written there ({error!r:.80})") from error


def _edge_text(edge: Edge) -> str:
    return json.dumps({"size": edge.size, "rows": [row.hex() for row in edge.rows]})


def _edge(found: Any) -> Edge:
    return Edge(int(found["size"]), tuple(_hashes(row) for row in found["rows"]))


def _hashes(text: str, count: int | None = None) -> bytes:
    joined = bytes.fromhex(text)
    if len(joined) % HASH_BYTES or count not in (None, len(joined) // HASH_BYTES):
        raise ValueError("its metadata has a hash of another length")
    return joined
