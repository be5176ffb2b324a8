"""Requests about checkpoints and the keys that sign them."""

from typing import Any, NamedTuple

from hansard.wire.limits import VERIFIER_KEY_CHARS_MAX
from hansard.wire.values import WireError, is_natural


class TakeCheckpoint(NamedTuple):
    """Asks for a checkpoint of all that is read so far."""


class Sealed(NamedTuple):
    """The newest checkpoint, a signed note, and how many entries it covers."""

    size: int
    note: str


class RotateKey(NamedTuple):
    """An administrator asks that the key that waits in the directory takes over; this is its public
    half, as C2SP's signed notes write it."""

    verifier_key: str


class KeyRotated(NamedTuple):
    """The entry that says so, and the checkpoint that both keys have signed."""

    seq: int
    note: str


def take_checkpoint_of(arguments: list[Any]) -> TakeCheckpoint:
    """A checked `TakeCheckpoint`; raises `WireError`."""
    if arguments:
        raise WireError("checkpoint takes no arguments")
    return TakeCheckpoint()


def rotate_key_of(arguments: list[Any]) -> RotateKey:
    """A checked `RotateKey`; raises `WireError`. Whether it is a key is seen later."""
    if len(arguments) != 1 or type(arguments[0]) is not str:
        raise WireError("rotate_key takes a verifier key")
    if len(arguments[0]) > VERIFIER_KEY_CHARS_MAX:
        raise WireError(f"a verifier key has at most {VERIFIER_KEY_CHARS_MAX} characters")
    return RotateKey(*arguments)


def sealed_of(content: Any) -> Sealed:
    """The `Sealed` of a reply's content; raises `WireError`."""
    return Sealed(*_number_and_note(content))


def key_rotated_of(content: Any) -> KeyRotated:
    """The `KeyRotated` of a reply's content; raises `WireError`."""
    return KeyRotated(*_number_and_note(content))


def _number_and_note(content: Any) -> tuple[int, str]:
    if type(content) is not list or len(content) != 2:
        raise WireError("the answer has two fields")
    if not is_natural(content[0]) or type(content[1]) is not str:
        raise WireError("the answer is a natural number and a note")
    return content[0], content[1]
