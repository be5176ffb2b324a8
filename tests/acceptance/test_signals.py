"""Signals: handlers that record inside record(), and a writer that is ended, stopped, outlived."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from acceptance.conftest import MortalWriter, Script
from hansard import AuditLog
from hansard.directory import a_writer_lives
from support import assert_log_is_sound, count_entries, query, run_worker, wait_until

FROZEN_S = 6.0

PRELUDE = """
import gc, os, signal, sys, threading
from hansard import AuditLog
from hansard.directory import a_writer_lives

log = AuditLog(sys.argv[1])
"""

A_HANDLER_THAT_RECORDS = """
interruptions = 0

def interrupt(number, frame):
    global interruptions
    entry = log.record("signal.caught", {"i": interruptions})
    assert entry.status == "queued"
    interruptions += 1
    signal.setitimer(signal.ITIMER_REAL, 0.00005)

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.00005)
for i in range(20_000):
    log.record("main.event", {"i": i})
while interruptions < 500:
    log.record("main.event", {"i": (i := i + 1)})
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print(i + 1, interruptions, int(log.drain(20)), flush=True)
assert log.close(10) == 0
"""

# Every kind of call is interrupted, and interrupts: none may wait for what it interrupted.
A_HANDLER_THAT_RECORDS_IN_EVERY_WAY = """
interruptions = 0

def interrupt(number, frame):
    global interruptions
    kind = interruptions % 5
    if kind == 0:
        log.record("signal.caught", {"i": interruptions}, sync=True, timeout=0.01)
    else:
        log.record("signal.caught", {"i": interruptions})
    if kind == 1:
        log.flush(0.01)
    elif kind == 2:
        log.statistics(), repr(log)
    interruptions += 1
    signal.setitimer(signal.ITIMER_REAL, 0.0001 + interruptions % 20 / 10_000)

signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.001)
count = 0
while interruptions < 500:
    log.record("main.event", {"i": count})
    log.record("main.event", {"i": count + 1}, sync=True)
    log.record_many([{"event_type": "main.event", "payload": {"i": count + i}} for i in (2, 3)])
    log.flush()
    log.statistics()
    count += 4
signal.signal(signal.SIGALRM, signal.SIG_IGN)
print(count, interruptions, int(log.drain(20)), flush=True)
assert log.close(10) == 0
"""

A_FINALIZER_THAT_RECORDS = """
finalized = 0

class Leaving:
    def __init__(self):
        self.itself = self  # only the collector ends it, wherever it happens to run

    def __del__(self):
        global finalized
        log.record("object.finalized", {"i": finalized})
        finalized += 1

gc.set_threshold(5, 2, 2)
for i in range(5_000):
    Leaving()
    log.record("main.event", {"i": i, "nested": [{}, [{}]]})
    if i % 50 == 0:
        log.record_many([])
        log.flush()
gc.collect()
print(i + 1, finalized, int(log.drain(20)), flush=True)
assert log.close(10) == 0
"""


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize(
    ("program", "second_type"),
    [
        (A_HANDLER_THAT_RECORDS, "signal.caught"),
        (A_HANDLER_THAT_RECORDS_IN_EVERY_WAY, "signal.caught"),
        (A_FINALIZER_THAT_RECORDS, "object.finalized"),
    ],
    ids=["a handler", "a handler, in every way", "a finalizer"],
)
def test_record_inside_record_enters_both_once(
    directory: Path, run_script: Script, program: str, second_type: str
) -> None:
    worker = run_script(PRELUDE + program, directory)
    answer, complaints = worker.communicate(timeout=60)
    assert worker.returncode == 0, complaints
    first, second, drained = map(int, answer.split())
    assert drained
    assert second > 0
    for event_type, count in (("main.event", first), (second_type, second)):
        rows = query(
            directory,
            "SELECT payload ->> 'i' FROM entries WHERE event_type = ? ORDER BY seq",
            (event_type,),
        )
        entered = [row[0] for row in rows]
        assert sorted(entered) == list(range(count)), f"{event_type}: lost or doubled"
        assert entered == sorted(entered), f"{event_type}: out of order"
    assert_log_is_sound(directory)


A_HANDLER_THAT_RAISES = """
class Interruption(Exception):
    pass

def interrupt(number, frame):
    raise Interruption

signal.signal(signal.SIGALRM, interrupt)
returned, interruptions = [], 0
while interruptions < 3_000:
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.00001 + interruptions % 50 / 1_000_000)
        while True:
            i = len(returned) + interruptions
            log.record("main.event", {"i": i})
            returned.append(i)
    except Interruption:
        interruptions += 1
