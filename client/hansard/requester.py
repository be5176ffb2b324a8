"""One question to the writer, from any thread: a socket of its own, made and closed in the call."""

import os
import time
from pathlib import Path
from typing import Final

import zmq

from hansard import directory as layout
from hansard import wire
from hansard.errors import ConfigError, WriterUnavailable

WAIT_S_MAX: Final = 86_400.0


def ask(directory: Path, message: bytes, timeout: float) -> tuple[str, object]:
    """Verb and content of the writer's reply.

    Raises `ConfigError` for a directory that does not let this user in, `WriterUnavailable` when
    no reply comes within ``timeout`` seconds, which says with ``was_sent`` whether the message may
    have arrived; `WireError` when the writer refuses, `ProtocolMismatch` when it speaks another
    version.
    """
    deadline = time.monotonic() + timeout
    if not directory.is_dir():
        raise WriterUnavailable(f"{directory} does not exist: `hansard serve --dir` makes it")
    if not os.access(directory, os.X_OK):
        raise ConfigError(layout.foreign_directory(directory))
    paths = layout.SocketPaths(directory)
    socket = _context().socket(zmq.REQ)
    was_sent = False
    try:
        socket.linger = 0
        socket.immediate = True  # nothing is queued for a writer that is not there
        socket.connect(paths.ack)
        if not socket.poll(_left_ms(deadline), zmq.POLLOUT):
            raise _unavailable(_no_answer(directory, timeout), was_sent=False)
        was_sent = True
        socket.send(message, zmq.NOBLOCK)
        if not socket.poll(_left_ms(deadline)):
            raise _unavailable(_no_answer(directory, timeout), was_sent=True)
        return wire.unpack_reply(socket.recv(zmq.NOBLOCK))
    except zmq.ZMQError as error:
        what = f"cannot ask the writer of {directory}: {error}"
        raise _unavailable(what, was_sent=was_sent) from error
    finally:
        socket.close(linger=0)
        paths.close()


def _no_answer(directory: Path, timeout: float) -> str:
    busy = layout.silent_writer(directory, f"within {timeout:g} s")
    if busy:
        return f"{busy}; try again"
    return (
        f"no writer answered in {directory} within {timeout:g} s: "
        f"start one with `hansard serve --dir {directory}`"
    )


def _unavailable(what: str, *, was_sent: bool) -> WriterUnavailable:
    error = WriterUnavailable(what)
    error.was_sent = was_sent
    return error


_contexts: Final[dict[int, "zmq.Context[zmq.Socket[bytes]]"]] = {}


def _context() -> "zmq.Context[zmq.Socket[bytes]]":
    """This process's: making one takes longer than a question. A parent's stays in the dictionary,
    because it must not be finalized here; it holds no lock, which a fork could leave taken."""
    context = _contexts.get(os.getpid())
    if context is None:
        made: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        context = _contexts.setdefault(os.getpid(), made)
        if context is not made:
            made.term()  # another thread was first
    return context


def _left_ms(deadline: float) -> int:
    return round(min(max(deadline - time.monotonic(), 0), WAIT_S_MAX) * 1_000)
