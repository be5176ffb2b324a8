"""``hansard ship`` to PostgreSQL: the real command, a real server, and what befalls the two. Each
entry is there once, in order, and verifies there."""

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import hansard_writer
from hansard import AuditLog
from postgresql_server import PostgresqlServer, postgresql_server
from shipped import in_log, in_postgresql, rows
from support import count_entries, query, wait_until
from tcp_forwarder import TcpForwarder

LOGS = 3
PASSWORD = "hushhush"
FULL = (
    """
    CREATE FUNCTION hansard.is_full() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END $$
    """,
    """
    CREATE TRIGGER full_for_now AFTER INSERT ON hansard.entries FOR EACH ROW
    WHEN (NEW.seq % 7 = 0) EXECUTE FUNCTION hansard.is_full()
    """,
)

# Kills itself at the n-th call of a step of the target.
IS_KILLED = """
import os, sys
from hansard_writer.cli import main
from hansard_writer.shipping.postgresql import target

name, left, is_behind = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "behind"
step = getattr(target.PostgresqlTarget, name)

def killing(*arguments, **options):
    global left
    left -= 1
    if left < 0 and not is_behind:
        os.kill(os.getpid(), 9)
    done = step(*arguments, **options)
    if left < 0:
        os.kill(os.getpid(), 9)
    return done

setattr(target.PostgresqlTarget, name, killing)
from hansard_writer.shipping import delivery, log_source
from functools import partial
delivery.LogSource = partial(log_source.LogSource, entries_max=200)
main(["ship", "--once", *sys.argv[4:]])
"""


