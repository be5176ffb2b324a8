"""``hansard ship DIRECTORY`` as a process: a living log, and DuckDB that reads what is there."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

import hansard
import hansard_writer
from hansard_writer.shipping.log_source import LogSource
from support import query, wait_until

HANSARD = [sys.executable, "-m", "hansard_writer"]
WRITES = """
# Records entries until it is told to end; says how many.
import sys
import hansard
with hansard.AuditLog(sys.argv[1]) as log:
    number = 0
    print("begun", flush=True)
    while number < 60_000:
        for number in range(number + 1, number + 301):
            log.record("task.created", {"n": number, "title": "x" * 100}, actor=f"a:{number % 5}")
        log.flush(30)
        if number == 3_000:
            print("going", flush=True)
        if number > 3_000 and sys.stdin.readline() == "end\\n":
            break
    print(number, flush=True)
"""


def hansard_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*HANSARD, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    return tmp_path / "far"


@pytest.fixture
def shippers() -> Iterator[list[subprocess.Popen[str]]]:
    """Of which none outlives the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def ask(far: Path, statement: str) -> list[Any]:
    """What DuckDB says of the entries there."""
    entries = f"read_parquet('{far}/entries/**', hive_partitioning = true)"
    return duckdb.sql(statement.replace("ENTRIES", entries)).fetchall()


def has_all(far: Path, count: int) -> bool:
    """Whether the last of so many entries is where others read."""
    try:
        return ask(far, "SELECT max(seq) FROM ENTRIES") == [(count,)]
    except duckdb.IOException:  # nothing yet, or a range is made again that a kill left half
        return False


def assert_is_the_log(directory: Path, far: Path) -> None:
    """By what another engine reads."""
    there = ask(
        far,
        "SELECT seq, event_type, level, actor, task_id, payload, producer, producer_seq, host, pid,"
        " epoch_ns(created_at), salt, payload_hash, redacted FROM ENTRIES"
        f" WHERE origin = '{origin_of(directory)}' ORDER BY seq",
    )
    log = query(
        directory,
        "SELECT seq, event_type, level, actor, task_id, payload, lower(hex(producer_hash)),"
        " producer_seq, host, pid, e.created_at, salt, payload_hash,"
        " payload IS NULL AND payload_hash IS NOT NULL FROM entries AS e"
        " JOIN producers AS p ON p.id = e.producer ORDER BY seq",
    )
    assert there == log


def verified(directory: Path, far: Path) -> dict[str, Any]:
    done = hansard_command("verify", far, "--key", directory / "writer.pub",
                           "--origin", origin_of(directory), "--format", "json")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_living_log_is_shipped_once_whoever_is_killed(
    writer: hansard_writer.RunningWriter, directory: Path, far: Path,
    shippers: list[subprocess.Popen[str]],
) -> None:  # fmt: skip
    ship = [*HANSARD, "ship", str(far), "--dir", str(directory), "--rows-per-file", "700",
            "--file-age", "0.3", "--interval", "0.1"]  # fmt: skip

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(ship, stderr=subprocess.PIPE, text=True)
        shippers.append(process)
        return process

    def files() -> set[str]:
        return {path.name for path in far.rglob("*.parquet")}

    records = subprocess.Popen(
        [sys.executable, "-c", WRITES, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert records.stdin
    assert records.stdout
    assert records.stdout.readline() == "begun\n"
    for _ in range(4):
        before, shipper = files(), start()
        wait_until(lambda before=before: files() - before, "the shipper to ship something")
        shipper.kill()
        shipper.wait()
    assert records.stdout.readline() == "going\n"
    last = start()
    records.stdin.write("end\n")
    records.stdin.flush()
    count = int(records.stdout.readline())
    records.communicate()
    ended = hansard_command("checkpoint", "--dir", directory)
    assert ended.returncode == 0, ended.stderr
    wait_until(lambda: has_all(far, count), "all to be put away", 20)
    last.send_signal(signal.SIGTERM)
    assert last.wait(20) == 0
    assert not list(far.glob("staging/*/*"))
    assert_is_the_log(directory, far)
    counts = ask(far, "SELECT count(*), count(DISTINCT seq), count(DISTINCT log) FROM ENTRIES")
    assert counts == [(count, count, 1)]
    verified(directory, far)


def test_a_sigterm_puts_away_what_waits(
    writer: hansard_writer.RunningWriter, directory: Path, far: Path,
    shippers: list[subprocess.Popen[str]],
) -> None:  # fmt: skip
    with hansard.AuditLog(directory) as log:
        log.record("a.b", {"n": 1}, sync=True)
        shipper = subprocess.Popen([*HANSARD, "ship", str(far), "--dir", str(directory)])
        shippers.append(shipper)
        wait_until(lambda: list(far.glob("staging/*/*.parquet")), "a batch that waits")
    assert not list(far.glob("entries/*/*"))
    shipper.send_signal(signal.SIGTERM)
    assert shipper.wait(20) == 0
    assert ask(far, "SELECT seq, payload->>'$.n' FROM ENTRIES") == [(1, "1")]


def test_types_queries_redactions_and_prunes_of_several_logs(
    writer: hansard_writer.RunningWriter, directory: Path, far: Path, tmp_path: Path
) -> None:
    large = "x" * ((1 << 20) - 300)
    with hansard.AuditLog(directory, actor="agent:1") as log:
        log.record("first")
        for number in range(1, 400):
            log.record("task.created", {"n": number, "tool": {"name": "uv"}})
        log.record("large", {"text": large})
        assert log.flush(30)
    other = tmp_path / "other"
    with hansard_writer.running(other), hansard.AuditLog(other) as log:
        log.record("other.event", {"n": 1}, sync=True)
        done = hansard_command("ship", far, "--dir", other, "--once")
        assert done.returncode == 0, done.stderr
    ship = ("ship", far, "--dir", directory, "--once", "--rows-per-file", 100)
    assert hansard_command(*ship).returncode == 0
    assert ask(far, "SELECT log, origin, count(*) FROM ENTRIES GROUP BY ALL ORDER BY 3") == [
        (origin.removeprefix("hansard/"), origin, count)
        for origin, count in ((origin_of(other), 1), (origin_of(directory), 401))
    ]
    types = dict(ask(far, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM ENTRIES)"))
    assert types["created_at"].startswith(("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ"))
    assert (types["seq"], types["redacted"], types["leaf"]) == ("BIGINT", "BOOLEAN", "BLOB")
    summed = "SELECT sum((payload->>'$.n')::INT) FROM ENTRIES WHERE payload->>'$.tool.name' = 'uv'"
    assert ask(far, summed) == [(sum(range(1, 400)),)]
    length = "SELECT length(payload->>'$.text') FROM ENTRIES WHERE event_type = 'large'"
    assert ask(far, length) == [(len(large),)]
    redact = ("redact", "--dir", directory, "--seq", "50", "--reason", "asked to")
    done = hansard_command(*redact)
    assert done.returncode == 0, done.stderr
    assert hansard_command(*ship).returncode == 0
    gone = "SELECT seq, payload, salt, octet_length(payload_hash) FROM ENTRIES WHERE redacted"
    assert ask(far, gone) == [(50, None, None, 32)]
    hansard_command("prune", "--dir", directory, "--before", "0s", "--keep-last", 100)
    assert hansard_command(*ship).returncode == 0
    assert_is_the_log(directory, far)
    (found,) = verified(directory, far)["logs"]
    assert (found["verdict"], found["pruned"] > 0) == ("pruned", True)


def origin_of(directory: Path) -> str:
    source = LogSource(directory)
    source.close()
    return source.origin
