"""A log on a simulated disk, and a short history that makes it do everything it ever does.

Whoever drives it decides what fails, and when; here is what happens, and what must be so at the
end.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from faults.checker import Account, Noted, account
from faults.promises import Key, Witness, check_kept, committed_calls
from frames import Chain, event
from hansard import wire
from hansard.calls import pack_value
from hansard.settings import MIB
from hansard.source import Source
from hooked_vfs import HookedVfs
from stepped import Log, Worker, encode, leave_as_after_a_kill

STARTS_MAX: Final = 20
SPOOL_USED_BYTES_MAX: Final = 64 << 10  # by what is recorded here before it is committed
WORDS: Final = ["pay", "ship", "refund", "call", "write", "check", "sign", "move"]

_ENFORCING: Final = {
    "enforce_tasks": True,
    "fts_event_types": ("step.done",),
    "wal_bytes_target": MIB,  # the least there is: PASSIVE from 32 pages on
    "reserve_bytes": 0,
}
_TABLE: Final = "CREATE TABLE IF NOT EXISTS effects(n INTEGER PRIMARY KEY) STRICT"


class Spools(NamedTuple):
    """The workers' spool files at one moment: after how many calls that changed the disk, and
    how many events had been recorded. ``beside`` is what lies beside the database."""

    at: int
    noted: int
    contents: dict[str, bytes]
    beside: dict[str, bytes]


class Stage(Log):
    """A log whose writer may end at any call, as a process does, and is started again.

    ``noted`` are all events that were recorded, ``recorded_payloads`` what is in them.
    """

    def __init__(self, directory: Path, vfs: HookedVfs | None = None) -> None:
        super().__init__(directory, **_ENFORCING)
        self.disk_vfs = vfs
        self.vfs = vfs.name if vfs else None
        self.link = self.witness = Witness(vfs.calls if vfs else [])
        self.operations = {"add": _add}
        self.noted: list[Noted] = []
        self.recorded_payloads: dict[Key, dict[str, Any]] = {}
        self.producer_ids: list[bytes] = []
        self.spools_kept: list[Spools] = []  # before each step, if it is begun
        self.on_end: Callable[[BaseException], None] = _raise
        self.called = 0
        self._counts: dict[str, int] = {}

    # --- the writer, which may end ---

    def start_writer(self) -> "Stage":
        """As by a supervisor: again, if it ends at once."""
        for _ in range(STARTS_MAX):
            try:
                super().start_writer()
            except BaseException as error:  # noqa: BLE001 - whatever it is, the process is gone
                self._end(error)
            else:
                return self
        raise AssertionError(f"{STARTS_MAX} starts in vain")

    def turn(self) -> None:
        try:
            super().turn()
        except BaseException as error:  # noqa: BLE001
            self._end(error)
            self.start_writer()

    def stop_writer(self) -> None:
        try:
            super().stop_writer()
        except BaseException as error:  # noqa: BLE001
            self._end(error)

    def step(self) -> float:
        if self.spools_kept:
            self.keep_spools()
        return super().step()

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def kill_writer(self) -> None:
        with self._undisturbed():
            super().kill_writer()

    def _end(self, error: BaseException) -> None:
        """The process is gone: what it left is on the disk."""
        with self._undisturbed():
            if self.store is not None:
                with contextlib.suppress(apsw.ConnectionClosedError):
                    leave_as_after_a_kill(self.store)
                self.store = None
                self.adopter.close()
            self.disconnect()
        self.on_end(error)

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """The kernel closes a dead process's files: no call of SQLite's can fail there."""
        hook = self.disk_vfs.before_call if self.disk_vfs else None
        if self.disk_vfs:
            self.disk_vfs.before_call = None
        yield
        if self.disk_vfs:
            self.disk_vfs.before_call = hook

    def end(self) -> None:
        """All processes end."""
        for worker in list(self.workers):
            worker.kill()
        if self.store is not None:
            self.kill_writer()
        if self.disk_vfs:
            self.disk_vfs.unregister()

    # --- the workers ---

    def worker(self, name: str = "w", source: Source | None = None, **settings: Any) -> Worker:
        worker = super().worker(name, source, **settings)
        self.producer_ids.append(worker.producer.producer_id)
        return worker

    def greet(self, producer_id: bytes) -> None:
        """A producer that holds all its events says hello, as if it lived."""
        hello = wire.pack_request(Chain(producer_id).hello())
        self.link.requests.append(([b"again" + producer_id, b"\0", b""], hello))

    def keep_spools(self) -> None:
        """Note what is in the spool files, now and before each step."""
        contents = {}
        for path in self.spools.glob("*.spool"):
            with path.open("rb") as file:
                contents[path.name] = file.read(SPOOL_USED_BYTES_MAX)
        beside = {
            path.name: path.read_bytes()
            for path in self.files()
            if not path.name.startswith("log.db")
        }
        self.spools_kept.append(Spools(len(self.witness.calls), len(self.noted), contents, beside))

    # --- what is recorded ---

    def record(self, worker: Worker, events: int = 1, name: str = "", **changed: Any) -> None:
        """Events under the worker's name, or another one where they come in later than others;
        somebody waits for the first and the last."""
        numbers = [self._append(worker, name or worker.name, changed) for _ in range(events)]
        for number in {numbers[0], numbers[-1]}:
            worker.ticket(number)

    def record_together(self, worker: Worker, events: int) -> None:
        payloads = [self._payload(worker.name) for _ in range(events)]
        last = worker.record_together(*map(encode, payloads))
        for number, payload in enumerate(payloads, last - events + 1):
            self._note(worker, number, payload)

    def record_bad(self, worker: Worker, data: bytes) -> None:
        """An event that can be no entry."""
        self._note(worker, worker.producer.append(data), self._payload(f"{worker.name}, bad"))

    def call(self) -> None:
        """Somebody calls an operation that leaves one row, and may not hear of it."""
        self.called += 1
        call_id = _call_id(self.called)
        deadline = self.clock_ns() + 10**12
        call = wire.Call(call_id, "add", pack_value("params", self.called), deadline)
        envelope = [b"caller" + call_id, b"\0", b""]
        self.link.requests.append((envelope, wire.pack_request(call)))

    def _append(self, worker: Worker, name: str, changed: dict[str, Any]) -> int:
        payload = self._payload(name)
        number = worker.producer.append(encode(payload, **changed))
        self._note(worker, number, payload)
        return number

    def _note(self, worker: Worker, number: int, payload: dict[str, Any]) -> None:
        assert number > 0, f"{payload} was not kept"
        key = wire.producer_hash(worker.producer.producer_id), number
        self.noted.append(Noted(payload["w"], payload["n"], *key))
        self.recorded_payloads[key] = payload

    def _payload(self, name: str) -> dict[str, Any]:
        number = self._counts[name] = self._counts.get(name, 0) + 1
        text = " ".join(WORDS[number * step % len(WORDS)] for step in (1, 3, 5, 7))
        return {"w": name, "n": number, "text": text}

    # --- what must be so ---

    def check_answers(self) -> None:
        """The store keeps what was answered."""
        assert self.store is not None
        check_kept(self.store.connection, self.witness.answers, self.recorded_payloads)

    def check_new_epoch(self) -> None:
        """The run that has begun has an epoch above all that were ever answered."""
        assert self.store is not None
        epoch = max((answer.epoch for answer in self.witness.answers), default=0)
        assert self.store.epoch > epoch, f"epoch {self.store.epoch} after {epoch} was answered"

    def check_account(self, noted: Sequence[Noted]) -> Account:
        """The independent checker's account; and each call has its row exactly if it says so."""
        found = account(self.directory, noted)
        assert not found.lost_entries, f"{found}: events are said to be lost"
        has_effects = self.query("SELECT 1 FROM sqlite_schema WHERE name = 'effects'")
        effects = self.query("SELECT n FROM effects") if has_effects else []
        assert {_call_id(n) for (n,) in effects} == committed_calls(self.query), "effects of calls"
        return found

    def check_all(self) -> Account:
        """Everything that was recorded is in, once and in order, and so is what was answered."""
        self.settle()
        self.check_answers()
        found = self.check_account(self.noted)
        assert found.unheard == 0, f"{found}: more was entered than was recorded"
        return found


