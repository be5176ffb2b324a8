"""C2SP signed notes: their grammar, verifier keys, Ed25519 signatures. Pure.

Source: https://c2sp.org/signed-note. It knows nothing of logs and reads no files; which keys are
to be trusted, the caller says.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hansard.errors import AuditLogError
from hansard_writer.proof.base64_text import decode, encode

NOTE_BYTES_MAX: Final = 1_000_000
SIGNATURES_MAX: Final = 100  # the format asks for 16 at least
KEY_ID_BYTES: Final = 4
PUBLIC_KEY_BYTES: Final = 32
ED25519: Final = b"\x01"  # the signature type

_SIGNATURE_BEGINS: Final = "— "  # an em dash
_SPLIT: Final = "\n\n"
_CONTROLS: Final = frozenset(map(chr, range(0x20))) - {"\n"}
_KEYS_REMEMBERED_MAX: Final = 64


class NoteError(AuditLogError, ValueError):
    """A note or a key that is not to be trusted. Says which rule it breaks."""


class MalformedNote(NoteError):
    """Bytes that are no signed note. Get the file once more, as it was written."""


class MalformedKey(NoteError):
    """Text that is no verifier key. Get it from whoever runs the log."""


class UntrustedNote(NoteError):
    """None of its signatures is of a key that is known. Get the verifier key that belongs to it."""


class BadSignature(NoteError):
    """A signature in the name of a known key that this key has not made: text or signature was
    changed. Keep the note, and ask who made it."""


class Signature(NamedTuple):
    """A signature line: who claims to have signed, and what."""

    name: str
    key_id: bytes
    signature: bytes


class Note(NamedTuple):
    """What a signed note consists of; nothing is verified."""

    text: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and an Ed25519 public key, as text ``<name>+<key id in hex>+<base64>``."""

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name, MalformedKey)
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise MalformedKey(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes")

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """The key that a text is; one newline behind it may stay. Raises `MalformedKey`."""
        name, *rest = text.removesuffix("\n").split("+", 2)
        if len(rest) != 2:
            raise MalformedKey("a verifier key is a name, a key id and a key, with '+' between")
        typed = _decoded(rest[1], MalformedKey)
        if typed[:1] != ED25519:
            raise MalformedKey(f"the key of {name!r:.100} is not of Ed25519: others are not known")
        key = cls(name, typed[1:])
        if rest[0] != key.id.hex():
            raise MalformedKey(f"the key id {rest[0]!r:.20} is not that of this name and this key")
        return key

    @property
    def id(self) -> bytes:
        """What stands in the signatures: the beginning of a hash of name and key."""
        named = self.name.encode() + b"\n" + ED25519 + self.public_key
        return hashlib.sha256(named).digest()[:KEY_ID_BYTES]

    def verifies(self, text: str, signature: bytes) -> bool:
        """Whether this key has signed this text."""
        try:
            _public_key(self.public_key).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{encode(ED25519 + self.public_key)}"


class SigningKey:
    """A name and an Ed25519 private key."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.verifier_key = VerifierKey(name, private_key.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"<signs as {self.verifier_key}>"

    @cached_property
    def _begins(self) -> str:
        return f"{_SIGNATURE_BEGINS}{self.verifier_key.name} "

    def signature_line(self, text: str) -> str:
        """The line, with its newline, that signs a note's text."""
        signature = self._private_key.sign(text.encode())
        return f"{self._begins}{encode(self.verifier_key.id + signature)}\n"


class Opened(NamedTuple):
    """A note's text, and the known keys that have signed it: one at least."""

    text: str
    signers: tuple[VerifierKey, ...]


def sign_note(text: str, keys: Iterable[SigningKey]) -> str:
    """The note that these keys sign, in their order. Raises `MalformedNote` for a text that no
    note can have."""
    check_text(text)
    lines = [key.signature_line(text) for key in keys]
    if not lines:
        raise ValueError("a note has one signature at least: give a key")
    return f"{text}\n{''.join(lines)}"


def open_note(note: str | bytes, keys: Iterable[VerifierKey]) -> Opened:
    """The text of a note that one of the keys has signed, at least. Signatures of other keys are
    ignored. Raises `MalformedNote`, `UntrustedNote`, and `BadSignature` where a single one of a
    known key is wrong."""
    known = _by_name_and_id(keys)
    text, signatures = parse_note(note)
    signers: dict[VerifierKey, None] = {}
    for name, key_id, signature in signatures:
        key = known.get((name, key_id))
        if key is None:
            continue
        if not key.verifies(text, signature):
            raise BadSignature(f"the signature of {name} (key id {key_id.hex()}) is wrong")
        signers[key] = None
    if not signers:
        claimed = ", ".join(f"{each.name} ({each.key_id.hex()})" for each in signatures[:3])
        raise UntrustedNote(f"it is signed by {claimed}, and by no key that is known here")
    return Opened(text, tuple(signers))


def parse_note(note: str | bytes) -> Note:
    """What a note consists of, with nothing verified. Raises `MalformedNote`."""
    whole = _utf8(note)
    at = whole.rfind(_SPLIT)
    if at < 0:
        raise MalformedNote("a signed note is a text, an empty line and signatures")
    text, *lines = whole[: at + 1], *whole[at + len(_SPLIT) :].split("\n")
    check_text(text)
    if lines.pop():
        raise MalformedNote("a signed note ends with a newline")
    if not lines:
        raise MalformedNote("a signed note has one signature at least")
    if len(lines) > SIGNATURES_MAX:
        raise MalformedNote(f"a signed note has at most {SIGNATURES_MAX} signatures here")
    return Note(text, tuple(map(_signature_of, lines)))


def check_text(text: str) -> None:
    """Raises `MalformedNote` unless a note can have this text."""
    if not text.endswith("\n"):
        raise MalformedNote("the text of a note ends with a newline")
    if not _CONTROLS.isdisjoint(text):
        raise MalformedNote("a note has no control characters but newlines")
    _utf8(text)


def check_name(name: str, error: type[NoteError] = MalformedNote) -> None:
    """Raises an error unless a key can have this name."""
    if not name or "+" in name or any(map(str.isspace, name)) or not _CONTROLS.isdisjoint(name):
        raise error(f"{name!r:.100} is no key name: that is not empty, without spaces and plus")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise error(f"{name!r:.100} is no key name: it is no UTF-8") from None


def _signature_of(line: str) -> Signature:
    begins, name, encoded = line[: len(_SIGNATURE_BEGINS)], *_halves(line[len(_SIGNATURE_BEGINS) :])
    if begins != _SIGNATURE_BEGINS:
        raise MalformedNote("a signature line begins with an em dash and a space")
    check_name(name)
    signature = _decoded(encoded, MalformedNote)
    if len(signature) <= KEY_ID_BYTES:
        raise MalformedNote("a signature is a key id and something behind it")
    return Signature(name, signature[:KEY_ID_BYTES], signature[KEY_ID_BYTES:])


def _halves(text: str) -> tuple[str, str]:
    name, _, encoded = text.partition(" ")
    return name, encoded


def _by_name_and_id(keys: Iterable[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.id), key) != key:
            raise MalformedKey(f"two keys have the name {key.name} and the id {key.id.hex()}")
    return known


def _utf8(note: str | bytes) -> str:
    """The characters of a note, of which there are not too many."""
    try:
        whole = note.encode() if isinstance(note, str) else note
        if len(whole) > NOTE_BYTES_MAX:
            raise MalformedNote(f"a signed note has at most {NOTE_BYTES_MAX:,} bytes here")
        return whole.decode()
    except UnicodeError:
        raise MalformedNote("a signed note is UTF-8") from None


def _decoded(text: str, error: type[NoteError]) -> bytes:
    data = decode(text)
    if not data:
        raise error(f"{text[:40]!r} is no base64")
    return data


@lru_cache(_KEYS_REMEMBERED_MAX)
def _public_key(data: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(data)
