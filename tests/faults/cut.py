"""The network between workers and their writer is cut: hosts that are network namespaces.

Two hosts, a router and the writer's host, joined by veth pairs. A cut is made at the router, so
that it is as real as one: the kernels' own TCP goes through it. Needs root and ``ip``.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from faults.checker import Noted, account
from faults.results import Row
from other_hosts import allow, host, keep_keys
from support import query, wait_until

TITLE: Final = "Networks that are cut"
CUT_S: Final = 10
STEADY_S: Final = 2.0
WORKERS_A_HOST: Final = 2
HOSTS: Final = ("web-1", "web-2")
PORT: Final = 7461
WRITER_ADDRESS: Final = "10.77.0.2"
GOES_ON_S_MAX: Final = 10.0
PATIENCE_S: Final = 60.0

_WORKER: Final = """
import select, sys, time, hansard

log = hansard.AuditLog(sys.argv[1], ack_timeout=120)
n, slowest = 0, 0.0
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0.002)[0]:
    n += 1
    begun = time.monotonic()
    log.record("load.event", {"w": sys.argv[2], "n": n})
    slowest = max(slowest, time.monotonic() - begun)
assert log.flush(60), log.statistics()
facts = log.statistics()
print(n, round(slowest * 1000), facts["resent"], facts["duplicates_dropped"], flush=True)
log.close()
"""


class Cut(NamedTuple):
    """One way to cut, and to mend."""

    fault: str
    how: str
    begin: Callable[["Site"], None]
    end: Callable[["Site"], None]


class Site:
    """The hosts, what joins them, and what runs there."""

    def __init__(self, base: Path) -> None:
        self._prefix = f"hansard-{os.getpid()}"
        self._names: list[str] = []
        self._processes: list[subprocess.Popen[str]] = []
        self.directory = base / "log"
        self.hosts = [base / name for name in HOSTS]
        self.router = self._namespace("router")
        self._writer_host = self._join("writer", 0)
        self._worker_hosts = [self._join(name, index) for index, name in enumerate(HOSTS, 1)]
        server_key = keep_keys(self.directory).public
        for directory in self.hosts:
            keys = host(directory, PORT, server_key, WRITER_ADDRESS)
            allow(self.directory, directory.name, keys.public)
        self.start_writer()

    def start_writer(self) -> None:
        self._writer = self._start(
            self._writer_host, "-m", "hansard_writer", "serve", "--dir", self.directory,
            "--tcp", f"tcp://{WRITER_ADDRESS}:{PORT}",
        )  # fmt: skip
        assert self._writer.stdout is not None
        assert self._writer.stdout.readline().startswith("hansard ready")

    def kill_writer(self) -> None:
        self._writer.kill()
        self._writer.wait()

    def workers(self) -> dict[str, subprocess.Popen[str]]:
        started = {}
        for namespace, directory in zip(self._worker_hosts, self.hosts, strict=True):
            for number in range(WORKERS_A_HOST):
                name = f"{directory.name}-{number}"
                started[name] = self._start(namespace, "-c", _WORKER, directory, name)
        for worker in started.values():
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        return started

    def forward(self, *, on: bool) -> None:
        """Whether the router passes packets on; if not, it says so to nobody."""
        self._inside(self.router, "sysctl", "-qw", f"net.ipv4.ip_forward={int(on)}")

    def link(self, *, up: bool) -> None:
        """The cable between the router and the writer's host."""
        self._inside(self.router, "ip", "link", "set", "to-0", "up" if up else "down")

    def entered(self) -> dict[str, int]:
        statement = "SELECT payload ->> 'w', count(*) FROM entries WHERE event_type = ? GROUP BY 1"
        return dict(query(self.directory, statement, ("load.event",)))

    def close(self) -> None:
        for each in self._processes:
            each.kill()
            each.communicate()
        for name in self._names:
            _run("ip", "netns", "del", name)

    def _namespace(self, name: str) -> str:
        full = f"{self._prefix}-{name}"
        _run("ip", "netns", "add", full)
        self._names.append(full)
        self._inside(full, "ip", "link", "set", "lo", "up")
        return full

    def _join(self, name: str, number: int) -> str:
        """A host of its own network, with the router as its way to the others."""
        namespace = self._namespace(name)
        near, far = f"10.77.{number}.1", f"10.77.{number}.2"
        _run(
            "ip", "link", "add", f"to-{number}", "netns", self.router,
            "type", "veth", "peer", "name", "out", "netns", namespace,
        )  # fmt: skip
        ends = (self.router, f"to-{number}", near), (namespace, "out", far)
        for where, device, address in ends:
            self._inside(where, "ip", "addr", "add", f"{address}/24", "dev", device)
            self._inside(where, "ip", "link", "set", device, "up")
        self._inside(namespace, "ip", "route", "add", "default", "via", near)
        self.forward(on=True)
        return namespace

    def _inside(self, namespace: str, *command: str) -> None:
        _run("ip", "netns", "exec", namespace, *command)

    def _start(self, namespace: str, *arguments: object) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", namespace, sys.executable, *map(str, arguments)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        return process


