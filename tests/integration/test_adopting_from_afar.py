"""What the dead left on a host without a writer is sent from there: all of it, once, as theirs."""

import os
from pathlib import Path

import pytest

from hansard.adopting.adoptee import CONFLICT, DELIVERED, OTHER_LOG, UNREADABLE, Adoptee
from hansard.complaints import Complaints
from hansard.spool import RECORDS_AT
from hansard.spool.orphan import Orphan, lock_orphan
from hansard.transmission import Transmission
from stepped import Log, Worker, encode


class Envoy(Worker):
    """A process of that host, which sends what a dead one's spool holds."""

    def __init__(self, log: Log, path: Path) -> None:
        self.log = log
        self.name = "envoy"
        orphan = lock_orphan(path)
        assert orphan is not None
        self.orphan: Orphan = orphan
        self.adoptee = Adoptee(orphan)
        self.producer = self.adoptee  # type: ignore[assignment]
        self.transmission = Transmission(self.adoptee, Complaints())
        self._request = 0
        self.reconnect()

    @property
    def spool(self) -> None:
        """It has none of its own."""

    def die(self) -> None:
        """Its lock is free; the spool stays."""
        self.log.workers.remove(self)
        self.orphan.close()


def left_behind(log: Log, worker: Worker) -> Path:
    """The spool of a worker that was killed, on its own host: the writer does not see it."""
    spool = worker.spool
    assert spool is not None
    worker.kill()
    host = log.directory.parent / "host"
    host.mkdir(exist_ok=True)
    return spool.rename(host / spool.name)


def sent(log: Log, path: Path) -> Envoy:
    """An envoy that has sent a spool, to whatever end."""
    envoy = Envoy(log, path)
    log.workers.append(envoy)
    for _ in range(500):
        if envoy.adoptee.ended.is_set():
            envoy.die()
            return envoy
        log.turn()
    raise AssertionError(f"it has no end: {envoy.adoptee.acked} of {envoy.adoptee.seq}")


