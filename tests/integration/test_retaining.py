"""Retention by setting: what is too old or too much goes by itself, and nothing else does."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hansard import wire
from hansard.settings import MIB
from hansard_writer import retaining
from hansard_writer.disk import Disk
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.proof import verify
from hansard_writer.pruning import PRUNED
from hansard_writer.sealing import Sealer
from hansard_writer.vacuuming import room
from stepped import EPOCH_NS, Log, encode, write_lock_taken

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S
MAX_AGE_S = 10 * DAY_S
TURNS_MAX = 2_000

MakeLog = Callable[..., Log]


@pytest.fixture
def make_log(directory: Path) -> Iterator[MakeLog]:
    made: list[Log] = []

    def make(**settings: Any) -> Log:
        made.append(Log(directory, **settings).start_writer())
        made[-1].worker()
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def aging(make_log: MakeLog) -> Log:
    """Entries go when they are ten days old."""
    return make_log(retention_max_age=MAX_AGE_S)


def record(log: Log, count: int = 10, size: int = 10, **changed: Any) -> None:
    """Events of this moment."""
    facts = {"created_at": log.clock_ns(), **changed}
    for number in range(count):
        log.workers[0].producer.append(encode({"n": number, "x": "x" * size}, **facts))
        if number % 500 == 499:
            log.settle()
    log.settle()
    run(log, 2)


def run(log: Log, seconds: float, every: float = 1.0) -> None:
    """Time passes, and the writer steps whenever it says, but not more often than that."""
    end = log.now + seconds
    for _ in range(TURNS_MAX):
        wait = max(log.step(), every)
        if log.now + wait > end:
            log.now = end
            return
        log.pass_time(wait)
    raise AssertionError(f"{TURNS_MAX} turns in vain: {log.statistics()}")


def days(log: Log, count: float, **every_day: Any) -> None:
    """So many days pass, on each of which something is recorded."""
    whole, rest = divmod(count, 1)
    for _ in range(int(whole)):
        log.pass_time(DAY_S - 120)
        record(log, 1, **every_day)
        run(log, 118, every=20)
    log.pass_time(rest * DAY_S)


def seqs(log: Log) -> list[int]:
    return [row[0] for row in log.query("SELECT seq FROM entries ORDER BY seq")]


def ages_s(log: Log) -> list[float]:
    now = log.clock_ns()
    return [(now - row[0]) / 1e9 for row in log.query("SELECT created_at FROM entries")]


def used(log: Log) -> int:
    assert log.store
    return room(log.store.handle.rows).used_bytes


# --- by age ---


def test_off_nothing_is_looked_at_and_nothing_goes(make_log: MakeLog) -> None:
    log = make_log()
    record(log, created_at=EPOCH_NS - 10**18)
    days(log, 3)
    assert len(seqs(log)) == 13
    assert log.writer._retaining.due == float("inf")


def test_entries_go_when_they_are_old_enough_and_a_round_is_due(aging: Log) -> None:
    record(aging)
    days(aging, 9)
    assert seqs(aging)[0] == 1
    days(aging, 3)
    assert seqs(aging)[0] > 10
    assert max(ages_s(aging)) < MAX_AGE_S + 2 * DAY_S
    assert aging.statistics()["pruned_to"] == seqs(aging)[0] - 1


def test_the_log_says_by_whom_and_by_which_setting(aging: Log) -> None:
    record(aging, 20)
    days(aging, 12)
    said = aging.entries(PRUNED)[0]
    assert (said["by"], said["reason"]) == ("retention", "retention_max_age is 864,000 s")
    assert (said["first"], said["archive"]) == (1, None)
    assert said["last"] >= 20
    assert aging.query(
        "SELECT level, producer FROM entries WHERE event_type = ? LIMIT 1", PRUNED
    ) == [("warning", 0)]


def test_it_is_said_once_a_day_and_not_for_every_handful(aging: Log) -> None:
    for _ in range(4 * 13):
        aging.pass_time(DAY_S / 4 - 62)
        record(aging, 1)
        run(aging, 60, every=5)
    rows = aging.query("SELECT created_at FROM entries WHERE event_type = ?", PRUNED)
    assert 2 <= len(rows) <= 4
    times = [row[0] for row in rows]
    assert min(b - a for a, b in pairwise(times)) >= DAY_S * 1e9


def test_only_a_prefix_goes_and_none_behind_one_that_is_young(aging: Log) -> None:
    """An import of old entries does not change what is in front of them."""
    record(aging, 5)
    days(aging, 5)
    young_to = seqs(aging)[-1]
    record(aging, 30, created_at=EPOCH_NS - 10**17)
    days(aging, 7)
    assert 6 <= seqs(aging)[0] <= young_to
    assert set(range(young_to + 1, young_to + 31)) <= set(seqs(aging))


def test_nothing_goes_before_a_checkpoint_covers_what_says_so(
    aging: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(aging)
    days(aging, 9)
    monkeypatch.setattr(Sealer, "seal", lambda *_: False)
    days(aging, 3)
    assert len(aging.entries(PRUNED)) == 1
    assert seqs(aging)[0] == 1
    monkeypatch.undo()
    days(aging, 1)
    assert seqs(aging)[0] > 10


def test_of_a_log_that_nobody_uses_the_entry_that_says_so_stays_for_ever(aging: Log) -> None:
    record(aging, 20)
    for _ in range(30):
        run(aging, 120, every=10)
        aging.pass_time(DAY_S - 120)
    assert seqs(aging) == [21]


def test_a_long_log_is_looked_at_in_pieces_and_each_entry_once(
    aging: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retaining, "PIECE_ENTRIES", 10)
    looked_at: list[tuple[int, int]] = []
    longer = retaining.retention.longer

    def spied(rows: Any, found: Any, stop: int, before: int) -> Any:
        looked_at.append((found.last, stop))
        return longer(rows, found, stop, before)

    monkeypatch.setattr(retaining.retention, "longer", spied)
    record(aging, 100, created_at=EPOCH_NS - 10**18)
    record(aging, 30)
    run(aging, HOUR_S, every=5)
    assert all(stop - at <= 10 for at, stop in looked_at)
    assert [at for at, _ in looked_at[:11]] == list(range(0, 110, 10))
    assert len(looked_at) <= 12, "the entry that ends it is young, and stays so"
    assert seqs(aging)[0] == 1, "the clock is not trusted yet"
    days(aging, 1.5)
    run(aging, 200)
    assert seqs(aging)[0] == 101


def test_beside_recording_it_looks_between_batches(aging: Log) -> None:
    record(aging, 50, created_at=EPOCH_NS - 10**18)
    aging.pass_time(1.1 * DAY_S)
    for _ in range(400):
        aging.workers[0].record(2)
        aging.turn()
    aging.settle()
    assert aging.statistics()["to_be_pruned"] == 0
    assert seqs(aging)[0] == 51


def test_a_command_may_prune_further_meanwhile(aging: Log) -> None:
    record(aging, 50)
    days(aging, 9)
    aging.ask(wire.Prune(55, aging.clock_ns(), "ann", None, None))
    days(aging, 3)
    assert seqs(aging)[0] == 56
    days(aging, 8)
    assert seqs(aging)[0] > 56


def test_another_programs_lock_is_waited_for(aging: Log) -> None:
    record(aging)
    days(aging, 9)
    with write_lock_taken(aging.directory):
        aging.pass_time(2 * DAY_S)
        run(aging, 200)
        assert seqs(aging)[0] == 1
        assert "another program holds" in aging.writer._retries.why
    run(aging, 200)
    assert seqs(aging)[0] > 10


def test_on_a_full_disk_it_waits(aging: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    record(aging)
    days(aging, 9)
    monkeypatch.setattr(Disk, "suspended", property(lambda _: True))
    aging.pass_time(3 * DAY_S)
    run(aging, 200)
    assert aging.entries(PRUNED) == []


# --- a clock that is wrong ---


def test_a_clock_that_jumps_ahead_deletes_nothing_and_it_is_said(
    aging: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(aging)
    days(aging, 5)
    kept = len(seqs(aging))
    aging.clock_ahead_s = 400 * DAY_S
    run(aging, 600, every=5)
    record(aging, 5)
    run(aging, 600, every=5)
    assert len(seqs(aging)) == kept + 5
    assert "no checkpoint bears witness to it" in aging.statistics()["retention_held_up_by"]
    assert caplog.text.count("no checkpoint bears witness") == 1
    aging.clock_ahead_s = 0.0
    days(aging, 3)
    assert aging.statistics()["retention_held_up_by"] == ""
    assert len(seqs(aging)) == kept + 8


def test_a_start_with_a_wrong_clock_deletes_nothing_and_another_neither(aging: Log) -> None:
    record(aging)
    days(aging, 5)
    kept = len(seqs(aging))
    for _ in range(3):
        aging.stop_writer()
        aging.clock_ahead_s = 400 * DAY_S
        aging.start_writer()
        record(aging, 2)
        run(aging, 600, every=5)
    assert len(seqs(aging)) == kept + 6


def test_a_clock_that_stays_so_is_believed_after_a_while(aging: Log) -> None:
    record(aging)
    days(aging, 5)
    aging.clock_ahead_s = 400 * DAY_S
    days(aging, 3)
    assert max(ages_s(aging)) < MAX_AGE_S


def test_a_log_that_is_used_now_and_then_is_pruned_at_once(aging: Log) -> None:
    """By a writer that runs for some minutes a day: yesterday's checkpoints bear witness."""
    for _ in range(15):
        record(aging, 2)
        run(aging, 100, every=20)
        aging.stop_writer()
        aging.pass_time(1.1 * DAY_S)
        aging.start_writer()
    assert max(ages_s(aging)) < MAX_AGE_S + 3 * DAY_S


