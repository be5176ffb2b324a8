"""The HTTP server in the writer's process: one thread, few connections, none of them for long.

Whoever is slow loses its place to who comes later, and whoever asks too often waits: what the loop
needs (descriptors, memory, the interpreter) has a bound here.
"""

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
import weakref
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from hansard.errors import ConfigError
from hansard.metrics_address import MetricsAddress
from hansard_writer.metrics.exchange import (
    END_OF_HEAD,
    HEAD_BYTES_MAX,
    Request,
    Response,
    packed,
    read_head,
    said,
)

CONNECTIONS_MAX: Final = 16
CONNECTION_S: Final = 5.0  # from its first byte to our last
ACCEPT_EVERY_S: Final = 0.02  # 50 requests/s; a scraper makes one in ten seconds
ACCEPT_RETRY_S: Final = 1.0  # where no descriptor is left
READ_BYTES: Final = 4_096
JOIN_S: Final = 2.0  # for an answer that is being waited for

_LOG: Final = logging.getLogger("hansard.writer.metrics")

Answer = Callable[[Request], Response]


class _Connection:
    """One client: its head as far as it came, then our answer as far as it went."""

    def __init__(self, client: socket.socket, until: float) -> None:
        self.socket = client
        self.until = until
        self.head = b""
        self.left = b""
        self.is_answered = False

    def is_whole(self) -> bool:
        """Whether there is something to be answered."""
        return END_OF_HEAD in self.head or len(self.head) > HEAD_BYTES_MAX


class MetricsServer:
    """Listens from its making on, and answers between `start` and `close`.

    ``answer`` is called by its thread alone. Raises `ConfigError` where it cannot listen.
    """

    def __init__(self, address: MetricsAddress, answer: Answer) -> None:
        self._answer = answer
        self._listener = _listening(address)
        port: int = self._listener.getsockname()[1]
        self.address = address._replace(port=port)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._connections: dict[socket.socket, _Connection] = {}  # the oldest first
        self._accept_at = 0.0
        self._accepts = False
        self._stopped = False
        self._thread: threading.Thread | None = None
        _servers.add(self)

    def start(self) -> None:
        """Begin to answer; who has connected before is answered, too."""
        self._thread = threading.Thread(target=self._run, name="hansard-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer nobody any more. Idempotent."""
        self._stopped = True
        with contextlib.suppress(OSError):
            self._wake_write.send(b"!")
        if self._thread is not None:
            self._thread.join(JOIN_S)
            if self._thread.is_alive():
                return  # it closes nothing that it may still use; the process ends
        for connection in list(self._connections.values()):
            self._end(connection)
        self._selector.close()
        self._close_sockets()

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopped:
            try:
                self._turn(time.monotonic())
            except Exception:  # noqa: BLE001 - a fault must not leave nobody to be asked
                _LOG.exception("a fault of the metrics' server")
                time.sleep(ACCEPT_RETRY_S)

    def _turn(self, now: float) -> None:
        self._accept_again(now)
        for key, _ in self._selector.select(max(self._next(now) - now, 0.0)):
            if key.fileobj is self._listener:
                self._accept(time.monotonic())
            elif (connection := key.data) is not None and connection.socket in self._connections:
                self._attend(connection)
        now = time.monotonic()
        for connection in [each for each in self._connections.values() if now >= each.until]:
            self._end(connection)

    def _next(self, now: float) -> float:
        moments = [each.until for each in self._connections.values()]
        if not self._accepts:
            moments.append(self._accept_at)
        return min(moments, default=now + CONNECTION_S)

    def _accept_again(self, now: float) -> None:
        if not self._accepts and now >= self._accept_at:
            self._selector.register(self._listener, selectors.EVENT_READ)
            self._accepts = True

    def _rest(self, until: float) -> None:
        """Accept nobody before."""
        self._selector.unregister(self._listener)
        self._accepts, self._accept_at = False, until

    def _accept(self, now: float) -> None:
        try:
            client, _ = self._listener.accept()
        except BlockingIOError:
            return  # it has gone again
        except OSError as error:
            _LOG.warning("nobody can ask for metrics: %s", error.strerror)
            self._rest(now + ACCEPT_RETRY_S)
            return
        self._rest(now + ACCEPT_EVERY_S)
        client.setblocking(False)
        if len(self._connections) >= CONNECTIONS_MAX:
            self._end(next(iter(self._connections.values())))
        connection = self._connections[client] = _Connection(client, now + CONNECTION_S)
        self._selector.register(client, selectors.EVENT_READ, connection)

    def _attend(self, connection: _Connection) -> None:
        try:
            if connection.left:
                self._send(connection)
            elif data := connection.socket.recv(READ_BYTES):
                self._take(connection, data)
            else:
                self._end(connection)
        except BlockingIOError:
            pass
        except OSError:
            self._end(connection)

    def _take(self, connection: _Connection, data: bytes) -> None:
        if connection.is_answered:
            return  # a body that nobody wanted: read, or its sender would not read our answer
        connection.head += data
        if connection.is_whole():
            connection.left = self._answered(connection.head)
            connection.is_answered = True
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
            self._send(connection)

    def _answered(self, head: bytes) -> bytes:
        head, end, _ = head.partition(END_OF_HEAD)
        if not end or len(head) > HEAD_BYTES_MAX:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return packed(said(status, f"more than {HEAD_BYTES_MAX} bytes of headers"))
        asked = read_head(head)
        if isinstance(asked, Response):
            return packed(asked)
        return packed(self._answer(asked), with_body=asked.method != "HEAD")

    def _send(self, connection: _Connection) -> None:
        connection.left = connection.left[connection.socket.send(connection.left) :]
        if not connection.left:  # it ends the connection, having read all
            connection.socket.shutdown(socket.SHUT_WR)
            self._selector.modify(connection.socket, selectors.EVENT_READ, connection)

    def _end(self, connection: _Connection) -> None:
        del self._connections[connection.socket]
        self._selector.unregister(connection.socket)
        connection.socket.close()

    # --- both ---

    def _close_sockets(self) -> None:
        for each in (self._listener, self._wake_read, self._wake_write, *self._connections):
            each.close()

    def abandon(self) -> None:
        """In a child of a fork: the thread is not here, and the sockets are the parent's. Its
        selector is shared with it, and MUST NOT be told of anything."""
        self._thread = None
        self._close_sockets()


def _listening(address: MetricsAddress) -> socket.socket:
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _unusable(address, error) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not before the dead one's
        listener.bind(where)
        listener.listen(CONNECTIONS_MAX)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _unusable(address, error) from error
    return listener


def _unusable(address: MetricsAddress, error: OSError) -> ConfigError:
    where = address.url.removesuffix("/metrics")
    return ConfigError(
        f"cannot show metrics at {where}: {error.strerror}; name another HOST:PORT, or leave "
        "`metrics` out"
    )


_servers: "weakref.WeakSet[MetricsServer]" = weakref.WeakSet()


def _in_child() -> None:
    for server in list(_servers):
        server.abandon()


os.register_at_fork(after_in_child=_in_child)
