"""What is recorded together is entered together: one run, one transaction, all or none."""

import itertools
from pathlib import Path

import pytest

from hansard import wire
from hansard.entry import REJECTED
from stepped import Log, encode
from support import query

BAD = encode({"w": "w", "n": 0}).replace(b'{"w":"w","n":0}', b'{"w":"w","n":?}')


def together(count: int, first: int = 1, text: str = "") -> list[bytes]:
    return [encode({"w": "w", "n": first + n, "text": text}) for n in range(count)]


def commits(directory: Path) -> int:
    return query(directory, "SELECT count(*) FROM entries")[0][0]


def test_a_thousand_events_are_one_run_of_one_commit(log: Log) -> None:
    worker = log.worker()
    worker.record_together(*together(1_000))
    log.settle()
    assert log.entered("w") == list(range(1, 1_001))
    assert log.query("SELECT first_producer_seq, count, first_seq FROM runs") == [(1, 1_000, 1)]
    assert log.statistics()["commits"] == 1


def test_other_events_before_and_behind_a_run_keep_their_order(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    worker.record_together(*together(300, 4))
    log.recorded["w"] += range(4, 304)
    worker.record(3)
    log.settle()
    log.assert_all_is_in()


def test_one_bad_event_makes_dead_letters_of_all_that_it_was_recorded_with(log: Log) -> None:
    worker = log.worker()
    worker.record(1)
    last = worker.record_together(*together(2, 2), BAD, *together(2, 4))
    tickets = [worker.ticket(seq) for seq in range(last - 4, last + 1)]
    worker.record(1)
    log.settle()
    assert [ticket.status for ticket in tickets] == [REJECTED] * 5
    assert log.entered("w") == [1, 2]
    assert log.dead_letters() == [(2, 5, "invalid")]
    assert worker.producer.statistics()["dead_lettered"] == 5


def test_a_writer_that_is_killed_at_any_statement_enters_all_or_nothing(directory: Path) -> None:
    """At each statement of the commit in turn; afterwards the worker sends the run again."""
    for k in itertools.count():
        log = Log(directory / str(k)).start_writer()
        worker = log.worker()
        worker.record_together(*together(20))
        log.recorded["w"] = list(range(1, 21))
        log.turn()
        seen = [0]

        class Kill(BaseException):
            pass

        def die(*_: object, seen: list[int] = seen, k: int = k) -> bool:
            seen[0] += 1
            if seen[0] > k:
                raise Kill
            return True

        assert log.store is not None
        log.store._connection.set_exec_trace(die)
        try:
            log.settle()
        except Kill:
            assert commits(log.directory) in (0, 20)
            log.restart_writer()
            log.settle()
        else:
            log.close()
            assert k > 3, "the commit was never interrupted"
            return
        log.assert_all_is_in()
        log.close()


def test_a_run_of_a_dead_worker_is_adopted_as_one(log: Log) -> None:
    worker = log.worker()
    worker.record_together(*together(400))
    worker.kill()
    log.settle()
    assert log.entered("w") == list(range(1, 401))
    assert log.statistics()["commits"] == 1


def test_a_worker_that_is_killed_while_it_copies_a_run_leaves_none_of_it(log: Log) -> None:
    """Wherever in the record: its length is written last."""
    worker = log.worker()
    worker.record(2)
    assert worker.spool is not None
    spool, length = worker.spool, worker.producer.spool_bytes
    worker.record_together(*together(50, 3))
    begin = 4_096 + length
    worker.kill()
    with spool.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(4))
    log.settle()
    assert log.entered("w") == [1, 2]


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_twin_keeps_its_runs_whole_under_its_new_id(log: Log, in_memory: bool) -> None:
    if in_memory:
        log.spools.rmdir()
        log.spools.write_text("no directory")
    first, second = log.twins()
    first.record(3)
    log.settle()
    second.record_together(*together(300))
    log.settle()
    assert log.entered("w") == list(range(1, 301))
    rows = log.query("SELECT count FROM runs WHERE first_producer_seq = 1 AND count = 300")
    assert rows == [(300,)]


def test_a_run_that_does_not_fit_is_dropped_and_counted_as_a_whole(log: Log) -> None:
    worker = log.worker()
    large = "x" * 3_000
    kept = 0
    while worker.record_together(*together(200, text=large)) > 0:
        kept += 1
    assert kept == 3  # of 2 MiB
    assert worker.producer.statistics()["dropped"] == {"full": 200}
    log.settle()
    assert len(log.entered("w")) == 600
    assert [lost["count"] for lost in log.entries("hansard.lost")] == [200]


def test_a_run_over_the_end_of_the_ring_is_one_frame(log: Log) -> None:
    worker = log.worker()
    for first in range(1, 60_001, 300):
        if worker.record_together(*together(300, first, "x" * 50)) < 0:
            raise AssertionError("it did not fit")
        log.turn()
        if first % 7 == 1:
            worker.record_together(*together(2, first))
    log.settle()
    widths = {row[0] for row in log.query("SELECT count(*) FROM entries GROUP BY producer")}
    assert len(widths) == 1
    figures = worker.producer.statistics()
    assert figures["appended"] == figures["submitted"]


def test_frames_never_split_a_run(log: Log) -> None:
    worker = log.worker()
    log.turn()
    for size in (100, 200, 999, 1, 2, 250, 1_000):
        worker.record_together(*together(size))
    worker.send()
    counts = []
    for header, body in log.link.frames:
        frame = wire.unpack_frame(header, body)
        counts.append(frame.event_count)
    assert counts == [100, 200, 999, 3, 250, 1_000]
    log.settle()
    assert len(log.entered("w")) == 2_552
