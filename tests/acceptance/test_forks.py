"""Forks of every kind: each child is a producer of its own, and nobody hangs or loses anything."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from acceptance.conftest import MortalWriter, Script
from support import assert_log_is_sound, count_entries, query, wait_until

CHILDREN = 4
EACH = 200
REQUESTS = 60

# Each program is run as a file of its own. `record_some(name)` is what its processes do; all of
# them together record what the program prints: one name a line.
PRELUDE = f"""
import concurrent.futures, multiprocessing, os, signal, sys, threading
from hansard import AuditLog

log = AuditLog(sys.argv[1])

def record_some(name):
    for i in range({EACH}):
        log.record("task.created", {{"name": name, "i": i}}, task_id=f"{{name}}/{{i}}")
    return name

def wait_for(children):
    for child in children:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def fork(name, do=record_some):
    child = os.fork()
    if child == 0:
        do(name)
        sys.exit(0)
    return child

NAMES = [f"child-{{i}}" for i in range({CHILDREN})]
"""

FORK = """
record_some("before")
wait_for([fork(name) for name in NAMES])
record_some("after")
print("before", "after", *NAMES)
"""

FORK_BEFORE_USE = """
wait_for([fork(name) for name in NAMES])
print(*NAMES)
"""

FORK_WHILE_ANOTHER_THREAD_RECORDS = """
stop = threading.Event()
rounds = []

def record_on():
    while not stop.is_set():
        rounds.append(record_some(f"thread-{len(rounds)}"))

thread = threading.Thread(target=record_on)
thread.start()
wait_for([fork(name) for name in NAMES])
wait_for([fork(name) for name in [f"later-{i}" for i in range(10)]])
stop.set()
thread.join()
print(*NAMES, *[f"later-{i}" for i in range(10)], *rounds)
"""

GRANDCHILDREN = """
def child(name):
    record_some(name)
    wait_for([fork(f"{name}.{i}") for i in range(2)])
    record_some(f"{name}.after")

wait_for([fork(name, child) for name in NAMES])
print(*NAMES, *[f"{name}.{end}" for name in NAMES for end in (0, 1, "after")])
"""

A_CHILD_THAT_DOES_NOTHING = """
record_some("before")
wait_for([fork(name, lambda name: None) for name in NAMES])
record_some("after")
print("before", "after")
"""

A_CHILD_THAT_CLOSES_THE_LOG = """
record_some("before")
wait_for([fork(name, lambda name: log.close()) for name in NAMES])
record_some("after")
print("before", "after")
"""

A_CHILD_THAT_ENDS_WITHOUT_HOOKS = """
def child(name):
    record_some(name)
    os._exit(0)

wait_for([fork(name, child) for name in NAMES])
print(*NAMES)
"""

A_FORK_INSIDE_A_SIGNAL_HANDLER = """
children = []

def child(name):
    record_some(name)
    log.close()
    os._exit(0)

def fork_one(*_):
    children.append(fork(NAMES[len(children)], child))
    if len(children) < len(NAMES):
        signal.setitimer(signal.ITIMER_REAL, 0.003)

signal.signal(signal.SIGALRM, fork_one)
signal.setitimer(signal.ITIMER_REAL, 0.003)
rounds = []
while len(children) < len(NAMES):
    rounds.append(record_some(f"parent-{len(rounds)}"))
wait_for(children)
print(*NAMES, *rounds)
"""

PROCESSES = """
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    record_some("before")
    children = [context.Process(target=record_some, args=(name,)) for name in NAMES]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    print("before", *NAMES)
"""

POOL = """
if __name__ == "__main__":
    record_some("before")
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print("before", *pool.map(record_some, NAMES))
        pool.close()
        pool.join()
"""

TERMINATED_POOL = """
if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[2]).Pool(2) as pool:
        print(*pool.map(record_some, NAMES))
"""

EXECUTOR = """
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as executor:
        print(*executor.map(record_some, NAMES))
