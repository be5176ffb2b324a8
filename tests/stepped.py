"""Client and writer in one process, one step at a time: no threads, no sleeps, no sockets.

The log's store and spools are real, the clock is moved by hand, and what is on its way lies in
lists that a test may empty, copy and shuffle. A kill leaves on disk what a real one would leave.
"""

import itertools
import os
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from unittest import mock

import apsw
import msgpack
import orjson

from hansard import wire
from hansard.complaints import Complaints
from hansard.events import EventEncoder, joined
from hansard.producer import Producer
from hansard.settings import MIB, Settings
from hansard.source import Source
from hansard.tickets import Ticket
from hansard.transmission import Transmission, Verdict
from hansard_writer.adoption import Adopter
from hansard_writer.derived.definitions import BUILT_IN, DerivedField
from hansard_writer.identity import Identity
from hansard_writer.lock import WriterRun
from hansard_writer.remote.allow_list import Client
from hansard_writer.remote.rights import Peer
from hansard_writer.store import Store
from hansard_writer.writer import Writer
from support import assert_log_is_sound, query

EPOCH_NS = 1_700_000_000_000_000_000
TURN_S = 0.006  # longer than commit_interval
TURNS_MAX = 500

_ENCODER = EventEncoder(None, None)
_ADDRESSES = itertools.count(1)
_TIMES = itertools.count(EPOCH_NS)


class Killed(BaseException):
    """The process ends here, as by ``kill -9``."""


class Link:
    """What is on its way between workers and writer, as `hansard_writer.writer.Transport`."""

    def __init__(self) -> None:
        self.frames: deque[list[bytes]] = deque()
        self.requests: deque[tuple[list[bytes], bytes]] = deque()
        self.replies: deque[tuple[list[bytes], bytes]] = deque()
        self.remote_frames: deque[tuple[list[bytes], Peer]] = deque()
        self.remote_requests: deque[tuple[list[bytes], bytes, Peer]] = deque()

    def message(self) -> tuple[list[bytes], Peer | None] | None:
        if self.remote_frames:
            return self.remote_frames.popleft()
        return (self.frames.popleft(), None) if self.frames else None

    def request(self) -> tuple[list[bytes], bytes, Peer | None] | None:
        if self.remote_requests:
            return self.remote_requests.popleft()
        return (*self.requests.popleft(), None) if self.requests else None

    def reply(self, envelope: list[bytes], content: bytes) -> None:
        self.replies.append((envelope, content))

    def cut(self) -> None:
        """Everything on its way is lost."""
        for each in (self.frames, self.requests, self.replies):
            each.clear()
        self.remote_frames.clear()
        self.remote_requests.clear()


