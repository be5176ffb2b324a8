"""Redis Streams: XADD, with an append-only file that is fsynced before each answer or each second.

Answers of one turn of its loop share an fsync: four callers wait for one.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers.peer import Peer, Served, Took, timed
from bench.peers.servers import not_installed, running
from bench.peers.stored import Stored, from_message, message
from bench.workloads.event import Event

SERVER: Final = "redis-server"
STREAM: Final = "events"
FIELD: Final = "e"
ANSWER_S_MAX: Final = 60.0
READ_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class RedisStreams(Peer):
    """``pipelined``: XADDs that are sent together and answered together."""

    appendfsync: str = "always"
    pipelined: int = 1

    def missing(self) -> str | None:
        if shutil.which(SERVER) is None:
            return f"{SERVER} is not on PATH: apt-get install redis-server"
        return not_installed("redis")

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        directory.mkdir()
        with tempfile.TemporaryDirectory(prefix="redis-") as place:  # a socket's path is short
            address = f"{place}/s"
            command = [SERVER, "--dir", str(directory), "--port", "0", "--unixsocket", address,
                       "--appendonly", "yes", "--appendfsync", self.appendfsync,
                       "--save", ""]  # fmt: skip
            with running(command, directory / "log", lambda: _answers(address)) as pid:
                yield Served(directory, address, pid)

    @contextmanager
    def opened(self, served: Served) -> Iterator[Any]:
        with closing(_client(served.address)) as client:
            client.ping()
            yield client

    def record(self, opened: Any, number: int, events: Sequence[Event]) -> Took:
        if self.pipelined == 1:
            return Took(timed(_adding(opened, number), events))
        pipeline, size = opened.pipeline(transaction=False), self.pipelined
        add = _adding(pipeline, number)

        def call(seq: int, event: Event) -> None:
            add(seq, event)
            if seq % size == 0 or seq == len(events):
                pipeline.execute()

        return Took(timed(call, events))

    def stored(self, served: Served) -> Iterator[Stored]:
        with closing(_client(served.address)) as client:
            after = "-"
            while entries := client.xrange(STREAM, min=after, count=READ_AT_ONCE):
                for _, fields in entries:
                    yield from_message(fields[FIELD.encode()])
                after = f"({entries[-1][0].decode()}"


def _adding(client: Any, number: int) -> Callable[[int, Event], Any]:
    xadd = client.xadd
    return lambda seq, event: xadd(STREAM, {FIELD: message(number, seq, event)})


def _client(address: str) -> Any:
    import redis

    return redis.Redis(unix_socket_path=address, socket_timeout=ANSWER_S_MAX)


def _answers(address: str) -> bool:
    import redis

    with closing(_client(address)) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
