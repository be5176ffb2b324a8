"""The edge of a tree as bytes. Pure."""

import msgpack

from hansard_writer.proof.merkle_hash_tree import Edge


def pack_edge(edge: Edge) -> bytes:
    """An edge as msgpack: its size, and its rows."""
    packed: bytes = msgpack.packb([edge.size, list(edge.rows)])
    return packed


def unpack_edge(data: bytes) -> Edge:
    """The edge that bytes are. Raises ValueError."""
    try:
        size, rows = msgpack.unpackb(data)
        if type(size) is int and all(type(row) is bytes for row in rows):
            return Edge(size, tuple(rows))
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise ValueError("these bytes are no edge of a tree") from error
    raise ValueError("these bytes are no edge of a tree")
