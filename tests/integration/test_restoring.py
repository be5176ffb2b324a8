"""A backup takes the log's place: what is lost is said once, what was there is put aside whole."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from hansard import directory as layout
from hansard import wire
from hansard_writer import backup
from hansard_writer.backups import swapping
from hansard_writer.cli import main
from hansard_writer.intake import LOST
from hansard_writer.lock import WriterRun
from hansard_writer.proof import keys, verify
from hansard_writer.proof.key_chain import ROLLBACK
from hansard_writer.unusable import LogUnusable
from integration.test_redacting import redact, wipe
from stepped import Log
from support import held_lock, query

Command = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log.backup"


@pytest.fixture
def restore(file: Path) -> Command:
    def run(directory: Path, *arguments: object, file: Path = file) -> Result:
        given = [file, "--dir", directory, "--by", "ann", *arguments]
        return CliRunner().invoke(main, ["restore", *map(str, given)])

    return run


def record(log: Log, events: int = 3) -> None:
    """All workers record so many; it is committed, and sealed."""
    for worker in log.workers or [log.worker()]:
        worker.record(events)
    log.settle()
    log.pass_time(2)
    log.step()


def serve_again(log: Log) -> None:
    """A plain start, as the lock file has it."""
    log.predecessor = WriterRun.of(layout.read_lock_file(log.directory))
    log.start_writer()


def content_of(directory: Path) -> dict[str, bytes]:
    """All that is there, but for what comes of looking at it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    names = {str(path.relative_to(directory)): path.read_bytes() for path in files}
    for name in ("log.db-shm", "writer.lock"):
        names.pop(name, None)
    return {name: content for name, content in names.items() if content}


def folder_aside(log: Log) -> Path:
    (found,) = log.directory.glob("before-restore-*")
    return found


# --- from end to end ---


def test_a_restored_log_is_served_plainly_and_says_once_what_is_lost(
    log: Log, file: Path, restore: Command
) -> None:
    workers = [log.worker(name) for name in ("one", "two")]
    record(log)
    backup(log.directory, file)
    lost_keys = [worker.record(1) for worker in workers]
    record(log)
    log.stop_writer()
    for worker in workers:
        worker.record(1)  # in the spool, while nobody serves
    done = restore(log.directory, "--yes")
    assert done.exit_code == 0, done.stderr
    assert "lost      8 entries: 7 to 14" in done.stderr
    serve_again(log)
    record(log)
    for _ in range(2):
        log.restart_writer()
        record(log, 1)
    (said,) = log.entries(ROLLBACK)
    assert said["restored_from"] == str(file)
    assert said["restored_by"] == "ann"
    assert (said["restored_entries"], said["replaced_entries"]) == (6, 14)
    assert (said["checkpoint_size"], said["put_aside"]) == (14, folder_aside(log).name)
    lost = log.entries(LOST)
    assert {each["producer"] for each in lost} == {each.producer.hash.hex() for each in workers}
    assert [(each["first_producer_seq"], each["count"]) for each in lost] == [(4, 4)] * 2
    for worker, number in zip(workers, lost_keys, strict=True):
        assert log.entered(worker.name) == [1, 2, 3, 8, 9, 10, 11, 12, 13]
        log.recorded[worker.name] = log.entered(worker.name)
        reply = log.ask(wire.Lookup(worker.producer.hash, number))
        assert reply[0] == "rejected", "it is not in the log any more"
    log.assert_all_is_in()
    assert verify(log.directory).verdict == "intact"


def test_what_was_there_is_put_aside_as_a_log_that_can_be_read(
    log: Log, file: Path, restore: Command
) -> None:
    record(log)
    backup(log.directory, file)
    record(log)
    log.workers[0].record(2)
    log.settle()
    log.kill_writer()  # its last entries are in the WAL alone
    before = (log.directory / "log.db").read_bytes(), (log.directory / "log.db-wal").read_bytes()
    done = restore(log.directory, "--yes")
    assert done.exit_code == 0, done.stderr
    aside = folder_aside(log)
    assert f"rm -r {aside}" in done.stderr
    assert aside.stat().st_mode & 0o777 == 0o700
    assert ((aside / "log.db").read_bytes(), (aside / "log.db-wal").read_bytes()) == before
    assert query(aside, "SELECT count(*) FROM entries") == [(8,)]
    assert verify(aside).verdict == "intact"
    assert not (log.directory / layout.RESTORING).exists()
    serve_again(log)
    assert log.query("SELECT count(*) FROM entries") == [(4,)]


