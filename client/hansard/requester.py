"""One question to the writer, from any thread: a socket of its own, made when it is asked, and
closed once it is answered."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import zmq

from hansard import directory as layout
from hansard import wire
from hansard.errors import ConfigError, WriterUnavailable

WAIT_S_MAX: Final = 86_400.0
LOOK_MS: Final = 250  # between two looks whether the writer that was asked still runs
LAST_WORDS_MS: Final = 100  # for an answer that it sent before it ended


class Question:
    """One that was sent, and is to be answered; for one thread. What it raises, when it is made and
    when the answer is asked for, is said at `ask`. It MUST be answered or closed."""

    def __init__(self, directory: Path, message: bytes, timeout: float) -> None:
        self._directory, self._timeout = directory, timeout
        self._deadline = time.monotonic() + timeout
        if not directory.is_dir():
            raise WriterUnavailable(f"{directory} does not exist: `hansard serve --dir` makes it")
        if not os.access(directory, os.X_OK):
            raise ConfigError(layout.foreign_directory(directory))
        self._paths = layout.SocketPaths(directory)
        self._socket = _context().socket(zmq.REQ)
        self._was_sent = False
        try:
            with self._errors_told():
                self._send(message)
        except BaseException:
            self.close()
            raise

    def answer(self) -> tuple[str, object]:
        """Wait for it: verb and content."""
        socket = self._socket
        try:
            with self._errors_told():
                while not socket.poll(min(_left_ms(self._deadline), LOOK_MS)):
                    self._require_writer()
                return wire.unpack_reply(socket.recv(zmq.NOBLOCK))
        finally:
            self.close()

    def close(self) -> None:
        """Expect no answer any more. Idempotent."""
        self._socket.close(linger=0)
        self._paths.close()

    def _send(self, message: bytes) -> None:
        socket = self._socket
        socket.linger = 0
        socket.immediate = True  # nothing is queued for a writer that is not there
        socket.connect(self._paths.ack)
        if not socket.poll(_left_ms(self._deadline), zmq.POLLOUT):
            raise _unavailable(_no_answer(self._directory, self._timeout), was_sent=False)
        self._run_id = layout.read_lock_file(self._directory).get("run_id")
        self._was_sent = True
        socket.send(message, zmq.NOBLOCK)

    def _require_writer(self) -> None:
        """Raises where no answer can come any more, or none came in time."""
        directory = self._directory
        if _has_ended(directory, self._run_id) and not self._socket.poll(LAST_WORDS_MS):
            what = f"the writer of {directory} ended before it answered"
            raise _unavailable(what, was_sent=True, writer_ended=True)
        if not _left_ms(self._deadline):
            raise _unavailable(_no_answer(directory, self._timeout), was_sent=True)

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        try:
            yield
        except zmq.ZMQError as error:
            what = f"cannot ask the writer of {self._directory}: {error}"
            raise _unavailable(what, was_sent=self._was_sent) from error


def ask(directory: Path, message: bytes, timeout: float) -> tuple[str, object]:
    """Verb and content of the writer's reply.

    Raises `ConfigError` for a directory that does not let this user in, `WriterUnavailable` when
    no reply comes within ``timeout`` seconds, or none can come any more because the writer that
    was asked has ended; it says with ``was_sent`` whether the message may have arrived. `WireError`
    when the writer refuses, `ProtocolMismatch` when it speaks another version.

    The message is sent once: a writer that has started since is not asked.
    """
    return Question(directory, message, timeout).answer()


def ask_as_owner(directory: Path, request: wire.Request, timeout: float) -> object:
    """The content of the writer's answer to what, in a log that is shared with a group, only the
    owner of its directory may ask. Raises as `ask`; `ConfigError` for others."""
    return question_as_owner(directory, request, timeout).answer()[1]


def question_as_owner(directory: Path, request: wire.Request, timeout: float) -> Question:
    """The same, sent, and to be answered later."""
    try:
        token = (directory / layout.OWNERS).read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # not shared
        return Question(directory, wire.pack_request(request), timeout)
    except OSError as error:
        raise ConfigError(
            f"only the owner of {directory} may ask for that ({layout.OWNERS}: "
            f"{error.strerror}): run it as the user of its writer"
        ) from error
    return Question(directory, wire.pack_owners_request(token, request), timeout)


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
