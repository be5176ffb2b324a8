"""As whom a log is signed: the key at the first start, keys that change or are lost, logs that are
not the ones that were signed."""

import base64
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard import wire
from hansard_writer import sealing
from hansard_writer.proof import keys
from hansard_writer.proof.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from hansard_writer.proof.key_chain import KeyChain, read_key_chain
from hansard_writer.proof.keys import read_key, read_verifier_key, write_key
from hansard_writer.proof.signed_note import SigningKey, UntrustedNote, VerifierKey
from hansard_writer.sealing import Sealer
from hansard_writer.signing import Signing
from hansard_writer.unusable import LogUnusable
from stepped import Killed, Log

ROLLBACK = {"accept_rollback": True}
LOST_KEY = {"accept_lost_key": True}


def record(log: Log, events: int = 1) -> None:
    """Some more are committed, and sealed."""
    if not log.workers:
        log.worker()
    log.workers[0].record(events)
    log.settle()
    log.pass_time(2)
    log.step()


def chain_of(log: Log) -> KeyChain:
    chain = read_key_chain(log.query)
    assert chain is not None
    return chain


def written(log: Log) -> Checkpoint:
    """What is in DIR/checkpoint, signed by the key that the log's entries say signs it, as
    writer.pub and the writer's own key do."""
    key = chain_of(log).current.key
    assert read_verifier_key(log.directory / "writer.pub") == key
    private = read_key(log.directory / "writer.key")
    assert SigningKey(key.name, private).verifier_key == key
    note = (log.directory / "checkpoint").read_bytes()
    return open_checkpoint(note, [key], origin=key.name)


def bytes_of(log: Log) -> dict[str, bytes]:
    """What is in its files; a WAL without content is none."""
    contents = {
        path.name: path.read_bytes() for path in log.files() if not path.name.endswith("-shm")
    }
    return {name: content for name, content in contents.items() if content}


def refused(log: Log, match: str) -> None:
    """It does not start, and nothing is changed."""
    before = bytes_of(log)
    with pytest.raises((LogUnusable, keys.KeyUnusable), match=match):
        log.start_writer()
    assert bytes_of(log) == before


def assert_all_checkpoints_are_signed_as_the_chain_demands(log: Log) -> None:
    chain, before = chain_of(log), 0
    for size, note in log.query("SELECT size, note FROM checkpoints ORDER BY size"):
        for key in chain.signers(size, before):
            open_checkpoint(note, [key], origin=chain.at(size).origin)
        before = size


# --- the key ---


def test_the_first_start_makes_a_key_that_only_its_owner_may_read(log: Log) -> None:
    record(log)
    mode = (log.directory / "writer.key").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert written(log).size == 1
    before = bytes_of(log)["writer.key"]
    log.restart_writer()
    assert bytes_of(log)["writer.key"] == before


def test_a_key_that_is_given_is_used(directory: Path) -> None:
    given = keys.new_key()
    directory.mkdir()
    write_key(directory / "writer.key", given)
    log = Log(directory).start_writer()
    record(log)
    assert written(log).size == 1
    assert keys.public_bytes(read_key(directory / "writer.key")) == keys.public_bytes(given)
    log.close()


def test_a_key_that_others_may_read_is_refused(log: Log) -> None:
    record(log)
    log.stop_writer()
    (log.directory / "writer.key").chmod(0o644)
    refused(log, "chmod 600")


def test_a_writer_pub_that_is_missing_or_wrong_is_written_again(log: Log) -> None:
    record(log)
    path = log.directory / "writer.pub"
    right = path.read_text()
    for wrong in (None, "", f"{SigningKey('other', keys.new_key()).verifier_key}\n"):
        log.stop_writer()
        path.unlink() if wrong is None else path.write_text(wrong)
        log.start_writer()
        assert path.read_text() == right


def test_a_key_that_has_signed_nothing_may_be_exchanged(log: Log) -> None:
    log.stop_writer()
    (log.directory / "writer.key").unlink()
    log.start_writer()
    log.stop_writer()
    (log.directory / "writer.key").unlink()
    write_key(log.directory / "writer.key", keys.new_key())
    log.start_writer()
    record(log)
    assert written(log).size == 1
    assert len(chain_of(log).links) == 1


