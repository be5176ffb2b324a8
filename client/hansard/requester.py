"""Questions to the writer, from any thread: each on a socket of its own, or one after the other."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import zmq

from hansard import directory as layout
from hansard import wire
from hansard.errors import ConfigError, WriterUnavailable

WAIT_S_MAX: Final = 86_400.0
LOOK_MS: Final = 250  # between two looks whether the writer that was asked still runs
LAST_WORDS_MS: Final = 100  # for an answer that it sent before it ended


class Line:
    """To the writer of a directory, for one question after the other. It belongs to one thread.

    ``send`` a question, then wait for its ``answer``: both raise as `ask`, and then there was none.
    What connects it is made when it is first needed, and anew after an error.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket: zmq.Socket[bytes] | None = None
        self._paths: layout.SocketPaths | None = None
        self._timeout, self._deadline = 0.0, 0.0
        self._run_id: object = None
        self._was_sent = False

    def send(self, message: bytes, timeout: float) -> None:
        """Send a question that is to be answered within ``timeout`` seconds."""
        directory, self._was_sent = self._directory, False
        self._timeout, self._deadline = timeout, time.monotonic() + timeout
        with self._giving_up():
            if not directory.is_dir():
                raise WriterUnavailable(
                    f"{directory} does not exist: `hansard serve --dir` makes it"
                )
            if not os.access(directory, os.X_OK):
                raise ConfigError(layout.foreign_directory(directory))
            socket = self._connected()
            if not socket.poll(_left_ms(self._deadline), zmq.POLLOUT):
                raise _unavailable(_no_answer(directory, timeout), was_sent=False)
            self._run_id = layout.read_lock_file(directory).get("run_id")
            self._was_sent = True
            socket.send(message, zmq.NOBLOCK)

    def send_as_owner(self, request: wire.Request, timeout: float) -> None:
        """The same with what, in a log that is shared with a group, only the owner of its directory
        may ask; `ConfigError` for others."""
        self.send(_as_owner(self._directory, request), timeout)

    def answer(self) -> tuple[str, object]:
        """Wait for it: verb and content."""
        with self._giving_up():
            socket = self._connected()
            while not socket.poll(min(_left_ms(self._deadline), LOOK_MS)):
                self._require_writer(socket)
            reply = socket.recv(zmq.NOBLOCK)
        return wire.unpack_reply(reply)

    def close(self) -> None:
        """Expect nothing any more. Idempotent."""
        socket, paths, self._socket, self._paths = self._socket, self._paths, None, None
        if socket is not None:
            socket.close(linger=0)
        if paths is not None:
            paths.close()

    def _connected(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            self._paths = layout.SocketPaths(self._directory)
            self._socket = _context().socket(zmq.REQ)
            self._socket.linger = 0
            self._socket.immediate = True  # nothing is queued for a writer that is not there
            self._socket.connect(self._paths.ack)
        return self._socket

    def _require_writer(self, socket: "zmq.Socket[bytes]") -> None:
        """Raises where no answer can come any more, or none came in time."""
        directory = self._directory
        if _has_ended(directory, self._run_id) and not socket.poll(LAST_WORDS_MS):
            what = f"the writer of {directory} ended before it answered"
            raise _unavailable(what, was_sent=True, writer_ended=True)
        if not _left_ms(self._deadline):
            raise _unavailable(_no_answer(directory, self._timeout), was_sent=True)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """After an error a late answer would be taken for the next question's."""
        try:
            yield
        except zmq.ZMQError as error:
            self.close()
            what = f"cannot ask the writer of {self._directory}: {error}"
            raise _unavailable(what, was_sent=self._was_sent) from error
        except BaseException:
            self.close()
            raise


def ask(directory: Path, message: bytes, timeout: float) -> tuple[str, object]:
    """Verb and content of the writer's reply.

    Raises `ConfigError` for a directory that does not let this user in, `WriterUnavailable` when
    no reply comes within ``timeout`` seconds, or none can come any more because the writer that
    was asked has ended; it says with ``was_sent`` whether the message may have arrived. `WireError`
    when the writer refuses, `ProtocolMismatch` when it speaks another version.

    The message is sent once: a writer that has started since is not asked.
    """
    with closing(Line(directory)) as line:
        line.send(message, timeout)
        return line.answer()


def ask_as_owner(directory: Path, request: wire.Request, timeout: float) -> object:
    """The content of the writer's answer to what, in a log that is shared with a group, only the
    owner of its directory may ask. Raises as `ask`; `ConfigError` for others."""
    return ask(directory, _as_owner(directory, request), timeout)[1]


def _as_owner(directory: Path, request: wire.Request) -> bytes:
    try:
        token = (directory / layout.OWNERS).read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # not shared
        return wire.pack_request(request)
    except OSError as error:
        raise ConfigError(
            f"only the owner of {directory} may ask for that ({layout.OWNERS}: "
            f"{error.strerror}): run it as the user of its writer"
        ) from error
    return wire.pack_owners_request(token, request)


def _no_answer(directory: Path, timeout: float) -> str:
    busy = layout.silent_writer(directory, f"within {timeout:g} s")
    if busy:
        return f"{busy}; try again"
    return (
        f"no writer answered in {directory} within {timeout:g} s: "
        f"start one with `hansard serve --dir {directory}`"
    )


def _has_ended(directory: Path, run_id: object) -> bool:
    """Whether the run of a writer that was asked is over; where it is unknown, it is not."""
    if run_id is None:
        return False
    now = layout.read_lock_file(directory).get("run_id", run_id)
    return now != run_id or not layout.a_writer_lives(directory)


def _unavailable(what: str, *, was_sent: bool, writer_ended: bool = False) -> WriterUnavailable:
    error = WriterUnavailable(what)
    error.was_sent, error.writer_ended = was_sent, writer_ended
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
