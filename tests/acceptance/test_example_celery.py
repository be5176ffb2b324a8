"""The example of a Celery app, with a real worker, as its first lines say."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hansard.reader import LogReader
from support import assert_log_is_sound, wait_until

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"

# As on the command line, but for messages that appear whole.
CELERY = "import whole_messages; from celery.__main__ import main; main()"
SENDER = "import runpy, sys, whole_messages; runpy.run_path(sys.argv[1], run_name='__main__')"

STEPS = 13  # of both tasks, one of which is tried again


@pytest.mark.usefixtures("writer")
def test_the_tasks_of_a_request_are_in_the_log_with_who_sent_them(
    directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "queue").mkdir()
    paths = os.pathsep.join(sys.path)
    environment = os.environ | {
        "HANSARD_DIR": str(directory),
        "QUEUE": str(tmp_path / "queue"),
        "PYTHONPATH": paths,
    }
    celery = [sys.executable, "-c", CELERY, "--workdir", str(EXAMPLES), "-A", "celery_worker"]
    worker = subprocess.Popen(
        [*celery, "worker", "-P", "prefork", "-c", "2", "-l", "error"],
        env=environment,
        start_new_session=True,
    )
    try:
        sender = [sys.executable, "-c", SENDER, str(EXAMPLES / "celery_worker.py")]
        sent = subprocess.run(
            sender, env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        steps = wait_until(lambda: steps_of_alice(directory), "both tasks are done")
        worker.terminate()
        assert worker.wait(30) == 0
    finally:
        if worker.poll() is None:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait(10)
    assert_log_is_sound(directory)
    first = sent.stdout.strip()
    begun, done = ["published", "received", "started"], ["succeeded"]
    assert sorted(step for task_id, step in steps if task_id == first) == sorted(
        [*begun, "retried", *begun, *done]
    )
    assert sorted(step for task_id, step in steps if task_id != first) == sorted(
        [*begun, "order.charged", *done]
    )
    with LogReader(directory) as reader:
        (charged,) = (
            each
            for each in reader.events("celery.task.started")
            if each.data["task"] == "celery_worker.charge"
        )
    assert charged.data["arguments"]["token"] == "[masked]"


def steps_of_alice(directory: Path) -> list[tuple[str | None, str]]:
    """The steps of all that alice's request has caused, once that is all."""
    with LogReader(directory) as reader:
        found = [
            (each.task_id, each.event_type.removeprefix("celery.task."))
            for each in reader.events()
            if each.actor == "user:alice" and each.data["correlation_id"] == "r-1"
        ]
    return found if len(found) >= STEPS else []  # each process tells its own when it comes to it