@pytest.mark.parametrize("another", [False, True], ids=["missing", "another"])
def test_a_log_whose_key_is_lost_is_refused_and_goes_on_as_another_where_that_is_accepted(
    log: Log, another: bool
) -> None:
    record(log, 3)
    old = written(log)
    log.stop_writer()
    path = log.directory / "writer.key"
    path.unlink()
    if another:
        write_key(path, keys.new_key())
    refused(log, "accept-lost-key.*takes the one" if another else "missing.*accept-lost-key")
    log.accepted = LOST_KEY
    log.start_writer()
    record(log)
    new = written(log)
    assert (new.size, new.origin) == (5, f"{old.origin}/2")
    (entry,) = log.entries("hansard.key")
    assert entry["reason"] == "lost"
    assert [link.since for link in chain_of(log).links] == [0, 4]
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)
    log.restart_writer()
    record(log)
    assert written(log).origin == new.origin
    log.assert_all_is_in()


def test_a_lost_key_that_was_accepted_is_accepted_though_the_writer_is_killed_then(
    log: Log,
) -> None:
    record(log, 3)
    log.stop_writer()
    (log.directory / "writer.key").unlink()
    log.accepted = LOST_KEY
    log.start_writer()
    log.restart_writer()
    log.step()
    assert written(log).size == 4
    assert len(log.entries("hansard.key")) == 1


# --- a log that is not the one that was signed ---


def backup(log: Log, to: Path) -> Path:
    """A copy of the database."""
    log.stop_writer()
    shutil.copy(log.directory / "log.db", to)
    log.start_writer()
    return to


def restore(log: Log, copy: Path) -> None:
    for path in log.directory.glob("log.db*"):
        path.unlink()
    shutil.copy(copy, log.directory / "log.db")


def test_an_older_copy_is_refused_and_goes_on_as_another_log_where_that_is_accepted(
    log: Log, tmp_path: Path
) -> None:
    record(log, 3)
    copy = backup(log, tmp_path / "copy.db")
    record(log, 4)
    ahead = written(log)
    log.stop_writer()
    restore(log, copy)
    refused(log, r"it has 3 entries, and checkpoint says that there were 7.*--accept-rollback")
    log.accepted = ROLLBACK
    log.start_writer()
    record(log)
    (entry,) = log.entries("hansard.rollback")
    assert entry["checkpoint_origin"] == ahead.origin
    assert (entry["checkpoint_size"], entry["entries"]) == (7, 3)
    assert base64.b64decode(entry["checkpoint_root"]) == ahead.root
    assert written(log).origin.startswith(f"{ahead.origin}/")
    assert chain_of(log).links[1].reason == "rollback"
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)
    for _ in range(2):
        log.restart_writer()
        record(log)
    assert len(log.entries("hansard.rollback")) == 1


def test_a_rollback_that_was_accepted_is_accepted_though_the_writer_is_killed_then(
    log: Log, tmp_path: Path
) -> None:
    """DIR/checkpoint is still the one that the log went back from."""
    record(log, 3)
    copy = backup(log, tmp_path / "copy.db")
    record(log, 4)
    log.stop_writer()
    restore(log, copy)
    log.accepted = ROLLBACK
    log.start_writer()
    log.restart_writer()
    log.step()
    assert written(log).size == 4
    assert len(log.entries("hansard.rollback")) == 1


def test_one_copy_that_is_put_back_twice_never_bears_the_same_origin(
    log: Log, tmp_path: Path
) -> None:
    record(log, 3)
    copy = backup(log, tmp_path / "copy.db")
    origins = {written(log).origin}
    for _ in range(3):
        record(log, 5)
        log.stop_writer()
        restore(log, copy)
        log.accepted = ROLLBACK
        log.start_writer()
        record(log)
        origins.add(written(log).origin)
    assert len(origins) == 4


