"""Directories of every kind: taken, long, read-only, somebody else's, shared, and full."""

import contextlib
import grp
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog, QueueFull, requester, wire
from support import assert_log_is_sound, count_entries, query, wait_until

STRANGER = 1  # uid and gid of "daemon", which every Unix has
MEMBERS_GID = 100  # any group that is not the stranger's own

# Imports everything first: a stranger may not be able to read the interpreter's own directory.
BECOME_A_STRANGER = f"""
import fcntl, json, logging, os, pwd, shutil, sys, time, tomllib
import click.formatting
import hansard.requester, hansard.spool
import hansard_writer.cli.serve, hansard_writer.process
from hansard import AuditLog, AuditLogError
from hansard_writer.cli import main

def become_a_stranger(*groups):
    os.setgroups(groups)
    os.setgid({STRANGER})
    os.setuid({STRANGER})

logging.basicConfig(format="%(levelname)s %(message)s")
directory = sys.argv[1]
"""

RECORDS_AND_TELLS = """
try:
    log = AuditLog(directory, ack_timeout=10)
except AuditLogError as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(1)
entries = [log.record("task.created", {"i": i}) for i in range(100)]
flushed = log.flush(10 if "flush" in sys.argv else 0)
print(json.dumps({"flushed": flushed, **log.statistics(), "left": log.close(0)}))
"""

SERVES = """
sys.argv = ["hansard", "serve", "--dir", directory]
main(prog_name="hansard")
"""


