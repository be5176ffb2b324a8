"""A stream as a source: its messages in their order, until they are acked.

How far a target has got, the target alone says. The durable consumer only spares it what it has
had: one that is gone is made again, and begins at the beginning. Messages always come in the order
of the stream: where some were delivered and not acked, or got lost on the way, the consumer is set
back to the first of these, so that none is overtaken by those behind it.
"""

import hashlib
from typing import Any, Final

from hansard_writer.shipping.jetstream.address import Address
from hansard_writer.shipping.jetstream.connection import Connection
from hansard_writer.shipping.jetstream.messages import SUBJECTS, Message
from hansard_writer.shipping.jetstream.stream import existing_stream
from hansard_writer.shipping.target import TargetUnavailable

FETCHED_MAX: Final = 16  # at once; fewer where they take longer than is waited for them
FETCH_S: Final = 1.0
ACK_WAIT_S: Final = 60.0
UNACKED_MAX: Final = 10_000  # parts of messages that are not complete are not acked
_NAME_CHARACTERS: Final = 16


def consumer_of(target: str) -> str:
    """The name of the consumer that reads for a target: each target has its own."""
    return "hansard-" + hashlib.sha256(target.encode()).hexdigest()[:_NAME_CHARACTERS]


def asked_next(asked: int, came: list[Message]) -> int:
    """How many messages to ask for, when so many were asked for and these have come in time: where
    the way is slow, what was asked for is still on it."""
    if came and len(came) < asked and came[-1].pending:
        return len(came)
    return min(2 * asked, FETCHED_MAX)


class StreamSource:
    """Messages of the stream that a target has not acked. One thread's, and one at a time reads for
    a target: a second one is noticed, and both begin again where they were. ``end`` is the number
    of the last message that was there when this was made."""

    def __init__(self, address: Address, consumer: str) -> None:
        self.name = address.name
        self._stream, self._consumer = address.stream, consumer
        self._ask_for = FETCHED_MAX
        self._connection = Connection(address)
        try:
            self.end: int = existing_stream(self._connection, self._stream).state.last_seq
            self._delivered = self._begin()
            pulled = self._connection.stream.pull_subscribe_bind(consumer, self._stream)
            self._pulled: Any = self._connection.wait(pulled)
        except BaseException:
            self.close()
            raise

    def fetch(self) -> list[Message]:
        """The messages that come next; none where there are none for a while."""
        try:
            fetched = self._connection.wait(_fetched(self._pulled, self._ask_for))
        except _not_found() as error:
            raise TargetUnavailable(f"{self.name}: the consumer is gone") from error
        if self._connection.reconnects:
            raise TargetUnavailable(f"{self.name}: the connection was lost in between")
        messages = [_message(each) for each in fetched]
        for each in fetched:
            if each.metadata.sequence.consumer != self._delivered + 1:
                raise TargetUnavailable(
                    f"{self.name}: messages went elsewhere, or got lost (consumer "
                    f"{self._consumer}): one relay at a time ships to a target"
                )
            self._delivered += 1
        self._ask_for = asked_next(self._ask_for, messages)
        return messages

    def ack(self, messages: list[Message]) -> None:
        """They are done with. Where this gets lost, they come again."""
        self._connection.wait(_acked(messages))

    def is_at_end(self) -> bool:
        """Whether nothing is left in the stream, or on its way. To be asked where nothing was
        fetched."""
        info = self._info()
        has_come: bool = info.delivered.consumer_seq == self._delivered
        return has_come and info.num_pending == 0

    def close(self) -> None:
        """Let go of it. Idempotent, and raises nothing."""
        self._connection.close()

    # --- inside ---

    def _begin(self) -> int:
        """Have the consumer there, with nothing delivered that is not acked; how often it has
        delivered."""
        try:
            info = self._info()
        except _not_found():
            self._make(1)
            return 0
        acked: int = info.ack_floor.stream_seq
        is_of_this_stream = info.delivered.stream_seq <= self.end
        if is_of_this_stream and not info.num_ack_pending:
            delivered: int = info.delivered.consumer_seq
            return delivered
        jetstream = self._connection.stream
        self._connection.wait(jetstream.delete_consumer(self._stream, self._consumer))
        self._make(acked + 1 if is_of_this_stream else 1)  # its end was lost, in a power cut
        return 0

    def _make(self, first: int) -> None:
        self._connection.wait(
            self._connection.stream.add_consumer(
                self._stream,
                durable_name=self._consumer,
                deliver_policy="by_start_sequence",
                opt_start_seq=first,
                ack_policy="explicit",
                ack_wait=ACK_WAIT_S,
                max_ack_pending=UNACKED_MAX,
                filter_subject=SUBJECTS,
            )
        )

    def _info(self) -> Any:
        info = self._connection.stream.consumer_info(self._stream, self._consumer)
        return self._connection.wait(info)


def _message(fetched: Any) -> Message:
    metadata = fetched.metadata
    return Message(
        metadata.sequence.stream, fetched.subject, fetched.headers or {}, fetched.data,
        metadata.num_pending, fetched,
    )  # fmt: skip


async def _fetched(pulled: Any, most: int) -> list[Any]:
    """Several messages; none after a while."""
    try:
        fetched: list[Any] = await pulled.fetch(most, timeout=FETCH_S)
    except TimeoutError:
        return []
    return fetched


async def _acked(messages: list[Message]) -> None:
    for message in messages:
        await message.handle.ack()


def _not_found() -> type[Exception]:
    from nats.js.errors import NotFoundError

    found: type[Exception] = NotFoundError
    return found