def test_a_rollback_that_is_accepted_where_none_was_is_warned_of(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(log, 3)
    log.stop_writer()
    log.accepted = ROLLBACK
    log.start_writer()
    assert "--accept-rollback was for nothing" in caplog.text
    assert len(chain_of(log).links) == 1


def test_another_history_of_the_same_length_is_refused(log: Log, tmp_path: Path) -> None:
    """From one copy on the log has had two histories; the checkpoint is of the other one."""
    record(log, 3)
    copy = backup(log, tmp_path / "copy.db")
    record(log, 5)
    others = (log.directory / "checkpoint").read_bytes()
    log.stop_writer()
    restore(log, copy)
    (log.directory / "checkpoint").unlink()  # so that nobody notices
    log.start_writer()
    record(log, 9)
    log.stop_writer()
    (log.directory / "checkpoint").write_bytes(others)
    log.is_honest = False
    refused(log, "its first 8 entries are not those that checkpoint was signed for")


def test_another_logs_database_is_refused(log: Log, tmp_path: Path) -> None:
    other = Log(tmp_path / "other").start_writer()
    record(other, 9)
    other.stop_writer()
    record(log, 3)
    log.stop_writer()
    restore(log, other.directory / "log.db")
    refused(log, "checkpoint beside it is of another log")
    log.accepted = ROLLBACK
    log.start_writer()
    log.step()
    assert (written(log).size, written(log).origin.count("/")) == (10, 2)
    other.close()


def test_an_empty_database_in_place_of_a_log_is_refused(log: Log) -> None:
    record(log, 3)
    log.stop_writer()
    for path in log.directory.glob("log.db*"):
        path.unlink()
    with pytest.raises(LogUnusable, match="of another log"):
        log.start_writer()
    assert not (log.directory / "log.db-wal").exists(), "it might be taken for the lost log's"
    log.accepted = ROLLBACK
    log.start_writer()
    log.step()
    assert written(log).size == 1
    assert [link.reason for link in chain_of(log).links] == ["first", "rollback"]
    log.restart_writer()
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)


def test_a_missing_checkpoint_is_made_anew_with_a_warning(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(log, 3)
    before = bytes_of(log)["checkpoint"]
    log.stop_writer()
    (log.directory / "checkpoint").unlink()
    log.start_writer()
    assert "checkpoint is missing" in caplog.text
    log.step()
    assert bytes_of(log)["checkpoint"] == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda note: note[:50], "a signed note is"),
        (lambda note: note[:-9], "ends with a newline"),
        (lambda note: b"\xff" + note, "UTF-8"),
        (lambda note: note.replace(b"\n3\n", b"\n2\n"), "signature of hansard/.* is wrong"),
    ],
)
def test_a_checkpoint_that_the_writer_did_not_leave_is_refused(
    log: Log, change: Callable[[bytes], bytes], words: str
) -> None:
    record(log, 3)
    log.stop_writer()
    path = log.directory / "checkpoint"
    path.write_bytes(change(path.read_bytes()))
    log.is_honest = False
    refused(log, f"not what this log's writer left there.*{words}.*move it away")


def test_a_checkpoint_of_another_key_is_refused(log: Log) -> None:
    record(log, 3)
    checkpoint = written(log)
    log.stop_writer()
    stranger = SigningKey(checkpoint.origin, keys.new_key())
    (log.directory / "checkpoint").write_text(sign_checkpoint(checkpoint, [stranger]))
    log.is_honest = False
    refused(log, "by no key that is known here")


def test_a_log_that_contradicts_its_own_checkpoint_is_refused(log: Log) -> None:
    record(log, 3)
    log.stop_writer()
    connection = apsw.Connection(str(log.directory / "log.db"))
    connection.execute("UPDATE checkpoints SET note = replace(note, char(10)||'3', char(10)||'9')")
    connection.close()
    log.is_honest = False
    refused(log, "holds a checkpoint of 9 entries that is not one of the 3 it has")


# --- another key takes over ---


def propose(log: Log) -> wire.RotateKey:
    """As `hansard keys rotate` does."""
    key = keys.new_key()
    write_key(log.directory / "writer.key.new", key)
    return wire.RotateKey(str(SigningKey(written(log).origin, key).verifier_key))


