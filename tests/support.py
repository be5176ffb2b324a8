"""What the tests share: waiting with a deadline, reading a log from outside, worker programs."""

import collections
import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

from hansard_writer.proof import verify

DEADLINE_S = 30.0
VERIFIED_BYTES_MAX = 64 << 20


def wait_until(condition: Callable[[], Any], what: str, timeout: float = DEADLINE_S) -> Any:
    """The condition's first true value; fails saying ``what`` it waited for."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain until {what}")
        time.sleep(0.005)
    return value


@contextlib.contextmanager
def held_lock(directory: Path, **facts: Any) -> Iterator[None]:
    """Within, the test holds the writer's lock, as a writer that answers nothing."""
    directory.mkdir(exist_ok=True)
    with (directory / "writer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps({"pid": 7} | facts))
        lock.flush()
        yield


def query(directory: Path, statement: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
    """Rows of the log's database, read by a connection of the test's own."""
    connection = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(5_000)
        return connection.execute(statement, bindings).fetchall()
    finally:
        connection.close()


def is_locked_for_others(path: Path) -> bool:
    """Whether a connection of this process keeps those of another from writing to a database."""
    program = (
        "import apsw, sys\n"
        "try:\n"
        "    apsw.Connection(sys.argv[1]).execute('BEGIN IMMEDIATE')\n"
        "except apsw.BusyError:\n"
        "    print('locked')\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout == "locked\n"


def count_entries(directory: Path) -> int:
    """How many entries the log has, 0 while there is no database."""
    try:
        return query(directory, "SELECT count(*) FROM entries")[0][0]
    except (apsw.CantOpenError, apsw.SQLError):
        return 0


def assert_log_is_sound(directory: Path) -> None:
    """No holes in seq, each producer's numbers once and in order, every number accounted for."""
    seqs = [row[0] for row in query(directory, "SELECT seq FROM entries ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1)), "seq has holes"
    numbers: dict[int, list[int]] = collections.defaultdict(list)
    for producer, number in query(
        directory, "SELECT producer, producer_seq FROM entries ORDER BY seq"
    ):
        numbers[producer].append(number)
    for producer, entered in numbers.items():
        assert entered == sorted(entered), f"producer {producer} is out of order"
        assert len(entered) == len(set(entered)), f"producer {producer} has doubles"
    assert query(directory, "PRAGMA integrity_check") == [("ok",)]


def assert_verifies(directory: Path) -> None:
    """What its writer has left in a directory is an honest log; nothing, where it has left none. A
    flood's is passed over: it takes seconds, and other tests of floods look."""
    database = directory / "log.db"
    if database.exists() and database.stat().st_size <= VERIFIED_BYTES_MAX:
        report = verify(directory)
        assert report.is_good, f"verify says {report}"


def run_worker(program: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """A worker process: a Python program given as text, with its stdout to read from."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=options.pop("env", {**os.environ}),
        **options,
    )
