"""Named operations, seen by their caller: one call, and what became of it.

A call is sent once, never again by itself, and never in vain without saying so: nothing here is
best effort.
"""

import os
import re
import time
from typing import Any, Final, NamedTuple

import msgpack

from hansard import requester, wire
from hansard.errors import AckTimeout, AuditLogError, InvalidEvent, Rejected, WriterUnavailable
from hansard.served_by import Writer
from hansard.wording import kind_of

TIMEOUT_S: Final = 5.0
FOR_THE_ANSWER: Final = 0.05  # of the timeout: so that "it ran too long" is heard in time

_NAME: Final = re.compile(wire.EVENT_TYPE_PATTERN)


class CallKey(bytes):
    """The name of one call, 16 bytes: what `AuditLog.lookup` settles it by."""

    __slots__ = ()


class CallOutcome(NamedTuple):
    """What became of a call. Immutable.

    * ``status``: ``committed`` with the ``result``; ``rejected`` with the ``reason``, and nothing
      of it was kept; ``queued``: it will be run, or rejected, soon; ``unknown``: the log knows no
      such call. Once the call's timeout has passed, unknown means that it was not run and never
      will be; outcomes are forgotten after an hour, though.
    """

    status: str
    result: Any
    reason: str | None
    key: CallKey


def call(writer: Writer, name: str, params: Any, timeout: float) -> Any:
    """Run the operation ``name`` in a writer; its result.

    Raises what `AuditLog.call` says.
    """
    check_name(name)
    _check_timeout(timeout)
    try:
        packed = pack_value("params", params)
    except ValueError as error:
        raise InvalidEvent(str(error)) from error
    key = CallKey(os.urandom(wire.CALL_ID_BYTES))
    deadline = time.time_ns() + round(timeout * (1 - FOR_THE_ANSWER) * 1e9)
    request = wire.pack_request(wire.Call(key, name, packed, deadline))
    try:
        _, content = requester.ask(writer, request, timeout)
        outcome = _outcome(key, content)
    except WriterUnavailable as error:
        if not error.was_sent:
            raise
        what = (
            f"{writer.gone} during the call of {name!r}"
            if error.writer_ended
            else f"did not answer the call of {name!r} within {timeout:g} s"
        )
        raise _unknown(f"{writer.name} {what}", key) from None
    except wire.WireError as error:
        raise _unknown(f"the call of {name!r} was not answered: {error}", key) from error
    if outcome.status == wire.COMMITTED:
        return outcome.result
    raise Rejected(f"the operation {name!r} was rejected: {outcome.reason}")


def look_up(writer: Writer, key: bytes, timeout: float) -> CallOutcome:
    """What became of the call with this key. Raises `WriterUnavailable` when nobody answers: a
    call that nobody was asked about MUST NOT be taken for one that was not run."""
    if len(key) != wire.CALL_ID_BYTES:
        raise InvalidEvent(
            f"key is {key!r:.100}: it must be a CallKey, so {wire.CALL_ID_BYTES} bytes"
        )
    key = CallKey(key)
    try:
        _, content = requester.ask(writer, wire.pack_request(wire.LookupCall(key)), timeout)
        return _outcome(key, content)
    except wire.WireError as error:
        raise AuditLogError(f"lookup: {error}") from error


def check_name(name: object) -> None:
    """Raises `InvalidEvent` unless ``name`` may be an operation's: the pattern of an event type."""
    if not isinstance(name, str):
        raise InvalidEvent(f"name is {kind_of(name)}: it must be a string")
    if not (_NAME.fullmatch(name) and len(name) <= wire.EVENT_TYPE_CHARS_MAX):
        raise InvalidEvent(
            f"name is {name!r:.300}: it must start with a letter and go on with letters, digits "
            f"and _ . : / -, at most {wire.EVENT_TYPE_CHARS_MAX} in all"
        )


def pack_value(what: str, value: object) -> bytes:
    """``value`` as msgpack that can be unpacked again; raises `ValueError` naming ``what``."""
    try:
        packed: bytes = msgpack.packb(value)
        if len(packed) <= wire.CALL_VALUE_BYTES_MAX:
            unpack_value(packed)  # a tuple as a key goes in, and does not come out
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise ValueError(
            f"{what} cannot be carried by msgpack ({error}): use None, booleans, integers of 64 "
            "bits, floats, strings, bytes, and lists and dictionaries of these"
        ) from error
    if len(packed) > wire.CALL_VALUE_BYTES_MAX:
        raise ValueError(
            f"{what} has {len(packed):,} bytes: at most {wire.CALL_VALUE_BYTES_MAX:,} are allowed"
        )
    return packed


def unpack_value(packed: bytes) -> Any:
    """The value of `pack_value`; tuples come back as lists."""
    return msgpack.unpackb(packed, strict_map_key=False)


def _outcome(key: CallKey, content: object) -> CallOutcome:
    reply = wire.call_reply_of(content)
    if isinstance(reply.value, bytes):
        try:
            return CallOutcome(reply.status, unpack_value(reply.value), None, key)
        except Exception as error:
            raise wire.WireError(f"the result is no msgpack: {error}") from error
    return CallOutcome(reply.status, None, reply.value, key)


def _check_timeout(timeout: object) -> None:
    if not isinstance(timeout, int | float) or not 0 < timeout <= requester.WAIT_S_MAX:
        raise InvalidEvent(
            f"timeout is {timeout!r:.100}: it must be a number of seconds above 0, "
            f"at most {requester.WAIT_S_MAX:,.0f}"
        )


def _unknown(what: str, key: CallKey) -> AckTimeout:
    error = AckTimeout(f"{what}: the outcome is unknown; settle it with lookup(error.key)")
    error.key = key
    return error