def test_a_clock_that_is_set_back_takes_back_what_was_found(aging: Log) -> None:
    record(aging)
    days(aging, 2)
    aging.clock_ahead_s = 400 * DAY_S
    run(aging, 200, every=5)
    assert aging.writer._retaining._aged.entries
    aging.clock_ahead_s = 0.0
    run(aging, 200, every=5)
    assert not aging.writer._retaining._aged.entries


def test_an_entry_that_is_still_to_come_keeps_the_rest_and_it_is_said(
    aging: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(aging, 5)
    record(aging, 1, created_at=EPOCH_NS + round(400 * DAY_S * 1e9))
    days(aging, 12)
    assert seqs(aging)[0] == 6
    assert caplog.text.count("entry 6 is of 2024-12-18T22:13:20.000000Z, which is to come") == 1


# --- by size ---


@pytest.fixture
def growing(make_log: MakeLog, monkeypatch: pytest.MonkeyPatch) -> Log:
    """Entries go when the log uses more than 2 MiB."""
    monkeypatch.setattr(retaining, "NEWEST_KEPT", 100)
    return make_log(retention_max_bytes=2 * MIB)


def test_the_oldest_go_when_it_is_too_much_and_a_tenth_more(growing: Log) -> None:
    record(growing, 400, size=3_000)
    run(growing, 120)
    assert seqs(growing)[0] == 1
    record(growing, 150, size=3_000)
    assert used(growing) > 2 * MIB
    before = used(growing)
    run(growing, 180)
    assert 1.5 * MIB < used(growing) < 1.9 * MIB
    (said,) = growing.entries(PRUNED)
    assert said["by"] == "retention"
    assert said["reason"].startswith(f"retention_max_bytes is {2 * MIB:,}, and {before:,}"[:40])
    run(growing, 600)
    assert len(growing.entries(PRUNED)) == 1, "not again before it is too much again"


def test_entries_of_the_last_moment_that_there_is_go_too(growing: Log) -> None:
    record(growing, 800, size=3_000, created_at=wire.INT64_MAX)
    run(growing, 180)
    assert used(growing) < 2.1 * MIB
    assert verify(growing.directory).verdict == "pruned"


def test_it_is_as_large_as_it_may_be_however_much_comes(growing: Log) -> None:
    for _ in range(10):
        record(growing, 200, size=3_000)
        run(growing, 180)
        assert used(growing) < 2.1 * MIB
    assert seqs(growing)[0] > 1_000
    assert len(growing.entries(PRUNED)) < 10


def test_free_pages_and_dead_letters_do_not_count(growing: Log) -> None:
    record(growing, 550, size=3_000)
    run(growing, 180)
    assert growing.store
    file_bytes = growing.store.handle.one("PRAGMA page_count") * PAGE_BYTES
    assert file_bytes > 2 * MIB
    assert growing.statistics()["database_bytes_free"] > 0
    pruned_to = growing.statistics()["pruned_to"]
    growing.store.letters.kept = growing.store.letters.kept._replace(bytes=MIB)
    record(growing, 200, size=3_000)
    run(growing, 180)
    assert growing.statistics()["pruned_to"] == pruned_to


def test_the_newest_stay_whatever_fills_the_database_and_it_is_said(
    growing: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(growing, 150)
    assert growing.store
    with growing.store.transaction() as connection:
        connection.execute("CREATE TABLE mine(x)")
        connection.execute("INSERT INTO mine VALUES(zeroblob(?))", (3 * MIB,))
    run(growing, 600)
    assert len(seqs(growing)) >= 100
    assert caplog.text.count("only its newest 100 entries are left") == 1
    assert "tables of yours" in growing.statistics()["retention_held_up_by"]


def test_a_writer_killed_once_it_has_said_what_goes_goes_on_and_says_it_once(growing: Log) -> None:
    record(growing, 700, size=3_000)
    while not growing.entries(PRUNED):
        growing.pass_time(1)
        growing.step()
    growing.restart_writer()
    run(growing, 300)
    assert len(growing.entries(PRUNED)) == 1
    assert used(growing) < 2 * MIB
