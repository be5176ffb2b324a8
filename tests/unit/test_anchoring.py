"""Checkpoints kept in another place: what replaces what, and what does not."""

from pathlib import Path

import apsw
import pytest

from hansard.errors import ConfigError
from hansard_writer.anchoring import Anchor, HistoryChanged, NoCheckpoint, take_newest
from hansard_writer.proof.checkpoint import read_checkpoint
from stepped import Log


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    return Anchor(tmp_path / "kept")


@pytest.fixture
def log(directory: Path) -> Log:
    return Log(directory).start_writer()


def note_after(log: Log, events: int) -> str:
    """The note of a log that has so many events more; its writer is stopped."""
    if log.store is None:
        log.start_writer()
    if not log.workers:
        log.worker()
    log.workers[0].record(events)
    log.settle()
    log.stop_writer()
    return (log.directory / "checkpoint").read_text()


def kept(anchor: Anchor) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in anchor._place.iterdir()}


def refused(anchor: Anchor, note: str, log: Log, match: str) -> None:
    before = kept(anchor)
    with pytest.raises(HistoryChanged, match=match):
        anchor.keep(note, log.directory)
    assert kept(anchor) == before


def test_each_new_checkpoint_is_a_file_and_the_newest_has_a_name(anchor: Anchor, log: Log) -> None:
    notes = []
    for events in (3, 20, 300):
        notes.append(note_after(log, events))
        path = anchor.keep(notes[-1], log.directory)
        assert path is not None
        assert path.read_text() == notes[-1]
        assert anchor.keep(notes[-1], log.directory) is None, "it is kept already"
    files = kept(anchor)
    assert files.pop("writer.pub") == (log.directory / "writer.pub").read_bytes()
    assert files.pop("checkpoint").decode() == notes[-1]
    assert {name: content.decode() for name, content in files.items()} == {
        f"{read_checkpoint(note).size:012}.checkpoint": note for note in notes
    }


def test_what_does_not_continue_it_replaces_nothing(
    anchor: Anchor, log: Log, tmp_path: Path
) -> None:
    early = note_after(log, 3)
    copy = (log.directory / "log.db").read_bytes()
    anchor.keep(note_after(log, 5), log.directory)
    refused(anchor, early, log, "had 8 entries, and now it has 3")
    (log.directory / "log.db").write_bytes(copy)
    (log.directory / "checkpoint").unlink()
    log.worker("another")
    refused(anchor, note_after(log, 9), log, "first 8 of the log's .* are not those")


def test_a_new_origin_replaces_nothing(anchor: Anchor, log: Log) -> None:
    note_after(log, 3)
    copy = (log.directory / "log.db").read_bytes()
    anchor.keep(note_after(log, 5), log.directory)
    (log.directory / "log.db").write_bytes(copy)
    log.accepted = {"accept_rollback": True}
    log.start_writer()
    log.worker("another")
    refused(anchor, note_after(log, 9), log, "somebody has accepted that")


def test_a_note_that_no_key_of_the_log_has_signed_is_not_kept(anchor: Anchor, log: Log) -> None:
    note = note_after(log, 3)
    anchor.keep(note, log.directory)
    refused(anchor, note.replace("\n3\n", "\n4\n"), log, "not signed by a key of the log")


def test_a_log_whose_keys_do_not_descend_from_the_first_is_not_kept(
    anchor: Anchor, log: Log, tmp_path: Path
) -> None:
    anchor.keep(note_after(log, 3), log.directory)
    other = Log(tmp_path / "other").start_writer()
    refused(anchor, note_after(other, 5), other, "not signed any more by hansard/")


def test_a_tree_that_lacks_what_shows_it_is_not_believed(anchor: Anchor, log: Log) -> None:
    anchor.keep(note_after(log, 3), log.directory)
    note = note_after(log, 300)
    connection = apsw.Connection(str(log.directory / "log.db"))
    connection.execute("DELETE FROM tree WHERE level = 0 AND idx = 0")
    connection.close()
    refused(anchor, note, log, "cannot show any more that its")


def test_what_is_kept_and_cannot_be_read_is_not_replaced(anchor: Anchor, log: Log) -> None:
    note = note_after(log, 3)
    anchor.keep(note, log.directory)
    (anchor._place / "checkpoint").write_text("nonsense")
    with pytest.raises(ConfigError, match="move it away"):
        anchor.keep(note, log.directory)


def test_without_a_writer_the_last_one_is_taken_and_what_is_behind_it_is_said(log: Log) -> None:
    note_after(log, 3)
    log.start_writer()
    log.workers[0].record(4)
    log.settle()
    before = (log.directory / "checkpoint").read_text()
    log.workers[0].record(2)
    log.settle()
    log.kill_writer()
    taken = take_newest(log.directory, 1.0)
    assert taken.note == before
    behind = 9 - read_checkpoint(before).size
    assert f"{behind} entries are behind the last checkpoint" in taken.notice


def test_without_a_writer_a_log_that_went_back_is_not_said_to_be_covered(log: Log) -> None:
    note_after(log, 3)
    copy = (log.directory / "log.db").read_bytes()
    note_after(log, 4)
    (log.directory / "log.db").write_bytes(copy)
    notice = take_newest(log.directory, 1.0).notice
    assert "the last one is of 7 entries, and the log has 3: it went back in time" in notice


def test_a_log_that_was_never_signed_has_none(log: Log) -> None:
    log.stop_writer()
    with pytest.raises(NoCheckpoint, match="hansard serve"):
        take_newest(log.directory, 1.0)