"""

THREADS = """
threads = [threading.Thread(target=record_some, args=(name,)) for name in NAMES]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*NAMES)
"""

A_THREAD_THAT_IS_NOT_JOINED = """
threading.Thread(target=record_some, args=("thread",)).start()
print("thread")
"""


def assert_all_are_entered_once(directory: Path, names: list[str]) -> None:
    """Every event of every name is in the log, each once, in order."""
    expected = {f"{name}/{i}" for name in names for i in range(EACH)}
    assert expected
    wait_until(lambda: count_entries(directory) >= len(expected), "all events are entered")
    entered = Counter(row[0] for row in query(directory, "SELECT task_id FROM entries"))
    assert set(entered) == expected
    assert entered.total() == len(expected), "entered twice"
    assert_log_is_sound(directory)


@pytest.mark.parametrize("served", [True, False], ids=["served", "unserved"])
@pytest.mark.parametrize(
    "program",
    [
        FORK,
        FORK_BEFORE_USE,
        FORK_WHILE_ANOTHER_THREAD_RECORDS,
        GRANDCHILDREN,
        A_CHILD_THAT_DOES_NOTHING,
        A_CHILD_THAT_CLOSES_THE_LOG,
        A_CHILD_THAT_ENDS_WITHOUT_HOOKS,
        A_FORK_INSIDE_A_SIGNAL_HANDLER,
        THREADS,
        A_THREAD_THAT_IS_NOT_JOINED,
    ],
    ids=[
        "fork",
        "fork before use",
        "fork while another thread records",
        "grandchildren",
        "a child that does nothing",
        "a child that closes the log",
        "a child that ends without hooks",
        "a fork inside a signal handler",
        "threads",
        "a thread that is not joined",
    ],
)
def test_all_events_of_a_family_of_processes_are_entered_once(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, program: str, served: bool
) -> None:
    if served:
        mortal_writer.start()
    family = run_script(PRELUDE + program, directory)
    names, complaints = family.communicate(timeout=20)
    assert family.returncode == 0, complaints
    assert "Traceback" not in complaints
    if not served:
        mortal_writer.start()
    assert_all_are_entered_once(directory, names.split())


@pytest.mark.usefixtures("writer")
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    "program",
    [PROCESSES, POOL, TERMINATED_POOL, EXECUTOR],
    ids=["Process", "Pool", "terminated Pool", "ProcessPoolExecutor"],
)
def test_all_events_of_multiprocessing_are_entered_once(
    directory: Path, run_script: Script, program: str, method: str
) -> None:
    family = run_script(PRELUDE + program, directory, method)
    names, complaints = family.communicate(timeout=30)
    assert family.returncode == 0, complaints
    assert "Traceback" not in complaints
    assert_all_are_entered_once(directory, names.split())


THE_PARENT_DIES_AND_ITS_CHILD_LIVES = """
record_some("parent")
child = fork("child", lambda name: sys.stdin.read())
print("parent", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""

THE_CHILD_IS_FORKED_WHILE_THE_SPOOL_IS_MADE = """
making, forked = threading.Event(), threading.Event()
posix_fallocate = os.posix_fallocate

def allocate_slowly(*arguments):
    posix_fallocate(*arguments)
    making.set()
    forked.wait(0.5)  # in vain, where a fork waits for the spool to be whole

os.posix_fallocate = allocate_slowly
thread = threading.Thread(target=record_some, args=("parent",))
thread.start()
assert making.wait(10)
child = fork("child", lambda name: sys.stdin.read())
forked.set()
thread.join()
print("parent", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "program",
    [THE_PARENT_DIES_AND_ITS_CHILD_LIVES, THE_CHILD_IS_FORKED_WHILE_THE_SPOOL_IS_MADE],
    ids=["forked after the first event", "forked while the spool is made"],
)
def test_a_dead_parents_spool_is_entered_while_its_child_lives(
    directory: Path, mortal_writer: MortalWriter, run_script: Script, program: str
) -> None:
    parent = run_script(PRELUDE + program, directory)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "parent\n"
    assert parent.wait(20) == -signal.SIGKILL
    mortal_writer.start()
    wait_until(
        lambda: count_entries(directory) == EACH, "the parent's events are entered", timeout=10
    )
    assert_all_are_entered_once(directory, ["parent"])


GUNICORN_APP = """
import os
from hansard import AuditLog

log = AuditLog(os.environ["LOG_DIRECTORY"])
log.record("app.loaded", task_id="loaded")

def app(environ, start_response):
    log.record("request", {"pid": os.getpid()}, task_id=environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
"""


@pytest.fixture
def gunicorn(directory: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A pre-forking server that has loaded the app, and its log, before it forked."""
    (tmp_path / "audited_app.py").write_text(GUNICORN_APP)
    address = tmp_path / "web.sock"
    options = f"--preload --workers 2 --chdir {tmp_path} --bind unix:{address} --log-level warning"
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options.split(), "audited_app:app"],
        env={**os.environ, "LOG_DIRECTORY": str(directory)},
    )
    yield server, address
    if server.poll() is None:
        server.kill()
    server.wait(20)


def ask(address: Path, path: str) -> str:
    """GET ``path`` from a server on a unix socket."""
    connection = http.client.HTTPConnection("localhost", timeout=20)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(20)
    try:
        connection.sock.connect(str(address))
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def listens(address: Path) -> bool:
    """Whether a connection is accepted: the socket has its name before it listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(address)) == 0


@pytest.mark.usefixtures("writer")
def test_each_request_to_a_preforking_server_is_entered_once(
    directory: Path, gunicorn: tuple[subprocess.Popen[bytes], Path]
) -> None:
    server, address = gunicorn
    wait_until(lambda: listens(address), "gunicorn listens")
    paths = [f"/{i}" for i in range(REQUESTS)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: ask(address, path), paths))
    server.send_signal(signal.SIGTERM)
    assert server.wait(10) == 0
    wait_until(lambda: count_entries(directory) >= REQUESTS + 1, "all requests are entered")
    rows = query(directory, "SELECT task_id, payload ->> 'pid' FROM entries ORDER BY seq")
    assert sorted(rows[1:]) == sorted(
        (path, int(pid)) for path, pid in zip(paths, answers, strict=True)
    )
    assert rows[0] == ("loaded", None)
    assert_log_is_sound(directory)
