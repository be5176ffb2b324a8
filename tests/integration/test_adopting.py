"""The spools of the dead are entered by the writer: all of them, once, beside living traffic."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from frames import event
from hansard import wire
from hansard.spool import RECORDS_AT
from hansard_writer.adoption import SCAN_S
from stepped import Killed, Log, Worker, encode


def dead_worker(log: Log, name: str = "dead", events: int = 5) -> Worker:
    """A worker that recorded without a writer's answer, and was killed."""
    worker = log.worker(name)
    worker.record(events)
    worker.kill()
    return worker


def test_the_events_of_a_dead_worker_are_entered_under_its_own_numbers(log: Log) -> None:
    dead = dead_worker(log, events=2_500)
    log.settle()
    log.assert_all_is_in()
    assert log.query(
        "SELECT min(producer_seq), max(producer_seq) FROM entries JOIN producers AS p"
        " ON p.id = producer WHERE p.producer_hash = ?",
        dead.producer.hash,
    ) == [(1, 2_500)]
    assert list(log.spools.iterdir()) == []


def test_a_worker_that_dies_while_the_writer_runs_is_found(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    worker.record(4)
    worker.kill()
    log.settle()
    log.assert_all_is_in()


def test_a_worker_that_lives_is_left_alone(log: Log) -> None:
    worker = log.worker()
    worker.record(4)
    for _ in range(5):
        log.step()
        log.pass_time(SCAN_S)
    assert log.entered("w") == []
    assert worker.spool is not None
    assert worker.spool.exists()


def test_what_was_sent_before_the_death_is_not_entered_again(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    worker.record(4)
    worker.send()
    worker.kill()
    log.settle()
    log.assert_all_is_in()


def test_frames_of_the_dead_that_come_after_its_spool_was_entered_are_duplicates(log: Log) -> None:
    worker = log.worker()
    log.turn()
    worker.record(4)
    worker.send()
    late = list(log.link.frames)
    log.link.frames.clear()
    worker.kill()
    log.settle()
    log.link.frames.extend(late)
    log.turn()
    log.pass_time(1)
    log.turn()
    log.assert_all_is_in()


def test_a_spool_is_entered_in_pieces_between_the_frames_of_the_living(log: Log) -> None:
    dead_worker(log, events=6_000)
    living = log.worker("living")
    log.turn()
    while log.orphans():
        living.record(10)
        log.turn()
    log.settle()
    log.assert_all_is_in()
    switches = log.query(
        "SELECT count(*) FROM entries AS a JOIN entries AS b ON b.seq = a.seq + 1"
        " WHERE a.producer <> b.producer"
    )[0][0]
    assert switches >= 6, "the living waited for the dead"


def test_a_sync_caller_beside_an_adoption_is_answered_by_the_next_step(log: Log) -> None:
    dead_worker(log, events=6_000)
    living = log.worker("living")
    log.turn()
    log.turn()
    ticket = living.ticket(living.record())
    living.send()
    log.step()
    living.hear()
    assert ticket.status == "committed"
    assert log.orphans(), "the adoption was over before"


def test_an_adoption_that_is_killed_in_the_middle_goes_on_in_the_next_run(log: Log) -> None:
    dead_worker(log, events=6_000)
    for _ in range(3):
        log.turn()
        log.turn()
        assert 0 < len(log.entered("dead")) < 6_000
        log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_kill_between_the_commit_and_the_removal_of_the_spool_doubles_nothing(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_worker(log)

    def dies() -> None:
        raise Killed

    monkeypatch.setattr(log.adopter, "committed", dies)
    log.step()
    log.pass_time(1)
    with pytest.raises(Killed):
        log.step()
    assert len(log.entered("dead")) == 5
    assert log.orphans()
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_spool_is_not_removed_before_its_events_are_committed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead_worker(log)
    monkeypatch.setattr(log.writer, "_should_commit", lambda *_: False)
    for _ in range(10):
        log.step()
        log.pass_time(0.1)
    assert log.writer.figures()["uncommitted"] == 5
    assert log.orphans()
    monkeypatch.undo()
    log.settle()
    log.assert_all_is_in()


def test_a_spool_of_another_log_is_never_entered(log: Log) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    worker.record(2)
    worker.kill()
    log.stop_writer()
    for path in log.files():
        path.unlink()
    log.start_writer()
    for _ in range(10):
        log.step()
        log.pass_time(SCAN_S)
    assert log.entered("w") == []
    assert worker.spool is None or log.orphans()
    assert log.writer.figures()["spools_of_other_logs"] == 1


def test_a_spool_of_another_log_is_entered_when_that_log_comes_back(
    log: Log, tmp_path: Path
) -> None:
    worker = log.worker()
    worker.record(3)
    log.settle()
    worker.record(2)
    worker.kill()
    log.stop_writer()
    log.put_aside(tmp_path / "away")
    log.start_writer()
    log.turn()
    log.stop_writer()
    log.put_back(tmp_path / "away")
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_spool_that_knew_no_log_enters_one_log_only(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is entered, but the writer is killed before the spool is removed; then comes another
    log."""
    dead_worker(log)

    def dies() -> None:
        raise Killed

    monkeypatch.setattr(log.adopter, "committed", dies)
    log.step()
    log.pass_time(1)
    with pytest.raises(Killed):
        log.step()
    assert len(log.entered("dead")) == 5
    log.kill_writer()
    for path in log.files():
        path.unlink()
    log.start_writer()
    for _ in range(10):
        log.step()
        log.pass_time(SCAN_S)
    assert log.entered("dead") == []
    assert log.writer.figures()["spools_of_other_logs"] == 1


def test_a_torn_tail_is_an_end_and_not_damage(log: Log) -> None:
    worker = log.worker()
    worker.record(5)
    path = worker.spool
    assert path is not None
    last = worker.producer._store._offsets[-1]  # type: ignore[union-attr]
    worker.kill()
    content = bytearray(path.read_bytes())
    content[last : last + 4] = bytes(4)  # the length, which is written last
    path.write_bytes(content)
    log.settle()
    assert log.entered("dead") == []
    assert log.entered("w") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no spool at all", id="short"),
        pytest.param(b"HANSARD-SPOOL-1\n" + bytes(8_192), id="a header of zeros"),
        pytest.param(b"HANSARD-SPOOL-1\n" + b"\xff" * 8_192, id="a header of ones"),
        pytest.param(random.Random(7).randbytes(65_536), id="garbage"),
    ],
)
def test_a_damaged_spool_is_set_aside_and_others_are_entered(log: Log, content: bytes) -> None:
    (log.spools / "0.spool").write_bytes(content)
    dead_worker(log)
    (log.spools / "z.spool").write_bytes(content)
    log.settle()
    log.assert_all_is_in()
    assert (log.spools / "0.damaged").read_bytes() == content
    assert (log.spools / "z.damaged").read_bytes() == content
    assert log.writer.figures()["spools_damaged"] == 2


def break_a_record(path: Path, offset: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset + 20] ^= 1
    path.write_bytes(content)


def cut_short(path: Path, offset: int) -> None:
    os.truncate(path, offset + 3)


@pytest.mark.parametrize("spoil", [break_a_record, cut_short])
def test_a_spool_that_is_damaged_in_the_middle_is_entered_up_to_there_and_kept(
    log: Log, spoil: Callable[[Path, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """What lies behind cannot be told apart any more; whoever can may look for it."""
    worker = log.worker()
    worker.record(5)
    path = worker.spool
    assert path is not None
    third = worker.producer._store._offsets[2]  # type: ignore[union-attr]
    worker.kill()
    spoil(path, third)
    content = path.read_bytes()
    dead_worker(log, "other")
    log.settle()
    assert log.entered("w") == [1, 2]
    log.recorded["w"] = [1, 2]
    log.assert_all_is_in()
    assert path.with_suffix(".damaged").read_bytes()[RECORDS_AT:] == content[RECORDS_AT:]
    assert log.writer.figures()["spools_damaged"] == 1
    assert log.writer.figures()["spools_adopted"] == 1
    assert any("what comes before it is entered" in each.message for each in caplog.records)


def test_records_that_were_freed_and_not_yet_zeroed_are_an_end_and_not_damage(log: Log) -> None:
    """A kill between the two: the state says where the records begin, and there is an old one."""
    worker = log.worker()
    worker.record(3)
    path, store = worker.spool, worker.producer._store
    assert path is not None
    before = path.read_bytes()
    log.settle()
    assert store is not None
    after = path.read_bytes()
    worker.kill()
    path.write_bytes(after[:4_096] + before[4_096:])
    log.settle()
    log.assert_all_is_in()
    assert log.writer.figures()["spools_damaged"] == 0
    assert not path.exists()


@pytest.mark.parametrize("seed", range(6))
def test_a_spool_with_bytes_flipped_never_stops_the_writer(log: Log, seed: int) -> None:

    worker = dead_worker(log, "flipped", events=20)
    (path,) = log.orphans()
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(20):
        content[chance.randrange(0, 6_000)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    log.recorded.pop(worker.name)
    other = log.worker("other")
    other.record(5)
    log.settle()
    log.assert_all_is_in()


def test_a_spool_older_than_the_log_is_not_entered_twice(log: Log) -> None:
    """After a power cut: the log is fsynced, the spool's pages are what the kernel got to."""
    worker = log.worker()
    log.turn()
    log.turn()
    worker.record(4)
    assert worker.spool is not None
    as_on_disk = log.directory / "as-on-disk"
    shutil.copy(worker.spool, as_on_disk)
    worker.record(3)
    log.settle()
    log.stop_writer()
    spool = worker.spool
    worker.kill()
    as_on_disk.rename(spool)
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_spool_made_before_all_was_freed_is_not_entered_twice(log: Log) -> None:
    """The same, where the pages on disk hold just what was committed."""
    worker = log.worker()
    log.turn()
    log.turn()
    worker.record(4)
    assert worker.spool is not None
    as_on_disk = log.directory / "as-on-disk"
    shutil.copy(worker.spool, as_on_disk)
    log.settle()
    log.stop_writer()
    spool = worker.spool
    worker.kill()
    as_on_disk.rename(spool)
    log.start_writer()
    log.settle()
    log.assert_all_is_in()


@pytest.mark.parametrize("events", [2, 3, 4])
def test_the_spool_of_a_twin_is_entered_under_a_new_producer(log: Log, events: int) -> None:
    first, second = log.twins()
    first.record(3)
    second.record(events)
    second.kill()
    log.settle()
    log.restart_writer()
    log.settle()
    log.assert_all_is_in()


BAD_EVENT = b"\x97\xc0\xc0\xc0\xc0\xc0\xc0\xc0"


@pytest.mark.parametrize("ends_bad", [False, True])
def test_a_twins_spool_that_ends_at_a_number_of_a_dead_letter_is_entered(
    log: Log, ends_bad: bool
) -> None:
    first, second = log.twins()
    first.record(2)
    first.producer.append(event(level="loud"))
    first.record(2)
    log.settle()
    second.record(2)
    if ends_bad:
        second.producer.append(BAD_EVENT)
    else:
        second.record(1)
    second.kill()
    log.settle()
    log.assert_all_is_in()
    assert len(log.dead_letters()) == 1 + ends_bad


@pytest.mark.parametrize("bad", [event(level="loud"), BAD_EVENT])
def test_a_spool_older_than_the_log_that_ends_at_a_dead_letter_is_not_entered_twice(
    log: Log, bad: bytes
) -> None:
    worker = log.worker()
    log.turn()
    log.turn()
    worker.record(2)
    worker.producer.append(bad)
    assert worker.spool is not None
    as_on_disk = log.directory / "as-on-disk"
    shutil.copy(worker.spool, as_on_disk)
    worker.record(3)
    log.settle()
    log.stop_writer()
    spool = worker.spool
    worker.kill()
    as_on_disk.rename(spool)
    log.start_writer()
    log.settle()
    log.assert_all_is_in()
    assert log.dead_letters() == [(3, 1, "invalid")]


@pytest.mark.parametrize("committed_between", [False, True])
@pytest.mark.parametrize("events", [(3, 3), (3, 5), (5, 3), (1_500, 3), (3, 1_500), (1_500, 1_200)])
def test_the_spools_of_two_dead_twins_are_both_entered(
    log: Log, events: tuple[int, int], committed_between: bool
) -> None:
    log.stop_writer()
    first, second = log.twins()
    for worker, number in zip((first, second), events, strict=True):
        worker.record(number)
        spool = worker.spool
        assert spool is not None
        worker.kill()
        spool.rename(log.spools / f"{worker.name}.spool")  # entered in the order of their names
    log.start_writer()
    while log.orphans():
        log.step()
        log.pass_time(1 if committed_between else 0.0001)
    log.settle()
    log.assert_all_is_in()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("own", [(1, 3), (1, 0), (300, 700)])
@pytest.mark.parametrize("common", [1, 600])
@pytest.mark.parametrize("first_is_dead", [False, True])
def test_what_a_dead_twin_holds_in_common_with_another_is_entered_once(
    log: Log, common: int, own: tuple[int, int], restarts: bool, first_is_dead: bool
) -> None:
    numbers = list(range(1, common + 1))
    first, second = log.twins_of_one_image(*([encode({"w": "image", "n": n})] for n in numbers))
    log.recorded["image"] = numbers
    for worker, count in zip((first, second), own, strict=True):
        if count:
            worker.record(count)
    second.kill()
    if first_is_dead:
        first.kill()
    for turns in range(10 if restarts else 0):
        for _ in range(turns):
            log.turn()
        log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_the_spool_of_a_twin_whose_adoption_is_interrupted_is_entered_once(log: Log) -> None:
    first, second = log.twins()
    first.record(3)
    log.settle()
    second.record(5_000)
    second.kill()
    for _ in range(4):
        for _ in range(2):
            log.step()
            log.pass_time(1)
        log.restart_writer()
    log.settle()
    log.assert_all_is_in()


def test_a_bad_event_in_a_spool_costs_itself_only(log: Log) -> None:
    worker = log.worker()
    worker.record(2)
    worker.producer.append(BAD_EVENT)
    worker.record(2)
    worker.kill()
    log.settle()
    log.assert_all_is_in()
    assert log.dead_letters() == [(3, 1, "invalid")]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"pid": "seven"}, id="a pid that is text"),
        pytest.param({"pid": 1 << 63}, id="a pid beyond 64 bits"),
        pytest.param({"host": 7}, id="a host that is a number"),
        pytest.param({"host": None}, id="no host"),
        pytest.param({"host": b"\xff"}, id="a host that is bytes"),
        pytest.param({"started_at": None}, id="no start"),
        pytest.param({"started_at": -(1 << 63)}, id="a start before time"),
        pytest.param({"base_seq": (1 << 64) - 2}, id="numbers beyond 64 bits"),
        pytest.param({"base_seq": wire.INT64_MAX}, id="the highest number of all"),
        pytest.param({"drops": wire.Drops((1 << 64) - 1, -5, -6)}, id="drops beyond 64 bits"),
    ],
)
def test_a_forged_spool_never_stops_the_writer(
    log: Log, monkeypatch: pytest.MonkeyPatch, changed: dict[str, object]
) -> None:
    """With --group, any member of the group can put a file there."""
    import hansard.keeping as module

    identity, state = module.Identity, module.SpoolState

    def forged_identity(*fields: object) -> object:
        made = identity(*fields)  # type: ignore[arg-type]
        return made._replace(**{k: v for k, v in changed.items() if k in identity._fields})

    def forged_state(**fields: object) -> object:
        return state(**{**fields, **{k: v for k, v in changed.items() if k in state._fields}})  # type: ignore[arg-type]

    forger = log.worker("forger")
    with monkeypatch.context() as patch:
        patch.setattr(module, "Identity", forged_identity)
        patch.setattr(module, "SpoolState", forged_state)
        forger.producer._open_store()
    forger.producer._seq_max = 1 << 65
    if "base_seq" in changed:
        forger.producer.seq = changed["base_seq"]  # type: ignore[assignment]
    if forger.producer.seq < (1 << 64) - 5:
        forger.producer.append(b"\x90")
    forger.kill()
    other = log.worker("other")
    other.record(3)
    for _ in range(200):
        log.turn()
    assert log.entered("other") == [1, 2, 3]
    log.restart_writer()
    other.record(3)
    for _ in range(200):
        log.turn()
    log.assert_all_is_in()


def test_a_file_never_finished_is_swept_away_after_an_hour(log: Log) -> None:

    old, new = log.spools / "old.tmp", log.spools / "new.tmp"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    log.step()
    assert not old.exists()
    assert new.exists()