print(*returned, flush=True)
print(log.statistics(), file=sys.stderr)
assert log.drain(20)
assert log.close(10) == 0
"""


@pytest.mark.usefixtures("writer")
def test_a_handler_that_raises_inside_record_costs_no_other_event(
    directory: Path, run_script: Script
) -> None:
    worker = run_script(PRELUDE + A_HANDLER_THAT_RAISES, directory)
    answer, complaints = worker.communicate(timeout=60)
    assert worker.returncode == 0, complaints
    assert "Traceback" not in complaints
    returned = set(map(int, answer.split()))
    entered = [row[0] for row in query(directory, "SELECT payload ->> 'i' FROM entries")]
    assert returned <= set(entered), "record() had returned for them"
    assert_log_is_sound(directory)


# Raises before each line of Spool.append in turn, as a signal's handler might between two steps.
AN_EXCEPTION_AT_EVERY_STEP = """
from hansard.spool import Spool

class Interruption(Exception):
    pass

def raise_at(line):
    def trace(frame, event, _):
        if frame.f_code is not Spool.append.__code__:
            return None if event != "call" else trace
        if event == "line" and frame.f_lineno == line:
            raise Interruption
        return trace
    return trace

lines = sorted({line for *_, line in Spool.append.__code__.co_lines() if line})
returned, interruptions = [], 0
log.record("main.event", {"i": -1})
for i, line in enumerate(lines):
    sys.settrace(raise_at(line))
    try:
        log.record("main.event", {"i": 1_000 + i})
        returned.append(1_000 + i)
    except Interruption:
        interruptions += 1
    finally:
        sys.settrace(None)
    log.record("main.event", {"i": i})
    returned.append(i)
assert interruptions > 5
print(*returned, flush=True)
assert log.drain(10)
assert log.close(10) == 0
"""


@pytest.mark.usefixtures("writer")
def test_an_exception_at_any_step_of_the_spool_costs_no_other_event(
    directory: Path, run_script: Script
) -> None:
    worker = run_script(PRELUDE + AN_EXCEPTION_AT_EVERY_STEP, directory)
    answer, complaints = worker.communicate(timeout=60)
    assert worker.returncode == 0, complaints
    returned = set(map(int, answer.split()))
    entered = [row[0] for row in query(directory, "SELECT payload ->> 'i' FROM entries")]
    assert returned <= set(entered), "record() had returned for them"
    assert len(entered) == len(set(entered)), "entered twice"
    assert_log_is_sound(directory)


RECORDS_UNDER_LOAD = """
import os, sys
from hansard import AuditLog
from hansard.directory import a_writer_lives

# Says which events were acked; goes on until its stdin ends.
log = AuditLog(sys.argv[1], spool_bytes=8 << 20, ack_timeout=30)
import subprocess
import sys
import threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
while not stop.is_set():
    for _ in range(200):
        log.record("load.event", {"note": "x" * 100})
    entry = log.record("load.acked", sync=True, timeout=1)
    if entry.status == "committed":
        print(entry.id, flush=True)
print("recorded", log.statistics()["submitted"], flush=True)
print("left", log.close(0.1), flush=True)
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_writer_that_is_asked_to_end_under_load_exits_with_0_and_keeps_what_it_acked(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, by: signal.Signals
) -> None:
    mortal_writer.start()
    workers = [run_script(RECORDS_UNDER_LOAD, directory) for _ in range(4)]
    acked = []
    for worker in workers:
        assert worker.stdout is not None
        acked += [int(worker.stdout.readline()) for _ in range(3)]
    assert mortal_writer.end(by) == 0
    assert not (directory / "log.db-wal").exists(), "a clean end leaves no WAL"
    committed = count_entries(directory)
    recorded = 0
    for worker in workers:
        answer, complaints = worker.communicate(timeout=30)
        assert worker.returncode == 0, complaints
        *ids, _, submitted, _, _ = answer.split()
        acked += map(int, ids)
        recorded += int(submitted)
    assert len(set(acked)) == len(acked)
    assert max(acked) <= committed
    types = query(directory, "SELECT seq FROM entries WHERE event_type = 'load.acked'")
    assert set(acked) <= {row[0] for row in types}
    assert_log_is_sound(directory)

    mortal_writer.start()
    wait_until(lambda: count_entries(directory) == recorded, "the next writer enters the rest")
    assert_log_is_sound(directory)


