"""Workers on other hosts: real processes, real keys, a network that is cut."""

import json
import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hansard
from acceptance.conftest import MortalWriter, Script
from hansard.curve import new_keys
from hansard_writer.remote.allow_list import changing
from other_hosts import LOOPBACK, Network, allow, free_ports, host, keep_keys
from support import assert_log_is_sound, query, wait_until

CUT_S = 3.0
PATIENCE_S = 30.0

WORKER = """
import asyncio, os, sys, hansard

directory, name, events = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = hansard.AuditLog(directory, ack_timeout=60)
for n in range(1, events + 1):
    log.record("load.event", {"w": name, "n": n}, sync=n % 50 == 0)

async def more():
    for n in range(events + 1, events + 21):
        await log.arecord("load.event", {"w": name, "n": n}, sync=True)

asyncio.run(more())
assert log.flush(60), log.statistics()
print(log.close(), flush=True)
"""

STEADY = """
import sys, time, hansard

log = hansard.AuditLog(sys.argv[1], ack_timeout=60)
n = 0
print("ready", flush=True)
import select
while not select.select([sys.stdin], [], [], 0.002)[0]:
    n += 1
    log.record("load.event", {"w": sys.argv[2], "n": n}, sync=n % 100 == 0)
assert log.flush(60), log.statistics()
print(n, flush=True)
log.close()
"""

LEAVES = """
import os, signal, sys, time, hansard

log = hansard.AuditLog(sys.argv[1], server_key=sys.argv[3] or None)
for n in range(1, int(sys.argv[2]) + 1):
    log.record("load.event", {"w": "dead", "n": n})
os.kill(os.getpid(), signal.SIGKILL)
"""


class Served:
    """A writer that serves other hosts, and a network to it."""

    def __init__(self, writer: MortalWriter) -> None:
        self.writer = writer
        self.directory = writer.directory
        self.port = free_ports()
        self.server_key = keep_keys(self.directory).public
        self._hosts = self.directory.parent
        allow(self.directory, "somebody", new_keys().public)  # or it would not listen
        self.start()
        self.network = Network(self.port)

    def start(self) -> None:
        self.writer.start(tcp=f"tcp://{LOOPBACK}:{self.port}")

    def host(self, name: str = "web-1", *, is_allowed: bool = True) -> Path:
        """The directory of a host whose workers come through the network."""
        directory = self._hosts / name
        keys = host(directory, self.network.port, self.server_key)
        if is_allowed:
            allow(self.directory, name, keys.public)
        return directory

    def entered(self, worker: str) -> list[int]:
        return [
            row[0]
            for row in query(
                self.directory,
                "SELECT payload ->> 'n' FROM entries WHERE payload ->> 'w' = ? ORDER BY seq",
                (worker,),
            )
        ]


@pytest.fixture
def served(mortal_writer: MortalWriter) -> Iterator[Served]:
    served = Served(mortal_writer)
    yield served
    served.network.close()


def spools(directory: Path) -> list[Path]:
    return sorted((directory / "spool").iterdir())