def serve(directory: Path) -> tuple[int, str, float]:
    """`hansard serve` where it cannot: its exit status, what it said, and how long it took."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "hansard_writer", "serve", "--dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr, time.monotonic() - begin


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return path.stat().st_mode & 0o7777


# --- taken ---


def test_a_second_writer_is_refused_at_once_and_told_who_is_first(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    status, complaint, took_s = serve(directory)
    assert status == 4
    assert f"pid {mortal_writer.pid}" in complaint
    assert "Traceback" not in complaint
    assert took_s < 10, "it waits for nobody, however slow the machine is"
    with AuditLog(directory) as log:
        assert log.record("task.created", sync=True).id == 1, "the first one is not disturbed"


def test_what_a_killed_writer_left_behind_is_in_nobodys_way(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    mortal_writer.kill()
    left = {path.name for path in directory.iterdir()}
    assert {"writer.lock", "push.sock", "ack.sock"} <= left
    mortal_writer.start()
    with AuditLog(directory) as log:
        assert log.record("task.created", sync=True).id == 1
    lock = json.loads((directory / "writer.lock").read_text())
    assert (lock["pid"], lock["epoch"]) == (mortal_writer.pid, 2)


def test_the_private_directory_is_closed_to_others(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        log.record("task.created", sync=True)
        spool = next((directory / "spool").iterdir())
        assert mode(spool) == 0o600
    assert mode(directory) == mode(directory / "spool") == 0o700
    for name in ("log.db", "log.db-wal", "writer.lock", "push.sock", "ack.sock"):
        assert mode(directory / name) == 0o600, name


# --- long ---


def test_a_path_too_long_for_a_socket_is_served(tmp_path: Path) -> None:
    directory = tmp_path.joinpath(*["a-long-name-" + "x" * 60] * 4) / "log"
    assert len(os.fsencode(directory)) > 250
    writer = MortalWriter(directory)
    try:
        writer.start()
        with AuditLog(directory) as log:
            entry = log.record("task.created", sync=True)
            assert (entry.id, entry.status) == (1, "committed")
            assert entry.key is not None
            assert log.lookup(entry.key) == entry
            writer.kill()
            log.record("task.created")
            writer.start()
            assert log.flush(10)
        assert serve(directory)[0] == 4
    finally:
        writer.close()
    assert count_entries(directory) == 2


def test_a_relative_path_and_a_symbolic_link_lead_to_the_same_log(
    directory: Path, tmp_path: Path, mortal_writer: MortalWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal_writer.start()
    (tmp_path / "link").symlink_to(directory)
    monkeypatch.chdir(tmp_path)
    for path in ("link", directory.name, f"./{directory.name}/../link"):
        with AuditLog(path) as log:
            assert log.record("task.created", sync=True).status == "committed"
    assert serve(tmp_path / "link")[0] == 4
    assert count_entries(directory) == 3


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, complaint, _ = serve(tmp_path / "file")
    assert status == 2
    assert "is not a directory" in complaint or "is a file" in complaint
    assert "Traceback" not in complaint


# --- read-only, somebody else's, shared ---


def test_in_a_read_only_directory_events_are_kept_in_memory(
    public_directory: Path, run_script: Script
) -> None:
    directory = public_directory / "log"
    directory.mkdir(mode=0o555)
    os.chown(directory, STRANGER, STRANGER)
    program = BECOME_A_STRANGER + "become_a_stranger()\n" + RECORDS_AND_TELLS
    worker = run_script(program, directory)
    answer, complaints = worker.communicate(timeout=20)
    assert worker.returncode == 0, complaints
    facts = json.loads(answer)
    assert (facts["submitted"], facts["waiting"], facts["spooled"]) == (100, 100, False)
    assert (facts["flushed"], facts["left"]) == (False, 100)
    assert "WARNING no spool in" in complaints
    assert "100 events undelivered" in complaints
    assert "lost" in complaints
    assert list(directory.iterdir()) == []


def test_a_read_only_directory_is_not_served(public_directory: Path, run_script: Script) -> None:
    directory = public_directory / "log"
    directory.mkdir(mode=0o555)
    os.chown(directory, STRANGER, STRANGER)
    server = run_script(BECOME_A_STRANGER + "become_a_stranger()\n" + SERVES, directory)
    answer, complaint = server.communicate(timeout=20)
    assert (server.returncode, answer) == (2, "")
    assert "Traceback" not in complaint
    assert str(directory) in complaint
    assert "--group" not in complaint, "a group would not help"
    assert "writ" in complaint, "it must say that the directory cannot be written"


@pytest.mark.parametrize("does", [RECORDS_AND_TELLS, SERVES], ids=["a worker", "a writer"])
def test_somebody_elses_directory_is_refused_with_its_owner_and_a_way_out(
    public_directory: Path, run_script: Script, does: str
) -> None:
    directory = public_directory / "log"
    writer = MortalWriter(directory)
    try:
        writer.start()
        worker = run_script(BECOME_A_STRANGER + "become_a_stranger()\n" + does, directory)
        _, complaint = worker.communicate(timeout=20)
    finally:
        writer.close()
    assert worker.returncode == (1 if does is RECORDS_AND_TELLS else 2)
    assert "Traceback" not in complaint
    assert f"{directory} belongs to root" in complaint
    assert "--group" in complaint


@pytest.fixture
def shared_writer(public_directory: Path) -> Iterator[MortalWriter]:
    """A writer whose log the members of a group may record into."""
    writer = MortalWriter(public_directory / "log")
    writer.start(group=grp.getgrgid(MEMBERS_GID).gr_name)
    yield writer
    writer.close()


def test_workers_of_the_group_record_under_their_own_user(
    shared_writer: MortalWriter, run_script: Script
) -> None:
    directory = shared_writer.directory
    program = BECOME_A_STRANGER + f"become_a_stranger({MEMBERS_GID})\n" + RECORDS_AND_TELLS
    worker = run_script(program, directory, "flush")
    answer, complaints = worker.communicate(timeout=20)
    assert (worker.returncode, complaints) == (0, "")
    facts = json.loads(answer)
    assert (facts["flushed"], facts["appended"], facts["spooled"]) == (True, 100, True)
    assert (mode(directory), mode(directory / "spool")) == (0o2750, 0o3730)
    for name, bits in {"push.sock": 0o660, "ack.sock": 0o660, "log.db": 0o640}.items():
        assert mode(directory / name) == bits, name
        assert (directory / name).stat().st_gid == MEMBERS_GID, name


ASKS = """
for asked in (["redact", "--seq", "1", "--reason", "mine"], ["prune", "--before", "0s"],
              ["keys", "rotate"], ["dlq", "replay"], ["dlq", "drop", "--all"], ["checkpoint"]):
    try:
        main([*asked, "--dir", directory], prog_name="hansard", standalone_mode=True)
    except SystemExit as end:
        print(asked[0], end.code, file=sys.stderr)
