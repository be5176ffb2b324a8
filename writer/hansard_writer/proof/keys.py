"""Key files: the writer's private key as PEM PKCS#8, its public half as a verifier key.

A key is durable before it is used. Which key signs a log, and since when, is not decided here.
"""

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard.errors import ConfigError
from hansard_writer.durable_files import replace_file, write_new_file
from hansard_writer.proof.signed_note import MalformedKey, VerifierKey

KEY_FILE_MODE: Final = 0o600
KEY_FILE_BYTES_MAX: Final = 65_536

_HOW_TO_MAKE: Final = "make one with `openssl genpkey -algorithm ed25519`"


class KeyUnusable(ConfigError):
    """A key file that cannot be used. Read what the message says to do."""


def new_key() -> Ed25519PrivateKey:
    """A fresh key, which is nowhere yet."""
    return Ed25519PrivateKey.generate()


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Its public half, 32 bytes."""
    return key.public_key().public_bytes_raw()


def read_key(path: Path) -> Ed25519PrivateKey:
    """The private key in a file, as ``openssl genpkey -algorithm ed25519`` makes it. Raises
    `KeyUnusable` where it is none, or others may read it, and FileNotFoundError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyUnusable(f"cannot read the key {path}: {error.strerror}") from error
    try:
        _require_private(path, os.fstat(descriptor))
        content = os.read(descriptor, KEY_FILE_BYTES_MAX)
    finally:
        os.close(descriptor)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise KeyUnusable(
            f"the key {path} is encrypted, and a writer has nobody to ask for its password: "
            f"decrypt it with `openssl pkey -in {path}`"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnusable(f"{path} is no private key in PEM (PKCS#8): {_HOW_TO_MAKE}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(f"the key {path} is not one of Ed25519: {_HOW_TO_MAKE}")
    return key


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key to a file that MUST NOT be there yet (FileExistsError). It is durable
    when this returns, and only its owner may read it. Raises OSError."""
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new_file(path, pem, KEY_FILE_MODE)


def read_verifier_key(path: Path) -> VerifierKey:
    """The verifier key in a file: a line. Raises `KeyUnusable`, and FileNotFoundError."""
    try:
        with path.open("rb") as file:
            content = file.read(KEY_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyUnusable(f"cannot read {path}: {error.strerror}") from error
    try:
        return VerifierKey.parse(content.decode())
    except (MalformedKey, UnicodeDecodeError) as error:
        raise KeyUnusable(f"{path} holds no verifier key: {error}") from error


def write_verifier_key(path: Path, key: VerifierKey, mode: int) -> None:
    """Put a verifier key into a file, in place of what it holds. Raises OSError."""
    replace_file(path, f"{key}\n".encode(), mode)


def _require_private(path: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise KeyUnusable(f"{path} is no file, and so no key: name another")
    if facts.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyUnusable(
            f"others than its owner may use the key {path} (mode "
            f"{stat.S_IMODE(facts.st_mode):04o}), and so sign in the log's name: chmod 600 it, and "
            "think about whether somebody has read it"
        )
