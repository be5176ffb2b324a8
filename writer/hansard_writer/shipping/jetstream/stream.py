"""The stream of batches: made where it is missing, and looked at where it is there.

It is never altered: whoever runs the servers does that, and is told what is wrong with it.
"""

import logging
from typing import Any, Final

from hansard_writer.shipping.jetstream.connection import Connection
from hansard_writer.shipping.jetstream.messages import HEADER_BYTES_MAX, SUBJECTS, covers
from hansard_writer.shipping.target import TargetRefused, TargetUnavailable

DEDUPLICATION_S: Final = 120.0

_LIMITS: Final = "limits"
_NEW: Final = "new"
_ROOM_BYTES_MIN: Final = 64 << 10

_logger = logging.getLogger("hansard.shipping")


def open_stream(connection: Connection, name: str, replicas: int) -> int:
    """Have the stream there; how large its messages may be. Raises `TargetRefused` where it cannot
    be made, or is not one that keeps batches."""
    from nats.js.errors import NotFoundError

    try:
        config = connection.wait(connection.stream.stream_info(name)).config
    except NotFoundError:
        config = _made(connection, name, replicas)
    return checked(config, connection.name, connection.message_bytes_max)


def existing_stream(connection: Connection, name: str) -> Any:
    """What there is to say of a stream that others make. Raises `TargetUnavailable` while it is
    missing."""
    from nats.js.errors import NotFoundError

    try:
        return connection.wait(connection.stream.stream_info(name))
    except NotFoundError as error:
        raise TargetUnavailable(
            f"{connection.name} has no stream {name}: `hansard ship {connection.name}` on a host "
            "with a log makes it"
        ) from error


def checked(config: Any, name: str, message_bytes_max: int) -> int:
    """How large the messages of a stream may be. Raises `TargetRefused` for a stream that cannot
    keep batches; of one that may lose them, a line of log says so."""
    stream = f"the stream {config.name} of {name}"
    if not any(covers(pattern, SUBJECTS) for pattern in config.subjects or []):
        raise TargetRefused(f"{stream} does not have the subjects {SUBJECTS}: add them to it")
    if config.retention != _LIMITS or config.no_ack or config.sealed:
        raise TargetRefused(
            f"{stream} has to keep what is acked, to ack what it takes, and not to be sealed: "
            "remove it, and it is made as it should be; or name another one, ?stream=NAME"
        )
    for says, loses in (
        (config.discard != _NEW, "discards the oldest messages when it is full"),
        (bool(config.max_age), "has a max_age"),
        ((config.max_msgs_per_subject or 0) > 0, "has a limit of messages a subject"),
    ):
        if says:
            _logger.warning(
                "%s %s: what a relay has not read until then has to be shipped to its target "
                "directly, and a log whose last message goes is shipped again from its beginning",
                stream,
                loses,
            )
    if config.max_msg_size and config.max_msg_size > 0:
        message_bytes_max = min(message_bytes_max, config.max_msg_size)
    if message_bytes_max < HEADER_BYTES_MAX + _ROOM_BYTES_MIN:
        raise TargetRefused(
            f"messages of {stream} can have {message_bytes_max:,} bytes, which is too little: "
            "raise max_payload of the servers, and max_msg_size of the stream"
        )
    return message_bytes_max


def _made(connection: Connection, name: str, replicas: int) -> Any:
    made = connection.wait(
        connection.stream.add_stream(
            name=name,
            subjects=[SUBJECTS],
            storage="file",
            retention=_LIMITS,
            discard=_NEW,  # it says when it is full, and forgets nothing
            num_replicas=replicas,
            duplicate_window=DEDUPLICATION_S,
        )
    )
    return made.config
