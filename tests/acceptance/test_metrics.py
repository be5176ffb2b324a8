"""`hansard serve --metrics` of a real writer: what it counts is what was recorded, whatever happens
to it; and it disturbs nobody."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

import hansard
from hansard_writer.running_writer import RunningWriter, running
from stepped import write_lock_taken
from supervised import SERVE, Start
from support import count_entries, run_worker, wait_until

RECORDER = """
import sys, hansard
with hansard.AuditLog(sys.argv[1]) as log:
    for number in range(int(sys.argv[2])):
        log.record(f"load.{number % 3}", {"n": number}, level="warning" if number % 5 else "error")
    assert log.flush(60)
"""
EVENTS = 3_000
EXAMPLE = Path(__file__).parents[2] / "scripts" / "examples" / "deploy_check.py"


class Page:
    """The pages of one writer, by its ready line."""

    def __init__(self, ready_line: str) -> None:
        self.url = next(
            word.partition("=")[2] for word in ready_line.split() if word.startswith("metrics=")
        )
        self.place = urlsplit(self.url)

    def get(self, path: str = "/metrics") -> tuple[int, str]:
        assert self.place.hostname
        client = http.client.HTTPConnection(self.place.hostname, self.place.port, timeout=20)
        with contextlib.closing(client):
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read().decode()

    def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        """By name and the values of the labels."""
        status, text = self.get()
        assert status == 200
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, *labels: str) -> float:
        return self.samples().get((f"hansard_{name}", labels), 0.0)

    def connect(self) -> socket.socket:
        return socket.create_connection((self.place.hostname, self.place.port), timeout=10)


@pytest.fixture
def measured(directory: Path, tmp_path: Path) -> Iterator[tuple[RunningWriter, Page]]:
    with running(directory, metrics=":0") as writer:
        yield writer, Page(writer.ready_line)


def test_what_is_counted_under_load_is_what_was_recorded_and_never_falls(
    directory: Path, measured: tuple[RunningWriter, Page]
) -> None:
    _, page = measured
    workers = [run_worker(RECORDER, directory, EVENTS) for _ in range(2)]
    before = page.samples()
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_bucket"))]
    while any(worker.poll() is None for worker in workers):
        now = page.samples()
        fallen = [key for key in counters if now[key] < before[key]]
        assert not fallen
        before |= now
    assert [worker.wait() for worker in workers] == [0, 0]
    for worker in workers:
        worker.communicate()
    total = 2 * EVENTS
    wait_until(lambda: page.value("entries_total") == total, "all is counted")
    seen = page.samples()
    assert total == count_entries(directory) == seen["hansard_appended_events_total", ()]
    by_type = {key: value for key, value in seen.items() if key[0].endswith("by_type_total")}
    assert by_type == {
        ("hansard_entries_by_type_total", (f"load.{each}",)): total / 3 for each in range(3)
    }
    assert seen["hansard_entries_by_level_total", ("error",)] == total / 5
    assert seen["hansard_commit_batch_events_sum", ()] == total
    commits = seen["hansard_commit_batch_events_count", ()]
    assert seen["hansard_commit_duration_seconds_count", ()] == commits
    assert 0 < seen["hansard_ack_duration_seconds_count", ()] <= commits
    assert seen["hansard_received_bytes_total", ()] > total * 20


def test_it_is_ready_until_nothing_can_be_committed_and_says_why(
    directory: Path, measured: tuple[RunningWriter, Page]
) -> None:
    _, page = measured
    assert page.get("/readyz") == (200, "ok\n")
    with hansard.AuditLog(directory) as log:
        with write_lock_taken(directory):
            log.record("a.b")
            _, words = wait_until(
                lambda: (got := page.get("/readyz"))[0] == 503 and got, "it is not ready"
            )
            assert (
                words
                == "nothing can be committed: another program holds the write lock of log.db\n"
            )
            assert page.get("/healthz")[0] == 200, "a restart would mend nothing"
            assert page.value("intake_held_up") == 1
        wait_until(lambda: page.get("/readyz")[0] == 200, "it is ready again")


def test_without_room_on_the_disk_it_is_alive_and_not_ready(directory: Path) -> None:
    too_much = 1 << 60
    with running(directory, metrics=":0", disk_warn=too_much, disk_suspend=too_much) as writer:
        page = Page(writer.ready_line)
        status, words = page.get("/readyz")
        assert status == 503
        assert words.startswith("intake is suspended: ")
        assert "make room" in words
        assert page.get("/healthz") == (200, "ok\n")
        assert page.value("intake_suspended") == 1


SLOW = """
import time
import hansard_writer

@hansard_writer.operation
def sleep(connection, params):
    time.sleep(params["seconds"])
