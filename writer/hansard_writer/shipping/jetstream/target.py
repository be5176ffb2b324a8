"""A stream as a target: a log's batches, one behind the other, under the log's subject.

It keeps no state of its own. Every message says behind which one of its subject it comes, and the
servers refuse it anywhere else: so a second shipper, or a message that is sent again however late,
puts nothing in twice or out of order. (They look at that first, and at the message's id after it:
where that is known all the same, somebody has removed or copied messages, and it is left out.)
"""

from typing import Any, NamedTuple

from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.shipping.batch import Batch, Checked
from hansard_writer.shipping.jetstream.address import Address
from hansard_writer.shipping.jetstream.connection import Connection, WrongLast
from hansard_writer.shipping.jetstream.messages import (
    EXPECTED_LAST,
    EXPECTED_STREAM,
    HEADER_BYTES_MAX,
    MESSAGE_ID,
    PARTS_MAX,
    Outgoing,
    edge_of,
    outgoing,
    subject_of,
)
from hansard_writer.shipping.jetstream.stream import open_stream
from hansard_writer.shipping.target import TargetRefused


class Position(NamedTuple):
    """Where a log has got to in the stream: its last message there, 0 for none, and the edge."""

    last: int
    edge: Edge


class JetStreamTarget:
    """See `Target`. ``batch_bytes_max``: what fits into one message, most of the time."""

    def __init__(self, address: Address, replicas: int) -> None:
        self.name = address.name
        self._stream = address.stream
        self._positions: dict[str, Position] = {}
        self._connection = Connection(address)
        try:
            self._message_bytes_max = open_stream(self._connection, self._stream, replicas)
        except BaseException:
            self.close()
            raise
        self.batch_bytes_max = self._message_bytes_max - HEADER_BYTES_MAX

    def edge(self, origin: str) -> Edge:
        """See `Target`. Nobody is kept from shipping the same log: see the module."""
        position = self._positions[origin] = self._position(origin)
        return position.edge

    def append(self, batch: Batch, checked: Checked) -> None:
        """See `Target`."""
        last, edge = self._positions.pop(batch.origin)
        messages = outgoing(
            batch, edge, checked.edge, expected_last=last,
            message_bytes_max=self._message_bytes_max,
        )  # fmt: skip
        if len(messages) > PARTS_MAX:
            raise TargetRefused(
                f"entries {batch.before + 1:,} to {batch.last:,} of {batch.origin} are more than "
                f"{PARTS_MAX} messages of {self.name}: raise max_payload of its servers"
            )
        for message in messages:
            last = self._published(message, last)
        self._positions[batch.origin] = Position(last, checked.edge)

    def close(self) -> None:
        """See `Target`."""
        self._connection.close()

    # --- inside ---

    def _position(self, origin: str) -> Position:
        message = self._last_message(subject_of(origin))
        if message is None:
            return Position(0, Edge())
        edge = edge_of(message.headers)
        if edge is None:
            raise TargetRefused(
                f"message {message.seq} of the stream {self._stream} of {self.name} is the last "
                f"of {origin}, and was put there by somebody else: remove it, `nats stream rmm "
                f"{self._stream} {message.seq}`, and let nobody else publish {message.subject}"
            )
        return Position(message.seq, edge)

    def _last_message(self, subject: str) -> Any:
        from nats.js.errors import NotFoundError

        stream = self._connection.stream
        try:
            return self._connection.wait(stream.get_last_msg(self._stream, subject))
        except NotFoundError:
            return None

    def _published(self, message: Outgoing, last: int) -> int:
        """The number of a message that was put behind the one with the number ``last``."""
        try:
            return self._acked(message, last)
        except WrongLast:
            if not last or self._last_message(message.subject) is not None:
                raise
        # The limits of the stream have taken the one that it should come behind.
        return self._acked(message, 0)

    def _acked(self, message: Outgoing, last: int) -> int:
        headers = message.headers | {EXPECTED_LAST: str(last), EXPECTED_STREAM: self._stream}
        stream = self._connection.stream
        ack = self._connection.wait(stream.publish(message.subject, message.data, headers=headers))
        if ack.duplicate:  # of one that was removed, or stands in front of one that was copied
            del headers[MESSAGE_ID]
            publish = stream.publish(message.subject, message.data, headers=headers)
            ack = self._connection.wait(publish)
        number: int = ack.seq
        return number
