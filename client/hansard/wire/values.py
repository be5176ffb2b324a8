"""What messages are made of: msgpack arrays, natural numbers, ids; the error of broken ones."""

from typing import Any, Final

import msgpack

from hansard.wire.limits import CALL_ID_BYTES, INT64_MAX, PRODUCER_ID_BYTES

_CONTAINERS: Final = frozenset((*range(0x80, 0xA0), *range(0xDC, 0xE0)))  # maps and arrays


class WireError(ValueError):
    """Bytes that are no message of this wire version. Says which rule they break."""


def producer_hash(producer_id: bytes) -> bytes:
    """The public name of a producer: SHA-256 of its secret id, 32 bytes."""
    import hashlib  # with OpenSSL, a twelfth of what importing this package takes

    return hashlib.sha256(producer_id).digest()


def array_header(count: int) -> bytes:
    """The msgpack header of an array of ``count`` elements, at most 65,535."""
    return bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")


def pack(message: tuple[Any, ...]) -> bytes:
    """An array as msgpack."""
    packed: bytes = msgpack.packb(message)
    return packed


def unpack_array(message: bytes) -> list[Any]:
    """The elements of an array; raises `WireError` for bytes that are none."""
    try:
        fields = msgpack.unpackb(message)
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise WireError(f"not msgpack: {type(error).__name__}") from error
    if type(fields) is not list:
        raise WireError("a message is a msgpack array")
    return fields


def check_flat(data: bytes, arrays: int, values_max: int) -> None:
    """Raises `WireError` unless bytes begin with so many arrays of at most ``values_max`` values
    that hold no others: decoded, two million empty maps in two MiB would take a hundred times their
    memory, and a quarter of a second."""
    unpacker = msgpack.Unpacker(raw=True, max_buffer_size=len(data))
    unpacker.feed(data)
    try:
        for _ in range(arrays):
            count = unpacker.read_array_header()
            if count > values_max:
                raise WireError(f"in a message of this size, an array has {values_max} values")
            for _ in range(count):
                if data[unpacker.tell()] in _CONTAINERS:
                    raise WireError("in a message of this size, no value holds others")
                unpacker.skip()
    except WireError:
        raise
    except Exception as error:  # msgpack raises a dozen unrelated types
        raise WireError(f"not msgpack: {type(error).__name__}") from error


def naturals(name: str, content: Any, count: int) -> list[int]:
    """A list of ``count`` natural numbers; raises `WireError`."""
    if type(content) is not list or len(content) != count or not all(map(is_natural, content)):
        raise WireError(f"{name}: {count} natural numbers")
    return content


def is_natural(value: object) -> bool:
    """Whether it is a number from 0 that SQLite can keep."""
    return type(value) is int and 0 <= value <= INT64_MAX


def check_producer_id(producer_id: object) -> None:
    """Raises `WireError` unless it is one."""
    if type(producer_id) is not bytes or len(producer_id) != PRODUCER_ID_BYTES:
        raise WireError(f"producer_id is {PRODUCER_ID_BYTES} bytes")


def check_call_id(call_id: object) -> None:
    """Raises `WireError` unless it is one."""
    if type(call_id) is not bytes or len(call_id) != CALL_ID_BYTES:
        raise WireError(f"call_id is {CALL_ID_BYTES} bytes")