def test_a_backup_that_has_all_is_a_rollback_too(log: Log, file: Path, restore: Command) -> None:
    """Nothing is lost; but who signed what behind it, on another machine, nobody knows."""
    record(log)
    backup(log.directory, file)
    log.stop_writer()
    (log.directory / "log.db").write_bytes(b"damaged")
    done = restore(log.directory, "--yes")
    assert done.exit_code == 0, done.stderr
    assert "replaces  a log that cannot be read" in done.stderr
    serve_again(log)
    record(log)
    assert [each["replaced_entries"] for each in log.entries(ROLLBACK)] == [None]
    log.assert_all_is_in()


def test_a_redaction_names_the_log_that_was_put_aside(
    log: Log, file: Path, restore: Command
) -> None:
    record(log)
    backup(log.directory, file)
    log.stop_writer()
    assert restore(log.directory, "--yes").exit_code == 0
    serve_again(log)
    redact(log, 1)
    (said,) = wipe(log)
    assert said.startswith(f"{folder_aside(log)} is a log that a restore has put aside, and holds")
    shutil.rmtree(folder_aside(log))
    assert wipe(log) == []


# --- another directory, another machine ---


def test_a_backup_with_its_key_goes_into_an_empty_directory(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    record(log)
    backup(log.directory, file, with_key=True)
    origins = set()
    for name in ("one", "two"):
        done = restore(tmp_path / name)
        assert done.exit_code == 0, done.stderr
        assert "replaces  nothing: there is no log yet" in done.stderr
        other = Log(tmp_path / name).start_writer()
        assert other.entered("w") == [1, 2, 3]
        other.close()
        assert verify(other.directory).verdict == "intact"
        origins.add(keys.read_verifier_key(other.directory / "writer.pub").name)
    assert len(origins) == 2, "neither may sign as the other"


def test_a_restore_elsewhere_says_that_the_settings_did_not_come_along(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    backup(log.directory, file)
    (tmp_path / "two").mkdir(0o700)
    (tmp_path / "two" / "hansard.toml").write_text("sync = true\n")
    log.stop_writer()
    said = {}
    for directory in (tmp_path / "one", tmp_path / "two", log.directory):
        done = restore(directory, "--yes", "--accept-lost-key")
        assert done.exit_code == 0, done.stderr
        said[directory.name] = "no hansard.toml" in done.stderr
    assert said == {"one": True, "two": False, "log": False}


def test_without_the_key_it_says_what_to_do_and_does_it(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    record(log)
    backup(log.directory, file)
    there = tmp_path / "there"
    done = restore(there)
    assert done.exit_code == 1
    assert f"put its writer.key there as {there / 'writer.key'}" in done.stderr
    assert "say --accept-lost-key" in done.stderr
    assert not (there / "log.db").exists()
    done = restore(there, "--accept-lost-key")
    assert done.exit_code == 0, done.stderr
    report = verify(there)
    assert (report.verdict, report.size) == ("intact", 4)
    other = Log(there).start_writer()
    record(other)
    other.close()


def test_another_key_beside_the_backup_is_not_taken(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    backup(log.directory, file)
    keys.write_key(file.with_name(file.name + ".key"), keys.new_key())
    done = restore(tmp_path / "there")
    assert done.exit_code == 1
    assert "is not the key of the backup" in done.stderr


def test_another_logs_backup_is_refused_where_there_is_a_log(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    other = Log(tmp_path / "other").start_writer()
    record(other)
    other.stop_writer()
    backup(other.directory, file)
    record(log)
    log.stop_writer()
    before = content_of(log.directory)
    for _ in range(2):
        done = restore(log.directory, "--yes")
        assert done.exit_code == 1
        assert "name an empty directory with --dir, or move" in done.stderr
        assert content_of(log.directory) == before
        (log.directory / "checkpoint").unlink(missing_ok=True)
        before.pop("checkpoint", None)
    other.close()


# --- before anything is changed ---


def test_while_a_writer_serves_it_exits_with_4(log: Log, file: Path, restore: Command) -> None:
    backup(log.directory, file)
    with held_lock(log.directory):
        for option in ("--yes", "--dry-run"):
            done = restore(log.directory, option)
            assert done.exit_code == 4
            assert "a writer (pid 7) serves" in done.stderr
            assert "`kill 7`), then run this again" in done.stderr


def test_somebody_elses_log_is_left_to_its_owner(
    log: Log, file: Path, restore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(log.directory, file)
    log.stop_writer()
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)
    for option in ("--yes", "--dry-run"):
        done = restore(log.directory, option)
        assert done.exit_code == 2
        assert "who alone restores its log: run this as that user" in done.stderr


def test_a_dry_run_changes_no_byte(log: Log, file: Path, restore: Command) -> None:
    record(log)
    backup(log.directory, file)
    record(log)
    log.stop_writer()
    before = content_of(log.directory), file.read_bytes()
    done = restore(log.directory, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "lost      3 entries: 4 to 6" in done.stdout
    assert "verified  intact" in done.stdout
    assert (content_of(log.directory), file.read_bytes()) == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["log", file.name]


def test_nothing_is_done_unless_it_is_confirmed(log: Log, file: Path, restore: Command) -> None:
    record(log)
    backup(log.directory, file)
    log.stop_writer()
    before = content_of(log.directory)
    done = restore(log.directory)
    assert done.exit_code == 2
    assert "say --yes" in done.stderr
    assert content_of(log.directory) == before


def test_an_altered_backup_is_left_alone(log: Log, file: Path, restore: Command) -> None:
    record(log)
    backup(log.directory, file)
    log.stop_writer()
    connection = apsw.Connection(str(file))
    connection.execute("DROP TRIGGER entries_are_not_updated")
    connection.execute("UPDATE entries SET actor = 'mallory' WHERE seq = 2")
    connection.close()
    before = content_of(log.directory)
    done = restore(log.directory, "--yes")
    assert done.exit_code == 1
    assert "the backup is altered" in done.stderr
    assert content_of(log.directory) == before


def test_a_key_that_was_kept_has_the_last_word(
    log: Log, file: Path, restore: Command, tmp_path: Path
) -> None:
    record(log)
    backup(log.directory, file, with_key=True)
    shutil.copy(log.directory / "writer.pub", tmp_path / "kept.pub")
    done = restore(tmp_path / "one", "--key", tmp_path / "kept.pub")
    assert done.exit_code == 0, done.stderr
    assert "trusting  the given key" in done.stderr
    other = Log(tmp_path / "other").start_writer()
    done = restore(tmp_path / "two", "--key", other.directory / "writer.pub")
    assert done.exit_code == 1
    assert "is one of another log" in done.stderr
    other.close()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no file"),
        (b"", "is empty, and so no backup"),
        (b"some text\n" * 50, "is no SQLite database"),
        ("another program's", "is a database of another program (application id 0)"),
        ("cut short", "is cut short: it has 50,000 of"),
        ("log.db", "is a copy of log.db, and no backup"),
        ("an earlier schema", "`hansard migrate --dir X`"),
        ("a later schema", "is of a newer release (schema 999"),
    ],
)
def test_what_is_no_backup_is_told_from_one(
    log: Log, file: Path, restore: Command, content: bytes | str | None, said: str
) -> None:
    log.stop_writer()
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        make_no_backup(content, log.directory, file)
    before = content_of(log.directory)
    done = restore(log.directory, "--yes")
    assert done.exit_code == 1
    assert said in done.stderr
    assert str(file) in done.stderr
    assert content_of(log.directory) == before


def make_no_backup(kind: str, directory: Path, file: Path) -> None:
    if kind == "another program's":
        connection = apsw.Connection(str(file))
        connection.execute("CREATE TABLE theirs(x)")
        connection.close()
        return
    backup(directory, file)
    if kind == "cut short":
        file.write_bytes(file.read_bytes()[:50_000])
    elif kind == "log.db":
        shutil.copy(directory / "log.db", file)
    else:
        connection = apsw.Connection(str(file))
        connection.execute(f"PRAGMA user_version = {3 if kind == 'an earlier schema' else 999}")
        connection.close()


def test_a_file_that_may_not_be_read_is_named(log: Log, restore: Command, tmp_path: Path) -> None:
    log.stop_writer()
    done = restore(log.directory, "--yes", file=tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path} is no file" in done.stderr
    done = restore(log.directory, "--yes", file=log.directory / "log.db" / "x")
    assert done.exit_code == 1
    assert "cannot read" in done.stderr


def test_the_disk_must_have_room_for_the_copy(
    log: Log, file: Path, restore: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup(log.directory, file)
    log.stop_writer()
    with monkeypatch.context() as patched:
        full = type("Usage", (), {"free": 1_000})
        patched.setattr("hansard_writer.backups.staging.shutil.disk_usage", lambda _: full)
        done = restore(log.directory, "--yes")
    assert done.exit_code == 1
    assert "1,000 left: make room there" in done.stderr


# --- cut short ---

CUT = """
import os, signal, sys
from pathlib import Path
from hansard_writer.backups import restoring

directory, file = map(Path, sys.argv[1:3])
STEPS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile"}
left = 0

def kill(event, arguments):
    global left
    if event in STEPS and str(directory) in str(arguments[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def restored(steps):
    "Whether it was, before it was to take that many steps."
    global left
    pid = os.fork()
    if not pid:
        left = steps
        sys.addaudithook(kill)
        restoring.restore(
            directory, file, [], by="ann", verifies=False, accept_lost_key=False,
            confirm=lambda _: True, progress=lambda *_: None,
        )
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0

for line in sys.stdin:
    print(restored(int(line)), flush=True)
"""


def test_killed_between_any_two_steps_the_old_log_is_whole_or_the_new_one_or_none_is_served(
    log: Log, file: Path, tmp_path: Path
) -> None:
    record(log)
    backup(log.directory, file)
    record(log)
    log.kill_writer()
    pristine = tmp_path / "pristine"
    shutil.copytree(log.directory, pristine, ignore=shutil.ignore_patterns("spool"))
    program = [sys.executable, "-c", CUT, str(log.directory), str(file)]
    killer = subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert killer.stdin
    assert killer.stdout

    def restore_killed_at(step: int) -> bool:
        killer.stdin.write(f"{step}\n")
        killer.stdin.flush()
        return killer.stdout.readline() == "True\n"

    seen, step, was_done = set(), 0, False
    while not was_done:
        step += 1
        shutil.rmtree(log.directory)
        shutil.copytree(pristine, log.directory)
        was_done = restore_killed_at(step)
        plan = swapping.unfinished(log.directory)
        if plan:
            with pytest.raises(LogUnusable, match=f"hansard restore {file}"):
                swapping.require_no_restore(log.directory)
            assert restore_killed_at(10_000), "the same command finishes it"
        swapping.require_no_restore(log.directory)
        assert not swapping.staging_of(log.directory).exists(), "a backup where no redaction looks"
        entries = query(log.directory, "SELECT event_type FROM entries WHERE seq > 3")
        is_new = entries == [(ROLLBACK,)]
        assert is_new or len(entries) == 3, "the old log"
        assert is_new or not (plan or was_done)
        assert verify(log.directory).verdict == "intact"
        if is_new:
            assert query(folder_aside(log), "SELECT count(*) FROM entries") == [(6,)]
        seen.add((bool(plan), is_new))
    killer.communicate()
    assert seen == {(False, False), (True, True), (False, True)}
    assert step > 10, "there are so many"
    log.is_honest = False  # its producer's spool is of the first try


def test_a_restore_that_was_cut_short_is_finished_before_another_begins(
    log: Log, file: Path, restore: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(log)
    backup(log.directory, file)
    log.stop_writer()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device", str(log.directory / "log.db"))

    with monkeypatch.context() as patched:
        patched.setattr(swapping, "swap", fail)
        done = restore(log.directory, "--yes")
    assert done.exit_code == 1
    assert "Mend that, and repeat the command" in done.stderr
    command = [sys.executable, "-m", "hansard_writer", "serve", "--dir", log.directory]
    served = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert served.returncode == 1
    assert f"finish it with `hansard restore {file} --dir {log.directory}`" in served.stderr
    other = shutil.copy(file, tmp_path / "other")
    for option in ("--yes", "--dry-run"):
        done = restore(log.directory, option, file=other)
        assert done.exit_code == 1
        assert f"a restore of {file} into {log.directory} was cut short" in done.stderr
    file.unlink()  # it was staged
    done = restore(log.directory)
    assert done.exit_code == 0, done.stderr
    serve_again(log)
    record(log)
    log.assert_all_is_in()
