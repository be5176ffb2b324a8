"""One question to the writer, from any thread: a socket of its own, made and closed in the call."""

import time
from pathlib import Path

import zmq

from hansard import directory as layout
from hansard import wire
from hansard.errors import WriterUnavailable


def ask(directory: Path, message: bytes, timeout: float) -> tuple[str, object]:
    """Verb and content of the writer's reply.

    Raises `WriterUnavailable` when none comes within ``timeout`` seconds, `WireError` when the
    writer refuses, `ProtocolMismatch` when it speaks another version.
    """
    deadline = time.monotonic() + timeout
    paths = layout.SocketPaths(directory) if directory.is_dir() else None
    if paths is None:
        raise WriterUnavailable(f"{directory} does not exist: `hansard serve --dir` makes it")
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        socket = context.socket(zmq.REQ)
        socket.linger = 0
        socket.connect(paths.ack)
        socket.send(message)
        left = max(deadline - time.monotonic(), 0)
        if not socket.poll(round(left * 1_000)):
            raise WriterUnavailable(
                f"no writer answered in {directory} within {timeout:g} s: "
                f"start one with `hansard serve --dir {directory}`"
            )
        return wire.unpack_reply(socket.recv(zmq.NOBLOCK))
    finally:
        context.destroy(linger=0)
        paths.close()
