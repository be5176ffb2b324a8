"""A real web server in a process of its own, on a socket of its directory, and a client that keeps
its connection alive. It measures nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, Self

START_S_MAX: Final = 30.0
END_S_MAX: Final = 30.0
ANSWER_S_MAX: Final = 30.0
_LOOK_S: Final = 0.01
_CHUNK_BYTES: Final = 65_536
_END_OF_HEAD: Final = b"\r\n\r\n"


class Answer(NamedTuple):
    """What came back; names of ``headers`` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection, made at the first request, and again where the server has closed it.

    Raises ConnectionError for a request that got no answer.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Ask for it, and wait for the answer."""
        return self.ask(request_bytes("GET", path, headers))

    def ask(self, request: bytes) -> Answer:
        """Send it, and wait for the answer."""
        if self._socket is None:
            self._socket = _connected(self._path)
        try:
            self._socket.sendall(request)
            answer = _read_answer(self._socket)
        except OSError:
            self.close()
            raise
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server(NamedTuple):
    """A server that answers on ``path``."""

    process: subprocess.Popen[bytes]
    path: Path

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; the exit status."""
        self.process.send_signal(by)
        return self.process.wait(END_S_MAX)


@contextlib.contextmanager
def serving(
    module: str, *arguments: str, place: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """``python -m module`` with the arguments, in which ``{socket}`` is its socket in ``place``,
    once it answers there; what it prints goes to ``web.log`` beside it."""
    path = place / "web.sock"
    command = [sys.executable, "-m", module, *(each.format(socket=path) for each in arguments)]
    said = (place / "web.log").open("ab")
    process = subprocess.Popen(
        command, cwd=place, env={**os.environ, **environment}, stdout=said, stderr=said
    )
    try:
        _wait_for(path, process)
        yield Server(process, path)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        said.close()


def request_bytes(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """One request of HTTP/1.1 over a connection that is kept."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def _wait_for(path: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S_MAX
    while True:
        with contextlib.suppress(OSError):
            _connected(path).close()
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the server at {path} did not start: see its log")
        time.sleep(_LOOK_S)


def _connected(path: Path) -> socket.socket:
    """Over a path that may be too long for a socket's address: by its directory's descriptor."""
    directory = os.open(path.parent, os.O_PATH)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_S_MAX)
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def _read_answer(connection: socket.socket) -> Answer:
    """One whole answer, whose length is told, or which is sent in chunks."""
    data = b""
    while _END_OF_HEAD not in data:
        data += _more(connection)
    head, _, body = data.partition(_END_OF_HEAD)
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += _more(connection)
    while len(body) < int(headers.get("content-length", 0)):
        body += _more(connection)
    return Answer(int(status.split()[1]), headers, body)


def _more(connection: socket.socket) -> bytes:
    if not (data := connection.recv(_CHUNK_BYTES)):
        raise ConnectionResetError("the server has hung up")
    return data
