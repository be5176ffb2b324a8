"""What the tests of remote workers share: hosts that know a writer by its key, and a network that
can be cut."""

import contextlib
import socket
import struct
import threading
from pathlib import Path
from typing import Final

from hansard.curve import CurveKeys, new_keys
from hansard_writer.remote.allow_list import Client, changing
from hansard_writer.remote.rights import RIGHTS

LOOPBACK: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 << 10
TRIES: Final = 100

_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: a close is an RST


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


def keep_keys(directory: Path) -> CurveKeys:
    """Give a directory a pair of its own."""
    keys = new_keys()
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "curve.key"
    path.unlink(missing_ok=True)
    path.write_text(f"{keys.secret}\n")
    path.chmod(0o600)
    return keys


def allow(directory: Path, name: str, key: str, rights: tuple[str, ...] = RIGHTS) -> None:
    """Let a key in at a writer's directory, in place of an earlier one of that name."""
    with changing(directory) as clients:
        clients[:] = [each for each in clients if each.name != name]
        clients.append(Client(key, name, rights))


def host(directory: Path, port: int, server_key: str, address: str = LOOPBACK) -> CurveKeys:
    """Make a directory as a worker's host has it; its keys."""
    keys = keep_keys(directory)
    settings = f'connect = "tcp://{address}:{port}"\nserver_key = "{server_key}"\n'
    (directory / "hansard.toml").write_text(settings)
    return keys


class Network:
    """Between a host and a writer: two ports, of which each is forwarded to the writer's.

    ``cut`` stops everything and loses nothing, as a cable that is pulled: connections stand, new
    ones are not answered. ``mend`` lets it through again: all of it, or, if the network
    ``forgets``, only what connects from now on. ``reset`` ends all connections at once.
    """

    def __init__(self, port: int) -> None:
        self.port = free_ports()
        self._open = threading.Event()
        self._open.set()
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._forgotten: set[socket.socket] = set()
        self._listeners = [
            socket.create_server((LOOPBACK, self.port + each), backlog=64) for each in (0, 1)
        ]
        for each, listener in enumerate(self._listeners):
            self._begin(self._accept, listener, port + each)

    def cut(self) -> None:
        self._open.clear()

    def mend(self, *, forgets: bool = False) -> None:
        with self._lock:
            if forgets:
                self._forgotten.update(each for pair in self._pairs for each in pair)
        self._open.set()

    def reset(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def shut_frames(self) -> None:
        """As a firewall that knows one port only."""
        self._shut(self._listeners[1])

    def close(self) -> None:
        for each in self._listeners:
            self._shut(each)
        self._open.set()
        self.reset()

    def _shut(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    def _begin(self, target: object, *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, daemon=True).start()  # type: ignore[arg-type]

    def _accept(self, listener: socket.socket, port: int) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return  # closed
            self._open.wait()
            try:
                far = socket.create_connection((LOOPBACK, port))
            except OSError:  # no writer
                near.close()
                continue
            with self._lock:
                self._pairs.append((near, far))
            self._begin(self._pump, near, far)
            self._begin(self._pump, far, near)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._open.wait()
                if source in self._forgotten:
                    return  # nobody hears of it, and nothing ends
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
