"""The writer's tcp sockets: PULL and ROUTER behind CURVE, and who may come to them.

As `hansard_writer.endpoints`, beside which they are read in the same thread: made, used and closed
there. What a peer may do is looked up for each message, and not decided here. No ZeroMQ heartbeats
either; TCP's own keepalive ends the connections of hosts that are gone.
"""

import contextlib
import errno
import select
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import zmq

from hansard import wire
from hansard.curve import read_keys
from hansard.errors import ConfigError
from hansard.tcp_address import tcp_ports
from hansard_writer.remote import turned_away, zap
from hansard_writer.remote.allow_list import Client
from hansard_writer.remote.allowed_keys import AllowedKeys
from hansard_writer.remote.handshakes import Handshakes
from hansard_writer.remote.rights import Peer
from hansard_writer.remote.turned_away import TurnedAway

HANDSHAKE_MS_MAX: Final = 3_000
HANDSHAKES_PER_TURN_MAX: Final = 64
KEEPALIVE_IDLE_S: Final = 60
KEEPALIVE_EVERY_S: Final = 15
KEEPALIVE_TRIES: Final = 4  # so a host that is gone is known to be after two minutes
PARTS_PER_TURN_MAX: Final = 64  # no message that is taken has as many
CONNECTIONS_WAITING_MAX: Final = 1_024  # to be accepted: a whole site comes back at once

_NOBLOCK: Final = int(zmq.NOBLOCK)
_MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE: Final = int(zmq.POLLIN)


class Received(NamedTuple):
    """A message's parts, and who sent them."""

    parts: list[bytes]
    peer: Peer


