"""A client's connection: what ends its wait, and what is still there afterwards."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import zmq

from hansard import wire
from hansard.connection import Connection
from hansard.local_writer import LocalWriter
from hansard_writer.endpoints import Endpoints
from support import wait_until

LONG_S = 20.0  # nothing waits so long


class Pair(NamedTuple):
    connection: Connection
    endpoints: Endpoints
    wake: int

    def request(self) -> list[bytes]:
        """Wait for the next request; its envelope."""
        found: list[list[bytes]] = []

        def has_come() -> bool:
            request = self.endpoints.request()
            if request is not None:
                found.append(request[0])
            return bool(found)

        wait_until(has_come, "the request has come")
        return found[0]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A connection that stands, its other side, and what wakes it."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    endpoints = Endpoints(tmp_path, 0o600)
    wake_read, wake_write = os.pipe()
    with Connection(context, LocalWriter(tmp_path).route(), wake_read) as connection:
        pair = Pair(connection, endpoints, wake_write)
        connection.request(b"are you there?")
        pair.endpoints.reply(pair.request(), b"yes")
        while connection.reply() is None:
            assert has_ended(pair)
            assert not connection.is_lost()
        yield pair
    context.destroy(linger=0)
    with contextlib.suppress(OSError):
        endpoints.close()
    for descriptor in (wake_read, wake_write):
        os.close(descriptor)


def has_ended(pair: Pair, *, blocked: bool = False) -> bool:
    """Whether something ends a long wait before its time."""
    began = time.monotonic()
    pair.connection.wait(LONG_S, blocked=blocked)
    return time.monotonic() - began < LONG_S / 2


@pytest.mark.parametrize("blocked", [False, True], ids=["", "for room"])
def test_the_descriptor_that_wakes_ends_a_wait_and_is_named(pair: Pair, *, blocked: bool) -> None:
    assert not pair.connection.wait(0.0, blocked=blocked)
    os.write(pair.wake, b"!")
    assert pair.connection.wait(LONG_S, blocked=blocked)


def test_no_answer_is_slept_through_whatever_came_before_it(pair: Pair) -> None:
    """The news of a late answer may be used up when the next request is sent; then the answer to
    that is no news."""
    for number in range(20):
        pair.connection.request(b"to be given up")
        pair.endpoints.reply(pair.request(), b"late")
        assert has_ended(pair)
        pair.connection.request(b"once more")
        pair.endpoints.reply(pair.request(), b"%d" % number)
        while (reply := pair.connection.reply()) is None:
            assert has_ended(pair), f"answer {number}"
        assert reply == b"%d" % number
    assert pair.connection.reply() is None


@pytest.mark.parametrize("blocked", [False, True], ids=["", "for room"])
def test_a_connection_that_is_lost_ends_a_wait(pair: Pair, *, blocked: bool) -> None:
    assert not pair.connection.is_lost()
    pair.endpoints.close()
    deadline = time.monotonic() + LONG_S
    while not pair.connection.is_lost():
        assert has_ended(pair, blocked=blocked)
        assert time.monotonic() < deadline


def test_a_frame_arrives_in_its_two_parts_with_its_mark(pair: Pair) -> None:
    frame = wire.Frame(b"p" * 16, 1, 2, 3, wire.Drops(), b"body", urgent=True)
    assert pair.connection.push(frame)
    parts, _ = wait_until(pair.endpoints.message, "it has come")
    assert wire.unpack_frame(*parts) == frame


def test_frames_that_nobody_reads_are_refused_until_there_is_room(pair: Pair) -> None:
    frame = wire.Frame(b"p" * 16, 1, 1, 0, wire.Drops(), bytes(wire.FRAME_BYTES_MAX))
    sent = 0
    while pair.connection.push(frame):
        sent += 1
        assert sent < 1_000
    deadline = time.monotonic() + LONG_S
    while not pair.connection.push(frame):  # what the kernel still takes
        pair.endpoints.message()
        pair.connection.wait(0.1, blocked=True)
        assert time.monotonic() < deadline
