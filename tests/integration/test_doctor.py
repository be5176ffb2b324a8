"""The doctor's look at real logs, well and sick: what it sees, and that it changes no byte."""

import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from hansard.reader_connection import SCHEMA_VERSION
from hansard_writer.doctor import Diagnosis, Severity, examine
from hansard_writer.doctor.facts import Trouble
from hansard_writer.doctor.gathering import gather
from stepped import Log
from support import held_lock, query

QUICK_S = 0.05


def content(directory: Path) -> dict[str, Any]:
    """Names, bytes and times of all that is there."""
    return {
        str(path.relative_to(directory)): (
            path.stat().st_mtime_ns,
            path.stat().st_mode,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in sorted(directory.rglob("*"))
    }


def untouched(directory: Path, **options: Any) -> Diagnosis:
    """A look that changed nothing."""
    before = content(directory)
    diagnosis = examine(directory, QUICK_S, **options)
    assert content(directory) == before
    return diagnosis


def said(diagnosis: Diagnosis, area: str) -> str:
    return " | ".join(each.seen for each in diagnosis.findings if each.area == area)


def change(directory: Path, statement: str) -> None:
    """By somebody who may write the file; it leaves no WAL."""
    connection = apsw.Connection(str(directory / "log.db"))
    connection.execute(statement).fetchall()
    connection.close()


@pytest.fixture
def at_rest(directory: Path) -> Path:
    """A log of 30 entries whose writer was stopped."""
    log = Log(directory).start_writer()
    worker = log.worker()
    worker.record(30)
    log.settle()
    worker.producer.close()
    log.workers.clear()
    log.stop_writer()
    return directory


@pytest.mark.parametrize(
    ("name", "severity"), [("log.db", Severity.NOTE), ("plan.json", Severity.ACTION)]
)
def test_a_restore_is_to_be_finished_once_there_is_a_plan_of_it(
    at_rest: Path, name: str, severity: Severity
) -> None:
    (at_rest / "restoring").mkdir(0o700)
    (at_rest / "restoring" / name).write_bytes(b"")
    found = [each for each in untouched(at_rest).findings if "restoring/" in each.seen]
    assert [each.severity for each in found] == [severity]


def test_a_log_at_rest_is_read_whole_and_stays_as_it_is(at_rest: Path) -> None:
    diagnosis = untouched(at_rest, is_deep=True)
    facts = diagnosis.facts
    assert facts.log
    assert (facts.log.first, facts.log.last, facts.log.signed) == (1, 30, 30)
    assert (facts.checkpoint, facts.writer.is_held) == (30, False)
    assert facts.database
    assert facts.database.damage == ()
    needy = {each.area for each in diagnosis.findings if each.severity is Severity.ACTION}
    assert needy == {"proof"}, "its hand-moved clock stands in 2023, and nothing was verified since"
    assert sorted(path.name for path in at_rest.glob("log.db*")) == ["log.db"]


def test_what_other_readers_left_beside_it_is_left(at_rest: Path) -> None:
    connection = apsw.Connection(str(at_rest / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    connection.execute("SELECT * FROM meta").fetchall()
    connection.close()
    assert (at_rest / "log.db-shm").exists()
    diagnosis = untouched(at_rest)
    assert diagnosis.facts.log
    assert diagnosis.facts.log.last == 30


def test_a_killed_writers_wal_is_read_without_recovering_it(directory: Path) -> None:
    log = Log(directory).start_writer()
    dead = log.worker()
    dead.record(20)
    log.settle()
    dead.record(3)
    dead.kill()
    log.kill_writer()
    diagnosis = untouched(directory)
    assert diagnosis.facts.log
    assert diagnosis.facts.log.last == 20
    (spool,) = diagnosis.facts.spools
    assert (spool.events, spool.is_locked, spool.pid) == (3, False, os.getpid())
    assert spool.log_id == diagnosis.facts.log.log_id
    assert "was killed" in said(diagnosis, "writer")
    assert "3 events" in said(diagnosis, "spools")
    (directory / "log.db-shm").unlink()
    unread = untouched(directory)
    assert unread.facts.database
    assert unread.facts.database.trouble is Trouble.WAL_ALONE
    log.start_writer()
    log.settle()
    log.assert_all_is_in()
    log.stop_writer()


def test_a_producer_that_lives_keeps_its_spool(directory: Path) -> None:
    log = Log(directory).start_writer()
    worker = log.worker()
    worker.record(5)
    (spool,) = gather(directory, QUICK_S).spools
    assert (spool.is_locked, spool.events, spool.pid_seen) == (True, 5, True)
    log.settle()
    log.assert_all_is_in()
    log.close()


def test_spools_that_are_odd_are_told_apart(at_rest: Path, tmp_path: Path) -> None:
    other = Log(tmp_path / "other").start_writer()
    worker = other.worker()
    worker.record(2)
    other.settle()
    worker.record(4)
    spool = worker.spool
    assert spool
    worker.kill()
    other.stop_writer()
    shutil.copy(spool, at_rest / "spool" / "a.spool")
    (at_rest / "spool" / "b.spool").write_bytes(b"no spool")
    (at_rest / "spool" / "c.spool").mkdir()
    (at_rest / "spool" / "d.spool").symlink_to("/dev/null")
    diagnosis = untouched(at_rest)
    spools = {each.name: each for each in diagnosis.facts.spools}
    assert spools["a.spool"].events == 4
    assert "of another log" in said(diagnosis, "spools")
    assert spools["b.spool"].damage == "8 bytes are too few for a spool"
    assert spools["c.spool"].damage == "it is no regular file"
    assert spools["d.spool"].unreadable


def test_many_events_are_counted_up_to_a_bound(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.doctor.waiting.EVENTS_MAX", 300)
    log = Log(directory)
    log.worker().record(700)
    (spool,) = gather(directory, QUICK_S).spools
    assert (spool.is_counted, spool.events) == (False, 500)
    assert "at least 500 events" in said(examine(directory, QUICK_S), "spools")
    log.close()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("PRAGMA user_version = 99", "schema 99, of a newer release"),
        (f"PRAGMA user_version = {SCHEMA_VERSION - 1}", "of an older release"),
        ("PRAGMA application_id = 7", "another program (application id 7)"),
        ("DROP TABLE meta", "no such table: meta"),
    ],
)
def test_a_database_of_another_kind_is_named(at_rest: Path, statement: str, words: str) -> None:
    change(at_rest, statement)
    diagnosis = untouched(at_rest)
    assert words in said(diagnosis, "database")
    assert diagnosis.needs_action


def test_damage_is_found_at_the_head_at_once_and_inside_when_asked(at_rest: Path) -> None:
    database = at_rest / "log.db"
    whole = database.read_bytes()
    statement = "SELECT rootpage FROM sqlite_schema WHERE name = 'dead_letters'"
    ((page,),) = query(at_rest, statement)
    for left in at_rest.glob("log.db-*"):
        left.unlink()
    database.write_bytes(whole[: (page - 1) * 4_096] + b"\xff" * 4_096 + whole[page * 4_096 :])
    assert "damaged: " in said(untouched(at_rest, is_deep=True), "database")
    database.write_bytes(b"x" * len(whole))
    diagnosis = untouched(at_rest)
    assert diagnosis.facts.database
    assert diagnosis.facts.database.trouble is Trouble.DAMAGED


def test_a_wal_that_lies_beside_no_database_is_not_deleted(at_rest: Path) -> None:
    (at_rest / "log.db").write_bytes(b"")
    assert "log.db is empty" in said(untouched(at_rest), "database")
    (at_rest / "log.db-wal").write_bytes(b"w" * 100)
    assert "log.db is empty, and log.db-wal beside it" in said(untouched(at_rest), "database")
    (at_rest / "log.db").unlink()
    assert "log.db is missing, and log.db-wal" in said(untouched(at_rest), "database")


def test_where_there_is_nothing_nothing_is_made(tmp_path: Path) -> None:
    for directory in (tmp_path / "none", tmp_path / "deep" / "none"):
        diagnosis = examine(directory, QUICK_S)
        assert "does not exist" in said(diagnosis, "directory")
        assert diagnosis.needs_action
        assert not directory.exists()
    (tmp_path / "file").write_text("")
    assert "no directory" in said(examine(tmp_path / "file", QUICK_S), "directory")
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o700)
    diagnosis = untouched(empty)
    assert not diagnosis.needs_action
    assert said(diagnosis, "database") == "there is none yet"


def test_a_writer_that_has_the_lock_and_no_database_yet_is_starting(
    at_rest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hansard_writer.doctor.reading.START_TRIES", 2)
    with held_lock(at_rest):
        facts = gather(at_rest, QUICK_S)
    assert facts.database
    assert facts.database.trouble is Trouble.STARTING
    assert facts.writer.is_held
    assert facts.writer.silence


def test_no_writer_starts_while_a_database_at_rest_is_read(
    at_rest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def read(*arguments: Any, **_: Any) -> None:
        with (at_rest / "writer.lock").open() as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tries.append(arguments)
        raise apsw.SQLError("enough")

    (at_rest / "writer.lock").write_text("{}")
    monkeypatch.setattr("hansard_writer.doctor.reading._facts", read)
    gather(at_rest, QUICK_S)
    assert tries
    with (at_rest / "writer.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_settings_that_no_writer_would_take_are_told(at_rest: Path) -> None:
    (at_rest / "hansard.toml").write_text("spool_byte = 5\n")
    assert "unknown setting 'spool_byte'" in said(untouched(at_rest), "settings")
    (at_rest / "hansard.toml").write_text("[derived.x]\ntype = 'blob'\n")
    assert "the derived field 'x' has type 'blob'" in said(untouched(at_rest), "settings")
    (at_rest / "hansard.toml").write_text("[derived.x]\ntype = 'text'\n")
    assert said(untouched(at_rest), "settings") == "all as by default"


def test_what_verify_and_the_writer_left_is_read_whatever_it_holds(at_rest: Path) -> None:
    for text in (
        "",
        "{",
        "[]",
        '{"verdict": "intact"}',
        '{"verdict":1,"size":"x","verified_at":1}',
    ):
        (at_rest / "verified").write_text(text)
        assert untouched(at_rest).facts.verified is None
    (at_rest / "verified").write_text('{"verdict":"intact","size":30,"verified_at":1}')
    assert "all was verified" in said(untouched(at_rest), "proof")
    (at_rest / "checkpoint").write_text("what?")
    assert untouched(at_rest).facts.checkpoint_is_odd
    (at_rest / "writer.lock").write_text('{"pid": "seven", "started_at": null}')
    untouched(at_rest)


def test_dead_letters_and_losses_are_counted_by_reason(directory: Path) -> None:
    log = Log(directory, enforce_tasks=True).start_writer()
    worker = log.worker()
    worker.record(3, task_id="T1")
    worker.record(1, task_id="T2")
    log.link.frames.append([b"junk", b"junk"])
    log.settle()
    log.kill_writer()
    worker.producer.close()
    facts = untouched(directory).facts
    assert facts.log
    letters = {each.about: (each.letters, each.events) for each in facts.log.letters}
    assert letters == {"orphan": (4, 4), "bad_header": (1, 0)}
    assert [(each.about, each.events) for each in facts.log.orphans] == [("T1", 3), ("T2", 1)]
    assert facts.log.losses.entries == 0


def test_a_diagnosis_is_of_values_that_json_has(at_rest: Path) -> None:
    (at_rest / os.fsdecode(b"\xff.txt")).touch()
    (at_rest / "writer.lock").write_text(f'{{"pid": 1, "started_at": {10**30}}}')
    content = json.loads(json.dumps(examine(at_rest, QUICK_S).as_dict()))
    assert content["facts"]["database"]["log"]["last"] == 30
    assert content["facts"]["place"]["free_bytes"] > 0
    severities = {each["severity"] for each in content["findings"]}
    assert severities <= {str(each) for each in Severity}
