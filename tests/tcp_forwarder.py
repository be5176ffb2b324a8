"""A way between a client and a server over TCP that a test can cut."""

import contextlib
import selectors
import socket
import struct
import threading
from types import TracebackType
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close resets the connection
_BYTES = 1 << 16


class TcpForwarder:
    """Listens on a port of its own, and passes on what comes, both ways, in one thread."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket] = {}
        self.passed = 0  # bytes, all together
        self._cut_behind: int | None = None
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="forwarder")

    def cut_behind(self, count: int) -> None:
        """Reset all connections once so many more bytes have been passed on."""
        self._cut_behind = self.passed + count

    @property
    def is_to_cut(self) -> bool:
        """Whether what `cut_behind` said is still to come."""
        return self._cut_behind is not None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._ending = True
        self._waker.send(b"x")
        self._thread.join()
        for each in (self._listener, self._waker, self._woken, self._selector):
            each.close()

    # --- in its thread ---

    def _run(self) -> None:
        while not self._ending:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._others:
                    self._pass(key.fileobj)
        self._cut()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._to)
        except OSError:
            client.close()
            return
        for each, other in ((client, server), (server, client)):
            self._others[each] = other
            self._selector.register(each, selectors.EVENT_READ)

    def _pass(self, source: socket.socket) -> None:
        try:
            data = source.recv(_BYTES)
            if data:
                self._others[source].sendall(data)
                self.passed += len(data)
        except OSError:
            data = b""
        if not data:
            self._drop(source)
        if self._cut_behind is not None and self.passed >= self._cut_behind:
            self._cut_behind = None
            self._cut()

    def _drop(self, source: socket.socket) -> None:
        for each in (source, self._others[source]):
            del self._others[each]
            self._selector.unregister(each)
            each.close()

    def _cut(self) -> None:
        while self._others:
            source = next(iter(self._others))
            for each in (source, self._others[source]):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._drop(source)
