"""Checkpoints: when they are signed, in which order they come to be, and what holds them up."""

import logging
from pathlib import Path
from typing import Any

import pytest

from hansard import wire
from hansard_writer import sealing
from hansard_writer.proof.checkpoint import Checkpoint, open_checkpoint
from hansard_writer.proof.keys import read_verifier_key
from hansard_writer.proof.merkle_hash_tree import tree_hash
from hansard_writer.proof.stored_tree import READ_ROW, StoredTree
from stepped import TURN_S, Killed, Log, write_lock_taken


def written(log: Log) -> Checkpoint:
    """What is in DIR/checkpoint, as who has writer.pub reads it."""
    note = (log.directory / "checkpoint").read_bytes()
    key = read_verifier_key(log.directory / "writer.pub")
    return open_checkpoint(note, [key], origin=key.name)


def sealed_sizes(log: Log) -> list[int]:
    return [size for (size,) in log.query("SELECT size FROM checkpoints ORDER BY size")]


def asked(log: Log) -> wire.Sealed:
    return wire.sealed_of(log.ask(wire.TakeCheckpoint()))


def refusal(log: Log, request: Any) -> str:
    with pytest.raises(wire.WireError) as caught:
        log.ask(request)
    return str(caught.value)


def record(log: Log, events: int = 1) -> None:
    """Some more are committed."""
    if not log.workers:
        log.worker()
    log.workers[0].record(events)
    log.settle()


def test_a_commit_is_sealed_at_once_and_then_at_most_once_an_interval(log: Log) -> None:
    record(log, 3)
    assert written(log).size == 3
    for _ in range(50):
        record(log)
        log.pass_time(0.01)
    assert sealed_sizes(log) in ([3], [3, written(log).size])
    log.pass_time(1)
    log.step()
    assert written(log).size == 53
    assert len(sealed_sizes(log)) in (2, 3)


def test_the_loop_is_woken_for_the_next_checkpoint_and_not_for_none(log: Log) -> None:
    record(log)
    record(log)
    waits = [log.step()]
    assert 0 < waits[0] <= 1
    for _ in range(30):
        log.pass_time(waits[-1])
        waits.append(log.step())
    assert written(log).size == 2
    assert all(wait > 0 for wait in waits), "no turn for nothing"


def test_without_an_interval_each_commit_is_sealed(directory: Path) -> None:
    log = Log(directory, checkpoint_interval=0.0).start_writer()
    for _ in range(4):
        record(log)
    assert sealed_sizes(log) == [1, 2, 3, 4]
    log.close()


def test_what_is_signed_is_the_root_of_the_entries(log: Log) -> None:
    record(log, 300)
    log.stop_writer()
    rows = dict(log.query("SELECT idx, hashes FROM tree WHERE level = 0"))
    joined = b"".join(rows[idx] for idx in sorted(rows))
    leaves = [joined[at : at + 32] for at in range(0, len(joined), 32)]
    assert written(log) == Checkpoint(written(log).origin, 300, tree_hash(leaves))
    (log_id,) = log.query("SELECT value FROM meta WHERE key = 'log_id'")[0]
    assert written(log).origin == f"hansard/{log_id.hex()}"


def test_at_its_end_a_writer_seals_what_it_has_committed(log: Log) -> None:
    record(log)
    record(log, 5)
    log.workers[0].record(2)
    log.workers[0].send()
    log.step()
    log.stop_writer()
    entries = log.query("SELECT count(*) FROM entries")[0][0]
    assert written(log).size == entries >= 6


def test_what_a_killed_writer_has_not_sealed_the_next_one_seals_at_once(log: Log) -> None:
    record(log)
    record(log, 4)
    assert written(log).size == 1
    log.restart_writer()
    log.step()
    assert written(log).size == 5


def test_all_checkpoints_stay_and_old_ones_lead_to_new_ones(log: Log) -> None:
    for _ in range(4):
        record(log, 7)
        log.pass_time(2)
    log.restart_writer()
    notes = log.query("SELECT size, note, root, origin FROM checkpoints ORDER BY size")
    assert len(notes) == 4
    tree = StoredTree(lambda *row: next((r[0] for r in log.query(READ_ROW, *row)), None))
    key = read_verifier_key(log.directory / "writer.pub")
    for size, note, root, origin in notes:
        checkpoint = open_checkpoint(note, [key])
        assert (checkpoint.size, checkpoint.origin) == (size, origin)
        assert checkpoint.root == tree.root(size)
        assert root in note


# --- on request ---


def test_who_asks_gets_a_checkpoint_of_all_that_was_read_before(log: Log) -> None:
    record(log)
    worker = log.workers[0]
    worker.record(3)
    worker.send()
    sealed = asked(log)
    assert sealed.size == 4
    assert sealed.note.encode() == (log.directory / "checkpoint").read_bytes()
    assert asked(log) == sealed, "nothing has come since"
    assert sealed_sizes(log) == [1, 4]


