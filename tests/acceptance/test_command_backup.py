"""``hansard backup`` under full load, and the way back: real writers, real workers, the command."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from acceptance.conftest import MortalWriter
from hansard.reader import LogReader
from hansard_writer import RunningWriter, backup
from support import count_entries, run_worker, wait_until

Workers = list["subprocess.Popen[str]"]
StartWorkers = Callable[[int, float], Workers]

ENTRIES_MIN = 2_000  # before the backup

# Records as fast as the writer takes it, but for a pause now and then, until told to stop; says how
# many. Then so many more each time it is told to, and what is said of the last of those before.
WORKER = """
import sys, threading, time
from hansard import AuditLog

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
with AuditLog(sys.argv[1], actor=sys.argv[2], queue_maxsize=1_000) as log:
    number, last = 0, None
    while not stop.is_set():
        for _ in range(50):
            number += 1
            last = log.record("load", {"n": number, "text": "x" * 200})
        time.sleep(float(sys.argv[3]))
    assert log.flush(timeout=30)
    print(number, flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            number += 1
            log.record("later", {"n": number})
        print(log.flush(timeout=30), log.lookup(last.key).status, flush=True)
"""


def hansard(*arguments: object, **options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


@pytest.fixture
def start_workers(directory: Path) -> Iterator[StartWorkers]:
    """Starts some, with a pause (s) behind each fifty events. None outlives the test."""
    started: Workers = []

    def start(count: int, pause: float) -> Workers:
        for number in range(count):
            started.append(run_worker(WORKER, directory, f"w{number}", pause))
        return started

    yield start
    for each in started:
        each.kill()
        each.communicate()


def tell(worker: "subprocess.Popen[str]", line: object = "") -> str:
    assert worker.stdin
    assert worker.stdout
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()
    return worker.stdout.readline().strip()


def end(workers: Workers) -> None:
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0


def entries_of(database: Path, last: int) -> list[object]:
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        statement = "SELECT * FROM entries WHERE seq <= ? ORDER BY seq"
        return connection.execute(statement, (last,)).fetchall()
    finally:
        connection.close()


def test_a_backup_under_full_load_verifies_intact_and_holds_a_prefix_of_the_log(
    directory: Path, writer: RunningWriter, start_workers: StartWorkers, tmp_path: Path
) -> None:
    file, workers = tmp_path / "log.backup", start_workers(4, 0.0)
    wait_until(lambda: count_entries(directory) > ENTRIES_MIN, "the log is under load")
    recorded: list[int] = []
    made = backup(
        directory,
        file,
        progress=lambda *_: time.sleep(0.05),  # they are not done with it at once
        let_go=lambda: recorded.extend(int(tell(worker)) for worker in workers),
    )
    end(workers)
    assert made.report
    assert made.report.verdict == "intact"
    assert ENTRIES_MIN < made.entries < sum(recorded)
    in_file = entries_of(file, sum(recorded))
    assert len(in_file) == made.entries
    assert in_file == entries_of(directory / "log.db", made.entries)
    for number, count in enumerate(recorded):
        with LogReader(directory) as reader:
            events = reader.events(actor=f"w{number}")
            assert [event.data["n"] for event in events] == list(range(1, count + 1))


def test_the_same_workers_go_on_with_a_log_that_was_restored(
    directory: Path, mortal_writer: MortalWriter, start_workers: StartWorkers, tmp_path: Path
) -> None:
    file = tmp_path / "log.backup"
    mortal_writer.start()
    workers = start_workers(2, 0.05)
    wait_until(lambda: count_entries(directory) > 200, "all begin")
    assert hansard("backup", "--dir", directory, "--to", file).returncode == 0
    recorded = [int(tell(worker)) for worker in workers]
    mortal_writer.end()
    done = hansard("restore", file, "--dir", directory, "--yes")
    assert done.returncode == 0, done.stderr
    mortal_writer.start()
    for _ in range(2):
        for worker in workers:
            assert tell(worker, 3) == "True rejected"
    end(workers)
    with LogReader(directory) as reader:
        lost = [event.data for event in reader.events(event_type="hansard.lost")]
    assert {each["reason"] for each in lost} == {"the log went back in time"}
    kept = count_entries_of(file)
    assert sum(each["count"] for each in lost) == sum(recorded) - kept
    assert len({each["producer"] for each in lost}) == len(lost) == len(workers)


def count_entries_of(file: Path) -> int:
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.execute("SELECT count(*) FROM entries").get)
    finally:
        connection.close()
