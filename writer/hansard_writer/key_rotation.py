"""An administrator's side of a new key: it is put beside the old one, and the writer asked for it.

Who may write the directory may do that: the private key never travels. What the writer does then is
in `sealing`.
"""

import os
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import ConfigError
from hansard.reader_connection import ReadConnection
from hansard_writer.proof import keys
from hansard_writer.proof.key_chain import read_key_chain
from hansard_writer.proof.signed_note import SigningKey, VerifierKey
from hansard_writer.signing import read_optional_key


class Rotated(NamedTuple):
    """The entry that says so, and the key that signs from there on."""

    seq: int
    verifier_key: VerifierKey


def rotate_key(directory: Path, given: Path | None, timeout_s: float) -> Rotated:
    """Have the log signed with the key in a file, or a new one, from now on; ``given`` stays where
    it is. A key that waits there from an earlier try is gone on with.

    Raises `ConfigError` for a key or a directory that cannot be used, `WireError` where the writer
    refuses, `WriterUnavailable` where it does not answer: then it may have been done.
    """
    waiting = directory / layout.NEXT_KEY
    origin = _origin(directory)
    key = None if given is None else _given(given)
    found = read_optional_key(waiting)
    if found and key and keys.public_bytes(found) != keys.public_bytes(key):
        raise ConfigError(
            f"another key waits in {waiting}: run `hansard keys rotate` without --key, which goes "
            "on with that one, or remove it first"
        )
    key = found or key or keys.new_key()
    verifier_key = SigningKey(origin, key).verifier_key
    if not found:
        if _is_entered(directory, verifier_key):
            raise ConfigError(f"{given} has signed this log already: give another key")
        _put(waiting, key)
    request = wire.RotateKey(str(verifier_key))
    try:
        rotated = wire.key_rotated_of(requester.ask_as_owner(directory, request, timeout_s))
    except wire.WireError:
        if not found and not _is_entered(directory, verifier_key):
            waiting.unlink(missing_ok=True)
        raise
    return Rotated(rotated.seq, verifier_key)


def _origin(directory: Path) -> str:
    path = directory / layout.PUBLIC_KEY
    try:
        return keys.read_verifier_key(path).name
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}: start the writer again, which makes it") from None


def _is_entered(directory: Path, key: VerifierKey) -> bool:
    """Whether the log names a key; one that it is to sign with then will."""
    log = ReadConnection(directory)
    try:
        chain = read_key_chain(log.rows)
    finally:
        log.close()
    return chain is not None and key in chain.keys


def _given(path: Path) -> Ed25519PrivateKey:
    key = read_optional_key(path)
    if key is None:
        raise ConfigError(f"there is no key {path}: name a file")
    return key


def _put(path: Path, key: Ed25519PrivateKey) -> None:
    """As a file of the directory's owner, who is to read it."""
    try:
        keys.write_key(path, key)
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
