"""Questions to the writer, from any thread: each on a socket of its own, or one after the other."""

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import zmq

from hansard import wire
from hansard.connection import monitored
from hansard.errors import WriterUnavailable
from hansard.route import Route
from hansard.served_by import Writer, writer_of

WAIT_S_MAX: Final = 86_400.0
LOOK_MS: Final = 250  # between two looks whether the writer that was asked still runs
LAST_WORDS_MS: Final = 100  # for an answer that it sent before it ended


class Line:
    """To the writer of a directory, for one question after the other. It belongs to one thread.

    ``send`` a question, then wait for its ``answer``: both raise as `ask`, and then there was none.
    What connects it is made when it is first needed, and anew after an error.
    """

    def __init__(self, to: "Path | Writer") -> None:
        self._to = to
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._route: Route | None = None
        self._timeout, self._deadline = 0.0, 0.0
        self._run_id: str | None = None
        self._was_sent = False

    def send(self, message: bytes, timeout: float) -> None:
        """Send a question that is to be answered within ``timeout`` seconds."""
        self._was_sent = False
        self._timeout, self._deadline = timeout, time.monotonic() + timeout
        with self._giving_up():
            self._writer.require_directory()
            socket = self._connected()
            while not socket.poll(min(_left_ms(self._deadline), LOOK_MS), zmq.POLLOUT):
                self._require_way()
            self._run_id = self._writer.run_id()
            self._was_sent = True
            socket.send(message, zmq.NOBLOCK)

    def send_as_owner(self, request: wire.Request, timeout: float) -> None:
        """The same with what, in a log that is shared with a group, only the owner of its directory
        may ask; `ConfigError` for others."""
        self.send(_as_owner(self._writer, request), timeout)

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
        socket, monitor, route = self._socket, self._monitor, self._route
        self._socket = self._monitor = self._route = None
        if socket is not None:
            socket.disable_monitor()
            socket.close(linger=0)
        if monitor is not None:
            monitor.close(linger=0)
        if route is not None:
            route.close()

    @property
    def _writer(self) -> Writer:
        if isinstance(self._to, Path):
            self._to = writer_of(self._to)
        return self._to

    def _connected(self) -> "zmq.Socket[bytes]":
        if self._socket is None:
            self._route = self._writer.route()
            self._socket = _context().socket(zmq.REQ)
            self._socket.linger = 0
            self._socket.immediate = True  # nothing is queued for a writer that is not there
            self._route.prepare(self._socket)
            if self._route.refusals:
                self._monitor = self._socket.get_monitor_socket(self._route.events)
            self._socket.connect(self._route.requests)
        return self._socket

    def _require_way(self) -> None:
        """Raises where the writer lets nobody in, or was not there in time."""
        refusal = ""
        if self._monitor is not None and self._route is not None:
            for event, value in monitored(self._monitor):
                refusal = self._route.refusal(event, value) or refusal
        if refusal or not _left_ms(self._deadline):
            raise _unavailable(_no_answer(self._writer, self._timeout, refusal), was_sent=False)

    def _require_writer(self, socket: "zmq.Socket[bytes]") -> None:
        """Raises where no answer can come any more, or none came in time."""
        writer = self._writer
        if writer.has_ended(self._run_id) and not socket.poll(LAST_WORDS_MS):
            what = f"{writer.name} ended before it answered"
            raise _unavailable(what, was_sent=True, writer_ended=True)
        if not _left_ms(self._deadline):
            raise _unavailable(_no_answer(writer, self._timeout), was_sent=True)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """After an error a late answer would be taken for the next question's."""
        try:
            yield
        except zmq.ZMQError as error:
            self.close()
            what = f"cannot ask {self._writer.name}: {error}"
            raise _unavailable(what, was_sent=self._was_sent) from error
        except BaseException:
            self.close()
            raise


def ask(to: "Path | Writer", message: bytes, timeout: float) -> tuple[str, object]:
    """Verb and content of the reply of a writer, or of that of a directory.

    Raises `ConfigError` for a directory that does not let this user in, `WriterUnavailable` when
    no reply comes within ``timeout`` seconds, or none can come any more because the writer that
    was asked has ended; it says with ``was_sent`` whether the message may have arrived. `WireError`
    when the writer refuses, `ProtocolMismatch` when it speaks another version.

    The message is sent once: a writer that has started since is not asked.
    """
    with closing(Line(to)) as line:
        line.send(message, timeout)
        return line.answer()


def ask_as_owner(to: "Path | Writer", request: wire.Request, timeout: float) -> object:
    """The content of the writer's answer to what, in a log that is shared with a group, only the
    owner of its directory may ask. Raises as `ask`; `ConfigError` for others."""
    with closing(Line(to)) as line:
        line.send_as_owner(request, timeout)
        return line.answer()[1]


def _as_owner(writer: Writer, request: wire.Request) -> bytes:
    token = writer.owners_token()
    if token is None:
        return wire.pack_request(request)
    return wire.pack_owners_request(token, request)


def _no_answer(writer: Writer, timeout: float, refusal: str = "") -> str:
    if busy := writer.silent(f"within {timeout:g} s"):
        return f"{busy}; try again"
    if refusal:
        return f"nothing can be asked of {writer.name}: {refusal}"
    return f"no writer answered {writer.where} within {timeout:g} s: {writer.way_out()}"


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
