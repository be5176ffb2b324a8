"""What a migration does and refuses, on logs that earlier releases have left."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard_writer import database_copy, migrating, schema
from hansard_writer.cli import main
from hansard_writer.lock import DirectoryTaken
from hansard_writer.migrating import Observer, look, migrate
from hansard_writer.migration_plan import Step
from hansard_writer.store import Store
from hansard_writer.unusable import LogUnusable
from old_logs import old_log
from support import held_lock, query

VERSION_2 = 2
ENTRIES = 34  # of that log


@pytest.fixture
def old(directory: Path) -> Path:
    """A log of version 2, cleanly closed."""
    return old_log(VERSION_2, directory).directory


def state(directory: Path) -> dict[str, str]:
    """Every file and its content; also the shared memory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def version(directory: Path) -> int:
    found: int = query(directory, "PRAGMA user_version")[0][0]
    return found


def backups(directory: Path) -> list[Path]:
    return sorted(directory.glob("log.db.before-*"))


@contextmanager
def killed(directory: Path, *statements: str) -> Iterator[None]:
    """Within, the log is as a killed writer has left it: with what these do in its WAL."""
    connection = apsw.Connection(str(directory / "log.db"))
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    for statement in statements:
        connection.execute(statement).fetchall()
    shm = (directory / "log.db-shm").read_bytes()
    connection.close()
    (directory / "log.db-shm").write_bytes(shm)
    yield


ENTER = (
    "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, payload)"
    f""" VALUES({ENTRIES + 1}, 1, 99, 1, 'of.the.wal', 'info', '{{"n":1}}')"""
)


@pytest.fixture
def run(old: Path) -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["migrate", *map(str, arguments), "--dir", str(old)])

    return run


# --- looking ---


def test_a_dry_run_says_what_would_be_done_and_changes_no_byte(
    old: Path, run: Callable[..., Result]
) -> None:
    before, size = state(old), (old / "log.db").stat().st_size
    done = run("--dry-run")
    assert done.exit_code == 0
    assert f"has schema 2, and this release {schema.VERSION}." in done.stdout
    for number, summary in enumerate(schema.SUMMARIES[VERSION_2:], VERSION_2 + 1):
        assert f"  to {number}    {summary}" in done.stdout
    assert f"signed checkpoints ({ENTRIES} entries)" in done.stdout
    assert f"backup  {size:,} bytes, beside it" in done.stdout
    assert state(old) == before


def test_a_dry_run_reads_what_a_killed_writer_left_and_changes_no_byte(old: Path) -> None:
    with killed(old, ENTER):
        before = state(old)
        assert {"log.db-wal", "log.db-shm"} < set(before)
        plan = look(old)
        assert (plan.version, plan.steps[0]) == (2, Step(3, schema.SUMMARIES[2], ENTRIES + 1))
        assert state(old) == before


def test_a_dry_run_needs_no_lock_file_and_makes_none(old: Path) -> None:
    assert look(old).version == VERSION_2
    assert not (old / "writer.lock").exists()
    (old / "writer.lock").touch()
    assert look(old).version == VERSION_2


def test_room_is_wanted_only_where_entries_are_gone_through(directory: Path) -> None:
    plan = look(old_log(3, directory).directory)
    assert [step.entries for step in plan.steps] == [0] * (schema.VERSION - 3)
    assert plan.room_bytes == 0 < plan.backup_bytes


# --- doing ---


def test_the_command_says_what_was_done_and_how_to_put_the_backup_back(
    old: Path, run: Callable[..., Result]
) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    (backup,) = backups(old)
    assert re.fullmatch(
        rf"log\.db\.before-v{schema.VERSION}-\d{{8}}T\d{{6}}\.\d{{6}}Z", backup.name
    )
    assert f"has schema {schema.VERSION} now; it had 2." in done.stdout
    assert f"rm -f {old}/log.db-wal {old}/log.db-shm && mv {backup} {old}/log.db" in done.stdout
    assert f"backed up to {backup}\nschema 3: " in done.stderr
    assert (version(old), query(backup.parent, "PRAGMA integrity_check")) == (
        schema.VERSION,
        [("ok",)],
    )


def test_a_current_log_is_said_to_be_so_and_left_alone(
    old: Path, run: Callable[..., Result]
) -> None:
    migrate(old, backup=False)
    before = state(old)
    for options in ((), ("--dry-run",)):
        done = run(*options)
        assert (done.exit_code, done.stderr) == (0, "")
        assert "which is this release's: nothing is to be done" in done.stdout
    assert state(old) == before