"""


def test_a_worker_of_the_group_takes_nothing_out_of_the_log(
    shared_writer: MortalWriter, run_script: Script
) -> None:
    """It may have the log signed, and no more. The owner may all that."""
    directory = shared_writer.directory
    with AuditLog(directory) as log:
        log.record("task.created", {"note": 1}, sync=True)
    commands = ("redact", "prune", "keys", "dlq", "checkpoint")
    imports = "".join(f"import hansard_writer.cli.{each}\n" for each in commands)
    program = BECOME_A_STRANGER + imports + f"become_a_stranger({MEMBERS_GID})\n" + ASKS
    worker = run_script(program, directory)
    answer, complaints = worker.communicate(timeout=60)
    statuses = dict(
        re.findall(r"^(redact|prune|keys|dlq|checkpoint) (\d)$", complaints, re.MULTILINE)
    )
    assert statuses == dict.fromkeys(("redact", "prune", "keys", "dlq"), "2") | {"checkpoint": "0"}
    assert complaints.count("only the owner of") == 4
    assert answer.startswith("hansard/"), "the checkpoint"
    assert query(directory, "SELECT payload FROM entries") == [('{"note":1}',)]
    assert mode(directory / "owner.token") == 0o600
    with AuditLog(directory) as log:
        assert log.redact(seq=1, reason="mine").entries == 1


def test_the_spool_of_a_dead_worker_of_the_group_is_adopted(
    shared_writer: MortalWriter, run_script: Script
) -> None:
    directory = shared_writer.directory
    shared_writer.kill()
    program = BECOME_A_STRANGER + f"become_a_stranger({MEMBERS_GID})\n" + RECORDS_AND_TELLS
    worker = run_script(program, directory)
    answer, _ = worker.communicate(timeout=20)
    assert json.loads(answer)["left"] == 100
    spool = next((directory / "spool").iterdir())
    assert (spool.stat().st_uid, spool.stat().st_gid, mode(spool)) == (STRANGER, MEMBERS_GID, 0o660)
    shared_writer.start(group=grp.getgrgid(MEMBERS_GID).gr_name)
    wait_until(lambda: count_entries(directory) == 100, "the dead worker's events are entered")
    wait_until(lambda: not list((directory / "spool").iterdir()), "its spool is removed")


def test_a_stranger_to_the_group_is_told_so(
    shared_writer: MortalWriter, run_script: Script
) -> None:
    program = BECOME_A_STRANGER + "become_a_stranger()\n" + RECORDS_AND_TELLS
    worker = run_script(program, shared_writer.directory)
    _, complaint = worker.communicate(timeout=20)
    assert worker.returncode == 1
    assert "ConfigError" in complaint
    assert "add this user to that group" in complaint


def test_a_group_that_does_not_exist_is_a_usage_error(directory: Path) -> None:
    command = ["-m", "hansard_writer", "serve", "--dir", str(directory), "--group", "no-such-group"]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 2
    assert "no-such-group" in done.stderr


# --- full: the disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a file system of a given size."""
    mounted: list[Path] = []

    def mount(size: str) -> Path:
        path = tmp_path / "disk"
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


FILLS_ITS_SPOOL = """
import json, logging, sys
from hansard import AuditLog

logging.basicConfig(format="%(levelname)s %(message)s")
log = AuditLog(sys.argv[1], spool_bytes=2 << 20, on_full="drop")
log.record("task.created")
print("ready", flush=True)
sys.stdin.readline()
for i in range(5_000):
    log.record("task.created", {"i": i, "note": "x" * 200})
print(json.dumps({**log.statistics(), "left": log.close(0)}))
"""


