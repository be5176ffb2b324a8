"""Backups of a log while it is recorded into, and while it is idle."""

import fcntl
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from hansard.errors import ConfigError
from hansard_writer import backup
from hansard_writer.backups import BackupFailed, copying, making
from hansard_writer.backups.making import COPYING
from hansard_writer.cli import main
from hansard_writer.lock import WriterLock
from hansard_writer.proof import keys, verify
from integration.test_redacting import index_all, operation, redact, secret, wipe
from integration.test_redacting import record as enter
from stepped import Log, encode
from support import held_lock

Command = Callable[..., Result]


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "log.backup"


@pytest.fixture
def command(log: Log, to: Path) -> Command:
    def run(*arguments: object, directory: Path = log.directory, to: Path = to) -> Result:
        given = ["--dir", directory, "--to", to, *arguments]
        return CliRunner().invoke(main, ["backup", *map(str, given)])

    return run


def record(log: Log, events: int = 3) -> None:
    """Some more are committed, and sealed."""
    if not log.workers:
        log.worker()
    log.workers[0].record(events)
    log.settle()
    log.pass_time(2)
    log.step()


def entries_in(database: Path) -> list[Any]:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT * FROM entries ORDER BY seq").fetchall()
    finally:
        connection.close()


def names_in(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def log_of(file: Path, place: Path) -> Path:
    """The backup as a log's directory."""
    place.mkdir()
    (place / "log.db").symlink_to(file)
    return place


@contextmanager
def disk_with(monkeypatch: pytest.MonkeyPatch, free: Callable[[], int]) -> Iterator[None]:
    with monkeypatch.context() as patched:
        usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=free()))
        patched.setattr(making.shutil, "disk_usage", usage.disk_usage)
        yield


# --- what it is ---


def test_a_backup_is_one_plain_database_of_its_owners_alone(log: Log, to: Path) -> None:
    record(log)
    made = backup(log.directory, to)
    assert (made.path, made.entries, made.checkpoint) == (to, 3, 3)
    assert made.log_id == log.writer.figures()["log_id"]
    assert made.report
    assert made.report.verdict == "intact"
    assert made.bytes == to.stat().st_size
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    assert to.read_bytes()[18:20] == b"\1\1", "the versions that a database without a WAL has"
    entries_in(to)
    assert names_in(to.parent) == ["log", to.name]
    assert entries_in(to) == entries_in(log.directory / "log.db")