def test_a_new_key_is_entered_and_vouched_for_by_the_old_one(log: Log) -> None:
    record(log, 3)
    old = chain_of(log).current.key
    request = propose(log)
    rotated = wire.key_rotated_of(log.ask(request))
    assert rotated.seq == 4
    new = VerifierKey.parse(request.verifier_key)
    assert (written(log).size, chain_of(log).current.key) == (4, new)
    for key in (old, new):
        assert open_checkpoint(rotated.note, [key]).size == 4
    (entry,) = log.entries("hansard.key")
    assert entry == {"reason": "rotated", "retired": str(old), "verifier_key": str(new)}
    record(log)
    with pytest.raises(UntrustedNote):
        open_checkpoint((log.directory / "checkpoint").read_bytes(), [old])
    assert not (log.directory / "writer.key.new").exists()
    log.restart_writer()
    log.ask(propose(log))
    record(log)
    assert [link.since for link in chain_of(log).links] == [0, 4, 6]
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)


def test_what_was_signed_before_a_rotation_still_counts_at_the_start(log: Log) -> None:
    record(log, 3)
    before = bytes_of(log)["checkpoint"]
    log.ask(propose(log))
    log.stop_writer()
    (log.directory / "checkpoint").write_bytes(before)
    log.start_writer()
    log.step()
    assert written(log).size == 4


@pytest.mark.parametrize("where", ["entry", "row", "file", "key", "public key"])
def test_a_rotation_that_is_cut_short_is_brought_to_its_end(
    log: Log, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The writer is killed behind each step."""
    record(log, 3)
    request = propose(log)

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    def sync_dies(_directory: Path) -> None:
        raise Killed

    target, name, does = {
        "entry": (Sealer, "take", dies),
        "row": (sealing, "replace_file", dies),
        "file": (Signing, "end_rotation", dies),
        "key": (Signing, "publish", dies),
        "public key": (Signing, "publish", dies),
    }[where]
    publish = Signing.publish

    def publishes_and_dies(signing: Signing) -> None:
        publish(signing)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, name, publishes_and_dies if where == "public key" else does)
        with pytest.raises(Killed):
            log.ask(request)
    log.kill_writer()
    log.start_writer()
    record(log)
    assert chain_of(log).current.key == VerifierKey.parse(request.verifier_key)
    assert written(log).size == 5
    assert not (log.directory / "writer.key.new").exists()
    assert len(log.entries("hansard.key")) == 1
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)
    log.ask(propose(log))
    assert written(log).size == 6


def test_a_rotation_that_had_not_begun_leaves_nothing(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    record(log, 3)
    propose(log)
    log.restart_writer()
    assert "its rotation had not begun" in caplog.text
    assert not (log.directory / "writer.key.new").exists()
    record(log)
    assert len(chain_of(log).links) == 1


def test_where_the_old_key_cannot_vouch_any_more_the_key_counts_as_lost(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(log, 3)
    request = propose(log)
    with monkeypatch.context() as patch:
        patch.setattr(Sealer, "take", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            log.ask(request)
    log.kill_writer()
    (log.directory / "writer.key").unlink()
    refused(log, "writer.key is missing")
    log.accepted = LOST_KEY
    log.start_writer()
    record(log)
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)


def test_a_rotation_that_is_held_up_signs_with_both_as_soon_as_it_can(log: Log) -> None:
    record(log, 3)
    request = propose(log)
    path = log.directory / "checkpoint"
    aside = path.rename(path.with_name("aside"))
    path.mkdir()
    with pytest.raises(wire.WireError, match="cannot be written"):
        log.ask(request)
    with pytest.raises(wire.WireError, match="under way"):
        log.ask(request)
    path.rmdir()
    aside.rename(path)
    log.pass_time(2)
    log.step()
    assert written(log).size == 4
    assert_all_checkpoints_are_signed_as_the_chain_demands(log)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (Log.step, "there is no .*writer.key.new"),
        (
            lambda log: shutil.copy(log.directory / "writer.key", log.directory / "writer.key.new"),
            "the key that signs already",
        ),
        (lambda log: write_key(log.directory / "writer.key.new", keys.new_key()), "is another key"),
        (lambda log: (log.directory / "writer.key.new").write_text("no"), "chmod 600|no private"),
    ],
)
def test_what_cannot_take_over_is_refused(
    log: Log, prepare: Callable[[Log], Any], words: str
) -> None:
    record(log, 3)
    prepare(log)
    with pytest.raises(wire.WireError, match=words):
        log.ask(wire.RotateKey("hansard/00+00000000+AAAA"))
    record(log)
    assert (written(log).size, len(chain_of(log).links)) == (4, 1)