class TcpEndpoints:
    """Both sockets, bound to an address, in a context of their own: libzmq's thread that decrypts
    for other hosts is not the one that serves this host's workers.

    A socket is asked only after its descriptor has said that there is news, so that beside callers
    over ipc it costs one look at all descriptors a turn. Raises `ConfigError` where nobody could
    connect, or the address cannot be had.
    """

    def __init__(
        self,
        directory: Path,
        address: str,
        turned_away: TurnedAway,
        *,
        requests_queued_max: int,
        replies_queued_max: int,
        connections_max: int,
    ) -> None:
        self._address = address
        self._secret = read_keys(directory).secret.encode()
        self._turned_away = turned_away
        self._allowed = AllowedKeys(directory)
        if not self._allowed.clients:
            raise ConfigError(
                f"no key may connect to {address}: allow those of other hosts with `hansard keys "
                f"allow KEY --name NAME --dir {directory}`, then start again"
            )
        ports = tcp_ports(address, "tcp")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        with contextlib.ExitStack() as undo:
            undo.callback(self._context.destroy, linger=0)
            self._zap = self._context.socket(zmq.REP)
            self._zap.bind(zap.ADDRESS)
            self._pull = self._socket(zmq.PULL, wire.PIPE_MESSAGES_MAX)
            self._router = self._socket(zmq.ROUTER, requests_queued_max)
            self._router.sndhwm = replies_queued_max
            self._handshakes = [
                Handshakes(self._router, "requests", turned_away, connections_max // 2),
                Handshakes(self._pull, "frames", turned_away, connections_max // 2),
            ]
            undo.callback(self._stop_listening)
            self._bind(self._router, ports.requests)
            self._bind(self._pull, ports.frames)
            undo.pop_all()
        self._too_long: set[zmq.Socket[bytes]] = set()  # in the middle of a message
        self._inboxes = (self._zap, *(each.socket for each in self._handshakes))
        sockets = (self._router, self._pull, *self._inboxes)
        self.descriptors = {int(each.getsockopt(zmq.FD)): each for each in sockets}
        self._with_news = set(sockets)  # not asked since their descriptor said so
        self._poll = select.poll()
        for descriptor in self.descriptors:
            self._poll.register(descriptor, select.POLLIN)

    @property
    def connections(self) -> int:
        """How many stand, or are being made."""
        return sum(each.connections for each in self._handshakes)

    def clients(self) -> tuple[Client, ...]:
        """Who may come at present: the same object until that changes."""
        return self._allowed.clients

    def attend(self, now: float) -> None:
        """Look for news, let clients in, and hear of those who could not come."""
        for descriptor, _ in self._poll.poll(0):
            self._with_news.add(self.descriptors[descriptor])
        self._allowed.look(now)
        if self._zap in self._with_news:
            self._answer_handshakes()
        for each in self._handshakes:
            if each.socket in self._with_news and each.hear():
                self._asked(each.socket)

    def has_news(self, *, frames_too: bool) -> bool:
        """Whether something may be there to be read, as far as it was looked for."""
        for socket in tuple(self._with_news):
            if socket is self._pull and not frames_too:
                continue
            if int(socket.getsockopt(zmq.EVENTS)) & _READABLE:
                return True
            self._asked(socket)
        return False

    def message(self) -> Received | None:
        """The next message from a producer, None if there is none."""
        return self._received(self._pull)

    def request(self) -> Received | None:
        """The next request: its envelope, and last its content."""
        return self._received(self._router)

    def reply(self, envelope: list[bytes], content: bytes) -> None:
        """Answer a request. Who has gone away gets nothing, and nobody waits for him."""
        self._with_news.add(self._router)  # sending may take the news in
        with contextlib.suppress(zmq.Again):
            for part in envelope:
                self._router.send(part, _MORE)
            self._router.send(content, _NOBLOCK)

    def close(self) -> None:
        """Close all; answers that are on their way get a moment."""
        self._stop_listening()
        self._pull.close(linger=0)
        self._zap.close(linger=0)
        self._router.close(linger=200)
        self._context.term()

    # --- inside ---

    def _answer_handshakes(self) -> None:
        for _ in range(HANDSHAKES_PER_TURN_MAX):
            try:
                parts = self._zap.recv_multipart(_NOBLOCK)
            except zmq.Again:
                self._asked(self._zap)
                return
            asked = zap.asked_of(parts)
            if asked is not None and self._allowed.admits(asked.key):
                self._zap.send_multipart(zap.welcome(asked))
                continue
            if asked is not None:
                self._turned_away.handshake(turned_away.UNKNOWN_KEY, asked.address, asked.key)
            self._zap.send_multipart(zap.refusal(parts))

    def _asked(self, socket: "zmq.Socket[bytes]") -> None:
        """It has nothing to read: its descriptor says when it has."""
        self._with_news.discard(socket)

    def _received(self, socket: "zmq.Socket[bytes]") -> Received | None:
        """With what libzmq knows of the connection: a client cannot say these of itself. It is not
        asked first: a socket calls itself readable for a connection's user id, which libzmq puts in
        front of its first message, and keeps. Of a message of very many parts it is the first: who
        hears of it refuses it, and the others are thrown away as many a turn."""
        if socket not in self._with_news:
            return None
        is_begun = socket in self._too_long
        try:
            frame = socket.recv(_NOBLOCK, copy=False)
        except zmq.Again:
            self._asked(socket)
            return None
        parts = [frame.bytes]
        while frame.more and len(parts) < PARTS_PER_TURN_MAX:
            frame = socket.recv(_NOBLOCK, copy=False)
            parts.append(frame.bytes)
        if frame.more:
            self._too_long.add(socket)
        else:
            self._too_long.discard(socket)
        if is_begun:
            return None  # the rest of what was refused
        key, address = str(frame.get("User-Id")), str(frame.get("Peer-Address"))
        return Received(parts, self._allowed.peer(key, address))

    def _socket(self, kind: int, queued_max: int) -> "zmq.Socket[bytes]":
        socket = self._context.socket(kind)
        socket.linger = 0
        socket.maxmsgsize = wire.MESSAGE_BYTES_MAX
        socket.rcvhwm = queued_max
        socket.ipv6 = "[" in self._address
        socket.backlog = CONNECTIONS_WAITING_MAX
        socket.curve_server = True
        socket.curve_secretkey = self._secret
        socket.zap_domain = zap.DOMAIN
        socket.zap_enforce_domain = True  # without an answer nobody comes in
        socket.handshake_ivl = HANDSHAKE_MS_MAX
        socket.tcp_keepalive = 1
        socket.tcp_keepalive_idle = KEEPALIVE_IDLE_S
        socket.tcp_keepalive_intvl = KEEPALIVE_EVERY_S
        socket.tcp_keepalive_cnt = KEEPALIVE_TRIES
        return socket

    def _bind(self, socket: "zmq.Socket[bytes]", endpoint: str) -> None:
        try:
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            _refuse(endpoint, error)

    def _stop_listening(self) -> None:
        for each in self._handshakes:
            each.close()


def _refuse(endpoint: str, error: zmq.ZMQError) -> NoReturn:
    if error.errno == errno.EADDRINUSE:
        why = "somebody listens there: name another port (two are used), or stop who has it"
    elif error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        why = "that is no address of this host: name one of its own, or tcp://*:PORT for all"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = "this user may not have that port: name one above 1,023"
    else:
        why = str(error)
    raise ConfigError(f"cannot listen at {endpoint}: {why}") from error