def test_the_events_of_the_dead_are_entered_under_its_own_numbers(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(2_500)
    envoy = sent(log, left_behind(log, dead))
    assert (envoy.adoptee.fate, envoy.orphan.damage) == (DELIVERED, "")
    log.assert_all_is_in()
    assert log.query(
        "SELECT min(producer_seq), max(producer_seq), p.pid FROM entries JOIN producers AS p"
        " ON p.id = producer WHERE p.producer_hash = ?",
        dead.producer.hash,
    ) == [(1, 2_500, os.getpid())]


def test_what_the_log_has_already_is_not_sent(log: Log) -> None:
    dead = log.worker("dead")
    log.turn()
    dead.record(700)
    dead.send()  # all of it, and no answer is heard
    for _ in range(5):
        log.step()
        log.pass_time(1)
    log.link.cut()
    envoy = sent(log, left_behind(log, dead))
    assert envoy.adoptee.fate == DELIVERED
    assert envoy.transmission.frames_pushed == 0
    log.assert_all_is_in()


def test_frames_that_are_lost_on_the_way_are_sent_again(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(2_000)
    envoy = Envoy(log, left_behind(log, dead))
    log.workers.append(envoy)
    log.turn()
    envoy.send()
    del log.link.frames[1]
    log.turn()
    log.disconnect()
    log.settle()
    log.assert_all_is_in()
    assert envoy.adoptee.fate == DELIVERED
    envoy.die()


def test_a_writer_killed_meanwhile_takes_the_rest_once(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(2_000)
    envoy = Envoy(log, left_behind(log, dead))
    log.workers.append(envoy)
    for _ in range(2):
        log.turn()
    envoy.send()
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()
    envoy.die()


def test_an_envoy_that_dies_too_is_followed_by_another(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(1_000)
    path = left_behind(log, dead)
    first = Envoy(log, path)
    log.workers.append(first)
    while not log.entered("dead"):
        log.turn()
    first.die()
    assert sent(log, path).adoptee.fate == DELIVERED
    log.assert_all_is_in()


def test_only_one_has_the_spool(log: Log) -> None:
    dead = log.worker("dead")
    dead.record()
    path = left_behind(log, dead)
    first = lock_orphan(path)
    assert first is not None
    assert lock_orphan(path) is None
    first.close()


def test_events_that_were_recorded_together_stay_together(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(3)
    dead.record_together(*(encode({"w": "run", "n": n}) for n in range(1, 301)))
    dead.record(3)
    sent(log, left_behind(log, dead))
    log.assert_all_is_in()
    assert log.entered("run") == list(range(1, 301))


def test_what_the_dead_could_not_keep_is_told_once(log: Log) -> None:
    dead = log.worker("dead", queue_maxsize=3)
    dead.record(8)
    path = left_behind(log, dead)
    copy = path.read_bytes()
    sent(log, path)
    path.write_bytes(copy)  # it was not removed before the process was killed
    sent(log, path)
    assert [each["count"] for each in log.entries("hansard.lost")] == [5]
    log.assert_all_is_in()


@pytest.mark.parametrize("dies", [False, True], ids=["", "followed by another"])
def test_what_is_a_twins_alone_goes_in_under_another_id(log: Log, *, dies: bool) -> None:
    first, second = log.twins_of_one_image([encode({"w": "both", "n": 1})])
    first.record(3)
    second.record(600)
    path = left_behind(log, second)
    while first.producer.has_work:
        log.turn()
    if dies:
        envoy = Envoy(log, path)
        log.workers.append(envoy)
        while not log.entered("second"):
            log.turn()
        envoy.die()
    assert sent(log, path).adoptee.fate == DELIVERED
    log.assert_all_is_in()
    assert log.entered("both") == [1]


def test_a_spool_that_is_older_than_the_log_brings_nothing_twice(log: Log) -> None:
    dead = log.worker("dead")
    log.turn()
    dead.record(300)
    assert dead.spool is not None
    before = dead.spool.read_bytes()
    dead.record(300)
    log.settle()
    path = left_behind(log, dead)
    path.write_bytes(before)  # power was cut: of the file, the kernel had got to this
    assert sent(log, path).adoptee.fate == DELIVERED
    log.assert_all_is_in()


def test_another_logs_spool_is_left_alone(log: Log) -> None:
    dead = log.worker("dead")
    log.turn()  # it has met this log
    dead.record(3)
    path = left_behind(log, dead)
    log.stop_writer()
    log.put_aside(log.directory.parent / "elsewhere")
    log.start_writer()
    assert sent(log, path).adoptee.fate == OTHER_LOG
    assert log.entered("dead") == []


def test_a_spool_that_met_no_log_joins_the_one_that_it_enters(log: Log) -> None:
    dead = log.worker("dead")
    dead.record()
    path = left_behind(log, dead)
    sent(log, path)
    orphan = lock_orphan(path)
    assert orphan is not None
    assert orphan.state.log_id == bytes.fromhex(log.statistics()["log_id"])
    orphan.close()
    log.assert_all_is_in()


def test_events_before_a_broken_record_are_entered(log: Log) -> None:
    dead = log.worker("dead")
    dead.record(400)
    path = left_behind(log, dead)
    data = bytearray(path.read_bytes())
    end = len(data[RECORDS_AT:].rstrip(b"\0")) + RECORDS_AT
    data[end - 20] ^= 1
    path.write_bytes(data)
    envoy = sent(log, path)
    assert envoy.adoptee.fate == DELIVERED
    assert "is broken" in envoy.orphan.damage
    assert log.entered("dead") == list(range(1, 400))


def test_a_spool_that_cannot_be_read_any_more_is_let_go(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = log.worker("dead")
    dead.record(2_000)
    envoy = Envoy(log, left_behind(log, dead))
    log.workers.append(envoy)
    monkeypatch.setattr(os, "pread", _broken)
    while not envoy.adoptee.ended.is_set():
        log.turn()
    assert envoy.adoptee.fate == UNREADABLE
    assert isinstance(envoy.adoptee.error, OSError)
    envoy.die()


def test_numbers_that_are_anothers_even_under_a_twins_id_are_left_alone(log: Log) -> None:
    first, second = log.twins()
    first.record(3)
    second.record(2)
    path = left_behind(log, second)
    while first.producer.has_work:
        log.turn()
    original = path.read_bytes()
    sent(log, path)
    other = log.worker("other")
    other.record(2)
    theirs = left_behind(log, other)
    record_bytes = theirs.read_bytes()[RECORDS_AT:]
    path.write_bytes(original[:RECORDS_AT] + record_bytes)  # other events under that file's name
    assert sent(log, path).adoptee.fate == CONFLICT
    assert log.entered("other") == []


def _broken(*_: object) -> bytes:
    raise OSError(5, "Input/output error")
