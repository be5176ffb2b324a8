"""What a client sees of the audit middleware: requests over a kept connection, to two servers of a
kind, one of them audited, in alternating blocks.

At a pace, the client sees what is done before it has its answer: that is the latency added. In a
row, it waits also for what the server does behind the answer before, with one processor for both
threads of it: the event is recorded, and sent.
"""

import importlib.util
import os
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import hansard_writer
from bench.measuring import entered
from bench.measuring.figures import Figure, Found, latency_curve, percentile
from bench.measuring.run import Run
from bench.measuring.web import Client, request_bytes, serving

PART: Final = "web"
PLOT: Final = "web latency"
ADDED_US_MAX: Final = 50.0
BLOCKS: Final = 20  # of each kind
PACE_S: Final = 0.001
REQUESTS_SHARE: Final = 50  # one request of each kind for so many events of a run

_APPS: Final = "bench.workloads.web_apps"
_SERVERS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "uvicorn": {
        "plain": ("uvicorn", f"{_APPS}:asgi_app", "--uds", "{socket}", "--no-access-log"),
        "audited": ("uvicorn", f"{_APPS}:audited_asgi", "--factory", "--uds", "{socket}",
                    "--no-access-log"),
    },
    "gunicorn": {
        "plain": ("gunicorn", f"{_APPS}:wsgi_app", "--bind", "unix:{socket}", "--threads", "2",
                  "--no-control-socket"),
        "audited": ("gunicorn", f"{_APPS}:audited_wsgi()", "--bind", "unix:{socket}",
                    "--threads", "2", "--no-control-socket"),
    },
}  # fmt: skip


def run(share: Run) -> Found:
    """Each server there is, by itself and audited. Raises `WrongEntries`."""
    share.place.mkdir()
    found = Found()
    for name in _SERVERS:
        if importlib.util.find_spec(name) is None:
            found.notes.append(f"{PART}: {name} is not installed: pip install 'hansard[bench]'")
            continue
        share.tell(name)
        place = share.place / name
        place.mkdir()
        found.add(_measured(name, place, max(share.events // REQUESTS_SHARE, BLOCKS)))
    return found


def _measured(name: str, place: Path, requests: int) -> Found:
    directory = place / "log"
    environment = {
        "HANSARD_DIR": str(directory),
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)]),
    }
    took: dict[tuple[str, float], list[int]] = defaultdict(list)
    each = requests // BLOCKS
    with hansard_writer.running(directory, log_level="warning"):
        with ExitStack() as stack:
            servers, clients = {}, {}
            for kind, command in _SERVERS[name].items():
                (at := place / kind).mkdir()
                served = serving(*command, place=at, environment=environment)
                servers[kind] = stack.enter_context(served)
                clients[kind] = stack.enter_context(Client(servers[kind].path))
            for _ in range(BLOCKS + 1):  # the first warms up
                for pause_s in (0.0, PACE_S):
                    for kind, client in clients.items():
                        took[kind, pause_s] += _block(client, each, pause_s)
            for server in servers.values():
                server.end()  # which flushes
        entered.check_count(directory, 2 * (BLOCKS + 1) * each)
    warm = {key: sorted(durations[each:]) for key, durations in took.items()}
    found = Found()
    for how, pause_s, added_max in (("one a ms", PACE_S, ADDED_US_MAX), ("in a row", 0.0, None)):
        plain, audited = warm["plain", pause_s], warm["audited", pause_s]
        p50, p50_audited = (percentile(each, 0.5) / 1e3 for each in (plain, audited))
        what = f"{name}, {how}:"
        found.figures += [
            Figure(PART, f"{what} p50", p50, "µs"),
            Figure(PART, f"{what} p50, audited", p50_audited, "µs"),
            Figure(PART, f"{what} added to p50", p50_audited - p50, "µs", added_max),
            Figure(PART, f"{what} p50, audited / plain", p50_audited / p50, "x"),
            Figure(PART, f"{what} p99", percentile(plain, 0.99) / 1e3, "µs"),
            Figure(PART, f"{what} p99, audited", percentile(audited, 0.99) / 1e3, "µs"),
        ]
    found.curves = [
        latency_curve(PLOT, f"{name}, {kind}", warm[kind, PACE_S]) for kind in ("plain", "audited")
    ]
    return found


def _block(client: Client, count: int, pause_s: float) -> list[int]:
    """How long each request took, in ns."""
    request = request_bytes("GET", "/", {"User-Agent": "bench", "Accept": "*/*"})
    took = []
    for _ in range(count):
        if pause_s:
            time.sleep(pause_s)
        began = time.perf_counter_ns()
        client.ask(request)
        took.append(time.perf_counter_ns() - began)
    return took
