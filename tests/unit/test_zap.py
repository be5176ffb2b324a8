"""What libzmq is told of who would like to connect."""

import pytest
import zmq
from zmq.utils import z85

from hansard_writer.remote import zap

KEY = zmq.curve_keypair()[0]
REQUEST = [b"1.0", b"7", zap.DOMAIN, b"10.0.0.1", b"", b"CURVE", z85.decode(KEY)]


def test_a_request_says_who_asks_and_from_where() -> None:
    assert zap.asked_of(REQUEST) == (b"7", KEY.decode(), "10.0.0.1")


def test_who_is_allowed_is_known_by_the_key_from_then_on() -> None:
    asked = zap.asked_of(REQUEST)
    assert asked is not None
    assert zap.welcome(asked) == [b"1.0", b"7", b"200", b"", KEY, b""]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        REQUEST[:1],
        REQUEST[:6],
        [*REQUEST, b"more"],
        [b"2.0", *REQUEST[1:]],
        [*REQUEST[:2], b"another", *REQUEST[3:]],
        [*REQUEST[:5], b"NULL", REQUEST[6]],
        [*REQUEST[:5], b"PLAIN", b"user"],
        [*REQUEST[:6], b"k" * 31],
    ],
)
def test_what_is_no_request_for_a_key_is_refused(parts: list[bytes]) -> None:
    assert zap.asked_of(parts) is None
    refusal = zap.refusal(parts)
    assert len(refusal) == 6
    assert refusal[2] == b"400"
    assert refusal[4:] == [b"", b""]


def test_an_address_of_any_bytes_is_text() -> None:
    asked = zap.asked_of([*REQUEST[:3], b"\xff", *REQUEST[4:]])
    assert asked is not None
    assert asked.address.isprintable() or asked.address == "�"
