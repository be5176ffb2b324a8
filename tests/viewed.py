"""A view of a log, as a real process, and a log with something of everything to be seen."""

import gzip
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import hansard
from hansard_writer import RunningWriter, running
from support import wait_until

DATA = Path(__file__).parent / "data"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>"
TURNED = "\u202egnp.exe \x1b[31mred\x00\u200b"
DEEP: Any = "the bottom"
for _level in range(60):
    DEEP = {"in": DEEP}


class Page(NamedTuple):
    """What an address gave."""

    status: int
    text: str
    headers: Any

    @property
    def data(self) -> Any:
        return json.loads(self.text)


class View:
    """`hansard view` on a directory or a backup; its address is in ``url``, the token besides."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "hansard_writer", "view", "--port", "0"]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().strip()
        if not self.line.startswith("hansard view http://"):
            raise AssertionError(f"no view: {self.line} {self.process.communicate()}")
        self.opened = self.line.split()[-1]
        self.url, _, self.token = self.opened.partition("/-/open?token=")

    def get(self, path: str, *, token: str | None = None, **headers: str) -> Page:
        """A page, with the token as programs send it."""
        given = {"Authorization": f"Bearer {token or self.token}"} | headers
        request = urllib.request.Request(self.url + path, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return Page(answer.status, answer.read().decode(), answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.read().decode(), error.headers)

    def verified(self) -> dict[str, Any]:
        """How the first verification ended."""

        def is_done() -> Any:
            found = self.get("/-/verified").data["verification"]
            return found if found["running_since"] is None and found["state"] != "never" else None

        return dict(wait_until(is_done, "the log is verified"))

    def end(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop; its exit status and what it said on stderr."""
        os.kill(self.process.pid, by)
        _, complaints = self.process.communicate(timeout=20)
        return self.process.returncode, complaints

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def data_set(name: str, count: int) -> Iterator[dict[str, Any]]:
    """The first lines of one of the recorded sets."""
    with gzip.open(DATA / name, "rt") as lines:
        for line, _ in zip(lines, range(count), strict=False):
            yield json.loads(line)


def writer(directory: Path) -> AbstractContextManager[RunningWriter]:
    """A writer with the settings of such a log."""
    return running(directory, fts_event_types=["agent.step"], enforce_tasks=True)


def fill(directory: Path) -> None:
    """Real events of every kind, hostile text, orphans, and a redacted entry (4)."""
    with writer(directory), hansard.AuditLog(directory) as log:
        for task in range(4):
            log.register_task(f"T{task}", title="a task")
        for number, step in enumerate(data_set("agent_sweagent_steps.jsonl.gz", 60)):
            log.record("agent.step", step, actor=f"agent:{number % 3}", task_id=f"T{number % 4}")
        for number, ended in enumerate(data_set("cli_uv_snapshots.jsonl.gz", 12)):
            operation = log.environment(f"wf-{number % 2}", "node").start_operation("add_deps")
            if ended.get("exit_code"):
                operation.failed("uv failed", **ended)
            else:
                operation.success(**ended)
        log.refusal(
            "agent:1", {"kind": "shell"}, {"decision": "refuse", "rule_id": "R-7", "reason": "no"}
        )
        log.record(
            "hostile.text", {HOSTILE: HOSTILE, "turned": TURNED}, actor=HOSTILE, level="error"
        )
        log.record("hostile.deep", {"deep": DEEP, "number": 12345678901234567890})
        log.record("hostile.large", {"large": "x" * 900_000})
        log.record("agent.step", {"n": 1}, task_id="nobody registered it")
        assert log.flush(20)
        redact(directory, 4)


def redact(directory: Path, seq: int) -> None:
    """Take an entry's payload out."""
    command = [sys.executable, "-m", "hansard_writer", "redact", "--seq", str(seq)]
    command += ["--reason", "a test", "--dir", str(directory)]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def view(*arguments: object) -> Iterator[View]:
    """A view for a block."""
    with View(*arguments) as viewing:
        yield viewing