def result_of(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    return out


def left_behind(served: Served, directory: Path, run_script: Script, events: int) -> None:
    """The spool of a worker that was killed before it could send anything."""
    dead = run_script(LEAVES, directory, events, new_keys().public)
    assert dead.wait(30) == -signal.SIGKILL
    assert len(spools(directory)) == 1


def test_workers_of_two_hosts_record_into_one_log(served: Served, run_script: Script) -> None:
    hosts = served.host("web-1"), served.host("web-2")
    workers = [
        run_script(WORKER, directory, f"{directory.name}-{number}", 500)
        for directory in hosts
        for number in (1, 2)
    ]
    assert [result_of(worker) for worker in workers] == ["0\n"] * 4
    for directory in hosts:
        for number in (1, 2):
            assert served.entered(f"{directory.name}-{number}") == list(range(1, 521))
        assert spools(directory) == []
    assert_log_is_sound(served.directory)


@pytest.mark.parametrize("events", [1, 3_000])
def test_what_a_killed_worker_left_is_sent_by_the_next_of_its_host(
    served: Served, run_script: Script, events: int
) -> None:
    directory = served.host()
    left_behind(served, directory, run_script, events)
    with hansard.AuditLog(directory, close_timeout=PATIENCE_S) as log:
        assert log.record("next.event", sync=True).status == "committed"
    assert served.entered("dead") == list(range(1, events + 1))
    assert spools(directory) == []
    assert_log_is_sound(served.directory)


def test_one_command_is_enough_to_send_what_was_left(served: Served, run_script: Script) -> None:
    directory = served.host()
    left_behind(served, directory, run_script, 20)
    done = command("record", "next.event", "--dir", directory)
    assert done.returncode == 0, done.stderr
    assert served.entered("dead") == list(range(1, 21))
    assert spools(directory) == []


def test_a_spool_is_sent_once_by_however_many(served: Served, run_script: Script) -> None:
    directory = served.host()
    left_behind(served, directory, run_script, 2_000)
    workers = [run_script(WORKER, directory, f"w{number}", 50) for number in range(4)]
    assert [result_of(worker) for worker in workers] == ["0\n"] * 4
    with hansard.AuditLog(directory, close_timeout=PATIENCE_S) as log:
        log.record("next.event", sync=True)
    assert served.entered("dead") == list(range(1, 2_001))
    assert_log_is_sound(served.directory)


def test_a_writer_that_is_killed_and_started_again_gets_everything_once(
    served: Served, run_script: Script
) -> None:
    worker = run_script(STEADY, served.host(), "w")
    assert worker.stdout is not None
    worker.stdout.readline()
    for _ in range(2):
        before = len(served.entered("w"))
        wait_until(lambda: len(served.entered("w")) > before, "it records")  # noqa: B023
        served.writer.kill()
        served.start()
    before = len(served.entered("w"))
    wait_until(lambda: len(served.entered("w")) > before, "it goes on")
    recorded = int(result_of(worker))
    assert served.entered("w") == list(range(1, recorded + 1))


@pytest.mark.parametrize("forgets", [False, True], ids=["", "and connections are forgotten"])
def test_a_cut_loses_and_doubles_nothing(
    served: Served, run_script: Script, *, forgets: bool
) -> None:
    worker = run_script(STEADY, served.host(), "w")
    assert worker.stdout is not None
    worker.stdout.readline()
    wait_until(lambda: served.entered("w"), "it records")
    served.network.cut()
    time.sleep(CUT_S)  # what is tested is how long it is
    before = len(served.entered("w"))
    served.network.mend(forgets=forgets)
    mended_at = time.monotonic()
    wait_until(lambda: len(served.entered("w")) > before, "it goes on")
    assert time.monotonic() - mended_at < 8
    recorded = int(result_of(worker))
    assert served.entered("w") == list(range(1, recorded + 1))
    assert_log_is_sound(served.directory)


def test_connections_that_are_reset_are_made_again(served: Served, run_script: Script) -> None:
    worker = run_script(STEADY, served.host(), "w")
    assert worker.stdout is not None
    worker.stdout.readline()
    for _ in range(5):
        before = len(served.entered("w"))
        wait_until(lambda: len(served.entered("w")) > before, "it records")  # noqa: B023
        served.network.reset()
    recorded = int(result_of(worker))
    assert served.entered("w") == list(range(1, recorded + 1))


def _no_key(served: Served) -> Path:
    directory = served.host()
    (directory / "curve.key").unlink()
    return directory


def _not_allowed(served: Served) -> Path:
    return served.host(is_allowed=False)


def _wrong_server_key(served: Served) -> Path:
    directory = served.host()
    text = (directory / "hansard.toml").read_text()
    (directory / "hansard.toml").write_text(text.replace(served.server_key, new_keys().public))
    return directory


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (_no_key, "curve.key is missing: make this directory's keys with `hansard keys new"),
        (_not_allowed, "it refuses the key of .*hansard keys allow '"),
        (_wrong_server_key, "see that server_key is that writer's public key"),
    ],
)
def test_who_is_not_let_in_is_told_why_and_is_not_hurt(
    served: Served, caplog: pytest.LogCaptureFixture, wrong: Any, said: str
) -> None:
    directory = wrong(served)
    log = hansard.AuditLog(directory)
    with caplog.at_level(logging.WARNING, "hansard"):
        assert log.record("some.event").status == "queued"
        wait_until(lambda: "nothing can be told to the writer at tcp://" in caplog.text, "it warns")
        assert log.record("some.event", sync=True, timeout=0.1).status == "unknown"
    assert log.close(timeout=0) == 2
    text = " ".join(record.getMessage() for record in caplog.records)
    assert re.search(said, text), text
    with (
        hansard.AuditLog(directory, best_effort=False) as strict,
        pytest.raises((hansard.WriterUnavailable, hansard.ConfigError), match=said),
    ):
        strict.call("some.thing", timeout=2)
    done = command("stats", "--dir", directory, "--timeout", "1")
    assert done.returncode in {2, 3}
    assert re.search(said, done.stderr), done.stderr


def test_a_key_that_goes_by_another_name_is_told_what_to_do(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    directory = served.host("web-1")
    log = hansard.AuditLog(directory)
    assert log.record("some.event", sync=True).status == "committed"
    with changing(served.directory) as clients:
        clients[:] = [each._replace(name=each.name.replace("web-1", "web-2")) for each in clients]
    caplog.set_level(logging.WARNING, "hansard")

    def is_told_at_the_call() -> bool:
        log.record("some.event", sync=True, timeout=0.2)
        unanswered = [each for each in caplog.messages if each.startswith("no writer answers")]
        assert all("allow it under that name again" in each for each in unanswered)
        return bool(unanswered)

    wait_until(is_told_at_the_call, "the new name holds")
    assert log.close(timeout=0) > 0


def test_a_port_for_frames_that_is_shut_is_told(
    served: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["hansard.sender"], "UNSERVED_WARNING_S", 0.5)
    directory = served.host()
    served.network.shut_frames()
    with hansard.AuditLog(directory, close_timeout=0) as log:
        log.record("some.event")
        wait_until(lambda: "reach the port behind that of connect, too" in caplog.text, "it warns")
        assert log.statistics()["waiting"] == 1


def test_who_is_allowed_later_is_let_in(served: Served) -> None:
    directory = served.host(is_allowed=False)
    with hansard.AuditLog(directory) as log:
        log.record("some.event")
        wait_until(lambda: log._sender.refusal, "it is refused")
        public = keep_keys(directory).public
        allow(served.directory, "web-1", public)
        assert log.flush(PATIENCE_S)


def test_commands_ask_the_writer_that_the_directory_names(served: Served) -> None:
    directory = served.host()
    done = command("record", "some.event", '{"n": 7}', "--dir", directory)
    assert done.returncode == 0, done.stderr
    seq = int(done.stdout)
    done = command("stats", "--format", "json", "--dir", directory)
    assert json.loads(done.stdout)["entries"] >= 1
    done = command("redact", "--seq", seq, "--reason", "a test", "--dir", directory)
    assert done.returncode == 0, done.stderr
    assert query(served.directory, f"SELECT payload FROM entries WHERE seq = {seq}") == [(None,)]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hansard_writer", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
