"""Forks and exits: a child is a producer of its own, and nothing hangs or is taken from another."""

import atexit
import gc
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from hansard import AuditLog, ClosedError, lifecycle
from hansard.spool.orphan import lock_orphan

SPOOL_BYTES = 2 << 20


class Child:
    """A forked process that has done something, and lives until it is let go."""

    def __init__(self, action: Callable[[], Any]) -> None:
        said_read, said_write = os.pipe()
        live_read, self._live = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads, ours and the runner's
            self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._live)
                try:
                    said = action()
                except Exception as error:  # noqa: BLE001 - told to the parent
                    said = repr(error)
                os.write(said_write, msgpack.packb(said))
                os.close(said_write)
                os.read(live_read, 1)
            finally:
                os._exit(0)
        os.close(said_write)
        os.close(live_read)
        with os.fdopen(said_read, "rb") as said:
            self.said = msgpack.unpackb(said.read())

    def let_go(self) -> None:
        os.write(self._live, b"!")  # a later child has this end too: closing it would say nothing
        os.close(self._live)
        os.waitpid(self._pid, 0)


@pytest.fixture
def fork() -> Iterator[Callable[[Callable[[], Any]], Child]]:
    """Forks children, and lets them go at the test's end."""
    children: list[Child] = []

    def fork(action: Callable[[], Any]) -> Child:
        children.append(Child(action))
        return children[-1]

    yield fork
    for child in children:
        child.let_go()


@pytest.fixture
def log(directory: Path) -> Iterator[AuditLog]:
    log = AuditLog(directory, spool_bytes=SPOOL_BYTES)
    yield log
    log.close()


Fork = Callable[[Callable[[], Any]], Child]


def spools(directory: Path) -> set[Path]:
    return set((directory / "spool").iterdir())


# --- fork ---


def test_a_child_is_a_producer_of_its_own(log: AuditLog, fork: Fork, directory: Path) -> None:
    entry = log.record("a.b")
    assert entry.key is not None
    (parents,) = spools(directory)

    def record() -> list[Any]:
        key = log.record("a.b").key
        assert key is not None
        return [*key, log.statistics()["submitted"]]

    child = fork(record)
    child_hash, child_seq, submitted = child.said
    assert child_hash != entry.key[0]
    assert (child_seq, submitted) == (1, 1), "what the parent recorded stays the parent's"
    (childs,) = spools(directory) - {parents}
    assert lock_orphan(parents) is None
    assert lock_orphan(childs) is None
    assert log.record("a.b").key == (entry.key[0], 2)


def test_a_child_of_a_child_is_one_too(log: AuditLog, fork: Fork) -> None:
    def record_twice_removed() -> list[bytes]:
        mine = log.record("a.b").key
        grandchild = Child(lambda: (log.record("a.b").key or [b""])[0])
        grandchild.let_go()
        assert mine is not None
        return [mine[0], grandchild.said]

    entry = log.record("a.b")
    assert entry.key is not None
    names = {entry.key[0], *fork(record_twice_removed).said}
    assert len(names) == 3


def test_a_parents_lock_ends_with_the_parent_though_its_child_lives(
    log: AuditLog, fork: Fork, directory: Path
) -> None:
    log.record("a.b")
    (parents,) = spools(directory)
    fork(lambda: "alive")
    assert lock_orphan(parents) is None, "the child has unlocked what is the parent's"
    assert log.close() == 1
    orphan = lock_orphan(parents)
    assert orphan is not None, "the child holds the parent's lock"
    orphan.close()


def test_a_child_that_only_lives_makes_no_spool(log: AuditLog, fork: Fork, directory: Path) -> None:
    log.record("a.b")
    fork(lambda: "alive")
    assert len(spools(directory)) == 1


def test_a_log_may_be_made_before_the_fork_and_used_behind_it(
    log: AuditLog, fork: Fork, directory: Path
) -> None:
    assert spools(directory) == set()
    children = [fork(lambda: log.record("a.b").key) for _ in range(3)]
    assert len({child.said[0] for child in children}) == 3
    assert len(spools(directory)) == 3


def test_a_dead_childs_events_are_left_for_adoption(
    log: AuditLog, fork: Fork, directory: Path
) -> None:
    child = Child(lambda: log.record("a.b", {"from": "child"}).status)
    child.let_go()  # by _exit: no hook ran
    (path,) = spools(directory)
    orphan = lock_orphan(path)
    assert orphan is not None
    assert [frame.event_count for frame in orphan.frames()] == [1]
    orphan.close()


def test_a_child_has_the_parents_settings(directory: Path, fork: Fork) -> None:
    log = AuditLog(directory, spool_bytes=SPOOL_BYTES, event_types=("a.b",))
    assert "not among the allowed" in fork(lambda: log.record("c.d").status).said
    log.close()


def test_a_closed_log_is_closed_in_a_child_too(log: AuditLog, fork: Fork) -> None:
    log.record("a.b")
    log.close()

    def record() -> str:
        try:
            return log.record("a.b").status
        except ClosedError:
            return "closed"

    assert fork(record).said == "closed"


