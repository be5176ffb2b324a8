"""CURVE keys: how hosts know each other over tcp. Files, and texts of 40 characters.

A key is 32 bytes, written in Z85 (https://rfc.zeromq.org/spec/32/). A directory has one pair of
them, DIR/curve.key and DIR/curve.pub, whether it serves or is served. Who may do what is not
decided here. It loads zmq when a key is made or read.
"""

import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from hansard.directory import CURVE_KEY
from hansard.errors import ConfigError

KEY_CHARACTERS: Final = 40
KEY_FILE_BYTES_MAX: Final = 256

_Z85: Final = frozenset(
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
)


class CurveKeys(NamedTuple):
    """A pair, in Z85."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"<CURVE keys of {self.public}>"


def new_keys() -> CurveKeys:
    """A fresh pair, which is nowhere yet."""
    import zmq

    while True:  # a public key is an argument of commands: "-" would begin an option
        public, secret = zmq.curve_keypair()
        if not public.startswith(b"-"):
            return CurveKeys(public.decode(), secret.decode())


def check_public_key(text: str, shown: str = "the key") -> None:
    """Raises `ConfigError`, in which ``shown`` is what it is called, for what is no key."""
    if len(text) != KEY_CHARACTERS or not _Z85.issuperset(text):
        raise ConfigError(
            f"{shown} is {text[: KEY_CHARACTERS + 1]!r}: it must be {KEY_CHARACTERS} characters as "
            "`hansard keys new` prints them"
        )


def read_keys(directory: Path, *, may_be_shared: bool = False) -> CurveKeys:
    """The pair of a directory. Raises `ConfigError` where there is none, it is none, or others may
    read it; with ``may_be_shared``, for a client whose workers are of several users, its group may.
    """
    import zmq

    path = directory / CURVE_KEY
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is missing: make this directory's keys with `hansard keys new --dir "
            f"{directory}`"
        ) from None
    except OSError as error:
        raise ConfigError(f"cannot read the key {path}: {error.strerror}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        content = os.read(descriptor, KEY_FILE_BYTES_MAX)
    finally:
        os.close(descriptor)
    allowed = stat.S_IRWXU | (stat.S_IRGRP if may_be_shared else 0)
    if stat.S_IMODE(mode) & ~allowed:
        raise ConfigError(f"others may read the key {path}: `chmod 600 {path}`")
    try:
        secret = content.decode("ascii").strip()
        check_public_key(secret)  # both halves look alike
        return CurveKeys(zmq.curve_public(secret.encode()).decode(), secret)
    except (UnicodeDecodeError, ConfigError, ValueError, zmq.ZMQError):
        raise ConfigError(
            f"{path} holds no key: put the right one back, or remove it and make another with "
            "`hansard keys new`"
        ) from None
