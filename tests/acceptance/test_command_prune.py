"""``hansard prune`` as people use it: a real writer, killed too, workers that go on, and an archive
that is checked without the log."""

import gzip
import itertools
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import apsw

import hansard_writer
from acceptance.conftest import MortalWriter
from hansard import AuditLog
from hansard.reader import LogReader
from hansard_writer.laying_out import lay_out_anew
from support import query, wait_until

OLD = 1_700_000_000 * 10**9  # 2023-11-14
BEFORE = "2024-01-01"


def hansard(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def record_old(log: AuditLog, count: int) -> None:
    log.record_many(
        {"event_type": "old", "payload": {"n": number}, "created_at": OLD + number * 10**9}
        for number in range(count)
    )


def assert_verified(directory: Path) -> None:
    done = hansard("verify", "--dir", directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pruned" in done.stdout


def test_old_entries_go_and_the_archive_proves_what_they_were(
    directory: Path, writer: hansard_writer.RunningWriter, tmp_path: Path
) -> None:
    with AuditLog(directory) as log:
        for _ in range(4):
            record_old(log, 600)
        kept = log.record("new", {"n": 1}, sync=True)
        archive = tmp_path / "2023.jsonl.gz"
        would = hansard("prune", "--dir", directory, "--before", BEFORE, "--dry-run")
        assert would.returncode == 0, would.stderr
        assert "Would prune 2,400 entries: 1 to 2,400, created from 2023-11-14T" in would.stdout
        arguments = ("--before", BEFORE, "--archive", archive, "--reason", "old", "--by", "ann")
        done = hansard("prune", "--dir", directory, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Pruned 2,400 entries: 1 to 2,400, ")
        assert log.lookup(kept.key).id == kept.id == 2_401
    with LogReader(directory) as reader:
        first, said = reader.events()
    assert (first.id, said.event_type) == (2_401, "hansard.pruned")
    assert said.data == {
        "by": "ann",
        "reason": "old",
        "first": 1,
        "last": 2_400,
        "before": "2024-01-01T00:00:00.000000Z",
        "archive": "2023.jsonl.gz",
    }
    again = hansard("prune", "--dir", directory, "--before", BEFORE)
    assert (again.returncode, again.stdout) == (1, "")
    assert "nothing to prune: the first entry, 2,401, is of" in again.stderr
    figures = json.loads(hansard("stats", "--dir", directory).stdout)
    assert (figures["pruned_to"], figures["to_be_pruned"]) == (2_400, 0)
    checked = hansard("prune", "--check-archive", archive, "--key", directory / "writer.pub")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("Proven: entries 1 to 2,400 were in the log of 2,40")
    with gzip.open(archive, "rt") as file:
        lines = file.readlines()
    assert json.loads(lines[2_400])["payload"] == '{"n":599}'
    archive.write_bytes(gzip.compress("".join(lines).replace('\\"n\\":7}', '\\"n\\":8}').encode()))
    forged = hansard("prune", "--check-archive", archive, "--key", directory / "writer.pub")
    assert (forged.returncode, forged.stdout) == (1, "")
    assert forged.stderr.startswith("Not proven: entry 8 is not as it was")


def test_a_proof_from_before_holds_and_what_stays_is_proven(
    directory: Path, writer: hansard_writer.RunningWriter, tmp_path: Path
) -> None:
    with AuditLog(directory) as log:
        record_old(log, 900)
        log.record("new", {"n": 1}, sync=True)
        log.record("new", {"n": 2}, sync=True)
    for seq in (8, 901):
        assert hansard("redact", "--dir", directory, "--seq", seq, "--reason", "x").returncode == 0
    kept = tmp_path / "kept"
    kept.write_text(hansard("checkpoint", "--dir", directory).stdout)
    proof = tmp_path / "7.tlog-proof"
    assert hansard("prove", 7, "--dir", directory, "--output", proof).returncode == 0
    assert hansard("prune", "--dir", directory, "--before", BEFORE).returncode == 0
    assert_verified(directory)
    key = directory / "writer.pub"
    outsider = hansard("verify", "--dir", directory, "--checkpoint", kept, "--key", key)
    assert outsider.returncode == 0, outsider.stdout + outsider.stderr
    assert hansard("prove", "--check", proof, "--key", key).returncode == 0
    gone = hansard("prove", 7, "--dir", directory)
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "entries 1 to 900 were pruned" in gone.stderr
    hansard("checkpoint", "--dir", directory)
    assert hansard("prove", 901, "--dir", directory, "--output", proof).returncode == 0
    assert hansard("prove", "--check", proof, "--key", key).returncode == 0


def test_a_prune_goes_on_in_the_next_writer_where_a_kill_ended_the_last(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        for _ in range(30):
            record_old(log, 1_000)
        assert log.flush(timeout=30)
        stopped = hansard("prune", "--dir", directory, "--before", BEFORE, "--timeout", 0)
        assert stopped.returncode == 1, stopped.stderr
        left = re.search(r"([\d,]+) entries of 30,000 are still to go", stopped.stderr)
        assert left, stopped.stderr
        mortal_writer.kill()
        assert_verified(directory)
        rows = query(directory, "SELECT min(seq), count(*), max(seq) FROM entries")
        first, count, last = rows[0]
        assert count == last - first + 1
        assert last == 30_001
        mortal_writer.start()
        wait_until(
            lambda: query(directory, "SELECT min(seq) FROM entries") == [(30_001,)],
            "the next writer has pruned the rest",
        )
        assert log.record("new", sync=True).id == 30_002
    assert query(directory, "PRAGMA integrity_check") == [("ok",)]
    assert mortal_writer.end() == 0
    assert_verified(directory)
    mortal_writer.start()


def test_workers_go_on_while_it_prunes(
    directory: Path, writer: hansard_writer.RunningWriter
) -> None:
    with AuditLog(directory) as log:
        for _ in range(20):
            record_old(log, 1_000)
        assert log.flush(timeout=30)
        command = [sys.executable, "-m", "hansard_writer", "prune", "--dir", str(directory)]
        pruning = subprocess.Popen([*command, "--before", BEFORE], stdout=subprocess.PIPE)
        ids, slowest_s = [], 0.0
        while pruning.poll() is None:
            began = time.monotonic()
            ids.append(log.record("new", sync=True).id)
            slowest_s = max(slowest_s, time.monotonic() - began)
        assert pruning.stdout
        pruning.stdout.close()
        assert pruning.returncode == 0
    assert None not in ids
    assert ids == sorted(ids)
    assert slowest_s < 5.0, "ack_timeout"
    rows = query(directory, "SELECT min(seq), count(*), max(seq) FROM entries")
    assert rows[0][0] == 20_001
    assert rows[0][1] == len(ids) + 1


def test_without_a_writer_it_says_so(directory: Path) -> None:
    with hansard_writer.running(directory), AuditLog(directory) as log:
        record_old(log, 10)
    done = hansard("prune", "--dir", directory, "--before", BEFORE)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no writer runs in" in done.stderr
    would = hansard("prune", "--dir", directory, "--before", BEFORE, "--dry-run")
    assert would.returncode == 0
    assert "Would prune 10 entries" in would.stdout


def test_a_log_that_may_use_so_many_bytes_is_pruned_by_itself(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        for _ in range(6):
            log.record_many({"event_type": "step", "payload": {"x": "x" * 900}} for _ in range(500))
        assert log.flush(timeout=30)
        mortal_writer.end()
        mortal_writer.start(retention_max_bytes=2 << 20)
        log.record("new", sync=True)
        wait_until(
            lambda: query(directory, "SELECT min(seq) FROM entries")[0][0] > 500, "some are pruned"
        )
        figures = json.loads(hansard("stats", "--dir", directory).stdout)
        assert figures["database_bytes_free"] > 0
        assert log.record("new", sync=True).id
    with LogReader(directory) as reader:
        said = [event.data for event in reader.events(event_type="hansard.pruned")]
    assert said[0]["by"] == "retention"
    assert said[0]["reason"].startswith("retention_max_bytes is 2,097,152, and ")
    assert mortal_writer.end() == 0
    assert_verified(directory)
    mortal_writer.start()


def give_back(directory: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hansard_writer", "prune", "--dir", str(directory)]
    return subprocess.Popen(
        [*command, "--vacuum"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fill_and_prune(directory: Path, log: AuditLog) -> int:
    """The size of its database, most of which is free."""
    for start in range(0, 6_000, 500):
        log.record_many(
            {"event_type": "old", "payload": {"n": n, "x": "x" * 1_500}, "created_at": OLD + n}
            for n in range(start, start + 500)
        )
    log.record("new", {"secret": "hunter" + "2" * 40}, sync=True, timeout=30)
    assert hansard("prune", "--dir", directory, "--before", BEFORE).returncode == 0
    with LogReader(directory) as reader:
        secret = next(event.id for event in reader.events(event_type="new"))
    done = hansard("redact", "--dir", directory, "--seq", secret, "--reason", "a password")
    assert done.returncode == 0, done.stderr
    return (directory / "log.db").stat().st_size


def test_free_space_is_given_back_while_workers_go_on_and_whatever_is_killed(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    database = directory / "log.db"
    mortal_writer.start()
    assert mortal_writer.end() == 0
    lay_out_anew(directory)
    mortal_writer.start()
    with AuditLog(directory) as log:
        before = fill_and_prune(directory, log)
        would = hansard("prune", "--dir", directory, "--vacuum", "--dry-run")
        assert would.returncode == 0, would.stderr
        assert re.fullmatch(
            r"--vacuum would give back [\d.]+ MB of log.db's [\d.]+ MB\.\n", would.stdout
        )
        assert database.stat().st_size == before
        first = give_back(directory)
        wait_until(lambda: database.stat().st_size < before, "the first pieces are given back")
        mortal_writer.kill()
        said = first.communicate(timeout=30)[1]
        assert (first.returncode, "repeat it for the rest" in said) in ((3, True), (0, False))
        assert_verified(directory)
        mortal_writer.start()
        assert query(directory, "PRAGMA integrity_check") == [("ok",)]
        assert log.flush(timeout=30)
        with_all = give_back(directory)
        for number in itertools.count():
            if with_all.poll() is not None:
                break
            assert log.record("later", {"n": number}, sync=True).id
        out, err = with_all.communicate(timeout=30)
        assert with_all.returncode in (0, 1), err
        assert "Gave back" in out or "nothing to give back" in err
    assert database.stat().st_size < before / 5
    assert mortal_writer.end() == 0
    assert not (directory / "log.db-wal").exists()
    assert_verified(directory)
    assert all(
        b"hunter2222" not in path.read_bytes() for path in directory.rglob("*") if path.is_file()
    )
    mortal_writer.start()


def test_a_log_is_laid_out_anew_the_first_time_while_nobody_serves_it(
    directory: Path,
) -> None:
    with hansard_writer.running(directory), AuditLog(directory) as log:
        record_old(log, 900)
    other = apsw.Connection(str(directory / "log.db"))
    for statement in (
        "CREATE TABLE mine(x)",
        "INSERT INTO mine VALUES(zeroblob(3000000))",
        "DROP TABLE mine",
    ):
        other.execute(statement).fetchall()
    other.close()
    with hansard_writer.running(directory):
        done = hansard("prune", "--dir", directory, "--vacuum")
        assert done.returncode == 1
        assert "stop its writer, and then run `hansard prune --vacuum`" in done.stderr
    would = hansard("prune", "--dir", directory, "--vacuum", "--dry-run")
    assert "while no writer serves it, and with room for" in would.stdout
    done = hansard("prune", "--dir", directory, "--vacuum")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Gave back 3.0 MB: log.db had ")
    assert (directory / "log.db").stat().st_size < 1_000_000
    assert query(directory, "PRAGMA auto_vacuum") == [(2,)]
    assert hansard("verify", "--dir", directory).returncode == 0
    again = hansard("prune", "--dir", directory, "--vacuum")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("There is nothing to give back: ")