def test_a_backup_is_of_one_moment_though_the_log_goes_on_under_it(
    log: Log, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PIECE_PAGES", 1)
    record(log, 50)
    before = entries_in(log.directory / "log.db")
    pieces = []

    def go_on(what: str, done: int, all_: int) -> None:
        if what == COPYING:
            pieces.append((done, all_))
            assert len(pieces) < 1_000, "it begins anew at each commit"
            record(log, 2)

    made = backup(log.directory, to, progress=go_on)
    assert len(pieces) > 20
    assert pieces[-1][0] == pieces[-1][1]
    assert made.entries == 50
    assert entries_in(to) == before
    assert entries_in(log.directory / "log.db")[:50] == before
    log.assert_all_is_in()


def test_a_backup_of_an_idle_log_is_the_whole_log(log: Log, to: Path) -> None:
    record(log)
    log.stop_writer()
    assert backup(log.directory, to).entries == 3


def test_a_backup_of_a_killed_log_has_what_is_in_its_wal(log: Log, to: Path) -> None:
    record(log)
    log.workers[0].record(4)
    log.settle()
    log.kill_writer()
    assert backup(log.directory, to).entries == 7


def test_an_empty_log_has_a_backup_too(log: Log, to: Path) -> None:
    made = backup(log.directory, to)
    assert (made.entries, made.checkpoint) == (0, None)


def test_what_was_redacted_and_wiped_is_in_no_backup(log: Log, to: Path) -> None:
    word = secret()
    worker = log.worker()
    worker.producer.append(encode({"password": word}))
    worker.record(5)
    log.settle()
    backup(log.directory, to)
    assert word.encode() in to.read_bytes()
    redact(log, 1)
    assert wipe(log) == []
    backup(log.directory, to, force=True)
    assert word.encode() not in to.read_bytes()


def test_copies_that_balanced_trees_left_behind_are_in_no_backup(log: Log, to: Path) -> None:
    random = Random(7)
    hidden = [f"q{random.getrandbits(96):024x}" for _ in range(1_200)]
    seqs: list[int] = []
    for start in range(0, 1_200, 100):
        events = (operation("x", workflow_id=each) for each in hidden[start : start + 100])
        seqs += enter(log, *events)
    for part in (1, 2, 3):  # trees shrink, and pages are joined
        redact(log, *seqs[part::4])
    assert log.store
    assert log.store.handle.checkpoint_truncate()
    database = (log.directory / "log.db").read_bytes()
    gone = [each.encode() for index, each in enumerate(hidden) if index % 4]
    assert any(each in database for each in gone), "SQLite overwrote them all: this shows nothing"
    backup(log.directory, to)
    copied = to.read_bytes()
    assert not any(each in copied for each in gone)
    assert sum(each.encode() in copied for each in hidden) == 300


def test_words_that_full_text_keeps_between_its_pages_are_in_no_backup(log: Log, to: Path) -> None:
    stem = secret()
    words = [f"{stem}{number:04}" for number in range(800)]
    seqs: list[int] = []
    for start in range(0, 800, 100):
        events = (operation("x", stderr=each) for each in words[start : start + 100])
        seqs += enter(log, *events)
    index_all(log)
    redact(log, *(seq for index, seq in enumerate(seqs) if index % 5))
    assert log.store
    assert log.store.handle.checkpoint_truncate()
    database = (log.directory / "log.db").read_bytes()
    gone = [each.encode() for index, each in enumerate(words) if index % 5]
    assert any(each in database for each in gone), "FTS5 removed them all: this shows nothing"
    backup(log.directory, to)
    copied = to.read_bytes()
    assert not any(each in copied for each in gone)
    connection = apsw.Connection(str(to))
    connection.execute("INSERT INTO full_text(full_text) VALUES('integrity-check')")
    for index in (0, 1, 795):
        found = connection.execute("SELECT rowid FROM full_text(?)", (words[index],)).fetchall()
        assert found == ([] if index % 5 else [(seqs[index],)])
    connection.close()


@pytest.mark.parametrize(
    "damage", ["UPDATE full_text_data SET block = x'00000004ff'", "DROP TABLE full_text_idx"]
)
def test_an_index_of_full_text_that_is_damaged_stops_no_backup(
    log: Log, to: Path, damage: str
) -> None:
    enter(log, operation("x"))
    index_all(log)
    log.stop_writer()
    connection = apsw.Connection(str(log.directory / "log.db"))
    connection.execute(damage)
    connection.close()
    assert backup(log.directory, to).entries == 1


def test_tables_of_ones_own_come_along(log: Log, to: Path) -> None:
    assert log.store
    with log.store.transaction() as connection:
        connection.execute("CREATE TABLE mine(name TEXT)")
        connection.execute("INSERT INTO mine VALUES('x')")
    backup(log.directory, to)
    connection = apsw.Connection(str(to))
    assert connection.execute("SELECT rowid, name FROM mine").fetchall() == [(1, "x")]
    connection.close()


# --- what it costs a writer ---


def test_it_rests_until_the_wal_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(copying.time, "sleep", rests.append)
    times = iter([0.0, 1.0, 1.0, 3.0, 3.0])
    monkeypatch.setattr(copying.time, "thread_time", lambda: next(times))
    wal = tmp_path / "log.db-wal"
    pace = copying._Pace(wal)
    pace.rest()
    assert rests == [4.0]
    with wal.open("wb") as file:
        file.truncate(copying.WAL_GROWTH_BYTES_MAX + 1)
    pace.rest()
    assert rests == [4.0]


def test_it_ends_before_the_writer_is_left_without_room(
    log: Log, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(log)
    room = iter([1 << 40, 1 << 20])
    with held_lock(log.directory), disk_with(monkeypatch, lambda: next(room)):
        monkeypatch.setattr(making, "CHECKPOINT_S", 0.01)
        with pytest.raises(BackupFailed, match="its writer needs what is left"):
            backup(log.directory, to)
    assert names_in(to.parent) == ["log"]


def test_the_log_is_let_go_of_before_it_is_verified(log: Log, to: Path) -> None:
    steps: list[str] = []
    backup(
        log.directory,
        to,
        progress=lambda what, _done, _all: steps.append(what),
        let_go=lambda: steps.append("let go"),
    )
    assert steps.index("let go") > steps.index(COPYING)
    assert COPYING not in steps[steps.index("let go") :]


# --- what is refused ---


def test_a_backup_that_is_there_is_replaced_only_by_force(log: Log, to: Path) -> None:
    to.write_text("what was there")
    with pytest.raises(BackupFailed, match="--force"):
        backup(log.directory, to)
    assert to.read_text() == "what was there"
    backup(log.directory, to, force=True)
    assert len(entries_in(to)) == 0


@pytest.mark.parametrize("name", ["log.db", "spool/x", "nightly.backup"])
def test_the_logs_own_directory_is_no_place_for_a_backup(log: Log, name: str) -> None:
    with pytest.raises(ConfigError, match="in the log's own directory"):
        backup(log.directory, log.directory / name, force=True)


def test_a_place_that_is_not_there_is_named(command: Command, tmp_path: Path) -> None:
    done = command(to=tmp_path / "none" / "b")
    assert done.exit_code == 2
    assert f"there is no directory {tmp_path / 'none'}: make it" in done.stderr
    done = command(to=tmp_path)
    assert done.exit_code == 2
    assert f"name a file, as {tmp_path}/log.backup" in done.stderr


def test_a_directory_without_a_log_is_named(command: Command, tmp_path: Path) -> None:
    done = command(directory=tmp_path / "empty")
    assert done.exit_code == 2
    assert f"there is no log in {tmp_path / 'empty'}" in done.stderr


def test_a_disk_without_room_is_told_before_anything_is_copied(
    log: Log, command: Command, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk_with(monkeypatch, lambda: 1_000):
        done = command()
    assert done.exit_code == 1
    assert f"{to} is not made: the log has " in done.stderr
    assert "MB, and the disk has 0.0 MB left: make room" in done.stderr
    assert names_in(to.parent) == ["log"]


def test_a_file_that_may_not_become_so_large_leaves_nothing(log: Log, to: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    command = [sys.executable, "-m", "hansard_writer", "backup", "--dir", log.directory, "--to", to]
    done = subprocess.run(
        command, preexec_fn=limit, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"{to} is not made: the copy cannot be written (File too large)" in done.stderr
    assert names_in(to.parent) == ["log"]


def test_an_altered_log_leaves_no_backup(log: Log, command: Command, to: Path) -> None:
    record(log)
    log.stop_writer()
    log.is_honest = False
    connection = apsw.Connection(str(log.directory / "log.db"))
    connection.execute("DROP TRIGGER entries_are_not_updated")
    connection.execute("UPDATE entries SET actor = 'mallory' WHERE seq = 2")
    connection.close()
    done = command()
    assert done.exit_code == 1
    assert "what was copied is altered" in done.stderr
    assert names_in(to.parent) == ["log"]
    done = command("--no-verify")
    assert done.exit_code == 0
    assert "verified    no: --no-verify" in done.stdout
    assert to.exists()


def test_two_backups_to_one_name_do_not_meet(log: Log, to: Path) -> None:
    staging = to.with_name(f".{to.name}.partial")
    staging.mkdir()
    descriptor = os.open(staging, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(BackupFailed, match=r"another backup to .* is under way"):
        backup(log.directory, to)
    (staging / "log.db").write_text("of one that is killed now")
    os.close(descriptor)
    backup(log.directory, to)
    assert not staging.exists()


def test_a_writers_process_makes_no_backup(log: Log, to: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    lock = WriterLock(tmp_path / "other", 0o600)
    with pytest.raises(ConfigError, match="a writer's process makes no backup"):
        backup(log.directory, to)
    lock.close()


# --- the key, and what is said ---


def test_the_key_comes_along_only_if_that_is_asked_for(
    log: Log, command: Command, to: Path
) -> None:
    record(log)
    key = keys.public_bytes(keys.read_key(log.directory / "writer.key"))
    assert command().exit_code == 0
    assert names_in(to.parent) == ["log", to.name]
    private = (log.directory / "writer.key").read_bytes()
    assert private not in to.read_bytes()
    done = command("--with-key", "--force")
    assert done.exit_code == 0
    assert "keep it in another place than the backup" in done.stderr
    assert keys.public_bytes(keys.read_key(to.with_name(to.name + ".key"))) == key
    assert command("--with-key").exit_code == 1
    assert command("--with-key", "--force").exit_code == 0


def test_a_log_whose_key_is_not_there_has_a_backup_without_it(log: Log, command: Command) -> None:
    record(log)
    log.stop_writer()
    (log.directory / "writer.key").rename(log.directory / "elsewhere")
    done = command("--with-key")
    assert done.exit_code == 2
    assert "leave --with-key off" in done.stderr
    assert command().exit_code == 0


def test_the_command_says_what_it_has_made(log: Log, command: Command, to: Path) -> None:
    record(log)
    for _ in range(2):  # the first is sealed at once, the other within a second
        log.workers[0].record(2)
        log.settle()
    log.kill_writer()
    done = command()
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"{to}: 7 entries, {to.stat().st_size:,} bytes"
    assert lines[2].endswith("checkpoint  of 5 entries; 2 entries behind it")
    assert lines[3].strip().startswith("verified    intact, in ")


def test_a_backup_verifies_as_a_log_by_itself(log: Log, to: Path, tmp_path: Path) -> None:
    record(log)
    backup(log.directory, to)
    key = keys.read_verifier_key(log.directory / "writer.pub")
    assert verify(log_of(to, tmp_path / "copy"), keys=[key]).verdict == "intact"
