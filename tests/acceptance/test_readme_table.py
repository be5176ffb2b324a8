"""The README's table "you have … → do this": each of its blocks as it stands, in what it is for."""

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import hansard_writer
from hansard.reader import Event, LogReader

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
ROW = re.compile(r"<tr><td>([^<]+)</td><td>\n\n(.*?)\n\n</td></tr>", re.DOTALL)
BLOCK = re.compile(r"```(?:python|console)\n(.*?)```", re.DOTALL)
LINES_MAX: Final = 5

ROWS: dict[str, str] = {
    name: block[1]
    for name, content in ROW.findall(README)
    if (block := BLOCK.search(content)) is not None
}
TRIED: dict[str, Callable[..., None]] = {}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is all typed, and whatever is looked for there is found: a log beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HANSARD_DIR", str(tmp_path / "audit"))
    return tmp_path


@pytest.fixture
def directory(place: Path) -> Iterator[Path]:
    """A log that is served."""
    with hansard_writer.running(place / "audit"):
        yield place / "audit"


def row(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The test of the row that begins so."""

    def keep(test: Callable[..., None]) -> Callable[..., None]:
        TRIED[name] = test
        return test

    return keep


def block(name: str) -> str:
    (found,) = (block for title, block in ROWS.items() if title.startswith(name))
    return found


def run(name: str, before: str, after: str = "", **environment: str) -> None:
    """Run the block of a row between what its reader has, and what happens to it then."""
    program = textwrap.dedent(before) + block(name) + textwrap.dedent(after)
    Path("program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "program.py"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def shell(line: str) -> "subprocess.Popen[str]":
    """One line of a console block, with this interpreter's commands."""
    path = f"{Path(sys.executable).parent}:{Path('bin').absolute()}:{os.environ['PATH']}"
    Path("bin").mkdir(exist_ok=True)
    command = Path("bin", "hansard")
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m hansard_writer "$@"\n')
    command.chmod(0o755)
    typed = line.removeprefix("$ ").partition("    #")[0].removesuffix(" &")
    return subprocess.Popen(
        ["/bin/sh", "-c", f"exec {typed}"],
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed(line: str) -> str:
    """What a command says that ends by itself."""
    output, errors = (process := shell(line)).communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def entered(directory: Path) -> list[Event]:
    with LogReader(directory) as reader:
        return list(reader.events())


def types(directory: Path) -> list[str]:
    return [event.event_type for event in entered(directory)]


def test_each_row_with_code_has_a_test() -> None:
    assert ROWS
    assert [name for name in ROWS if not any(map(name.startswith, TRIED))] == []


@pytest.mark.parametrize("name", ROWS)
def test_a_block_has_at_most_five_lines(name: str) -> None:
    assert 1 <= len([line for line in ROWS[name].splitlines() if line]) <= LINES_MAX


@row("threads, multiprocessing")
def test_processes_need_nothing(directory: Path) -> None:
    run(
        "threads, multiprocessing",
        "import hansard\nfrom concurrent.futures import ProcessPoolExecutor\n",
    )
    assert Counter(types(directory)) == {"step.done": 100}


@row("asyncio")
def test_asyncio_has_its_own_call(directory: Path) -> None:
    before = "import asyncio, hansard\nlog = hansard.AuditLog()\n"
    run("asyncio", before, "asyncio.run(work(7))\nassert log.flush()\n")
    assert [event.data for event in entered(directory)] == [{"number": 7}]


@row("requests, jobs, agents")
def test_who_and_what_for_are_said_once(directory: Path) -> None:
    before = "import hansard\nlog = hansard.AuditLog()\n"
    run("requests, jobs, agents", before, "assert log.flush()\n")
    (event,) = entered(directory)
    assert (event.actor, event.task_id) == ("user:7", "T1")
    assert event.data == {
        "order": 7,
        "card": {"token": "[masked]"},
        "correlation_id": "r-1",
        "tenant": "acme",
    }


@row("agents with tools")
def test_a_tool_is_audited_by_a_decorator(directory: Path) -> None:
    before = "import asyncio, hansard\nlog = hansard.AuditLog()\n"
    run("agents with tools", before, "assert log.flush()\n")
    (event,) = entered(directory)
    data = event.data or {}
    assert event.event_type == "tool.call"
    assert data["arguments"] == {"query": "parsers", "api_key": "[masked]"}
    assert data["result"] == ["about parsers"]
    assert data["duration_ms"] >= 0


@row("stdlib logging")
def test_logging_takes_a_handler(directory: Path) -> None:
    after = 'logging.getLogger("shop").warning("low on %s", "tea", extra={"left": 3})\n'
    run("stdlib logging", "import logging.config\n", after)
    (event,) = entered(directory)
    assert (event.event_type, event.level) == ("log.shop", "warning")
    assert event.data == {"message": "low on tea", "logger": "shop", "left": 3}


@row("structlog")
def test_structlog_takes_a_processor(directory: Path) -> None:
    run("structlog", "import structlog\n", 'structlog.get_logger().warning("low", left=3)\n')
    (event,) = entered(directory)
    assert event.level == "warning"
    assert event.data == {"message": "low", "left": 3}


@row("FastAPI")
def test_an_asgi_application_is_wrapped(directory: Path) -> None:
    after = """
    from starlette.testclient import TestClient
    @app.get("/orders/{number}")
    async def order(number: int) -> int:
        return number
    with TestClient(app) as client:
        answer = client.get("/orders/7", headers={"X-Request-ID": "r-1"})
        assert answer.headers["X-Request-ID"] == "r-1", answer.headers
        client.get("/healthz")
    """
    run("FastAPI", "from fastapi import FastAPI\n", after)
    assert of_one_request(directory) == ("GET", "/orders/{number}", 200, "r-1")


@row("Flask")
def test_a_wsgi_application_is_wrapped(directory: Path) -> None:
    after = """
    @app.get("/orders/<int:number>")
    def order(number):
        return str(number)
    client = app.test_client()
    answer = client.get("/orders/7", headers={"X-Request-ID": "r-1"})
    assert answer.text == "7", answer.text
    assert answer.headers["X-Request-ID"] == "r-1", answer.headers
    client.get("/healthz")
    """
    run("Flask", "from flask import Flask\n", after)
    assert of_one_request(directory) == ("GET", "/orders/<int:number>", 200, "r-1")


def of_one_request(directory: Path) -> tuple[Any, ...]:
    (event,) = entered(directory)
    assert event.event_type == "http.request"
    data = event.data or {}
    return tuple(data[name] for name in ("method", "route", "status", "correlation_id"))


@row("Django")
def test_a_django_site_needs_three_lines(directory: Path) -> None:
    before = """
    from pathlib import Path
    SECRET_KEY = "a test's"
    ALLOWED_HOSTS = ["*"]
    ROOT_URLCONF = "urls"
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "shop"]
    MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]
    """
    use = """
    import django
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client
    call_command("check")
    call_command("migrate", verbosity=0)
    User.objects.create_user("ada", password="hunter2")
    assert Client().get("/").status_code == 404
    """
    Path("settings.py").write_text(textwrap.dedent(before) + block("Django"))
    Path("urls.py").write_text("urlpatterns = []\n")
    Path("shop").mkdir()
    Path("shop", "__init__.py").touch()
    Path("shop", "models.py").write_text(
        "from django.db import models\nclass Order(models.Model): ...\n"
    )
    Path("use.py").write_text(textwrap.dedent(use))
    subprocess.run(
        [sys.executable, "use.py"],
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "settings"},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert types(directory) == ["model.created", "http.request"]
    assert '"password":"[masked]"' in (entered(directory)[0].payload or "")


@row("Celery")
def test_a_celery_app_needs_one_line(directory: Path) -> None:
    after = """
    app.conf.task_always_eager = True  # scripts/examples has a worker of its own
    @app.task
    def add(a, b):
        return a + b
    add.delay(1, 2)
    """
    run("Celery", "from celery import Celery\n", after)
    assert types(directory) == ["celery.task.started", "celery.task.succeeded"]


@row("pytest")
def test_a_test_asks_the_log_in_memory(directory: Path) -> None:
    finish = 'def finish(task, log):\n    log.record("task.done", task_id=task)\n'
    Path("test_it.py").write_text(finish + block("pytest"))
    plugin = ["-p", "hansard_writer.pytest_plugin"]  # which is found where it is installed
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "test_it.py"],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert types(directory) == []


@row("Prometheus")
def test_metrics_are_served_and_a_dashboard_is_printed() -> None:
    serve, dashboard, alerts = block("Prometheus").splitlines()
    process = shell(serve.replace(":9464", ":0"))  # whatever is free: others run this, too
    assert process.stdout is not None
    ready = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert re.search(r"metrics=http://127\.0\.0\.1:\d+", ready)
    for line in (dashboard, alerts):
        printed(line)
    assert json.loads(Path("dashboard.json").read_text())["panels"]
    assert "alert: " in Path("alerts.yaml").read_text()


@row("an auditor")
@pytest.mark.usefixtures("directory")
def test_a_person_looks_at_it() -> None:
    view, top = block("an auditor").splitlines()
    process = shell(f"{view} --port 0")
    assert process.stdout is not None
    shown = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert "http://127.0.0.1:" in shown, errors
    assert process.returncode == 0
    assert "entries" in printed(top)


@row("a SIEM")
def test_others_read_it(directory: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", "import hansard; hansard.AuditLog().record('a.b', sync=True)"],
        check=True,
        timeout=60,
    )
    ocsf, tail, jsonl, counted = block("a SIEM").splitlines()
    printed(ocsf)
    assert json.loads(printed(tail))["specversion"] == "1.0"
    printed(jsonl)
    assert "a.b" in printed(counted)
    assert Path("log.ocsf.gz").stat().st_size
