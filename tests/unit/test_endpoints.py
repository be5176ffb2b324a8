"""The writer's sockets: bytes in, bytes out, and nothing that waits for anybody."""

import contextlib
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from hansard import directory as layout
from hansard import wire
from hansard.tcp_address import tcp_ports
from hansard_writer.endpoints import Endpoints
from hansard_writer.remote.tcp_endpoints import TcpEndpoints
from hansard_writer.remote.turned_away import TurnedAway
from support import wait_until
from tcp_peers import Host, Site

CONNECTIONS_MAX = 8  # of other hosts


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[Endpoints]:
    endpoints = Endpoints(tmp_path, 0o600)
    yield endpoints
    endpoints.close()


Connect = Callable[[int], "zmq.Socket[bytes]"]


@pytest.fixture
def connect(tmp_path: Path, endpoints: Endpoints) -> Iterator[Connect]:
    """Makes a worker's socket, connected to the endpoints."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    paths = layout.SocketPaths(tmp_path)
    made = []

    def make(kind: int) -> "zmq.Socket[bytes]":
        socket = context.socket(kind)
        made.append(socket)
        if kind == zmq.REQ:
            socket.req_relaxed = socket.req_correlate = True
        socket.connect(paths.push if kind == zmq.PUSH else paths.ack)
        return socket

    yield make
    for each in made:
        each.close(linger=0)
    context.term()


def test_there_is_nothing_to_read_at_first(endpoints: Endpoints) -> None:
    assert endpoints.message() is None
    assert endpoints.request() is None


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_the_sockets_have_the_mode_they_are_given(tmp_path: Path, mode: int) -> None:
    endpoints = Endpoints(tmp_path, mode)
    for name in (layout.PUSH_SOCKET, layout.ACK_SOCKET):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    endpoints.close()


def test_a_frame_arrives_in_its_parts(endpoints: Endpoints, connect: Connect) -> None:
    connect(zmq.PUSH).send_multipart([b"header", b"body"])
    arrived = wait_until(endpoints.message, "the frame arrives")
    assert arrived == ([b"header", b"body"], None)


def test_the_envelope_of_a_request_is_echoed_whole(endpoints: Endpoints, connect: Connect) -> None:
    asking = connect(zmq.REQ)
    asking.send(b"question")
    envelope, content, _ = wait_until(endpoints.request, "the request arrives")
    assert content == b"question"
    assert len(envelope) == 3, "identity, request id, delimiter"
    endpoints.reply(envelope, b"answer")
    assert asking.poll(10_000)
    assert asking.recv() == b"answer"


def test_who_has_gone_away_is_answered_without_a_complaint(
    endpoints: Endpoints, connect: Connect
) -> None:
    asking = connect(zmq.REQ)
    asking.send(b"question")
    envelope, _, _ = wait_until(endpoints.request, "the request arrives")
    asking.close(linger=0)
    for _ in range(5):
        endpoints.reply(envelope, b"answer")
    endpoints.reply([b"nobody", b""], b"answer")


def test_a_message_beyond_the_limit_does_not_arrive_and_others_do(
    endpoints: Endpoints, connect: Connect
) -> None:
    hostile, good = (connect(zmq.PUSH) for _ in range(2))
    hostile.send(b"x" * (wire.MESSAGE_BYTES_MAX + 1))
    good.send_multipart([b"header", b"x" * wire.MESSAGE_BYTES_MAX])
    parts, _ = wait_until(endpoints.message, "the good one arrives")
    assert parts[0] == b"header"
    assert endpoints.message() is None


def test_who_never_reads_gets_no_more_than_a_few_answers(
    endpoints: Endpoints, connect: Connect
) -> None:
    deaf = connect(zmq.DEALER)
    deaf.rcvhwm = 1
    deaf.send_multipart([b"", b"question"])
    envelope, _, _ = wait_until(endpoints.request, "the request arrives")
    for _ in range(1_000):
        endpoints.reply(envelope, bytes(1 << 20))
    read = 0
    while deaf.poll(500):
        deaf.recv_multipart()
        read += 1
    assert 1 <= read < 50, "the others were thrown away"


def test_of_many_questions_at_once_few_are_held(endpoints: Endpoints, connect: Connect) -> None:
    """The others stay with who asks."""
    asking = connect(zmq.DEALER)
    asking.sndhwm = 1
    asking.sndtimeo = 1_000
    sent = 0
    with contextlib.suppress(zmq.Again):
        for _ in range(100):
            asking.send_multipart([b"", bytes(1 << 20)])
            sent += 1
    assert sent < 100
    for _ in range(sent):
        wait_until(endpoints.request, "each arrives in the end")


def test_waiting_ends_after_its_time(endpoints: Endpoints) -> None:
    began = time.monotonic()
    endpoints.wait(0.05)
    assert 0.04 < time.monotonic() - began < 5


def test_waiting_ends_when_it_is_woken(endpoints: Endpoints) -> None:
    for _ in range(100_000):
        endpoints.wake()
    began = time.monotonic()
    endpoints.wait(60)
    assert time.monotonic() - began < 30


def test_waiting_ends_when_a_signal_comes(endpoints: Endpoints) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with endpoints.signals_wake():
            os.kill(os.getpid(), signal.SIGUSR1)
            began = time.monotonic()
            endpoints.wait(60)
            assert time.monotonic() - began < 30
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_waiting_does_not_end_for_frames_that_would_not_be_read(
    endpoints: Endpoints, connect: Connect
) -> None:
    connect(zmq.PUSH).send(b"frame")
    endpoints.wait(30)  # it is here
    began = time.monotonic()
    endpoints.wait(0.1, frames_too=False)
    assert time.monotonic() - began > 0.09
    assert endpoints.message() == ([b"frame"], None)


def test_a_very_long_path_works(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    long.mkdir()
    endpoints, paths = Endpoints(long, 0o600), layout.SocketPaths(long)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.PUSH) as socket:
        socket.connect(paths.push)
        socket.send(b"frame")
        assert wait_until(endpoints.message, "the frame arrives") == ([b"frame"], None)
    paths.close()
    endpoints.close()


def test_sockets_left_by_a_killed_writer_are_taken_over(tmp_path: Path) -> None:
    for _ in range(2):
        for name in (layout.PUSH_SOCKET, layout.ACK_SOCKET):
            (tmp_path / name).touch()
        Endpoints(tmp_path, 0o600).close()


# --- beside those for other hosts ---


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "log")


@pytest.fixture
def both(site: Site) -> Iterator[Endpoints]:
    """Endpoints for this host and for others."""
    site.allow("somebody")
    remote = TcpEndpoints(
        site.directory,
        site.address,
        TurnedAway(),
        requests_queued_max=4,
        replies_queued_max=4,
        connections_max=CONNECTIONS_MAX,
    )
    endpoints = Endpoints(site.directory, 0o600, remote)
    yield endpoints
    endpoints.close()


def attended(endpoints: Endpoints, ask: Callable[[], Any]) -> Callable[[], Any]:
    """The question, behind a turn of the endpoints."""

    def ask_at_its_turn() -> Any:
        endpoints.attend(time.monotonic())
        return ask()

    return ask_at_its_turn


def test_who_sent_something_from_another_host_is_known_by_the_key(
    site: Site, both: Endpoints
) -> None:
    keys = site.allow("web-1", "record", "call")
    with Host(site, keys) as host:
        host.push_frame(frame := host.chain.frame(b"body"))
        message = wait_until(attended(both, both.message), "the frame arrives")
        host._ask.send(b"question")
        envelope, content, asks = wait_until(attended(both, both.request), "the request arrives")
        both.reply(envelope, b"answer")
        assert host._ask.poll(10_000)
        assert host._ask.recv() == b"answer"
    assert message[0] == [wire.pack_header(frame), b"body"]
    assert (asks.name, asks.rights) == ("web-1", ("record", "call"))
    assert (message[1], content) == (asks, b"question")
    assert asks.address == "127.0.0.1"


def test_neither_hosts_messages_keep_the_others_waiting(site: Site, both: Endpoints) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    paths = layout.SocketPaths(site.directory)
    with Host(site, site.allow("web-1")) as host, context, context.socket(zmq.PUSH) as local:
        local.linger = 0
        local.connect(paths.push)
        for _ in range(4):
            local.send(b"frame")
            host._push.send(b"frame")
        assert both._remote
        first = wait_until(attended(both, both._remote.message), "one is here")
        assert first.peer.name == "web-1"
        senders = []
        while len(senders) < 7:
            _, peer = wait_until(attended(both, both.message), "the next arrives")
            senders.append(peer and peer.name)
    assert {*senders[:2]} == {*senders[2:4]} == {None, "web-1"}
    paths.close()


def test_a_peer_is_not_taken_for_one_at_the_other_socket(site: Site, both: Endpoints) -> None:
    """Both may choose their identity."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    paths = layout.SocketPaths(site.directory)
    with Host(site, site.allow("web-1")) as host, context, context.socket(zmq.DEALER) as local:
        local.linger, local.routing_id = 0, b"same"
        local.connect(paths.ack)
        remote = host.connect(zmq.DEALER, tcp_ports(site.address).requests)
        remote.disconnect(tcp_ports(site.address).requests)
        remote.routing_id = b"same"
        remote.connect(tcp_ports(site.address).requests)
        for asking in (local, remote):
            asking.send_multipart([b"", b"question"])
        envelopes = {}
        while len(envelopes) < 2:
            envelope, _, peer = wait_until(attended(both, both.request), "a request arrives")
            envelopes[peer and peer.name] = envelope
        assert envelopes[None][0] != envelopes["web-1"][0]
        both.reply(envelopes["web-1"], b"for the other host")
        both.reply(envelopes[None], b"for this one")
        for asking, answer in ((local, b"for this one"), (remote, b"for the other host")):
            assert asking.poll(10_000)
            assert asking.recv_multipart() == [b"", answer]
    paths.close()