def history(stage: Stage) -> list[Callable[[], None]]:
    """What happens, one thing after the other; `Stage.turns` between them let it take effect.

    Commits of three producers, dead letters, orphans and the registration of their task, full
    text, calls, `record_many`, PASSIVE and TRUNCATE checkpoints, a WAL that begins anew, a kill,
    a clean stop.
    """
    a, b, c = (stage.worker(name) for name in "abc")
    return [
        lambda: stage.record(a, 3),
        lambda: (stage.record(b, 2), stage.record(c, 1)),
        lambda: stage.record(c, 3, "c, orphans", task_id="T1"),
        lambda: stage.record_bad(b, event('{"n":', event_type="step.done")),
        lambda: (stage.record_bad(b, event(level="loud")), stage.record(b, 2)),
        lambda: stage.record_together(a, 5),
        stage.call,
        lambda: stage.pass_time(0.2),  # full text
        lambda: (stage.record(a, 120), stage.record(b, 80)),  # PASSIVE
        lambda: stage.record(c, 4),  # into the WAL from its beginning
        lambda: (b.register("T1"), stage.record(b, 1)),
        lambda: stage.record(c, 2, "c, with a task", task_id="T1"),
        lambda: stage.pass_time(2),  # TRUNCATE
        lambda: (stage.record(a, 2), stage.call()),
        lambda: (stage.kill_writer(), stage.start_writer()),
        lambda: stage.record_together(b, 3),
        lambda: (stage.record(a, 60), stage.record(c, 60)),  # PASSIVE
        lambda: stage.record(b, 2),
        lambda: (stage.stop_writer(), stage.start_writer()),
        lambda: (stage.record(a, 1), stage.record(b, 1)),
        lambda: stage.pass_time(2),
    ]


def play(stage: Stage, turns: int = 4) -> None:
    """The whole history, under a writer that starts with it."""
    stage.start_writer()
    for happens in history(stage):
        happens()
        stage.turns(turns)


def _call_id(number: int) -> bytes:
    return number.to_bytes(wire.CALL_ID_BYTES, "big")


def _add(connection: Any, number: Any) -> Any:
    connection.execute(_TABLE)
    connection.execute("INSERT INTO effects VALUES(?)", (number,))
    return number


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the log lines of writers that fail in numbers."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _raise(error: BaseException) -> None:
    raise error
