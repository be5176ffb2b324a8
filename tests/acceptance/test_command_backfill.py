"""``hansard backfill`` as people use it: beside a writer and without one, killed, asked in vain."""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hansard_writer
from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog
from hansard_writer.derived.definitions import BUILT_IN
from support import assert_verifies, query, wait_until

ENTRIES = 20_000
WORKERS = 4
NUMBER = '[derived.number]\npaths = ["n", "number"]\ntype = "integer"\nevent_types = ["count.*"]\n'
DERIVED = "SELECT id, value FROM derived WHERE field = 'number' ORDER BY id"

WORKER = """
import sys
from hansard import AuditLog

with AuditLog(sys.argv[1], ack_timeout=30) as log:
    n = 0
    print("ready", flush=True)
    while not log.statistics()["dropped"] and n < 50_000:
        for _ in range(10):
            n += 1
            log.record("count.up" if n % 2 else "other", {"n": n} if n % 3 else {"number": n})
        log.record("beat", {}, sync=True)
        if n % 100 == 0 and sys.argv[2:] and __import__("os").path.exists(sys.argv[2]):
            break
    assert log.flush(30)
print(n, flush=True)
"""


def hansard(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def backfill(directory: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return hansard("backfill", "--dir", directory, *arguments)


def record(directory: Path, count: int) -> None:
    """Entries that a later field concerns, and others; one in ten without a value."""
    with AuditLog(directory, ack_timeout=30) as log:
        for n in range(1, count + 1):
            payload = {"m": n} if n % 10 == 0 else {"n": n} if n % 3 else {"number": n}
            log.record("count.up" if n % 2 else "other", payload)
        assert log.flush(30)


def expected(directory: Path) -> list[tuple[int, int]]:
    """What the field must have, said once more in the simplest way."""
    rows = query(directory, "SELECT seq, payload FROM entries WHERE event_type = 'count.up'")
    drawn = ((seq, json.loads(payload)) for seq, payload in sorted(rows))
    return [(seq, p.get("n", p.get("number"))) for seq, p in drawn if "n" in p or "number" in p]


def hashes(directory: Path) -> dict[str, str]:
    """Of every file of a log, by its name."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_field_declared_later_is_filled_while_workers_record(
    directory: Path, writer: hansard_writer.RunningWriter, run_script: Script, tmp_path: Path
) -> None:
    record(directory, ENTRIES)
    enough = tmp_path / "enough"
    workers = [run_script(WORKER, directory, enough) for _ in range(WORKERS)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    (directory / "hansard.toml").write_text(NUMBER)
    done = backfill(directory, "--field", "number")
    assert done.returncode == 0, done.stderr
    enough.touch()
    recorded = sum(int(worker.communicate(timeout=60)[0]) for worker in workers)
    assert all(worker.returncode == 0 for worker in workers)
    assert query(directory, DERIVED) == expected(directory)
    assert query(
        directory, "SELECT count(*) FROM entries WHERE event_type IN ('count.up', 'other')"
    ) == [(ENTRIES + recorded,)]


def test_a_dry_run_says_what_it_would_do_and_changes_no_byte(directory: Path) -> None:
    with hansard_writer.running(directory):
        record(directory, 100)
    (directory / "hansard.toml").write_text(NUMBER)
    before = hashes(directory)
    done = backfill(directory, "--dry-run", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "number: 50 entries looked at, 50 would be filled, 0 without a value" in done.stdout
    assert "e.g. entry 1 (count.up): 1" in done.stdout
    assert "source_event_ts: nothing to fill" in done.stdout
    assert hashes(directory) == before
    assert query(directory, DERIVED) == []


def test_without_a_writer_it_starts_one_for_the_time(directory: Path) -> None:
    with hansard_writer.running(directory):
        record(directory, 1_000)
    toml = NUMBER.replace("count.*", "other")
    (directory / "hansard.toml").write_text(toml)
    done = backfill(directory, "--verbose")
    assert done.returncode == 0, done.stderr
    assert "number: 500 entries looked at, 400 filled, 100 without a value" in done.stdout
    assert "missing" in done.stdout
    assert "entries 10, 20, 30, " in done.stdout
    assert query(directory, "SELECT count(*) FROM derived WHERE field = 'number'") == [(400,)]
    again = backfill(directory, "--format", "json")
    report = json.loads(again.stdout)
    assert [(each["field"], each["entries"]) for each in report["fields"]] == [
        *((field.name, 0) for field in BUILT_IN),
        ("number", 0),
    ]
    assert_verifies(directory)


def test_after_kills_of_command_and_writer_the_next_run_goes_on(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    record(directory, 3_000)
    (directory / "hansard.toml").write_text(NUMBER)
    command = [sys.executable, "-m", "hansard_writer", "backfill", "--dir", str(directory),
               "--batch-size", "1"]  # fmt: skip

    def filled_to() -> int:
        found = query(directory, "SELECT filled_to FROM derived_fields WHERE name = 'number'")
        return found[0][0] if found else 0

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as killed:
        first = wait_until(filled_to, "a piece is filled")
        killed.kill()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as on:
        second = wait_until(
            lambda: (now := filled_to()) > first + 20 and now, "the second run goes on"
        )
        mortal_writer.kill()
        assert second < 3_000, "it was too fast to be killed: record more"
        mortal_writer.start()
        out, err = on.communicate(timeout=60)
    assert on.returncode == 0, err
    assert "number: " in out
    assert query(directory, DERIVED) == expected(directory)
    assert mortal_writer.end() == 0


def test_another_backfill_is_named_by_its_pid(directory: Path) -> None:
    with hansard_writer.running(directory):
        record(directory, 1)
    with (directory / "backfill.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write('{"pid": 4711}')
        lock.flush()
        done = backfill(directory)
    assert done.returncode == 4
    assert "another backfill (pid 4711)" in done.stderr
    assert "let it end, or stop it" in done.stderr
    assert backfill(directory).returncode == 0


def test_what_cannot_be_is_said_with_the_way_out(directory: Path, tmp_path: Path) -> None:
    assert backfill(directory).returncode == 2
    assert "there is no log" in backfill(directory, "--dry-run").stderr
    assert not directory.exists()
    with hansard_writer.running(directory):
        record(directory, 1)
        unknown = backfill(directory, "--field", "nunber")
        assert unknown.returncode == 2
        assert "there are source_event_ts, supervisor_processed_at; declare" in unknown.stderr
        (directory / "hansard.toml").write_text('[derivd.number]\ntype = "text"\n')
        misspelt = backfill(directory)
        assert misspelt.returncode == 2
        assert "'derivd'" in misspelt.stderr
        assert "[derived.NAME]" in misspelt.stderr
        (directory / "hansard.toml").write_text('[derived.number]\ntype = "number"\n')
        wrong = backfill(directory)
        assert wrong.returncode == 2
        assert "must be of text, integer, real, boolean, timestamp" in wrong.stderr
    assert backfill(directory, "--batch-size", "0").returncode == 2


def test_its_help_shows_the_declared_order_of_paths_and_the_forms_of_timestamps() -> None:
    text = hansard("backfill", "--help").stdout
    for field in BUILT_IN:
        numbered = [f"{number}. {path}" for number, path in enumerate(field.paths, start=1)]
        places = [text.index(line) for line in [field.name, *numbered]]
        assert places == sorted(places)
    assert all(form in text for form in ("2024-01-01T12:00:00Z", "+02:00", "1704110400000000000"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to a group")
def test_a_group_that_was_let_in_is_still_let_in_afterwards(directory: Path) -> None:
    with hansard_writer.running(directory, group="daemon"):
        record(directory, 10)
    before = {path: path.stat().st_mode for path in (directory, directory / "spool")}
    assert backfill(directory).returncode == 0
    assert {path: path.stat().st_mode for path in before} == before
    assert (directory / "log.db").stat().st_mode & 0o777 == 0o640


def test_interrupted_it_says_that_what_is_filled_stays(
    directory: Path, writer: hansard_writer.RunningWriter
) -> None:
    record(directory, 3_000)
    (directory / "hansard.toml").write_text(NUMBER)
    command = [sys.executable, "-m", "hansard_writer", "backfill", "--dir", str(directory),
               "--batch-size", "1"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as on:
        wait_until(lambda: query(directory, DERIVED), "a piece is filled")
        on.send_signal(signal.SIGINT)
        _, err = on.communicate(timeout=60)
    assert on.returncode == 130
    assert "what is filled stays" in err
