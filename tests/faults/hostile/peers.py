"""Hostile peers at the writer's two sockets, and what a look from outside says of the writer."""

import contextlib
import random
import socket
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgpack
import zmq

from faults.hostile.messages import Frames, Requests
from frames import Chain, event, parts
from hansard import wire
from hansard.tcp_address import tcp_ports
from support import wait_until
from tcp_peers import Site

SEND_MS = 60_000  # a writer that takes nothing for so long is no writer
SOCKETS = ("push.sock", "ack.sock")
PUSHERS = ASKERS = 4
HALF_OPEN_MAX = 60
FLOOD = 250  # connections at once
BURST = 100  # requests of a MiB, from each asker

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)  # ZMTP 3.0
CURVE_GREETING = GREETING.replace(b"NULL\0", b"CURVE")


class Peers:
    """Sockets of one hostile process: some push, some ask; one asks and never reads."""

    def __init__(self, directory: Path, chance: random.Random) -> None:
        self._chance = chance
        self.directory = directory
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._made: list[zmq.Socket[bytes]] = []
        self._pushers = [self.connect(zmq.PUSH, "push.sock") for _ in range(PUSHERS)]
        self._askers = [self.connect(zmq.DEALER, "ack.sock") for _ in range(ASKERS)]
        self._deaf = self.connect(zmq.DEALER, "ack.sock")
        self._deaf.rcvhwm = 1
        self._half_open: list[socket.socket] = []
        self.frames = [Frames(chance) for _ in self._pushers]  # a connection keeps the order
        self.requests = Requests(chance, self.known)
        self.replies = 0
        for frames in self.frames:
            self._introduce(frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for half_open in self._half_open:
            half_open.close()
        for made in self._made:
            made.close(linger=0)
        self._context.term()

    def known(self) -> list[Chain]:
        """The producers that the writer has welcomed."""
        return [chain for frames in self.frames for chain in frames.producers]

    def connect(self, kind: int, name: str) -> "zmq.Socket[bytes]":
        made = self._context.socket(kind)
        self._made.append(made)
        made.sndtimeo = SEND_MS
        made.linger = 0
        made.connect(f"ipc://{self.directory / name}")
        return made

    def ask(self, content: bytes, timeout: float = 60.0) -> tuple[str, Any]:
        """A question whose answer matters, on a connection of its own."""
        with self.connect(zmq.REQ, "ack.sock") as asking:
            asking.send(content)
            assert asking.poll(round(timeout * 1_000)), "the writer answers"
            _, verb, said = msgpack.unpackb(asking.recv())
            return verb, said

    def push(self) -> None:
        """One hostile frame."""
        index = self._chance.randrange(PUSHERS)
        message = self.frames[index].next()
        self._introduce(self.frames[index])
        self._pushers[index].send_multipart(message)

    def request(self) -> None:
        """One hostile request; what is answered is thrown away."""
        asker = self._chance.choice(self._askers)
        asker.send_multipart(self.requests.next())
        self._read(asker)

    def request_and_never_read(self) -> None:
        """A question with a long answer, whose answer stays where it is."""
        with contextlib.suppress(zmq.Again):
            self._deaf.send_multipart([b"", wire.pack_stats_request()], zmq.NOBLOCK)

    def connect_raw(self) -> None:
        """A connection that does not speak ZeroMQ, or stops in the middle of a word."""
        chance = self._chance
        raw = self._connect_raw(chance.choice(SOCKETS))
        saying = chance.choice(
            (
                b"",
                b"GET / HTTP/1.1\r\n\r\n",
                chance.randbytes(chance.randrange(200)),
                GREETING,
                GREETING[: chance.randrange(len(GREETING))],
                GREETING + chance.randbytes(chance.randrange(200)),
                CURVE_GREETING + chance.randbytes(chance.randrange(400)),
                CURVE_GREETING + b"\x04\xc8\x05HELLO\x01\x00" + chance.randbytes(192),
                GREETING + b"\x06" + chance.randbytes(8) + b"\xff" * 8,  # a long command
                GREETING + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
                + chance.choice((b"\x02\xff\xff\xff\xff\xff\xff\xff\xff", b"\x00" + b"\xff" * 99)),
            )
        )  # fmt: skip
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(saying)
        if len(self._half_open) < HALF_OPEN_MAX and chance.random() < 0.5:
            self._half_open.append(raw)
        else:
            raw.close()

    def flood(self) -> int:
        """Many connections at once, and gone again; how many."""
        at_once = [self._connect_raw(SOCKETS[index % 2]) for index in range(FLOOD)]
        for raw in at_once:
            raw.close()
        return FLOOD

    def push_too_much(self) -> None:
        """More in one part than a connection takes; it is cut off."""
        with self.connect(zmq.PUSH, "push.sock") as pushing:
            pushing.linger = 1_000
            pushing.send(bytes(wire.MESSAGE_BYTES_MAX + 1))

    def burst(self) -> int:
        """Large requests from several at once, faster than the writer takes them; how many."""
        for _ in range(BURST):
            for asker in self._askers:
                asker.send_multipart(self.requests.large())
        for asker in self._askers:
            self._read(asker)
        return BURST * ASKERS

    def settle(self) -> None:
        """Everything that was pushed is taken in: what comes last on each connection is committed.

        Replies that nobody has read meanwhile are thrown away.
        """
        for pushing in self._pushers:
            last = Chain(self._chance.randbytes(wire.PRODUCER_ID_BYTES))
            self.ask(wire.pack_request(last.hello()))
            pushing.send_multipart(parts(last.frame(event(task_id=None))))
            wait = wire.Wait(last.producer_id, 0, 1, 0, 0, True, wire.Report())
            is_in = partial(self._is_committed, wire.pack_request(wait))
            wait_until(is_in, "the last frame of a hostile peer is committed", timeout=120)
        for asker in self._askers:
            self._read(asker)

    def _connect_raw(self, name: str) -> socket.socket:
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        raw.settimeout(5)

        def is_accepted() -> bool:
            with contextlib.suppress(BlockingIOError):  # too many wait to be accepted
                raw.connect(str(self.directory / name))
                return True
            return False

        wait_until(is_accepted, f"{name} takes a connection")
        return raw

    def _is_committed(self, wait: bytes) -> bool:
        return bool(self.ask(wait)[1][0] == "committed")

    def _introduce(self, frames: Frames) -> None:
        while frames.unknown:
            self.ask(wire.pack_request(frames.unknown.pop().hello()))

    def _read(self, asker: "zmq.Socket[bytes]") -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                asker.recv_multipart(zmq.NOBLOCK)
                self.replies += 1


class RemotePeers(Peers):
    """The same on another host, with a key that may record."""

    def __init__(self, site: Site, chance: random.Random) -> None:
        self._site, self._keys = site, site.allow("hostile")
        super().__init__(site.directory, chance)

    def connect(self, kind: int, name: str) -> "zmq.Socket[bytes]":
        made = self._context.socket(kind)
        self._made.append(made)
        made.sndtimeo = SEND_MS
        made.linger = 0
        made.curve_publickey = self._keys.public.encode()
        made.curve_secretkey = self._keys.secret.encode()
        made.curve_serverkey = self._site.keys.public.encode()
        made.connect(self._endpoint(name))
        return made

    def _connect_raw(self, name: str) -> socket.socket:
        host, port = self._endpoint(name).removeprefix("tcp://").rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=5)

    def _endpoint(self, name: str) -> str:
        ports = tcp_ports(self._site.address)
        return ports.frames if name == "push.sock" else ports.requests


