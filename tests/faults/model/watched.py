"""A stepped log that is looked at behind every step of its writer, and what happens to its files.

Copies are put back, other logs come in between, another program locks the database, the disk is
full, the writer is killed between any two of its statements.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self
from unittest import mock

import apsw

from faults.checker import account
from faults.model.reference import Event, Reference
from faults.model.subject import Subject
from faults.model.view import DEAD, ENTERED, LOST, View
from hansard import wire
from hansard.local_writer import SILENCE_S
from hansard.spool import RECORDS_AT
from hansard.spool.layout import read_state
from hansard_writer.adoption import SCAN_S
from stepped import Killed, Log

STATEMENT: Final = "a statement"  # where a writer is killed
ANSWER: Final = "an answer"
REMOVAL: Final = "it removes a spool"
STEPS_TO_DIE_MAX: Final = 4
SILENCES_MAX: Final = 3
TURNS_A_SILENCE: Final = 20
PAGES_MAX: Final = 0x3FFF_FFFE  # SQLite's own limit


class Copy(NamedTuple):
    """A log's files, as they were."""

    log_id: bytes
    path: Path


class WatchedLog(Log):
    """The log that is in the directory now; others lie beside it."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.reference = Reference()
        self.copies: list[Copy] = []
        self.beside: dict[bytes, Path] = {}  # logs that are not in the directory, by log_id
        self.asked: dict[bytes, bytes] = {}  # by address, whose requests come from there
        self.log_id = b""  # of the log in the directory, at its writer's last start
        self.clock_shift_ns = 0
        self._restored: set[bytes] = set()  # put back, and not looked at since
        self._watcher: apsw.Connection | None = None
        self._version = -1  # of the database, at the last look
        self._steps_in_trouble = 0  # still to come, with the disk full or the database locked
        self._stranger: apsw.Connection | None = None  # another program's connection

    @property
    def subjects(self) -> list[Subject]:
        """The workers that live."""
        return [worker for worker in self.workers if isinstance(worker, Subject)]

    @property
    def view(self) -> View:
        """What has been seen of the log in the directory."""
        return self.reference.views[self.log_id]

    def clock_ns(self) -> int:
        return super().clock_ns() + self.clock_shift_ns

    def orphans(self) -> list[Path]:
        """Of this log."""
        return [path for path in super().orphans() if _log_of(path) in (None, self.log_id)]

    # --- looking ---

    def step(self) -> float:
        said_before = len(self.link.replies)
        wait_s = super().step()
        self._look(said_before)
        self._steps_in_trouble -= 1
        if not self._steps_in_trouble:
            self.make_room()
            self.unlock()
        return wait_s

    def _look(self, said_before: int) -> None:
        """At what the writer has committed, said and removed."""
        assert self._watcher is not None
        version = self._watcher.execute("PRAGMA data_version").get
        if version != self._version:
            self._version = version
            self.reference.committed(self.log_id, self.view.read(self._watcher), self._held())
        for envelope, content in list(self.link.replies)[said_before:]:
            if envelope[0] in self.asked:
                self.reference.said(self.log_id, self.asked[envelope[0]], content)
        self.reference.adopted(self.view)

    def _held(self) -> set[Event]:
        held = {event for worker in self.subjects for event in worker.pending}
        return held.union(*self.reference.spools.values())

    # --- the writer ---

    def start_writer(self) -> Self:
        """Start it; of a log that was seen before, nothing has changed meanwhile."""
        self.accepted = {"accept_rollback": bool(self._restored)}
        super().start_writer()
        assert self.store is not None
        reference, self.log_id = self.reference, self.store.log_id
        path = self.directory / "log.db"
        self._watcher = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        self._version = -1
        view = View()
        view.read(self._watcher)
        if self.log_id in self._restored:
            self._restored.remove(self.log_id)
            reference.restored(self.log_id, view, self._held())
        known = reference.views.setdefault(self.log_id, view)
        assert vars(known) == vars(view), "the log has changed with no writer running"
        return self

    def stop_writer(self, *, cut: bool = True) -> None:
        assert self.store is not None
        said_before = len(self.link.replies)
        self.unlock()
        self.writer.finish(self.now)
        self._look(said_before)
        self._stop_looking()
        self.store.close()
        self.store = None
        if cut:
            self.disconnect()

    def kill_writer(self, *, cut: bool = True) -> None:
        self.unlock()
        self._stop_looking()
        super().kill_writer(cut=cut)

    def kill_writer_within(self, place: str, count: int, *, cut: bool) -> bool:
        """Step on, and be killed before so many more statements, answers, or spools removed; or
        behind some steps if there are not as many. Whether it came to that place."""
        assert self.store is not None
        left = iter(range(count))

        def dies(*_: object) -> bool:
            if next(left, None) is None:
                raise Killed
            return True

        said_before = len(self.link.replies)
        was_reached = False
        with self._dying(place, dies), suppress(Killed):
            for _ in range(STEPS_TO_DIE_MAX):
                was_reached = True
                Log.step(self)
                was_reached = False
                self.pass_time(SCAN_S)
        self._look(said_before)
        self.kill_writer(cut=cut)
        return was_reached

    @contextmanager
    def _dying(self, place: str, dies: Callable[..., bool]) -> Iterator[None]:
        if place == STATEMENT:
            assert self.store is not None
            connection = self.store._connection

            def dies_in_a_transaction(_cursor: Any, statement: str, _bindings: Any) -> bool:
                """A kill before a question to the database is one before what comes next."""
                is_question = statement.startswith("SELECT") and not connection.in_transaction
                return is_question or dies()

            connection.set_exec_trace(dies_in_a_transaction)
            yield
            connection.set_exec_trace(None)
            return
        target, name = (self.link, "reply") if place == ANSWER else (self.adopter, "committed")
        does = getattr(target, name)

        def dies_or_does(*arguments: Any) -> None:
            if place == ANSWER or self.adopter._done:
                dies()
            does(*arguments)

        with mock.patch.object(target, name, dies_or_does):
            yield

    def _stop_looking(self) -> None:
        """The writer's connection must be the last, as it is where nobody looks."""
        assert self._watcher is not None
        self._watcher.close()
        self._watcher = None

    # --- what happens to its files ---

    def fill_disk(self, steps: int) -> None:
        """The database cannot grow for so many steps."""
        assert self.store is not None
        self.store._connection.pragma("max_page_count", 1)
        self._steps_in_trouble = steps

    def make_room(self) -> None:
        """It can."""
        assert self.store is not None
        self.store._connection.pragma("max_page_count", PAGES_MAX)

    def lock(self, steps: int) -> None:
        """Another program takes SQLite's write lock for so many steps."""
        if self._stranger is None:
            self._stranger = apsw.Connection(str(self.directory / "log.db"))
            self._stranger.execute("BEGIN IMMEDIATE")
        self._steps_in_trouble = steps

    def unlock(self) -> None:
        """It lets go of it."""
        if self._stranger is not None:
            self._stranger.close()
            self._stranger = None

    def copy(self) -> None:
        """Keep a copy: by a backup beside the writer, or of the files as they lie there."""
        path = self.directory.parent / f"copy-{len(self.copies)}"
        path.mkdir()
        if self._watcher is not None:
            target = apsw.Connection(str(path / "log.db"))
            with target.backup("main", self._watcher, "main") as backup:
                backup.step()
            target.close()
        else:
            for file in self._files():
                shutil.copy(file, path)
        self.copies.append(Copy(self.log_id, path))

    def restore(self, copy: Copy) -> None:
        """Put a copy in place of the log that it was made of."""
        assert self.store is None
        assert copy.log_id == self.log_id
        for file in self._files():
            file.unlink()
        for file in copy.path.iterdir():
            shutil.copy(file, self.directory)
        self._restored.add(self.log_id)
        self.reference.went_back.add(self.log_id)

    def exchange(self, log_id: bytes | None) -> None:
        """Put the log aside, and another one in its place: a known one, or none at all."""
        assert self.store is None
        aside = self.directory.parent / f"log-{self.log_id.hex()}"
        aside.mkdir(exist_ok=True)
        for file in self.files():
            file.rename(aside / file.name)
        self.beside[self.log_id] = aside
        if log_id is not None:
            for file in self.beside.pop(log_id).iterdir():
                file.rename(self.directory / file.name)

    def _files(self) -> list[Path]:
        return [
            self.directory / name
            for name in ("log.db", "log.db-wal")
            if (self.directory / name).exists()
        ]

    def step_with(self, subject: Subject, does: Callable[[], object]) -> bool:
        """Step, and let a worker do something between the writer's opening of its spool and its
        look at the lock. Whether it came to that."""
        came, locks = [], fcntl.flock

        def flock(descriptor: int, operation: int) -> None:
            if not came and subject.spool and _is_at(descriptor, subject.spool):
                came.append(True)
                does()
            locks(descriptor, operation)

        self.pass_time(SCAN_S)
        with mock.patch.object(fcntl, "flock", flock):
            self.step()
        return bool(came)

    # --- what may be asked ---

    def look_up(self, event: Event) -> None:
        """Ask what became of an event: the truth, of before or behind the step."""
        before = self.view.fate(*event.key)
        reply = wire.LookupReply(*self.ask(wire.Lookup(*event.key)))
        fates = (before, self.view.fate(*event.key))
        possible = {ENTERED: "committed", DEAD: "rejected orphaned", LOST: "rejected"}
        is_true = any(reply.status in possible.get(fate or "", "unknown") for fate in fates)
        assert is_true, f"{event} is {fates}, and looked up {reply}"
        assert reply.status != "committed" or reply.seq in event.ids, f"{event}: {reply}"

    def replay(self, reason: str | None, *, is_dry: bool) -> None:
        """Ask for dead letters to be entered after all."""
        with suppress(wire.WireError):  # the database is locked, the disk is full
            self.ask(wire.Replay(0, reason, None, is_dry))

    def check_figures(self) -> None:
        """What the writer says of itself adds up, and is what the database has."""
        figures, view = self.statistics(), self.view
        appended = sum(entry.producer > 0 for entry in view.entries.values())
        assert figures["appended"] == appended, f"{appended} entries: {figures}"
        parts = ("appended", "dead_lettered", "waiting")
        total = sum(figures[part] for part in parts) + sum(figures["dropped"].values())
        assert figures["submitted"] == total, f"{total} in all: {figures}"
        rows = [row for number, row in view.producers.items() if number]
        assert figures["dead_lettered"] == sum(row.refused - row.returned for row in rows), figures
        assert figures["dropped"] == {
            "by_producers": sum(row.dropped for row in rows),
            "log_went_back": sum(row.lost for row in rows),
        }, figures

    # --- the end ---

    def settle_all(self) -> None:
        """Everybody is served, one log after the other; then all is in, or accounted for."""
        if self.store:
            self.make_room()
            self.unlock()
        else:
            self.start_writer()
        for subject in self.subjects:
            subject.let_go_of_parent()
        if len(self.reference.events) % 2:
            self.disconnect()
        else:
            self._go_on()
        self.settle()
        for subject in self.subjects:
            subject.look()
            assert not subject.tickets, f"{subject} still waits: {subject.tickets}"
        self._check()
        for subject in list(self.subjects):
            subject.close()
        for log_id in list(self.beside):
            self.stop_writer()
            self.exchange(log_id)
            self.start_writer()
            self.settle()
            self._check()
        self.reference.adopted(self.view)
        left = sorted(path.name for path in self.spools.iterdir())
        assert not left, f"spools are left: {left}"
        self.reference.check_all_is_in()

    def _go_on(self) -> None:
        """With no connection lost: what went astray shows by the gap in front of a next event, or
        by silence. More than one may be needed: a hello that comes late forgets a gap."""
        for _ in range(SILENCES_MAX):
            self.pass_time(SILENCE_S)
            for subject in self.subjects:
                if subject.producer.has_work and not subject.put():
                    subject.reconnect()
                subject.ask_again()
            for _ in range(TURNS_A_SILENCE):
                self.turn()

    def _check(self) -> None:
        """By the independent checker, where it can: of images and of workers that went from log to
        log it knows nothing."""
        reference = self.reference
        is_simple = not reference.shared and len(reference.views) == 1
        if is_simple:
            account(self.directory, reference.noted(self.log_id))

    def close(self) -> None:
        self.unlock()
        if self._watcher:
            self._watcher.close()
        super().close()


def _is_at(descriptor: int, path: Path) -> bool:
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def _log_of(path: Path) -> bytes | None:
    with path.open("rb") as file:
        return read_state(file.read(RECORDS_AT), path.stat().st_size).log_id