def test_what_a_killed_writer_left_is_migrated_and_backed_up_too(old: Path) -> None:
    with killed(old, ENTER):
        done = migrate(old)
    assert not (old / "log.db-wal").exists()
    find = "SELECT payload FROM entries WHERE event_type = 'of.the.wal'"
    assert query(old, find) == [('{"n":1}',)]
    assert done.backup is not None
    copy = apsw.Connection(str(done.backup))
    assert copy.execute(find).get == '{"n":1}'
    assert copy.pragma("user_version") == VERSION_2
    copy.close()


def test_a_reader_in_the_middle_of_something_hinders_nobody(old: Path) -> None:
    reader = apsw.Connection(str(old / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM entries").get == ENTRIES
    assert migrate(old).backup is not None
    assert reader.execute("SELECT count(salt) FROM entries").get == 0
    reader.close()
    assert version(old) == schema.VERSION


def test_it_says_how_far_it_is(old: Path) -> None:
    heard: list[Any] = []

    class Hears(Observer):
        def progress(self, what: str, done: int, total: int) -> None:
            heard.append((what, done, total))

        def backed_up(self, backup: Path) -> None:
            assert version(backup.parent) == VERSION_2, "nothing is changed yet"
            heard.append("backed up")

        def migrated(self, step: Step) -> None:
            heard.append(step.version)

    size = (old / "log.db").stat().st_size
    migrate(old, observer=Hears())
    hashed = ("hashing", 0, ENTRIES), ("hashing", ENTRIES, ENTRIES)
    later = range(4, schema.VERSION + 1)
    assert heard == [("backing up", size, size), "backed up", *hashed, 3, *later]


def test_the_backup_goes_where_it_is_told_to(
    old: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    to = tmp_path / "else where.db"
    done = run("--backup-to", to)
    assert done.exit_code == 0
    assert f"mv '{to}' {old}/log.db" in done.stdout
    assert (to.stat().st_mode & 0o777, backups(old)) == (0o600, [])
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_backup_of_another_name_in_the_logs_directory_is_refused(
    old: Path, run: Callable[..., Result]
) -> None:
    done = run("--backup-to", old / "spool" / ".." / "before.db")
    assert done.exit_code != 0
    assert "leave --backup-to off" in done.stderr
    assert migrating.look(old).steps


def test_no_backup_is_made_where_none_is_wanted(old: Path, run: Callable[..., Result]) -> None:
    done = run("--no-backup")
    assert (done.exit_code, backups(old), version(old)) == (0, [], schema.VERSION)
    assert "To put it back" not in done.stdout
    assert run("--no-backup", "--backup-to", "x").exit_code == 2


@pytest.mark.parametrize("backup", [True, False])
def test_what_a_killed_backup_has_left_goes(old: Path, backup: bool) -> None:
    (old / ".log.db.before.partial").write_bytes(b"half of it")
    migrate(old, backup=backup)
    assert [path.name for path in old.iterdir() if "partial" in path.name] == []


# --- what is refused ---


def spoil_header(path: Path) -> None:
    path.write_bytes(b"text")


def spoil_schema(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[100:2_000] = bytes(range(256)) * 7 + bytes(108)
    path.write_bytes(content)


def marked(statement: str) -> Callable[[Path], None]:
    def mark(path: Path) -> None:
        connection = apsw.Connection(str(path))
        connection.execute(statement)
        connection.close()

    return mark


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (spoil_header, LogUnusable, "is damaged or no database: move log.db.* put a copy back"),
        (spoil_schema, LogUnusable, "is damaged .SQLITE_.* put a copy back"),
        (marked("PRAGMA user_version = 99"), LogUnusable, "newer release .schema 99.* install"),
        (marked("PRAGMA user_version = 0"), LogUnusable, "has tables, and no schema version"),
        (marked("PRAGMA application_id = 5"), LogUnusable, "of another program .application id 5"),
        (Path.unlink, ConfigError, "there is no log in .*--dir or HANSARD_DIR.*hansard serve"),
        (lambda path: os.truncate(path, 0), ConfigError, "there is no log in"),
    ],
)  # fmt: skip
def test_what_is_no_old_log_is_refused_with_the_way_out_and_untouched(
    old: Path, spoil: Callable[[Path], Any], error: type[Exception], said: str
) -> None:
    spoil(old / "log.db")
    before = state(old)
    for act in (look, migrate):
        with pytest.raises(error, match=said):
            act(old)
        after = state(old)
        after.pop("writer.lock", None)
        assert after == before


def test_a_directory_that_is_none_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "nothing", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="there is no log in"):
            look(directory)


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_a_log_that_is_served_is_taken(
    old: Path, run: Callable[..., Result], options: tuple[str, ...]
) -> None:
    with held_lock(old):
        done = run(*options)
    assert done.exit_code == 4
    assert "a writer (pid 7) serves" in done.stderr
    assert "`kill 7`), then run this again" in done.stderr
    assert version(old) == VERSION_2


def test_somebody_elses_log_is_left_to_its_owner(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)
    with pytest.raises(ConfigError, match="who alone migrates its log: run this as that user"):
        migrate(old)


def test_a_wal_of_another_log_is_refused(old: Path, tmp_path: Path) -> None:
    with killed(old, ENTER):
        pass
    wal = (old / "log.db-wal").read_bytes()
    other = old_log(1, tmp_path / "other").directory
    (other / "log.db-wal").write_bytes(wal)
    for act in (look, migrate):
        with pytest.raises(LogUnusable, match="not of one moment"):
            act(other)


def test_a_backup_replaces_nothing_and_its_directory_must_be_there(
    old: Path, tmp_path: Path, run: Callable[..., Result]
) -> None:
    there = tmp_path / "there"
    there.write_text("mine")
    for to, code, said in (
        (there, 1, "exists: name another"),
        (tmp_path / "no" / "way", 2, "there is no directory"),
    ):
        done = run("--backup-to", to)
        assert (done.exit_code, version(old)) == (code, VERSION_2)
        assert said in done.stderr
    assert there.read_text() == "mine"


def test_too_little_room_is_said_before_anything_is_written(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = look(old)
    wanted = plan.room_bytes + plan.backup_bytes
    monkeypatch.setattr(
        migrating.os, "statvfs", lambda _: SimpleNamespace(f_bavail=wanted - 1, f_frsize=1)
    )
    said = f"{wanted:,} are wanted on .*, where {wanted - 1:,} are free.*--backup-to FILE"
    before = state(old)
    with pytest.raises(LogUnusable, match=said):
        migrate(old)
    after = state(old)
    del after["writer.lock"]
    assert after == before
    assert migrate(old, backup=False).backup is None


def test_a_disk_that_fills_under_the_backup_leaves_the_log_and_no_half_of_it(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(database_copy, "sync_file", fails)
    with pytest.raises(LogUnusable, match=r"cannot write .*make room.*its schema is still 2\)"):
        migrate(old)
    assert {path.name for path in old.iterdir()} <= {
        "log.db",
        "log.db-wal",
        "log.db-shm",
        "writer.lock",
    }
    assert version(old) == VERSION_2


def test_what_a_user_has_put_in_the_way_is_named(directory: Path) -> None:
    old = old_log(1, directory).directory
    marked("CREATE VIEW signed_events AS SELECT 1")(old / "log.db")
    with pytest.raises(LogUnusable, match=r"signed_events already exists.*schema is 2\)"):
        migrate(old)
    assert version(old) == VERSION_2, "each version is a transaction of its own"
    marked("DROP VIEW signed_events")(old / "log.db")
    migrate(old)
    assert version(old) == schema.VERSION


def test_a_new_log_is_made_whole_or_not_at_all(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one whose writer was killed meanwhile would be an old log."""
    directory.mkdir()
    path = directory / "log.db"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], ("no SQL",)))
        with pytest.raises(apsw.SQLError):
            Store(path, 0o600, dead_letters_max=1, dead_letters_bytes_max=1)
    assert version(directory) == 0
    Store(path, 0o600, dead_letters_max=1, dead_letters_bytes_max=1).close()
    assert version(directory) == schema.VERSION


def test_only_one_process_migrates(old: Path) -> None:
    with held_lock(old), pytest.raises(DirectoryTaken, match="or a migration is under way"):
        migrate(old)


def test_a_shared_logs_lock_stays_open_to_its_group(old: Path) -> None:
    old.chmod(layout.SHARED_DIRECTORY_MODE)
    migrate(old)
    assert (old / "writer.lock").stat().st_mode & 0o777 == layout.GROUP_DATABASE_MODE