"""


def test_a_loop_that_does_not_go_round_is_not_ready_and_not_dead(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.chdir(tmp_path)
    with running(directory, metrics=":0", operations=["slow"]) as writer:
        page = Page(writer.ready_line)
        with hansard.AuditLog(directory) as log, ThreadPoolExecutor(1) as pool:
            call = pool.submit(log.call, "sleep", {"seconds": 2.5})
            wait_until(lambda: page.get("/readyz")[0] == 503, "it is not ready")
            assert not call.done()
            status, words = page.get("/healthz")
            assert status == 200
            assert "has not answered for" in words
            assert page.value("writer_up") == 0
            call.result()
        wait_until(lambda: page.get("/readyz")[0] == 200, "it is ready again")


def test_a_crowd_that_never_asks_takes_no_descriptors_and_stops_nobody(
    directory: Path, measured: tuple[RunningWriter, Page]
) -> None:
    writer, page = measured
    descriptors = Path(f"/proc/{writer.pid}/fd")
    before = len(list(descriptors.iterdir()))
    crowd = []
    with hansard.AuditLog(directory) as log:
        for number in range(60):
            crowd.append(page.connect())
            crowd[-1].send(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
            if number % 20 == 0:
                assert log.record("a.b", sync=True).id
        assert len(list(descriptors.iterdir())) <= before + 40
        assert page.get("/readyz")[0] == 200
        assert log.record("a.b", sync=True).id
    for each in crowd:
        each.close()


def test_it_ends_with_its_writer_and_the_next_one_has_the_port_at_once(directory: Path) -> None:
    with running(directory, metrics=":0") as writer:
        port = Page(writer.ready_line).place.port
        assert Page(writer.ready_line).get("/healthz")[0] == 200
        began = time.monotonic()
        assert writer.stop() == 0
        assert time.monotonic() - began < 5
    with running(directory, metrics=f":{port}") as writer:
        assert Page(writer.ready_line).value("writer_starts_total") == 2


def test_a_port_that_is_taken_ends_the_start_and_touches_no_log(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*SERVE, "--dir", str(directory), "--metrics", f":{port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"cannot show metrics at http://127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (directory / "log.db").exists()


def test_a_supervised_writer_shows_them_again_after_a_crash(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    supervised = start("--metrics", f":{port}")
    pid = supervised.next_writer()
    page = Page(f"metrics=http://127.0.0.1:{port}/metrics")
    assert page.value("supervised_restarts_total") == 0
    os.kill(pid, signal.SIGKILL)
    supervised.next_writer()
    assert page.value("supervised_restarts_total") == 1
    assert page.value("writer_starts_total") == 2


def test_a_port_that_somebody_took_meanwhile_keeps_no_supervised_writer_away(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    supervised = start("--metrics", f":{port}")
    pid = supervised.next_writer()
    os.kill(pid, signal.SIGSTOP)  # its port is free once it is gone: nobody may be faster
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: _bound(taker, port), "the port is taken")
        taker.listen()
        assert supervised.next_writer() != pid


def _bound(taker: socket.socket, port: int) -> bool:
    try:
        taker.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


SHOW_MODULES = """
import json, os, sys, threading, time
def look():
    while not any(t.name == "hansard-metrics" for t in threading.enumerate()):
        time.sleep(0.01)
    print("modules " + json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
threading.Thread(target=look, daemon=True).start()
from hansard_writer.cli import main
sys.argv = ["hansard", "serve", "--dir", sys.argv[1], "--metrics", ":0"]
main()
"""


def test_no_second_sqlite_is_loaded_and_nothing_of_the_library_is_multiprocess(
    directory: Path, tmp_path: Path
) -> None:
    multiprocess = tmp_path / "multiprocess"
    multiprocess.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SHOW_MODULES, str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(multiprocess)},
    )
    assert process.stdout
    assert process.stderr
    page = Page(process.stdout.readline())
    assert page.value("writer_up") == 1
    line = next(each for each in process.stderr if each.startswith("modules "))
    modules = json.loads(line.removeprefix("modules "))
    assert "prometheus_client" in modules
    assert {"sqlite3", "_sqlite3"} & set(modules) <= {"_sqlite3"}, "which is None: forbidden"
    process.terminate()
    process.communicate()
    assert process.returncode == 0
    assert list(multiprocess.iterdir()) == []


def test_the_example_waits_until_it_is_ready_and_prints_what_came_in(
    directory: Path, measured: tuple[RunningWriter, Page]
) -> None:
    with hansard.AuditLog(directory) as log:
        log.record("a.b")
        log.record("a.b", sync=True)
    url = measured[1].url.removesuffix("/metrics")
    command = [sys.executable, str(EXAMPLE), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.b 2\n", "")


@pytest.mark.parametrize("option", ["--print-dashboard", "--print-alerts"])
def test_dashboard_and_alerts_are_printed_and_nothing_is_made(directory: Path, option: str) -> None:
    done = subprocess.run(
        [*SERVE, "--dir", str(directory), option], capture_output=True, text=True, check=True
    )
    assert "hansard_writer_up" in done.stdout
    assert not directory.exists()
    if option == "--print-dashboard":
        assert json.loads(done.stdout)["title"] == "Hansard"