class Thief:
    """Somebody who knows another producer's id."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._push = peers.connect(zmq.PUSH, "push.sock")

    def forge(self, producer_id: bytes, *, knows_crc: bool) -> None:
        """An event under the victim's next number; whether its CRC is the victim's too."""
        chain = Chain(producer_id)
        _, welcome = self._peers.ask(wire.pack_request(chain.hello()))
        said = wire.welcome_of(welcome)
        chain.seq, chain.crc = said.watermark, said.crc if knows_crc else said.crc ^ 1
        self._push.send_multipart(parts(chain.frame(event('{"forged":true}', task_id=None))))
        if knows_crc:
            wait_until(
                lambda: self._watermark(producer_id) > said.watermark, "the forged frame is taken"
            )  # one without is refused: the victim's next event shows it

    def try_all(self, producer_id: bytes) -> None:
        """Each way, where the writer knows whose a producer is: nothing comes of it."""
        for first_seq in (1, 1_000):
            verb, said = self._peers.ask(
                wire.pack_request(Chain(producer_id).hello(first_seq=first_seq))
            )
            assert (verb, "another's" in said) == ("error", True), said
        self._push.send_multipart(parts(Chain(producer_id).frame(event(task_id=None))))

    def skip(self, producer_id: bytes) -> None:
        """A hello that says that more was freed than the log has."""
        verb, welcome = self._peers.ask(wire.pack_request(Chain(producer_id).hello()))
        assert verb == "hello"
        ahead = wire.welcome_of(welcome).watermark + 100
        self._peers.ask(wire.pack_request(Chain(producer_id).hello(first_seq=ahead)))

    def _watermark(self, producer_id: bytes) -> int:
        _, welcome = self._peers.ask(wire.pack_request(Chain(producer_id).hello()))
        return wire.welcome_of(welcome).watermark


class Vitals:
    """How a writer is, as the kernel sees it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    @property
    def rss_peak_bytes(self) -> int:
        return self._status("VmHWM") << 10

    @property
    def threads(self) -> int:
        return self._status("Threads")

    @property
    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))

    def _status(self, name: str) -> int:
        for line in Path(f"/proc/{self._pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise AssertionError(f"the kernel says no {name} of {self._pid}")