def test_where_the_disk_has_no_room_for_a_spool_events_are_kept_in_memory(
    small_disk: Callable[[str], Path], run_script: Script
) -> None:
    worker = run_script(FILLS_ITS_SPOOL, small_disk("1m") / "log")
    answer, complaints = worker.communicate("go\n", timeout=20)
    assert worker.returncode == 0, complaints
    facts = json.loads(answer.removeprefix("ready\n"))
    assert facts["spooled"] is False
    assert facts["submitted"] == 5_001
    assert "WARNING no spool in" in complaints
    assert "No space left" in complaints


def test_a_disk_that_fills_up_under_a_spool_kills_nobody(
    small_disk: Callable[[str], Path], run_script: Script
) -> None:
    disk = small_disk("4m")
    worker = run_script(FILLS_ITS_SPOOL, disk / "log")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "ready\n"
    with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            ballast.write(bytes(4_096))
    assert os.statvfs(disk).f_bavail == 0
    answer, complaints = worker.communicate("go\n", timeout=20)
    assert worker.returncode == 0, f"died with {worker.returncode}: {complaints}"
    facts = json.loads(answer)
    assert facts["spooled"] is True
    assert facts["waiting"] > 4_000, "the whole spool can be written"
    assert facts["waiting"] + sum(facts["dropped"].values()) == facts["submitted"] == 5_001


# --- full: the queue ---


def lost(directory: Path) -> list[tuple[int, str]]:
    """What the log itself says was lost: how many, and why."""
    return query(
        directory,
        "SELECT payload ->> 'count', payload ->> 'reason' FROM entries"
        " WHERE event_type = 'hansard.lost'",
    )