def test_an_empty_log_is_sealed_for_who_asks_alone(log: Log) -> None:
    for _ in range(5):
        log.step()
        log.pass_time(1)
    assert sealed_sizes(log) == []
    assert asked(log).size == 0
    assert written(log).root == tree_hash([])
    log.restart_writer()
    record(log)
    assert written(log).size == 1


def test_it_is_in_the_log_before_it_is_written_and_written_before_it_is_handed_out(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(log)
    log.workers[0].record()
    log.workers[0].send()
    seen = []
    replace_file = sealing.replace_file

    def watched(path: Path, content: bytes, mode: int) -> None:
        row = log.query("SELECT note FROM checkpoints WHERE size = 2")
        assert row[0][0].encode() == content
        replace_file(path, content, mode)
        assert not [reply for reply in log.link.replies if reply[0][0] == b"asks"]
        seen.append(path)

    monkeypatch.setattr(sealing, "replace_file", watched)
    assert asked(log).size == 2
    assert seen == [log.directory / "checkpoint"]


# --- what holds it up ---


def test_a_file_that_cannot_be_written_is_warned_of_once_and_tried_again(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    path = log.directory / "checkpoint"
    path.mkdir()  # nothing can be renamed over it
    record(log)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            assert log.step() > 0, "it is not tried in every turn"
            log.pass_time(0.5)
            record(log)
    assert len([each for each in caplog.messages if "cannot be written" in each]) == 1
    assert "cannot be written" in log.statistics()["checkpoint_held_up_by"]
    assert "cannot be written" in refusal(log, wire.TakeCheckpoint())
    path.rmdir()
    log.pass_time(2)
    log.step()
    assert written(log).size == 21
    assert asked(log).size == 21
    assert log.statistics()["checkpoint_held_up_by"] == ""
    assert not list(log.directory.glob(".checkpoint*")), "nothing is left of the tries"


def test_a_foreign_lock_holds_it_up_and_nothing_else(log: Log) -> None:
    record(log)
    record(log)
    log.pass_time(2)
    with write_lock_taken(log.directory):
        assert log.step() > 0
        assert written(log).size == 1
        assert "write lock" in refusal(log, wire.TakeCheckpoint())
    log.pass_time(2)
    log.step()
    assert written(log).size == 2


def test_on_a_full_disk_nothing_is_sealed_but_at_the_end(directory: Path) -> None:
    log = Log(directory).start_writer()
    record(log)
    record(log)
    log.writer._disk.reason = "the disk is full"
    log.writer._disk.next_look = log.now + 1_000
    for _ in range(5):
        log.pass_time(2)
        assert log.step() > 0
    assert written(log).size == 1
    assert "intake is suspended" in refusal(log, wire.TakeCheckpoint())
    log.stop_writer()
    assert written(log).size == 2
    log.close()


def test_where_it_cannot_be_sealed_at_the_end_the_writer_ends_all_the_same(log: Log) -> None:
    record(log)
    record(log)
    with write_lock_taken(log.directory):
        log.stop_writer()
    assert written(log).size == 1
    log.start_writer()
    log.step()
    assert written(log).size == 2


def test_killed_between_row_and_file_the_next_writer_writes_what_was_signed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(log)
    before = (log.directory / "checkpoint").read_bytes()

    def dies(*_: Any) -> None:
        raise Killed

    monkeypatch.setattr(sealing, "replace_file", dies)
    log.workers[0].record(2)
    log.pass_time(2)
    with pytest.raises(Killed):
        log.settle()
    assert (log.directory / "checkpoint").read_bytes() == before
    monkeypatch.undo()
    log.kill_writer()
    ((note,),) = log.query("SELECT note FROM checkpoints WHERE size = 3")
    log.start_writer()
    log.step()
    assert (log.directory / "checkpoint").read_text() == note
    assert sealed_sizes(log) == [1, 3]


# --- what is said of it ---


def test_stats_say_how_far_the_log_is_sealed_and_how_old_that_is(log: Log) -> None:
    figures = log.statistics()
    assert (figures["checkpoint_size"], figures["checkpoint_age_s"]) == (0, None)
    record(log, 2)
    log.pass_time(0.5 - TURN_S)
    figures = log.statistics()
    assert figures["checkpoint_size"] == 2
    assert 0.4 < figures["checkpoint_age_s"] < 0.6
    assert figures["checkpoint_held_up_by"] == ""


def test_an_entry_is_attested_once_a_checkpoint_covers_it(log: Log) -> None:
    record(log)
    record(log)
    rows = "SELECT id, attest_level, signature FROM signed_events ORDER BY id"
    (first, second) = log.query(rows)
    assert first[:2] == (1, "checkpoint")
    assert first[2].startswith("— hansard/")
    assert second == (2, "unsigned", None)
    log.pass_time(2)
    log.step()
    assert [row[1] for row in log.query(rows)] == ["checkpoint", "checkpoint"]