def test_news_from_another_host_end_a_wait(site: Site, both: Endpoints) -> None:
    with Host(site, site.allow("web-1")) as host:
        host.push_frame(host.chain.frame(b"first"))
        wait_until(attended(both, both.message), "the connection stands")
        assert both.message() is None
        host.push_frame(host.chain.frame(b"second"))
        began = time.monotonic()
        while both.message() is None:
            both.wait(30)
            both.attend(time.monotonic())
        assert time.monotonic() - began < 20


def test_other_hosts_do_not_get_all_descriptors(site: Site, both: Endpoints) -> None:
    """Where none is left, libzmq aborts the process at the next connection over ipc."""
    remote = both._remote
    assert remote
    turned_away, address = remote._turned_away, site.address.removeprefix("tcp://").split(":")
    with contextlib.ExitStack() as held, Host(site, site.allow("web-1")) as host:
        host.push_frame(host.chain.frame(b"first"))
        wait_until(attended(both, both.message), "who has a key is here")

        def is_turned_away() -> bool:
            crowd = held.enter_context(socket.create_connection((address[0], int(address[1]))))
            crowd.setblocking(False)
            both.attend(time.monotonic())
            return bool(turned_away.figures()["too_many_connections"])

        wait_until(is_turned_away, "nobody else is let in")
        host.push_frame(host.chain.frame(b"second"))
        wait_until(attended(both, both.message), "who is here is heard")
        held.close()
        wait_until(attended(both, lambda: remote.connections <= 2), "the others have gone")
        with Host(site, site.allow("web-2")) as later:
            later.push_frame(later.chain.frame(b"third"))
            wait_until(attended(both, both.message), "others are let in again")


def test_a_message_of_very_many_parts_is_thrown_away_in_pieces(site: Site, both: Endpoints) -> None:
    """Or this host's workers would wait as long as it takes to read."""
    with Host(site, site.allow("web-1")) as host:
        host._push.send_multipart([b""] * 10_000)
        host._push.send_multipart([b"next", b"one"])
        turns = 0
        received: list[list[bytes]] = []
        while len(received) < 2:
            turns += 1
            both.attend(time.monotonic())
            if message := both.message():
                received.append(message[0])
    assert len(received[0]) < 100
    assert received[1] == [b"next", b"one"]
    assert turns > 10