def test_a_writer_that_was_stopped_for_seconds_gets_at_most_a_tenth_again(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        for i in range(1_000):
            log.record("task.created", {"i": i})
        assert log.flush(10)
        mortal_writer.freeze()
        for i in range(1_000, 4_000):
            log.record("task.created", {"i": i})
        threading.Event().wait(FROZEN_S)  # the point of the test: a stop of this length
        mortal_writer.thaw()
        assert log.flush(20)
        figures = log.statistics()
    assert figures["resent"] <= 400
    assert figures["writer_restarts"] == 0
    rows = query(directory, "SELECT payload ->> 'i' FROM entries ORDER BY seq")
    assert [row[0] for row in rows] == list(range(4_000))
    assert_log_is_sound(directory)


# A writer with a thread that forks a child, as a user's callback might; the child outlives it.
A_WRITER_WITH_A_CHILD = """
import os, signal, sys, threading
from pathlib import Path
from hansard.settings import load_settings
from hansard_writer.process import serve

directory = Path(sys.argv[1])
asked = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: asked.set())

def fork():
    asked.wait()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdin.read()  # as long as the test likes
        os._exit(0)
    print(child, flush=True)

threading.Thread(target=fork, daemon=True).start()
serve(directory, load_settings(directory), lambda line: print("ready", flush=True))
"""


def test_a_child_that_outlives_its_writer_keeps_nobody_out(
    directory: Path, mortal_writer: MortalWriter
) -> None:
    first = run_worker(A_WRITER_WITH_A_CHILD, directory)
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    child = 0
    try:
        with AuditLog(directory) as log:
            assert log.record("task.created", sync=True).status == "committed"
            first.send_signal(signal.SIGUSR1)
            child = int(first.stdout.readline())
            first.kill()
            first.wait(20)
            for _ in range(100):
                log.record("task.created")
            mortal_writer.start()
            assert log.flush(15), "the producer must find the new writer"
            entry = log.record("task.done", sync=True)
            assert (entry.status, entry.id) == ("committed", 102)
            os.kill(child, 0)  # it is still there
    finally:
        if child:
            os.kill(child, signal.SIGKILL)
        first.communicate()
    assert_log_is_sound(directory)


def test_the_writer_loads_no_second_sqlite(directory: Path, mortal_writer: MortalWriter) -> None:
    mortal_writer.start()
    with AuditLog(directory) as log:
        entry = log.record("task.created", sync=True)
        assert entry.key is not None
        assert log.lookup(entry.key).id == 1
    maps = Path(f"/proc/{mortal_writer.pid}/maps").read_text()
    assert "apsw" in maps
    assert "_sqlite3" not in maps
    assert "libsqlite3" not in maps


BULK_WORKER = """
import sys
from hansard import AuditLog
from hansard.directory import a_writer_lives

log = AuditLog(sys.argv[1])
for _ in range(20_000):
    log.record("bulk.event", {"note": "x" * 100})
print("recorded", flush=True)
sys.stdin.read()
"""


def test_workers_killed_while_the_writer_cannot_commit_leave_it_alive(
    directory: Path, mortal_writer: MortalWriter, run_script: Script
) -> None:
    mortal_writer.start()
    intruder = apsw.Connection(str(directory / "log.db"))
    intruder.set_busy_timeout(5_000)
    try:
        with AuditLog(directory) as log:
            assert log.record("task.created", sync=True).id == 1
            intruder.execute("BEGIN IMMEDIATE")  # now nothing is read, and the pipes fill up
            workers = [run_script(BULK_WORKER, directory) for _ in range(4)]
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == "recorded\n"
            threading.Event().wait(1)  # for frames to fill the pipes: nobody says when
            for worker in workers:
                worker.kill()
            threading.Event().wait(6)  # longer than any heartbeat's interval
            intruder.execute("ROLLBACK")
            assert log.record("task.done", sync=True).status == "committed"
            wait_until(lambda: count_entries(directory) == 80_002, "all events are entered")
    finally:
        intruder.close()
    assert mortal_writer.end() == 0
    assert_log_is_sound(directory)


def test_a_writer_that_a_killed_process_ran_for_a_while_ends_too(directory: Path) -> None:
    program = (
        "import sys, time; from hansard_writer import running\n"
        "with running(sys.argv[1], log_level='error'): print('ready', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as runner:
        assert runner.stdout
        assert runner.stdout.readline() == b"ready\n"
        assert a_writer_lives(directory)
        runner.kill()
        wait_until(lambda: not a_writer_lives(directory), "the writer has ended")
