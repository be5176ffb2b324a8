"""C2SP checkpoints of a log: origin, size and root, as the text of a signed note. Pure.

Source: https://c2sp.org/tlog-checkpoint. Whether a root is that of a log, it does not know.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hansard_writer.proof.base64_text import decode, encode
from hansard_writer.proof.merkle_hash_tree import HASH_BYTES
from hansard_writer.proof.signed_note import (
    MalformedNote,
    SigningKey,
    UntrustedNote,
    VerifierKey,
    check_text,
    open_note,
    parse_note,
    sign_note,
)

SIZE_MAX: Final = (1 << 63) - 1

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class MalformedCheckpoint(MalformedNote):
    """A note whose text is no checkpoint. Get the file once more, as it was written."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """That a log of this origin had ``size`` entries, and its tree this root (32 bytes).
    ``extensions`` are further lines that other logs may have; ours has none."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not line or "\n" in line:
                raise MalformedCheckpoint(f"{line!r:.100} is no line of a checkpoint")
        if not 0 <= self.size <= SIZE_MAX:
            raise MalformedCheckpoint(f"{self.size} is not the size of a log")
        if len(self.root) != HASH_BYTES:
            raise MalformedCheckpoint(f"a root has {HASH_BYTES} bytes")
        check_text(self.text())

    def text(self) -> str:
        """The text that is signed."""
        lines = (self.origin, str(self.size), encode_root(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """The checkpoint that a note's text is. Raises `MalformedCheckpoint`."""
        *lines, end = text.split("\n")
        if end or len(lines) < 3 or not all(lines):
            raise MalformedCheckpoint("a checkpoint is three lines or more, and none is empty")
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise MalformedCheckpoint(f"{size!r:.40} is not the size of a log")
        return cls(origin, int(size), decode_root(root), tuple(extensions))


def sign_checkpoint(checkpoint: Checkpoint, keys: Iterable[SigningKey]) -> str:
    """The note of a checkpoint."""
    return sign_note(checkpoint.text(), keys)


def open_checkpoint(
    note: str | bytes, keys: Iterable[VerifierKey], *, origin: str | None = None
) -> Checkpoint:
    """The checkpoint of a note that one of the keys has signed, at least; with ``origin``, only
    one of that origin. Raises as `signed_note.open_note` does, and `MalformedCheckpoint`."""
    checkpoint = Checkpoint.parse(open_note(note, keys).text)
    if origin not in (None, checkpoint.origin):
        raise UntrustedNote(f"it is a checkpoint of {checkpoint.origin!r:.100}, not of {origin!r}")
    return checkpoint


def read_checkpoint(note: str | bytes) -> Checkpoint:
    """What a note claims, with nothing verified. Raises `MalformedNote`."""
    return Checkpoint.parse(parse_note(note).text)


def encode_root(root: bytes) -> str:
    """A root as checkpoints have it."""
    return encode(root)


def decode_root(text: str) -> bytes:
    """The root that a text is. Raises `MalformedCheckpoint`."""
    root = decode(text)
    if root is None or len(root) != HASH_BYTES:
        raise MalformedCheckpoint(f"{text!r:.60} is no root: base64 of {HASH_BYTES} bytes")
    return root
