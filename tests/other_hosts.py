"""What the tests of remote workers share: a writer behind tcp, hosts that know it, and a network
between them that can be cut."""

import contextlib
import socket
from pathlib import Path
from typing import Final

from hansard.curve import CurveKeys, new_keys

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 << 10
TRIES: Final = 100


def free_ports() -> int:
    """The first of two ports in a row that nobody has."""
    for _ in range(TRIES):
        with socket.socket() as one, socket.socket() as two:
            one.bind((LOOPBACK, 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                two.bind((LOOPBACK, port + 1))
                return port
    raise AssertionError("no two ports in a row are free")


def keep_keys(directory: Path, keys: CurveKeys | None = None) -> CurveKeys:
    """Give a directory a pair of its own."""
    keys = keys or new_keys()
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "curve.key"
    path.write_text(f"{keys.secret}\n")
    path.chmod(0o600)
    return keys
