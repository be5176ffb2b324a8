"""Named operations between real processes: whatever one does, its caller hears of it, the log goes
on, and what was acked is there."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import hansard_writer
from acceptance.conftest import MortalWriter, Script
from hansard import AckTimeout, AuditLog, CallKey, Rejected, WriterUnavailable, requester, wire
from hansard.errors import AuditLogError
from hansard_writer.authorizer import own_objects
from support import assert_log_is_sound, query, wait_until

PROCESSES = 8
INCREMENTS = 1_000
OWN_TABLES = sorted(name for name, kind in own_objects().items() if kind == "table")

OPERATIONS = """
import os, re, signal, sys, threading, time
from hansard_writer import operation

@operation
def increment(connection, name):
    connection.execute("CREATE TABLE IF NOT EXISTS counters(name PRIMARY KEY, value)")
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    value = 1 if row is None else row[0] + 1
    connection.execute("REPLACE INTO counters VALUES(?, ?)", (name, value))
    return value

@operation
def sql(connection, statements):
    return [connection.execute(statement).fetchall() for statement in statements]

@operation
def fail(connection, params):
    increment(connection, "failed")
    raise LookupError("no such thing")

@operation
def leave(connection, params):
    increment(connection, "failed")
    sys.exit("from the operation")

@operation
def odd_result(connection, params):
    increment(connection, "failed")
    return object()

@operation
def large_result(connection, params):
    increment(connection, "failed")
    return "x" * (1 << 20)

@operation
def slow_sql(connection, params):
    increment(connection, "failed")
    connection.execute(
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT max(n) FROM r"
    )

@operation
def import_sqlite3(connection, params):
    import sqlite3

@operation
def nap(connection, seconds):
    time.sleep(seconds)
    return increment(connection, "naps")

@operation
def hang(connection, how):
    increment(connection, "failed")
    if how == "holding the GIL":
        re.match("(a+)+$", "a" * 60 + "b")
    threading.Event().wait()

@operation
def kill(connection, when):
    value = increment(connection, "killed")
    if when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    return value

@operation
def fork(connection, how):
    child = os.fork()
    if child:
        return increment(connection, "forked"), child
    if how == "raises":
        raise LookupError("in the child")
    return increment(connection, "forked"), child

@operation
def modules(connection, params):
    return [name for name in ("sqlite3", "_sqlite3") if sys.modules.get(name) is not None]
"""

INCREMENTER = """
import sys
from hansard import AuditLog