class Log:
    """A directory, the writer that serves it (or none), and the workers that record there."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.spools = directory / "spool"
        self.spools.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            **{"spool_bytes": 2 * MIB, "disk_warn": 0, "disk_suspend": 0, **settings}
        )
        self.link = Link()
        self.now = 1_000.0
        self.clock_ahead_s = 0.0  # what the wall clock says more
        self.workers: list[Worker] = []
        self.recorded: dict[str, list[int]] = {}  # by worker, all that must be in the log
        self.store: Store | None = None
        self.vfs: str | None = None
        self.predecessor: WriterRun | None = None  # as the lock file says it
        self.accepted: dict[str, bool] = {}  # what the next start is told to accept
        self.is_honest = True  # False: in the end its files are not as a writer left them
        self.declared: Sequence[DerivedField] = BUILT_IN  # as its settings file would
        self.clients: tuple[Client, ...] | None = None  # of other hosts, where such are served
        self.operations: dict[str, Any] = {}  # by name, what the next writer runs for calls

    # --- the writer ---

    def start_writer(self) -> Self:
        assert self.store is None
        settings = self.settings
        identity = Identity(self.directory, clock_ns=self.clock_ns, **self.accepted)
        self.store = Store(
            self.directory / "log.db",
            0o600,
            dead_letters_max=settings.dead_letters_max,
            dead_letters_bytes_max=settings.dead_letters_bytes_max,
            enforce_tasks=settings.enforce_tasks,
            predecessor=self.predecessor,
            standing=identity,
            vfs=self.vfs,
        )
        self.predecessor = self.store.run
        self.adopter = Adopter(self.spools, self.store.log_id, self.store.holds, self.store.held)
        self.run_id = secrets.token_bytes(16)
        self.writer = Writer(
            self.store,
            self.link,
            self.adopter,
            settings,
            self.run_id,
            identity.signing,
            operations=self.operations,
            read_declared=lambda: self.declared,
            clock_ns=self.clock_ns,
            clients=None if self.clients is None else lambda: self.clients or (),
        )
        self.accepted = {}
        return self

    def clock_ns(self) -> int:
        return EPOCH_NS + int((self.now + self.clock_ahead_s) * 1e9)

    def step(self) -> float:
        return self.writer.step(self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def kill_writer(self, *, cut: bool = True) -> None:
        """As by -9: no commit, no answer, no checkpoint; its locks and connections go. With
        ``cut=False`` what is on its way stays there, and no worker has noticed yet."""
        assert self.store is not None
        leave_as_after_a_kill(self.store)
        self.store = None
        self.adopter.close()
        if cut:
            self.disconnect()

    def stop_writer(self) -> None:
        """As by SIGTERM."""
        assert self.store is not None
        self.writer.finish(self.now)
        self.store.close()
        self.store = None
        self.disconnect()

    def restart_writer(self) -> None:
        self.kill_writer()
        self.start_writer()

    def disconnect(self) -> None:
        """All connections are lost, with what is on its way; the workers notice."""
        self.link.cut()
        for worker in self.workers:
            worker.reconnect()

    # --- its files ---

    def files(self) -> list[Path]:
        """What is the log's alone: it comes and goes with it."""
        names = ("log.db", "log.db-wal", "log.db-shm", "checkpoint", "writer.key", "writer.pub")
        return [path for path in (self.directory / name for name in names) if path.exists()]

    def put_aside(self, where: Path) -> None:
        """Move the log elsewhere; the spools stay."""
        assert self.store is None
        where.mkdir()
        for path in self.files():
            path.rename(where / path.name)

    def put_back(self, where: Path) -> None:
        """Put what is elsewhere in place of the log."""
        assert self.store is None
        for path in self.files():
            path.unlink()
        for path in where.iterdir():
            path.rename(self.directory / path.name)

    # --- the workers ---

    def worker(self, name: str = "w", source: Source | None = None, **settings: Any) -> "Worker":
        worker = Worker(self, name, source, **settings)
        self.workers.append(worker)
        return worker

    def twins(self) -> tuple["Worker", "Worker"]:
        """Two processes with one producer id, as a copied machine image makes them."""
        with mock.patch.object(os, "urandom", lambda size: b"t" * size):
            first, second = self.worker("first"), self.worker("second")
        assert first.producer.producer_id == second.producer.producer_id
        return first, second

    def twins_of_one_image(self, *records: list[bytes]) -> tuple["Worker", "Worker"]:
        """The same, with the same events in both their spools: joined ones are one record."""
        twins = self.twins()
        for worker in twins:
            for record in records:
                worker.record_together(*record)
        return twins

    def turn(self) -> None:
        """Everybody sends what there is, the writer steps, the answers arrive; time passes."""
        for worker in self.workers:
            worker.send()
        if self.store:
            self.step()
        for worker in self.workers:
            worker.hear()
        self.pass_time(TURN_S)

    def settle(self) -> None:
        """Turn until every worker's events are committed and every spool of the dead is in."""
        for _ in range(TURNS_MAX):
            if not any(w.producer.has_work for w in self.workers) and not self.orphans():
                return
            self.turn()
        raise AssertionError(f"{TURNS_MAX} turns in vain: {self.workers}, {self.orphans()}")

    def orphans(self) -> list[Path]:
        live = {worker.spool for worker in self.workers}
        return [path for path in self.spools.glob("*.spool") if path not in live]

    # --- what came of it ---

    def query(self, statement: str, *bindings: Any) -> list[Any]:
        return query(self.directory, statement, bindings)

    def entered(self, name: str) -> list[int]:
        """The numbers that a worker's events carry, in the log's order."""
        return [
            row[0]
            for row in self.query(
                "SELECT payload ->> 'n' FROM entries WHERE payload ->> 'w' = ? ORDER BY seq", name
            )
        ]

    def entries(self, event_type: str) -> list[dict[str, Any]]:
        """The payloads of all entries of a type."""
        rows = self.query(
            "SELECT payload FROM entries WHERE event_type = ? ORDER BY seq", event_type
        )
        return [orjson.loads(row[0]) for row in rows]

    def statistics(self) -> dict[str, Any]:
        """What `hansard stats` would show."""
        return self.writer.figures()

    def ask(self, request: wire.Request, token: bytes | None = None) -> list[Any]:
        """What the writer answers to a request, of the directory's owner if he shows his token."""
        packed = wire.pack_owners_request(token, request) if token else wire.pack_request(request)
        self.link.requests.append(([b"asks", b""], packed))
        return self._answer()

    def ask_as(self, peer: Peer, request: wire.Request) -> list[Any]:
        """The same for somebody on another host."""
        packed = wire.pack_request(request)
        self.link.remote_requests.append(([b"asks", b""], packed, peer))
        return self._answer()

    def push_as(self, peer: Peer, frame: wire.Frame) -> None:
        """A frame of somebody on another host, read and committed."""
        self.link.remote_frames.append(([wire.pack_header(frame), frame.body], peer))
        self.step()
        self.pass_time(1)
        self.step()

    def _answer(self) -> list[Any]:
        for _ in range(TURNS_MAX):  # what came before may take turns of its own
            self.step()
            found = [reply for reply in self.link.replies if reply[0][0] == b"asks"]
            if found:
                break
        self.link.replies.remove(found[0])
        content: list[Any] = wire.unpack_reply(found[0][1])[1]
        return content

    def dead_letters(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT producer_seq, count, reason FROM dead_letters ORDER BY id")

    def assert_all_is_in(self) -> None:
        """Everything that was recorded is entered: once, and in its worker's order."""
        for name, numbers in self.recorded.items():
            assert self.entered(name) == numbers, f"of worker {name}"
        assert_log_is_sound(self.directory)
        assert self.query(
            "SELECT count(*) FROM entries AS e WHERE NOT EXISTS (SELECT 1 FROM runs AS r"
            " WHERE r.producer = e.producer"
            " AND e.seq BETWEEN r.first_seq AND r.first_seq + count - 1"
            " AND e.producer_seq - r.first_producer_seq = e.seq - r.first_seq)"
        ) == [(0,)], "an entry that no run leads to"
        assert self.query(
            "SELECT (SELECT coalesce(sum(count), 0) FROM runs) - (SELECT count(*) FROM entries)"
        ) == [(0,)], "a run leads to entries that are not there"

    def close(self) -> None:
        for worker in self.workers:
            worker.producer.close()
        if self.store:
            self.store.close()


class Worker:
    """A worker process: a real producer and its conversation with the writer."""

    def __init__(self, log: Log, name: str, source: Source | None, **settings: Any) -> None:
        self.log = log
        self.name = name
        options = {"spool_bytes": log.settings.spool_bytes, "on_full": "drop", **settings}
        complaints = Complaints()
        self.producer = Producer(
            log.directory, Settings(**options), complaints, lambda: None, source
        )
        self.transmission = Transmission(self.producer, complaints)
        self._address = b""
        self._request = 0
        self.reconnect()

    def __repr__(self) -> str:
        return f"<{self.name}: {self.producer.statistics()} {self.transmission.statistics()}>"

    @property
    def spool(self) -> Path | None:
        store = self.producer._store
        return getattr(store, "path", None)

    def record(self, events: int = 1, **changed: Any) -> int:
        """Record events that carry the worker's name and a running number; the last one's key."""
        numbers = self.log.recorded.setdefault(self.name, [])
        for _ in range(events):
            number = len(numbers) + 1
            data = encode({"w": self.name, "n": number}, **changed)
            if (seq := self.producer.append(data)) >= 0:
                numbers.append(number)
        return seq

    def register(self, task_id: str, **attributes: Any) -> int:
        """Register a task, as `AuditLog.register_task` does; the number of the event."""
        return self.producer.append(_ENCODER.encode_task(task_id, attributes, next(_TIMES)))

    def record_together(self, *events: bytes) -> int:
        """Record events as `AuditLog.record_many` does; the number of the last."""
        return self.producer.append_run(joined(list(events)), len(events))

    def reconnect(self) -> None:
        """New sockets; what was said on the old ones counts for nothing."""
        self._address = next(_ADDRESSES).to_bytes(4, "big")
        self.transmission.begin()
        self._asked_hello = False

    def send(self) -> None:
        """Say hello first; then push all that there is, and ask for what is uncommitted."""
        transmission, link = self.transmission, self.log.link
        if not transmission.welcomed:
            if not self._asked_hello:
                self._asked_hello = True
                self._ask(transmission.greeting())
            return
        while (frame := transmission.next_frame()) is not None:
            link.frames.append([wire.pack_header(frame), frame.body])
            transmission.pushed(frame)
        wait = transmission.next_wait(self.log.now)
        if wait is not None:
            self._ask(wait)

    def hear(self) -> list[wire.Ack]:
        """Take the answers in; as REQ does, without those to requests that it gave up."""
        link, acks = self.log.link, []
        mine = [reply for reply in link.replies if reply[0][0] == self._address]
        for reply in mine:
            link.replies.remove(reply)
            (_, number, _), content = reply
            if int.from_bytes(number, "big") != self._request:
                continue
            _, verb, fields = msgpack.unpackb(content)
            if verb == "wait":
                acks.append(wire.ack_of(fields))
            verdict = self.transmission.on_reply(content, self.log.now)
            if verdict is Verdict.GREET_AGAIN:
                self.reconnect()
            elif verdict is Verdict.ASK:
                self._ask(self.transmission.greeting())
        return acks

    def ticket(self, seq: int) -> Ticket:
        """As a sync caller does."""
        return self.producer.ticket(seq, wants_outcome=True)

    def kill(self) -> None:
        """As by -9: the spool stays as it is, and its lock is free."""
        self.producer.abandon_after_fork()
        self.log.workers.remove(self)

    def _ask(self, message: bytes) -> None:
        self._request += 1
        envelope = [self._address, self._request.to_bytes(4, "big"), b""]
        self.log.link.requests.append((envelope, message))


def encode(payload: dict[str, Any], **changed: Any) -> bytes:
    """An event's bytes, as `AuditLog.record` makes them."""
    facts = {
        "event_type": "step.done",
        "level": "info",
        "actor": None,
        "task_id": None,
        "created_at": next(_TIMES),
        **changed,
    }
    return _ENCODER.encode(payload=payload, **facts)


def leave_as_after_a_kill(store: Store) -> None:
    """Close a store without the checkpoint that a close would do: its WAL stays behind."""
    connection = store._connection
    connection.set_exec_trace(None)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.close()


@contextmanager
def write_lock_taken(directory: Path) -> Iterator[apsw.Connection]:
    """Another program holds SQLite's write lock."""
    connection = apsw.Connection(str(directory / "log.db"))
    connection.set_busy_timeout(5_000)  # the writer may be signing what it has just acked
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    finally:
        connection.close()
