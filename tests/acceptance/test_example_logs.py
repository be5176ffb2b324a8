"""The examples of logging, structlog and of processes of all kinds, as a reader runs them: each in
a process of its own, with a real writer."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from hansard.reader import Event, LogReader
from support import wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "scripts" / "examples"
EACH = 50

pytestmark = pytest.mark.usefixtures("writer")


def run(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the example prints."""
    monkeypatch.setenv("HANSARD_DIR", str(directory))
    command = [sys.executable, str(EXAMPLES / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def entries(directory: Path, count: int) -> list[Event]:
    """All entries, once so many are there: the spools of children that have ended are adopted."""

    def read() -> list[Event]:
        with LogReader(directory) as reader:
            return list(reader.events())

    wait_until(lambda: len(read()) >= count, f"{count} entries are there")
    return read()


def test_a_logging_configuration(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("logging_config.py", directory, monkeypatch)
    assert "INFO shop.stock on the console only" in shown
    placed, paid, failed, low = entries(directory, 4)
    assert (placed.event_type, placed.level, placed.actor) == ("order.line", "info", "user:7")
    assert placed.data == {"message": "order 7 is placed", "logger": "shop.orders", "amount": 3}
    assert (paid.event_type, paid.task_id) == ("order.paid", "order-7")
    assert (failed.level, (failed.data or {})["error"]["type"]) == ("error", "ConnectionError")
    assert "raise ConnectionError" in (failed.data or {})["error"]["traceback"]
    assert (low.event_type, (low.data or {})["message"]) == ("log.shop.stock", "only 2 left")


def test_a_structlog_chain(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("structlog_app.py", directory, monkeypatch)
    shown = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in shown] == ["order placed", "no label"]
    placed, failed = entries(directory, 2)
    assert placed.event_type == "order.placed"
    assert (placed.actor, placed.task_id) == ("user:7", "order-7")
    assert placed.data == {"message": "order placed", "amount": 3, "request": "r-1"}
    assert (failed.level, (failed.data or {})["error"]["type"]) == ("error", "ConnectionError")


def test_processes_threads_and_tasks_of_every_kind(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = run("processes.py", directory, monkeypatch).split("\n")
    names = [name for name in names if name]
    assert len(names) == 10
    recorded = entries(directory, len(names) * EACH)
    counts = Counter(((e.data or {})["who"], (e.data or {})["i"]) for e in recorded)
    assert counts == Counter((name, i) for name in names for i in range(EACH))
