"""Which bytes of an entry are hashed: msgpack as an encoder of the test's own writes it."""

import hashlib
import struct
from typing import Any

import pytest

from hansard_writer.proof import leaves

HASH = bytes(range(32))
ENTRY = (7, HASH, 5, 1_700_000_000_000_000_001, "step.done", "info", "agent:7", "T1", bytes(32))


def packed(value: Any) -> bytes:
    """A value in the shortest form that the specification of msgpack has for it."""
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, str):
        data = value.encode()
        if len(data) < 32:
            return bytes([0xA0 | len(data)]) + data
        return sized(data, {1: 0xD9, 2: 0xDA, 4: 0xDB})
    if isinstance(value, bytes):
        return sized(value, {1: 0xC4, 2: 0xC5, 4: 0xC6})
    assert isinstance(value, tuple)
    assert len(value) < 16
    return bytes([0x90 | len(value)]) + b"".join(map(packed, value))


def integer(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes([value])
    if -32 <= value < 0:
        return struct.pack(">b", value)
    signed = value < 0
    for width, letter in zip((1, 2, 4, 8), "bhiq" if signed else "BHIQ", strict=True):
        first = -(1 << (8 * width - 1)) if signed else 0
        end = 0 if signed else 1 << (8 * width)
        if first <= value < end:
            code = (0xD0 if signed else 0xCC) + width.bit_length() - 1
            return bytes([code]) + struct.pack(">" + letter, value)
    raise AssertionError(value)


def sized(data: bytes, codes: dict[int, int]) -> bytes:
    width = 1 if len(data) < 1 << 8 else 2 if len(data) < 1 << 16 else 4
    return bytes([codes[width]]) + len(data).to_bytes(width, "big") + data


def changed(place: int, value: Any) -> tuple[Any, ...]:
    return (*ENTRY[:place], value, *ENTRY[place + 1 :])


@pytest.mark.parametrize(
    "number",
    [1, 127, 128, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1],
)
@pytest.mark.parametrize("place", [0, 2, 3], ids=["seq", "producer_seq", "created_at"])
def test_integers_are_written_in_their_shortest_form(place: int, number: int) -> None:
    entry = changed(place, number)
    assert leaves.entry_bytes(*entry) == packed((1, *entry))


@pytest.mark.parametrize("number", [-1, -32, -33, -128, -129, -32_769, -(2**31) - 1, -(2**63)])
def test_a_time_before_1970_would_be_written_too(number: int) -> None:
    entry = changed(3, number)
    assert leaves.entry_bytes(*entry) == packed((1, *entry))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "ü" * 15,
        "x" * 31,
        "x" * 32,
        "ü" * 16,
        "x" * 255,
        "x" * 256,
        "𝄞" * 256,
        "\0",
        "a\nb",
    ],
)
@pytest.mark.parametrize("place", [4, 6, 7], ids=["event_type", "actor", "task_id"])
def test_text_is_utf_8_behind_its_length_in_bytes(place: int, text: str) -> None:
    entry = changed(place, text)
    assert leaves.entry_bytes(*entry) == packed((1, *entry))


def test_what_is_not_there_is_nil() -> None:
    entry = (1, HASH, 1, 0, "a", "info", None, None, None)
    assert leaves.entry_bytes(*entry) == packed((1, *entry))
    assert leaves.entry_bytes(*entry).endswith(b"\xc0\xc0\xc0")


def test_a_leaf_byte_by_byte() -> None:
    entry = (1, b"\xab" * 32, 2, 3, "a.b", "info", "ü", None, b"\xcd" * 32)
    assert leaves.entry_bytes(*entry) == (
        b"\x9a\x01\x01" + b"\xc4\x20" + b"\xab" * 32 + b"\x02\x03" + b"\xa3a.b" + b"\xa4info"
        b"\xa2\xc3\xbc" + b"\xc0" + b"\xc4\x20" + b"\xcd" * 32
    )


def test_leaves_are_hashed_behind_a_zero_byte() -> None:
    entries = [ENTRY, changed(0, 8), changed(8, None)]
    expected = b"".join(hashlib.sha256(b"\0" + packed((1, *each))).digest() for each in entries)
    assert leaves.leaf_hashes((leaves.LEAF_VERSION, *each) for each in entries) == expected


def test_a_payload_is_hidden_by_its_salt() -> None:
    salt, payload = b"s" * 16, '{"ü":1}'.encode()
    assert leaves.payload_hash(salt, payload) == hashlib.sha256(salt + payload).digest()


def test_every_payload_has_a_salt_of_its_own_and_none_has_none() -> None:
    payloads = ["{}", None, "{}", '{"ü":"𝄞"}', None]
    salts, hashes = leaves.hide(payloads)
    for payload, salt, hidden in zip(payloads, salts, hashes, strict=True):
        if payload is None:
            assert (salt, hidden) == (None, None)
        else:
            assert salt is not None
            assert len(salt) == leaves.SALT_BYTES
            assert hidden == hashlib.sha256(salt + payload.encode()).digest()
    assert len({*salts}) == 4, "three salts, and none"


def test_no_payloads_have_no_salts() -> None:
    assert leaves.hide([]) == ([], [])