def hansard(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hansard_writer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def origin_of(directory: Path) -> str:
    return str(query(directory, "SELECT max(origin) FROM checkpoints")[0][0])


def assert_shipped(directory: Path, url: str) -> None:
    """All that is in the log is there, once and in order."""
    done = hansard("ship", "--once", "--dir", directory, url)
    assert done.returncode == 0, done.stderr
    assert in_postgresql(url, origin_of(directory)) == in_log(directory)


def assert_verifies_there(url: str, directories: list[Path]) -> None:
    keys = itertools.chain.from_iterable(("--key", each / "writer.pub") for each in directories)
    done = hansard("verify", url, *keys)
    assert done.returncode == 0, done.stdout + done.stderr


class Shipper:
    """The command, started again whenever it has ended, as a service manager would."""

    def __init__(self, directory: Path, url: str, said: Path) -> None:
        self.directory = directory
        self._command = [sys.executable, "-m", "hansard_writer", "ship", "--dir", str(directory),
                         "--partitions", "4", url]  # fmt: skip
        self._said = said
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(self._command, stdout=said, stderr=said)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        assert self._process.wait(10) == -signal.SIGKILL, self._said.read_text()
        self._process = None

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            assert self._process.wait(30) == 0, self._said.read_text()
            self._process = None


@contextlib.contextmanager
def recording(directories: list[Path]) -> Iterator[None]:
    """Within, a few thousand events a second go into each of the logs."""
    stop = threading.Event()

    def record(directory: Path) -> None:
        with AuditLog(directory) as log:
            for number in itertools.count():
                log.record("app.worked", {"n": number, "text": "x" * 150}, task_id=f"T{number % 7}")
                if number % 50 == 0 and stop.wait(0.01):
                    break
            assert log.flush(20)

    threads = [threading.Thread(target=record, args=(each,)) for each in directories]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        stop.set()
        for each in threads:
            each.join()


@pytest.fixture
def own_server() -> Iterator[PostgresqlServer]:
    """One that the test may stop and kill."""
    with postgresql_server() as server:
        yield server


def test_three_logs_arrive_once_and_in_order_whatever_befalls(
    tmp_path: Path, own_server: PostgresqlServer
) -> None:
    server = own_server
    directories = [tmp_path / f"log{number}" for number in range(LOGS)]
    local = server.new_database()
    name = local.split("/")[3].split("?")[0]
    with server.connected(local) as connection:
        connection.execute(f"CREATE ROLE audit LOGIN PASSWORD '{PASSWORD}'")
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO audit")
    with contextlib.ExitStack() as stack:
        for each in directories:
            stack.enter_context(hansard_writer.running(each, log_level="warning"))
        forwarder = stack.enter_context(TcpForwarder(server.port))
        url = server.tcp_url(name, "audit", PASSWORD, forwarder.port)
        shippers = [
            Shipper(each, url, tmp_path / f"said{number}")
            for number, each in enumerate(directories)
        ]
        for each in shippers:
            stack.callback(each.end)

        def gets_on(why: str) -> None:
            """Each log has more there than it had before."""
            now = sizes(local)
            wait_until(
                lambda: (
                    len(after := sizes(local)) == LOGS
                    and all(after[origin] > now.get(origin, 0) for origin in after)
                ),
                f"shipping goes on {why}",
            )

        with recording(directories):
            gets_on("at the start")
            for each in shippers:
                each.kill()
                each.start()
            gets_on("behind killed shippers")
            for count in (10, 30_000, 200_000):
                forwarder.cut_behind(count)
                wait_until(lambda: not forwarder.is_to_cut, "the connections are cut")
            gets_on("behind cut connections")
            for statement in FULL:
                rows(local, statement)
            wait_until(
                lambda: all("no room (53100)" in said(tmp_path, at) for at in range(LOGS)),
                "each shipper says that there is no room",
            )
            rows(local, "DROP TRIGGER full_for_now ON hansard.entries")
            gets_on("when there is room again")
            server.kill()
            server.start()
            gets_on("behind a crash of the server")
            os.kill(a_backend(local), signal.SIGKILL)  # which crashes all the others
            gets_on("behind a backend that was killed")
            server.stop()
            shippers[0].kill()
            server.start()
            shippers[0].start()
            gets_on("behind a restart")
    for each in directories:
        assert_shipped(each, local)
        assert count_entries(each) > 1_000
    assert_verifies_there(local, directories)
    for number, each in enumerate(directories):
        assert PASSWORD not in said(tmp_path, number)
        for state in (each / "shipping").iterdir():
            assert PASSWORD not in state.read_text()


def said(place: Path, number: int) -> str:
    return (place / f"said{number}").read_text()


def sizes(url: str) -> dict[str, int]:
    """How much is there of which log; nothing while the server does not answer."""
    with contextlib.suppress(psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return dict(rows(url, "SELECT origin, size FROM hansard.origins WHERE size > 0"))
    return {}


def a_backend(url: str) -> int:
    ((pid,),) = rows(
        url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'hansard ship' LIMIT 1"
    )
    return int(pid)


def test_a_shipper_killed_at_any_step_leaves_nothing_lost_or_doubled(
    directory: Path, writer: hansard_writer.RunningWriter, database: str
) -> None:
    with AuditLog(directory) as log:
        for number in range(1_500):
            log.record("app.worked", {"n": number})
        log.flush(10)
    for step, left, where in (
        ("edge", 0, "behind"), ("_producers", 0, "behind"), ("_copy", 1, "before"),
        ("_copy", 1, "behind"), ("_redact", 1, "behind"), ("append", 1, "behind"),
    ):  # fmt: skip
        command = [sys.executable, "-c", IS_KILLED, step, str(left), where, "--dir", str(directory)]
        done = subprocess.run([*command, database], capture_output=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert 0 < sum(sizes(database).values()) < 1_500
    assert_shipped(directory, database)
    assert_verifies_there(database, [directory])


def test_redactions_and_prunes_of_the_log_follow_while_it_is_shipped(
    directory: Path, writer: hansard_writer.RunningWriter, database: str, tmp_path: Path
) -> None:
    shipper = Shipper(directory, database, tmp_path / "said")
    try:
        with AuditLog(directory) as log:
            old = [
                {"event_type": "old", "created_at": 10**18, "payload": {"n": n}} for n in range(9)
            ]
            log.record_many(old)
            secret = log.record("app.login", {"password": "hushhush"}, sync=True)
            origin = wait_until(lambda: next(iter(sizes(database)), None), "something is shipped")
            wait_until(lambda: sizes(database)[origin] >= secret.id, "the secret is shipped")
            words = ("--reason", "r", "--seq", secret.id)
            assert hansard("redact", "--dir", directory, *words).returncode == 0
            wait_until(
                lambda: "hushhush" not in str(in_postgresql(database, origin)),
                "the secret is gone there",
            )
            pruned = hansard("prune", "--dir", directory, "--before", "2002-01-01")
            assert pruned.returncode == 0, pruned.stderr
            wait_until(
                lambda: rows(database, "SELECT min(seq) FROM hansard.entries") == [(10,)],
                "the old ones are gone there",
            )
    finally:
        shipper.end()
    assert_shipped(directory, database)
    assert_verifies_there(database, [directory])


def test_a_second_shipper_and_a_wrong_password_are_told_from_each_other(
    directory: Path,
    writer: hansard_writer.RunningWriter,
    database: str,
    postgresql: PostgresqlServer,
    tmp_path: Path,
) -> None:
    with AuditLog(directory) as log:
        log.record("app.worked", sync=True)
    shipper = Shipper(directory, database, tmp_path / "said")
    try:
        wait_until(lambda: sizes(database), "something is shipped")
        same = hansard("ship", "--once", "--dir", directory, database)
        assert same.returncode == 4, same.stderr
        other_name = hansard("ship", "--once", "--dir", directory, f"{database}&application_name=x")
        assert other_name.returncode == 4, other_name.stderr
        assert "pg_terminate_backend" in other_name.stderr
    finally:
        shipper.end()
    wrong = postgresql.tcp_url("postgres", "postgres", PASSWORD)
    refused = hansard("ship", "--once", "--dir", directory, wrong)
    assert refused.returncode == 1
    assert "password authentication failed" in refused.stderr
    assert PASSWORD not in refused.stderr + refused.stdout
