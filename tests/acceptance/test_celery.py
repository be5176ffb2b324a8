"""A real Celery worker, prefork, on a broker of files: each step of a task once, whoever dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import hansard
import hansard_writer
from hansard.integrations import shared_log
from hansard.reader import Event, LogReader
from support import assert_log_is_sound, assert_verifies, wait_until

WORKER = "worker -P prefork -c 2 -l warning --without-gossip --without-mingle --without-heartbeat"

APP = """
import os, pathlib, time
import whole_messages
from celery import Celery
from celery.exceptions import Ignore
from hansard.integrations import shared_log
from hansard.integrations.celery import audit

home = pathlib.Path(__file__).parent
app = Celery("shop", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(home / "queue"),
        "data_folder_out": str(home / "queue"),
        "control_folder": str(home / "control"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    task_ignore_result=True,
    worker_lost_wait=0.2,
)
audit(app, home / "log", published=True, arguments=True)

@app.task
def add(a, b, password=None):
    shared_log(home / "log").record("shop.added", {"sum": a + b})
    return a + b

@app.task
def fail():
    raise ValueError("no such order")

@app.task(bind=True, max_retries=2)
def flaky(self):
    if self.request.retries < 2:
        raise self.retry(exc=OSError("not yet"), countdown=0)

@app.task
def parent():
    add.delay(3, 4)

@app.task
def ignored():
    raise Ignore()

@app.task(acks_late=True, reject_on_worker_lost=True)
def dies_once():
    shared_log(home / "log").record("shop.alive", {})
    (home / "pids").open("a").write(f"{os.getpid()}\\n")
    while len((home / "pids").read_text().splitlines()) < 2:
        time.sleep(0.05)

@app.task
def dies():
    os.kill(os.getpid(), 9)
"""


class Shop(NamedTuple):
    """A worker that runs, and the module whose tasks it has."""

    tasks: ModuleType
    home: Path
    worker: "subprocess.Popen[bytes]"

    def events(self, *event_types: str, **about: Any) -> list[Event]:
        """What the log has, of these types where they are named, in the order of time: each process
        tells its own when it comes to it."""
        with LogReader(self.home / "log") as reader:
            found = sorted(reader.events(**about), key=lambda each: each.created_at_ns)
        return [each for each in found if not event_types or each.event_type in event_types]

    def wait_for(self, event_type: str, task_id: str, count: int = 1) -> Event:
        """The last of ``count`` events of a task."""

        def arrived() -> list[Event]:
            found = self.events(event_type, task_id=task_id)
            return found if len(found) >= count else []

        found: list[Event] = wait_until(arrived, f"{event_type} is in the log {count} times")
        return found[-1]

    def steps(self, task_id: str, count: int) -> list[str]:
        """What happened to a task, once it is so much."""
        found: list[Event] = []

        def arrived() -> bool:
            found[:] = self.events(task_id=task_id)
            return len(found) >= count

        wait_until(arrived, f"there are {count} events of the task")
        return [each.event_type.removeprefix("celery.task.") for each in found]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    home = tmp_path_factory.mktemp("shop")
    (home / "queue").mkdir()
    (home / "shop.py").write_text(APP)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(home), *sys.path])}
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(home)
        with hansard_writer.running(home / "log"):
            command = [sys.executable, "-m", "celery", "-A", "shop", *WORKER.split()]
            worker = subprocess.Popen(command, cwd=home, env=environment, start_new_session=True)
            try:
                import shop as tasks  # type: ignore[import-not-found]

                yield Shop(tasks, home, worker)
            finally:
                if worker.poll() is None:
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait(10)
                shared_log(home / "log").close()
        assert_log_is_sound(home / "log")
        assert_verifies(home / "log")
        del sys.modules["shop"]


def test_each_step_of_a_task_is_recorded_once_under_its_id(shop: Shop) -> None:
    with hansard.bound(actor="user:7", correlation_id="r-1"):
        task_id = shop.tasks.add.delay(1, 2, password="hunter2").id
    done = shop.wait_for("celery.task.succeeded", task_id)
    assert shop.steps(task_id, 5) == ["published", "received", "started", "shop.added", "succeeded"]
    events = {each.event_type: each for each in shop.events(task_id=task_id)}
    assert {each.actor for each in events.values()} == {"user:7"}
    assert {each.data["correlation_id"] for each in events.values()} == {"r-1"}
    assert done.data["task"] == "shop.add"
    assert (done.data["queue"], done.data["retries"]) == ("celery", 0)
    assert done.data["duration_ms"] > 0
    assert done.data["worker"].startswith("celery@")
    started = events["celery.task.started"].data
    assert started["arguments"] == {"a": 1, "b": 2, "password": "[masked]"}


def test_a_failure_tells_its_error(shop: Shop) -> None:
    task_id = shop.tasks.fail.delay().id
    failed = shop.wait_for("celery.task.failed", task_id)
    assert failed.data["error"] == {"type": "ValueError", "message": "no such order"}
    assert (failed.level, "traceback" in failed.data) == ("error", False)
    assert shop.steps(task_id, 4) == ["published", "received", "started", "failed"]


def test_a_retry_keeps_id_actor_and_correlation(shop: Shop) -> None:
    with hansard.bound(actor="user:8", correlation_id="r-2"):
        task_id = shop.tasks.flaky.delay().id
    shop.wait_for("celery.task.succeeded", task_id)
    again = ["published", "received", "started", "retried"]
    steps = shop.steps(task_id, 12)
    assert sorted(steps) == sorted(
        [*again, *again, "published", "received", "started", "succeeded"]
    )
    events = shop.events("celery.task.retried", task_id=task_id)
    assert [each.data["retries"] for each in events] == [0, 1]
    assert events[0].data["error"] == {"type": "OSError", "message": "not yet"}
    everything = shop.events(task_id=task_id)
    assert {(each.actor, each.data["correlation_id"]) for each in everything} == {("user:8", "r-2")}


def test_a_task_that_a_task_has_sent_belongs_to_the_same_request(shop: Shop) -> None:
    task_id = shop.tasks.parent.delay().id
    child = wait_until(
        lambda: [
            each
            for each in shop.events("celery.task.succeeded")
            if each.data.get("parent_id") == task_id
        ],
        "the child of the task is done",
    )[0]
    assert child.data["correlation_id"] == task_id, "without one of the sender's, the first task's"
    assert child.data["root_id"] == task_id


def test_a_task_that_ends_without_an_outcome_says_so(shop: Shop) -> None:
    task_id = shop.tasks.ignored.delay().id
    shop.wait_for("celery.task.ignored", task_id)
    assert shop.steps(task_id, 4) == ["published", "received", "started", "ignored"]


def test_what_a_killed_child_recorded_is_in_the_log_once(shop: Shop) -> None:
    task_id = shop.tasks.dies_once.delay().id
    shop.wait_for("celery.task.started", task_id)
    pids = shop.home / "pids"
    wait_until(pids.exists, "the task runs")
    os.kill(int(wait_until(pids.read_text, "the task has told its pid")), signal.SIGKILL)
    shop.wait_for("celery.task.succeeded", task_id)
    once = ["received", "started", "shop.alive"]
    assert shop.steps(task_id, 8) == ["published", *once, *once, "succeeded"]


def test_a_task_whose_process_is_lost_has_failed(shop: Shop) -> None:
    with hansard.bound(correlation_id="r-3"):
        task_id = shop.tasks.dies.delay().id
    failed = shop.wait_for("celery.task.failed", task_id)
    assert failed.data["error"]["type"] == "WorkerLostError"
    assert failed.data["correlation_id"] == "r-3"
    assert shop.steps(task_id, 4) == ["published", "received", "started", "failed"]