CUTS: Final = (
    Cut(
        "packets that nobody gets, in both directions",
        "the router forwards nothing",
        lambda site: site.forward(on=False),
        lambda site: site.forward(on=True),
    ),
    Cut(
        "the writer's cable pulled",
        "its link is down at the router",
        lambda site: site.link(up=False),
        lambda site: site.link(up=True),
    ),
    Cut(
        "the same, and the writer killed meanwhile and started again",
        "SIGKILL at once, a start before the cable is in",
        lambda site: (site.link(up=False), site.kill_writer())[0],  # type: ignore[func-returns-value]
        lambda site: (site.start_writer(), site.link(up=True))[1],  # type: ignore[func-returns-value]
    ),
)


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], Any] = print) -> list[Row]:
    """Each kind of cut once, ``size`` seconds long."""
    cut_s = size or CUT_S
    with tempfile.TemporaryDirectory(prefix="hansard-cut-") as base, _site(Path(base)) as site:
        workers = site.workers()
        gone_on = []
        for cut in CUTS:
            gone_on.append(_through(cut, site, cut_s))
            say(f"  {cut.fault}: it goes on {gone_on[-1]:.1f} s after the end")
        ends = {name: _ended(worker) for name, worker in workers.items()}
        recorded = sum(each[0] for each in ends.values())
        noted = [Noted(name, n) for name, each in ends.items() for n in range(1, each[0] + 1)]
        found = account(site.directory, noted)
        assert (found.entered, found.lost_entries) == (recorded, 0), f"{found} of {recorded}"
    rows = [
        Row(f"{cut.fault}, for {cut_s} s", cut.how, 1, f"it goes on {seconds:.1f} s after its end")
        for cut, seconds in zip(CUTS, gone_on, strict=True)
    ]
    slowest_ms = max(each[1] for each in ends.values())
    resent, duplicates = (sum(each[index] for each in ends.values()) for index in (2, 3))
    how = f"{WORKERS_A_HOST} workers on each of {len(HOSTS)} hosts, which are network namespaces"
    outcome = (
        f"all entered once, in order; {resent:,} sent again, {duplicates:,} of them dropped as "
        f"known; no `record()` took longer than {slowest_ms} ms"
    )
    return [*rows, Row("events recorded over all of it", how, recorded, outcome)]


def _through(cut: Cut, site: Site, cut_s: float) -> float:
    """Seconds from the end of a cut until events of every worker come in again."""
    time.sleep(STEADY_S)
    cut.begin(site)
    time.sleep(cut_s)
    before = site.entered()
    cut.end(site)
    mended_at = time.monotonic()
    wait_until(
        lambda: all(count > before[name] for name, count in site.entered().items()),
        "events of every worker come in again",
        PATIENCE_S,
    )
    seconds = time.monotonic() - mended_at
    assert seconds < GOES_ON_S_MAX, f"{cut.fault}: {seconds:.1f} s until it goes on"
    return seconds


def _ended(worker: subprocess.Popen[str]) -> Sequence[int]:
    """Of a worker that is told to end: events, the slowest call in ms, resent, dropped as known."""
    out, _ = worker.communicate("\n", timeout=PATIENCE_S)
    assert worker.returncode == 0, f"a worker ended with {worker.returncode}"
    return [int(each) for each in out.split()]


@contextlib.contextmanager
def _site(base: Path) -> Iterator[Site]:
    site = Site(base)
    try:
        yield site
    finally:
        site.close()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
