"""The writer's sockets: bytes in, bytes out, and nothing that waits for anybody."""

import contextlib
import os
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from hansard import directory as layout
from hansard import wire
from hansard_writer.endpoints import Endpoints
from support import wait_until


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
    for socket in made:
        socket.close(linger=0)
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