log = AuditLog(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    print(log.call("increment", "shared", timeout=60), flush=True)
    log.record("step.done", {"n": number})
assert log.flush(30)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The operations' module, in the current directory of the writer."""
    (tmp_path / "operations_of_test.py").write_text(OPERATIONS)
    monkeypatch.chdir(tmp_path)
    return "operations_of_test"


@pytest.fixture
def log(directory: Path, module: str) -> Iterator[AuditLog]:
    """A log whose writer knows the operations."""
    with hansard_writer.running(directory, operations=[module]), AuditLog(directory) as log:
        yield log


def assert_the_log_goes_on(log: AuditLog, before: int | None) -> None:
    """Events and calls do, and what was acked is there."""
    after = log.record("after.call", sync=True)
    assert after.status == "committed"
    assert isinstance(log.call("increment", "goes on"), int)
    seqs = query(log.directory, "SELECT seq FROM entries ORDER BY seq")
    assert (before,) in seqs
    assert (after.id,) in seqs
    assert_log_is_sound(log.directory)


def counter(log: AuditLog, name: str) -> int:
    if not query(log.directory, "SELECT 1 FROM sqlite_schema WHERE name = 'counters'"):
        return 0
    rows = query(log.directory, "SELECT value FROM counters WHERE name = ?", (name,))
    return rows[0][0] if rows else 0


# --- running ---


def test_a_call_returns_what_the_operation_returns(log: AuditLog) -> None:
    assert log.call("increment", "a") == 1
    assert log.call("increment", "a") == 2
    assert log.call("sql", ["SELECT 1, 'ä', x'ff', NULL, 0.5"]) == [[[1, "ä", b"\xff", None, 0.5]]]
    assert query(log.directory, "SELECT * FROM counters") == [("a", 2)]


def test_an_operation_reads_what_was_recorded(log: AuditLog) -> None:
    log.record("task.done", {"n": 1}, sync=True)
    assert log.call("sql", ["SELECT event_type, payload FROM events"]) == [
        [["task.done", '{"n":1}']]
    ]


def test_a_thousand_increments_from_eight_processes_are_a_thousand(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, module: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    mortal_writer.start(operations=[module])
    callers = [
        run_script(INCREMENTER, directory, INCREMENTS // PROCESSES) for _ in range(PROCESSES)
    ]
    for caller in callers:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "ready\n"
    for caller in callers:
        assert caller.stdin is not None
        caller.stdin.write("go\n")
        caller.stdin.flush()
    values: list[int] = []
    said = ""
    for caller in callers:
        answer, complaints = caller.communicate(timeout=100)
        assert caller.returncode == 0, complaints
        values += map(int, answer.split())
        said += complaints
    said += "".join(capfd.readouterr())
    assert sorted(values) == list(range(1, INCREMENTS + 1))
    assert query(directory, "SELECT value FROM counters") == [(INCREMENTS,)]
    assert query(directory, "SELECT count(*) FROM entries") == [(INCREMENTS,)]
    assert "locked" not in said
    assert "created in a thread" not in said
    assert mortal_writer.end() == 0
    assert_log_is_sound(directory)


def test_any_thread_may_call_while_others_record(log: AuditLog) -> None:
    stop = threading.Event()

    def record() -> None:
        while not stop.is_set():
            log.record("step.done", {"note": "x" * 200})

    with ThreadPoolExecutor(9) as pool:
        recording = pool.submit(record)
        values = list(pool.map(lambda _: log.call("increment", "a", timeout=60), range(100)))
        stop.set()
        recording.result()
    assert sorted(values) == list(range(1, 101))
    assert log.flush(30)


def test_a_forked_child_calls_too(directory: Path, log: AuditLog, run_script: Script) -> None:
    program = """
import os, sys
from hansard import AuditLog

log = AuditLog(sys.argv[1])
first = log.call("increment", "a")
child = os.fork()
if child == 0:
    print(log.call("increment", "a"), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(first, log.call("increment", "a"))
"""
    answer, complaints = run_script(program, directory).communicate(timeout=60)
    assert (answer, complaints) == ("2\n1 3\n", "")


# --- what is rejected ---


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("nothing", None, "this writer knows no operation 'nothing'; it knows fail, fork, hang"),
        ("fail", None, "LookupError: no such thing"),
        ("leave", None, "SystemExit: from the operation"),
        ("odd_result", None, "its result cannot be carried by msgpack"),
        ("large_result", None, "its result has 1,048,581 bytes: at most 1,047,552 are allowed"),
        ("import_sqlite3", None, "ModuleNotFoundError: import of _sqlite3 halted"),
        ("sql", ["COMMIT"], "operations may not COMMIT"),
        ("sql", ["BEGIN"], "operations may not BEGIN"),
        ("sql", ["ROLLBACK"], "operations may not ROLLBACK"),
        ("sql", ["SAVEPOINT x"], "operations may not use savepoints"),
        ("sql", ["PRAGMA synchronous = OFF"], "operations may not use PRAGMA synchronous"),
        ("sql", ["ATTACH ':memory:' AS x"], "operations may not ATTACH a database"),
        ("sql", ["VACUUM"], "cannot VACUUM from within a transaction"),
        (
            "sql",
            [
                "CREATE TABLE once(a UNIQUE)",
                "INSERT INTO once VALUES(1)",
                "INSERT OR ROLLBACK INTO once VALUES(1)",
            ],
            "'INSERT OR ROLLBACK INTO once VALUES(1)' rolled its transaction back (UNIQUE",
        ),
        ("sql", ["this is no SQL"], "apsw.SQLError: near"),
        *(
            ("sql", [f"DELETE FROM {table}"], f"may not write to the log's own table '{table}'")
            for table in OWN_TABLES
        ),
        *(
            ("sql", [f"INSERT INTO {table} DEFAULT VALUES"], "may not write to the log's own table")
            for table in OWN_TABLES
        ),
        ("sql", ["DROP TABLE entries"], "may not make or change the log's own table 'entries'"),
        ("sql", ["DROP VIEW events"], "may not make or change the log's own view 'events'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_call_that_is_rejected_says_why_and_costs_nothing_else(
    log_of_module: AuditLog, name: str, params: Any, said: str
) -> None:
    log = log_of_module
    before = log.record("before.call", sync=True)
    with pytest.raises(Rejected, match=re.escape(said)) as caught:
        log.call(name, params)
    assert str(caught.value).startswith(f"the operation '{name}' was rejected: ")
    assert counter(log, "failed") == 0
    assert_the_log_goes_on(log, before.id)


@pytest.fixture(scope="module")
def log_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditLog]:
    """One for all tests that only ask it."""
    here = tmp_path_factory.mktemp("served")
    (here / "operations_of_test.py").write_text(OPERATIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        with (
            hansard_writer.running(here / "log", operations=["operations_of_test"]),
            AuditLog(here / "log") as log,
        ):
            yield log


def test_sql_that_runs_too_long_is_interrupted_in_time_for_the_caller(log: AuditLog) -> None:
    before = log.record("before.call", sync=True)
    begin = time.monotonic()
    with pytest.raises(Rejected, match=r"it ran longer than 1\.\d+ s, and its SQL was interrupted"):
        log.call("slow_sql", timeout=2)
    assert time.monotonic() - begin < 2.1
    assert counter(log, "failed") == 0
    assert_the_log_goes_on(log, before.id)


def test_a_call_that_waited_past_its_deadline_is_not_run(log: AuditLog) -> None:
    with ThreadPoolExecutor(1) as pool:
        nap = pool.submit(log.call, "nap", 1.5)
        wait_until(lambda: not answers_at_once(log), "the writer is napping")
        with pytest.raises(AckTimeout) as caught:
            log.call("increment", "late", timeout=0.3)
        assert nap.result() == 1
    key = caught.value.key
    wait_until(lambda: log.lookup(key).status == "rejected", "the writer has read the call")
    outcome = log.lookup(key)
    assert outcome.reason == "its deadline passed before it could be run; it was not run"
    assert counter(log, "late") == 0


def answers_at_once(log: AuditLog) -> bool:
    try:
        requester.ask(log.directory, wire.pack_stats_request(), 0.1)
    except WriterUnavailable:
        return False
    return True


def test_a_call_that_outlives_its_caller_is_settled_by_lookup(log: AuditLog) -> None:
    with pytest.raises(AckTimeout, match="settle it with lookup") as caught:
        log.call("nap", 0.6, timeout=0.3)
    outcome = log.lookup(caught.value.key, timeout=10)
    assert outcome == ("rejected", None, outcome.reason, caught.value.key)
    assert "ran longer than" in (outcome.reason or "")  # it came to its SQL too late
    assert counter(log, "naps") == 0


# --- the writer ends ---


@pytest.mark.parametrize("how", ["waiting", "holding the GIL"])
def test_the_watchdog_ends_a_writer_whose_operation_hangs_and_nothing_is_lost(
    directory: Path, mortal_writer: MortalWriter, module: str, how: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    mortal_writer.start(operations=[module])
    with AuditLog(directory, ack_timeout=30) as log:
        before = log.record("before.call", sync=True)
        with pytest.raises(AckTimeout) as caught:
            log.call("hang", how, timeout=1.0)
        meanwhile = [log.record("during.hang", {"n": n}) for n in range(100)]
        assert mortal_writer._wait() == 1
        said = capfd.readouterr().err
        assert "Timeout" in said
        assert "operations_of_test.py" in said
        assert "in hang" in said
        mortal_writer.start(operations=[module])
        assert log.lookup(caught.value.key).status == "unknown"
        assert counter(log, "failed") == 0
        assert log.flush(30)
        assert {log.lookup(entry.key).status for entry in meanwhile if entry.key} == {"committed"}
        assert_the_log_goes_on(log, before.id)


def test_a_supervisor_starts_the_writer_again_that_its_watchdog_has_ended(
    directory: Path, module: str
) -> None:
    command = [sys.executable, "-m", "hansard_writer", "serve", "--dir", str(directory)]
    with subprocess.Popen(
        [*command, "--supervise", "--operations", module],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as supervisor:
        assert supervisor.stdout is not None
        try:
            first = supervisor.stdout.readline()
            assert first.startswith("hansard ready ")
            with AuditLog(directory, ack_timeout=60) as log:
                before = log.record("before.call", sync=True)
                with pytest.raises(AckTimeout) as caught:
                    log.call("hang", "waiting", timeout=0.5)
                for number in range(100):
                    log.record("during.hang", {"n": number})
                again = supervisor.stdout.readline()
                assert again.startswith("hansard ready ")
                assert again != first
                assert log.flush()
                rows = query(directory, "SELECT payload ->> 'n' FROM entries WHERE seq > 1")
                assert [row[0] for row in rows] == list(range(100))
                assert log.lookup(caught.value.key).status == "unknown"
                assert_the_log_goes_on(log, before.id)
        finally:
            supervisor.terminate()
            supervisor.wait(30)


@pytest.mark.parametrize("how", ["returns", "raises"])
def test_a_child_that_an_operation_forks_and_forgets_is_no_second_writer(
    directory: Path, log: AuditLog, how: str
) -> None:
    value, child = log.call("fork", how)
    assert value == 1
    stat = Path(f"/proc/{child}/stat")
    wait_until(
        lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z",
        "the child has ended",
    )
    assert log.record("step.done", sync=True).status == "committed"
    assert log.call("increment", "forked") == 2
    assert_log_is_sound(directory)


@pytest.mark.parametrize(("when", "status"), [("before", "unknown"), ("after", "committed")])
def test_a_lookup_settles_a_call_whose_writer_was_killed(
    directory: Path, mortal_writer: MortalWriter, module: str, when: str, status: str
) -> None:
    mortal_writer.start(operations=[module])
    with AuditLog(directory) as log:
        before = log.record("before.call", sync=True)
        key = CallKey(b"k" * 16)
        if when == "before":
            with pytest.raises(AckTimeout, match="ended during the call") as caught:
                log.call("kill", when, timeout=60)
            key = caught.value.key
            mortal_writer._wait()
        else:
            send_without_waiting(log, key)
            wait_until(lambda: counter(log, "killed") == 1, "the call is committed")
            mortal_writer.kill()
        mortal_writer.start(operations=[module])
        outcome = log.lookup(key)
        assert outcome.status == status
        assert counter(log, "killed") == (1 if status == "committed" else 0)
        if status == "committed":
            assert outcome.result == 1
            assert send(log, key)[1] == ["committed", b"\x01"]  # a copy that comes late
        assert counter(log, "killed") == (1 if status == "committed" else 0)
        assert_the_log_goes_on(log, before.id)


def call_of(key: bytes) -> bytes:
    return wire.pack_request(wire.Call(key, "kill", b"\xa5after", time.time_ns() + 10**10))


def send(log: AuditLog, key: bytes) -> tuple[str, object]:
    return requester.ask(log.directory, call_of(key), 10)


def send_without_waiting(log: AuditLog, key: bytes) -> None:
    """As by a caller who is gone when the answer comes."""
    import zmq

    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(f"ipc://{log.directory}/ack.sock")
        socket.send_multipart([b"", call_of(key)])
        socket.linger = 5_000


def test_a_writer_that_is_told_to_stop_finishes_the_call_first(
    directory: Path, mortal_writer: MortalWriter, module: str
) -> None:
    mortal_writer.start(operations=[module])
    with AuditLog(directory) as log, ThreadPoolExecutor(1) as pool:
        nap = pool.submit(log.call, "nap", 1.0)
        wait_until(lambda: not answers_at_once(log), "the writer is napping")
        assert mortal_writer.end(signal.SIGTERM) == 0
        assert nap.result() == 1
        with pytest.raises(WriterUnavailable):
            log.call("increment", "a", timeout=0.2)


# --- starting ---


def test_sqlite3_is_not_loaded_in_a_writer_and_cannot_be(log: AuditLog) -> None:
    assert log.call("modules") == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sqlite3", "a second copy of SQLite in the writer's process would silently drop"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("", "has no operation: mark one with @hansard_writer.operation"),
    ],
)
def test_a_writer_whose_operations_cannot_be_loaded_does_not_start(
    directory: Path, tmp_path: Path, body: str, said: str, run_script: Script
) -> None:
    (tmp_path / "broken_of_test.py").write_text(body)
    program = "from hansard_writer.cli import main; main(prog_name='hansard')"
    process = run_script(program, "serve", "--dir", directory, "--operations", "broken_of_test")
    answer, complaints = process.communicate(timeout=60)
    assert (process.returncode, answer) == (2, "")
    assert said in complaints
    assert "Traceback" not in complaints
    assert not directory.exists()


def test_a_module_that_is_not_there_is_said_by_who_starts_the_writer(directory: Path) -> None:
    with (
        pytest.raises(AuditLogError, match="did not start"),
        hansard_writer.running(directory, operations="no_such_module_of_test"),
    ):
        pass


def test_the_help_tells_of_operations(run_script: Script) -> None:
    program = "from hansard_writer.cli import main; main(prog_name='hansard')"
    answer, _ = run_script(program, "serve", "--help").communicate(timeout=60)
    assert "--operations MODULE" in answer
