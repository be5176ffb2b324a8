"""Other hosts, by hand: a log's directory with its keys, and raw sockets that speak the wire."""

import itertools
import os
from pathlib import Path
from typing import Any, Self

import zmq

from frames import Chain, event, parts
from hansard import wire
from hansard.curve import CurveKeys, new_keys
from hansard.directory import CURVE_KEY
from hansard.tcp_address import tcp_ports
from hansard_writer.durable_files import write_new_file
from hansard_writer.remote.allow_list import Client, changing

PORT = 7_461
ANSWER_MS = 20_000
SILENCE_MS = 300

_NUMBERS = itertools.count(1)


def own_address() -> str:
    """One on the loopback that no other test has, nor any that runs beside it."""
    pid = os.getpid()
    host = f"127.{1 + (pid >> 8) % 250}.{pid % 256}.{next(_NUMBERS)}"
    return f"tcp://{host}:{PORT}"


class Site:
    """A directory that is to be served over tcp."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.address = own_address()
        self.keys = new_keys()
        directory.mkdir(mode=0o700, exist_ok=True)
        write_new_file(directory / CURVE_KEY, self.keys.secret.encode(), 0o600)

    def allow(self, name: str, *rights: str, keys: CurveKeys | None = None) -> CurveKeys:
        """Let somebody in, as `hansard keys allow` does; what they are known by."""
        keys = keys or new_keys()
        with changing(self.directory) as clients:
            clients[:] = [each for each in clients if each.name != name]
            clients.append(Client(keys.public, name, rights or ("record",)))
        return keys

    def revoke(self, name: str) -> None:
        """As `hansard keys revoke` does."""
        with changing(self.directory) as clients:
            clients[:] = [each for each in clients if each.name != name]


class Host:
    """Sockets of one client, with a producer. ``keys`` None: a plain client, without CURVE."""

    def __init__(
        self,
        site: Site,
        keys: CurveKeys | None,
        *,
        server_key: str | None = None,
        producer_id: bytes | None = None,
    ) -> None:
        self._site = site
        self._keys = keys
        self._server_key = server_key or site.keys.public
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        ports = tcp_ports(site.address)
        self._ask = self.connect(zmq.REQ, ports.requests)
        self._push = self.connect(zmq.PUSH, ports.frames)
        self.chain = Chain(producer_id or os.urandom(wire.PRODUCER_ID_BYTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.destroy(linger=0)

    def connect(self, kind: int, endpoint: str) -> "zmq.Socket[bytes]":
        """A socket of this client."""
        socket = self._context.socket(kind)
        socket.linger = 0
        if kind == zmq.REQ:
            socket.req_relaxed = socket.req_correlate = True
        if self._keys is not None:
            socket.curve_publickey = self._keys.public.encode()
            socket.curve_secretkey = self._keys.secret.encode()
            socket.curve_serverkey = self._server_key.encode()
        socket.connect(endpoint)
        return socket

    def ask(self, request: wire.Request | bytes) -> Any:
        """The content of the answer. Raises `wire.WireError` for a refusal."""
        self._ask.send(request if isinstance(request, bytes) else wire.pack_request(request))
        assert self._ask.poll(ANSWER_MS), "the writer answers"
        return wire.unpack_reply(self._ask.recv())[1]

    def is_heard(self) -> bool:
        """Whether anybody answers at all."""
        self._ask.send(wire.pack_stats_request())
        return bool(self._ask.poll(SILENCE_MS)) and bool(self._ask.recv())

    def greet(self, **changed: Any) -> wire.Welcome:
        """Say hello, as the producer."""
        return wire.welcome_of(self.ask(self.chain.hello(**changed)))

    def push(self, *events: bytes) -> None:
        """Send the producer's next frame, whatever comes of it."""
        self.push_frame(self.chain.frame(*(events or [event(task_id=None)])))

    def push_frame(self, frame: wire.Frame) -> None:
        self._push.send_multipart(parts(frame))

    def wait(self, target: int, **changed: Any) -> wire.Ack:
        """What the writer says of the producer's numbers up to one."""
        wait = wire.Wait(self.chain.producer_id, 0, target, 0, 0, True, wire.Report())
        return wire.ack_of(self.ask(wait._replace(**changed)))

    def records(self, events: int = 1) -> None:
        """Record, and see it committed."""
        for _ in range(events):
            self.push()
        while (ack := self.wait(self.chain.seq)).status == wire.PENDING:
            pass
        assert ack.status == wire.COMMITTED
        assert (ack.watermark, ack.crc) == (self.chain.seq, self.chain.crc)