def test_a_full_queue_that_drops_says_so_in_the_log(
    directory: Path, mortal_writer: MortalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    with AuditLog(directory, queue_maxsize=10, on_full="drop") as log:
        entries = [log.record("task.created", {"i": i}) for i in range(25)]
        assert [entry.status for entry in entries] == ["queued"] * 10 + ["dropped"] * 15
        assert [entry.id for entry in entries] == [-1] * 10 + [None] * 15
        assert log.statistics()["dropped"] == {"full": 15}
        assert len([each for each in caplog.records if "dropped" in each.message]) == 1
        mortal_writer.start()
        assert log.drain(10)
        assert log.record("task.created", {"i": 25}, sync=True).status == "committed"
    assert lost(directory) == [(15, "the queue stayed full")]
    kept = query(directory, "SELECT payload ->> 'i' FROM entries WHERE event_type = 'task.created'")
    assert [row[0] for row in kept] == [*range(10), 25]
    assert_log_is_sound(directory)


def test_what_a_dead_process_dropped_is_in_the_log_once(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    program = """
import sys
from hansard import AuditLog
log = AuditLog(sys.argv[1], queue_maxsize=10, on_full="drop")
for i in range(25):
    log.record("task.created")
"""
    assert run_script(program, directory).wait(20) == 0
    for _ in range(2):
        mortal_writer.start()
        wait_until(lambda: count_entries(directory) == 11, "all that was kept is entered")
        wait_until(lambda: not list((directory / "spool").iterdir()), "the spool is removed")
        mortal_writer.kill()
    assert lost(directory) == [(15, "the queue stayed full")]


@pytest.mark.usefixtures("writer")
def test_events_recorded_together_are_kept_together_or_dropped_together(
    directory: Path, restless_threads: None
) -> None:
    kept = []
    with AuditLog(directory, queue_maxsize=20, on_full="drop") as log:
        for i in range(2_000):
            together = [{"event_type": "task.created", "payload": {"i": i}} for _ in range(7)]
            statuses = {entry.status for entry in log.record_many(together)}
            assert len(statuses) == 1
            kept += [i] * 7 if statuses == {"queued"} else []
        assert log.drain(20)
    rows = query(
        directory, "SELECT payload ->> 'i' FROM entries WHERE event_type <> 'hansard.lost'"
    )
    assert [row[0] for row in rows] == kept
    assert sum(count for count, _ in lost(directory)) == 14_000 - len(kept)
    assert_log_is_sound(directory)


def test_a_full_queue_that_raises_names_the_way_out(directory: Path) -> None:
    with AuditLog(directory, queue_maxsize=10, on_full="raise") as log:
        for _ in range(10):
            log.record("task.created")
        with pytest.raises(QueueFull, match="hansard serve"):
            log.record("task.created")
        assert log.statistics()["waiting"] == 10
        assert log.close() == 10


def test_a_full_queue_that_blocks_waits_once_and_then_fails_fast(directory: Path) -> None:
    with AuditLog(directory, queue_maxsize=10, ack_timeout=0.4) as log:
        for _ in range(10):
            log.record("task.created")
        begin = time.monotonic()
        assert log.record("task.created").status == "dropped"
        assert 0.4 <= time.monotonic() - begin < 2
        begin = time.monotonic()
        for _ in range(50):
            assert log.record("task.created").status == "dropped"
        assert time.monotonic() - begin < 0.3
        assert log.statistics()["dropped"] == {"full": 51}


def test_a_full_queue_that_blocks_loses_nothing_when_the_writer_comes_back(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with AuditLog(directory, queue_maxsize=10, ack_timeout=20) as log:
        for _ in range(1_000):
            assert log.record("task.created").status == "queued"
        mortal_writer.kill()
        for _ in range(10 - log.statistics()["waiting"]):
            log.record("task.created")
        mortal_writer.start()
        for _ in range(100):
            assert log.record("task.created").status == "queued"
        assert log.drain(10)
        figures = log.statistics()
    assert figures["dropped"] == {}
    assert count_entries(directory) == figures["submitted"]
    assert_log_is_sound(directory)


def test_a_spool_that_is_full_is_a_full_queue(directory: Path, mortal_writer: MortalWriter) -> None:
    with AuditLog(directory, spool_bytes=2 << 20, on_full="drop") as log:
        statuses = [log.record("task.created", {"n": "x" * 100_000}).status for _ in range(40)]
        kept = statuses.count("queued")
        assert 15 <= kept < 25
        mortal_writer.start()
        assert log.drain(10)
        for _ in range(40):
            assert log.record("task.created", {"n": "x" * 100_000}, sync=True).status == "committed"
    assert lost(directory) == [(40 - kept, "the queue stayed full")]
    assert_log_is_sound(directory)


def test_close_says_how_many_it_leaves(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(directory, queue_maxsize=10, on_full="drop")
    for _ in range(25):
        log.record("task.created")
    with caplog.at_level(logging.WARNING, "hansard"):
        assert log.close() == 10
    assert "closed with 10 events undelivered" in caplog.text
    assert log.statistics()["dropped"] == {"full": 15}


def test_a_directory_that_is_removed_under_its_writer_ends_it_and_its_spools_are_left(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    """It would adopt them into a database that has no name any more."""
    mortal_writer.start()
    with AuditLog(directory) as log:
        assert log.record("before.removal", sync=True).id == 1
    signed = directory / "checkpoint"
    wait_until(signed.exists, "it is signed: a file that comes meanwhile would stop the removal")
    shutil.rmtree(directory)
    log = AuditLog(directory)
    log.record("after.removal")
    assert log.close() == 1
    assert mortal_writer.wait() == 1
    mortal_writer.start()
    wait_until(lambda: count_entries(directory) == 1, "the next writer adopts what was left")
    assert query(directory, "SELECT event_type FROM entries") == [("after.removal",)]


def test_a_writer_whose_directory_was_moved_makes_way(
    directory: Path, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        log.record("before.move", sync=True)
    directory.rename(tmp_path / "moved")
    assert mortal_writer.wait() == 1
    assert count_entries(tmp_path / "moved") == 1


def test_a_database_replaced_under_its_writer_ends_it_before_it_acks_and_both_are_sound(
    directory: Path, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    """It would go on in a file that has no name; and its WAL would be taken for the other one's."""
    mortal_writer.start()
    with AuditLog(directory) as log:
        assert log.record("before.backup", sync=True).id == 1
        mortal_writer.end()
        shutil.copy(directory / "log.db", tmp_path / "backup.db")
        mortal_writer.start()
        assert log.record("behind.backup", sync=True, timeout=10).id == 2
        signed = directory / "checkpoint"
        wait_until(lambda: b"\n2\n" in signed.read_bytes(), "both entries are signed")
        (directory / "log.db").rename(tmp_path / "old.db")
        shutil.copy(tmp_path / "backup.db", directory / "log.db")
        entry = log.record("into.the.backup", sync=True, timeout=0.5)
        assert entry.status == "unknown", "nobody may be told that it is committed"
        assert mortal_writer.wait() == 1
        mortal_writer.start(accept_rollback=True)
        assert log.flush(10)
    types = [row[0] for row in query(directory, "SELECT event_type FROM entries ORDER BY seq")]
    assert types == ["before.backup", "hansard.rollback", "hansard.lost", "into.the.backup"]
    assert_log_is_sound(directory)
    (tmp_path / "old.db").rename(tmp_path / "log.db")
    assert_log_is_sound(tmp_path)


def test_a_database_replaced_just_before_its_writer_is_stopped_leaves_no_wal_beside_the_new_one(
    directory: Path, mortal_writer: MortalWriter, tmp_path: Path
) -> None:
    """``mv backup log.db; systemctl restart``: what was read is committed at the end."""
    mortal_writer.start()
    with AuditLog(directory) as log:
        log.record("before.backup", sync=True)
        mortal_writer.end()
        shutil.copy(directory / "log.db", tmp_path / "backup.db")
        mortal_writer.start(commit_interval=30)
        log.record("in.the.batch")
        wait_until(lambda: figures(directory)["uncommitted"], "it was read, and is not committed")
        (tmp_path / "backup.db").replace(directory / "log.db")
        assert mortal_writer.end() == 1
        assert (directory / "log.db-wal").stat().st_size == 0
        mortal_writer.start()
        assert log.flush(20)
    types = [row[0] for row in query(directory, "SELECT event_type FROM entries ORDER BY seq")]
    assert types == ["before.backup", "in.the.batch"]
    assert_log_is_sound(directory)


def figures(directory: Path) -> dict[str, Any]:
    """What `hansard stats` shows."""
    _, content = requester.ask(directory, wire.pack_stats_request(), 10)
    return dict(content)


RECORDS_ON_REQUEST = """
import logging, sys
from hansard import AuditLog

logging.basicConfig(format="%(levelname)s %(message)s")
log = AuditLog(sys.argv[1])
for line in sys.stdin:
    log.record(line.strip())
    print(log.statistics()["spooled"], flush=True)
"""


@pytest.mark.parametrize("removed", ["file", "spool", "directory"])
def test_a_spool_that_was_removed_under_its_worker_is_made_again_and_survives_a_kill(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, removed: str
) -> None:
    worker = run_script(RECORDS_ON_REQUEST, directory)
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("before.removal\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "True\n"
    spools = directory / "spool"
    (spool,) = spools.iterdir()
    if removed == "file":
        spool.unlink()
    else:
        shutil.rmtree(spools if removed == "spool" else directory)
        spools.mkdir(parents=True)
    worker.stdin.write("behind.removal\n")
    worker.stdin.flush()
    assert worker.stdout.readline() == "True\n"
    assert worker.stderr is not None
    assert worker.stderr.readline().startswith("WARNING the spool was removed from")
    worker.kill()
    assert spool.exists()
    mortal_writer.start()
    wait_until(lambda: count_entries(directory) == 2, "what it recorded is adopted")
    types = query(directory, "SELECT event_type FROM entries ORDER BY seq")
    assert types == [("before.removal",), ("behind.removal",)]


def test_what_cannot_be_set_aside_for_a_removed_log_is_said_to_be_lost_in_the_next_one(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    """A spool without a name would be counted as kept for somebody who can never find it."""
    mortal_writer.start()
    with AuditLog(directory) as log:
        assert log.record("in.the.first.log", sync=True).id == 1
        mortal_writer.kill()
        log.record("for.the.first.log")
        log._producer._survives = lambda: False  # type: ignore[method-assign]
        shutil.rmtree(directory)
        mortal_writer.start()
        wait_until(lambda: log.statistics()["dropped"] == {"other_log": 1}, "it met the second")
        log.record("in.the.second.log")
        assert log.drain(10)
    assert lost(directory) == [(1, "the queue stayed full")]
