"""Requests about checkpoints and keys: what goes out comes in; what breaks a rule is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from hansard import wire


def test_requests_arrive_as_they_were_sent() -> None:
    verb, arguments = wire.unpack_request(wire.pack_request(wire.TakeCheckpoint()))
    assert (verb, wire.take_checkpoint_of(arguments)) == ("checkpoint", ())
    verb, arguments = wire.unpack_request(wire.pack_request(wire.RotateKey("a+b+c")))
    assert (verb, wire.rotate_key_of(arguments)) == ("rotate_key", ("a+b+c",))


def test_answers_arrive_as_they_were_sent() -> None:
    sealed, rotated = wire.Sealed(7, "note"), wire.KeyRotated(8, "note")
    assert wire.sealed_of(wire.unpack_reply(wire.pack_reply("checkpoint", sealed))[1]) == sealed
    assert wire.key_rotated_of(wire.unpack_reply(wire.pack_reply("x", rotated))[1]) == rotated


@pytest.mark.parametrize(
    ("reads", "content"),
    [
        (wire.take_checkpoint_of, [1]),
        (wire.rotate_key_of, []),
        (wire.rotate_key_of, [b"key"]),
        (wire.rotate_key_of, ["k" * (wire.VERIFIER_KEY_CHARS_MAX + 1)]),
        (wire.sealed_of, {"size": 1}),
        (wire.sealed_of, [1]),
        (wire.sealed_of, [-1, "note"]),
        (wire.sealed_of, [1, b"note"]),
        (wire.key_rotated_of, [True, "note"]),
    ],
)
def test_what_breaks_a_rule_is_refused(reads: Callable[[Any], Any], content: Any) -> None:
    with pytest.raises(wire.WireError):
        reads(content)
