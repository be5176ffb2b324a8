"""NATS JetStream as a target, and as a source on the way to another one.

address      what a text names
connection   the client's loop in a thread, and its errors
stream       the stream: made, or looked at
messages     batches as messages, and back          pure
target       the stream as a target
source       the stream as a source
"""

from collections.abc import Callable

from hansard_writer.shipping.jetstream.address import parse_address
from hansard_writer.shipping.jetstream.source import StreamSource, consumer_of
from hansard_writer.shipping.jetstream.target import JetStreamTarget
from hansard_writer.shipping.target import Target
from hansard_writer.shipping.targets import TargetOptions


def opener(text: str, options: TargetOptions) -> Callable[[], Target]:
    """What connects to the target that a text names. Raises `ConfigError`."""
    address = parse_address(text)
    return lambda: JetStreamTarget(address, options.replicas)


def source_opener(text: str, target: str) -> Callable[[], StreamSource]:
    """What connects to the stream that a text names, to read it for the target of that name. Raises
    `ConfigError`."""
    address = parse_address(text)
    return lambda: StreamSource(address, address.consumer or consumer_of(target))