def test_a_childs_close_leaves_the_parent_alone(log: AuditLog, fork: Fork, directory: Path) -> None:
    log.record("a.b")
    (parents,) = spools(directory)
    assert fork(log.close).said == 0
    assert parents.exists()
    assert lock_orphan(parents) is None
    assert log.record("a.b").status == "queued"
    assert log.close() == 2


def test_a_child_forked_while_another_thread_records_is_not_stuck(
    log: AuditLog, fork: Fork
) -> None:
    log.record("a.b")
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with log._producer._lock:
            held.set()
            release.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    try:
        assert fork(lambda: log.record("a.b").status).said == "queued"
    finally:
        release.set()
        holder.join()


def test_a_fork_inside_a_record_gives_the_event_to_the_parent_alone(
    log: AuditLog, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.record("a.b")
    store = log._producer._store
    assert store is not None
    real, parent, said_read, said_write = store.append, os.getpid(), *os.pipe()

    def append(seq: int, crc: int, data: bytes) -> bool:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return real(seq, crc, data)

    store.append = append  # type: ignore[method-assign]
    try:
        status = log.record("a.b").status
        if os.getpid() != parent:
            os.write(said_write, status.encode() + b"," + log.record("a.b").status.encode())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    os.close(said_write)
    with os.fdopen(said_read, "rb") as said:
        assert said.read() == b"dropped,queued", "and the child records on, as itself"
    assert status == "queued"
    assert log.statistics()["submitted"] == 2


# --- exit ---


class Closing:
    """Stands for a log at exit."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self.error = error

    def close(self, timeout: float | None = None) -> int:
        self.closed += 1
        if self.error:
            raise self.error
        return 0

    def _become_child(self) -> None:
        if self.error:
            raise self.error
        self.closed = -1


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> "weakref.WeakSet[Any]":
    """The logs that are taken care of: none yet."""
    logs: weakref.WeakSet[Any] = weakref.WeakSet()
    monkeypatch.setattr(lifecycle, "_logs", logs)
    return logs


def test_at_exit_every_log_is_closed_whatever_one_does(watched: "weakref.WeakSet[Any]") -> None:
    logs = [Closing(), Closing(RuntimeError("broken")), Closing()]
    for each in logs:
        lifecycle.watch(each)
    lifecycle._close_all()
    assert [each.closed for each in logs] == [1, 1, 1]


def test_a_log_that_is_forgotten_is_not_kept_alive(watched: "weakref.WeakSet[Any]") -> None:
    lifecycle.watch(Closing())
    gc.collect()
    assert len(watched) == 0


def test_a_log_that_was_not_used_is_forgotten_too(directory: Path) -> None:
    log = weakref.ref(AuditLog(directory))
    gc.collect()
    assert log() is None


def test_closing_is_an_exit_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda each: registered.append(each) or each)
    spec = lifecycle.__spec__
    assert spec is not None
    assert spec.loader is not None
    forks: list[Any] = []
    monkeypatch.setattr(os, "register_at_fork", lambda **hooks: forks.append(hooks))
    from importlib.util import module_from_spec

    spec.loader.exec_module(module_from_spec(spec))
    assert [each.__name__ for each in registered] == ["_close_all"]
    assert [list(hooks) for hooks in forks] == [["after_in_child"]]


class Util:
    """Stands for multiprocessing.util."""

    def __init__(self) -> None:
        self.finalizers: list[tuple[Any, ...]] = []

    def Finalize(self, owner: object, action: Callable[[], None], exitpriority: int) -> None:  # noqa: N802
        self.finalizers.append((owner, action, exitpriority))


def test_multiprocessings_own_hook_is_registered_once_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    util, pids = Util(), iter([1, 1, 1, 2, 2, 2])
    monkeypatch.setitem(sys.modules, "multiprocessing.util", util)  # type: ignore[arg-type]
    monkeypatch.setattr(lifecycle, "_finalizer_of", None)
    pid = SimpleNamespace(now=1)
    monkeypatch.setattr(lifecycle, "os", SimpleNamespace(getpid=lambda: pid.now))
    for pid.now in pids:
        lifecycle.register_exit_hook()
    assert len(util.finalizers) == 2, "a child's bootstrap has wiped the parent's"
    assert util.finalizers[0] == (None, lifecycle._close_all, 100)


def test_multiprocessing_is_not_loaded_for_its_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_finalizer_of", None)
    monkeypatch.delitem(sys.modules, "multiprocessing.util", raising=False)
    lifecycle.register_exit_hook()
    assert "multiprocessing.util" not in sys.modules
    assert lifecycle._finalizer_of is None


def test_the_hook_is_registered_at_the_first_event(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(lifecycle, "register_exit_hook", lambda: calls.append(1))
    assert calls == []
    log.record("a.b")
    assert calls == [1]


def test_closing_without_a_writer_says_what_is_left_and_does_not_wait(
    log: AuditLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        log.record("a.b")
    assert log.close(timeout=3_600) == 3
    assert any("closed with 3 events undelivered" in message for message in caplog.messages)
    assert log.close() == 0
    with pytest.raises(ClosedError):
        log.record("a.b")
