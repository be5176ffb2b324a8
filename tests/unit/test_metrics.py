"""The figures as Prometheus has them, by its own parsers; health; the dashboard and the alerts."""

import json
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from hansard.errors import ConfigError, WriterUnavailable
from hansard.metrics_address import MetricsAddress
from hansard_writer.metrics import server as metrics_server
from hansard_writer.metrics.exchange import HEAD_BYTES_MAX, Request, Response, read_head, said
from hansard_writer.metrics.exporter import KEPT_S, Exporter, _Process
from hansard_writer.metrics.families import families_of
from hansard_writer.metrics.health import SILENT_S_MAX, liveness, readiness
from hansard_writer.metrics.server import CONNECTIONS_MAX, MetricsServer
from stepped import Log
from support import wait_until

UNITS = ("_seconds", "_bytes", "_events", "_entries", "_letters", "_spools", "_requests", "_calls")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SHIPPING = [
    {"target": "nats://here", "state": "waiting", "shipped_to": 1},
    {"target": "/mnt/x", "state": "killed"},
]


@pytest.fixture
def figures(directory: Path) -> Iterator[dict[str, Any]]:
    """Of a writer with two entries, of two types, and one refused event."""
    log = Log(directory, enforce_tasks=True).start_writer()
    worker = log.worker()
    worker.record()
    worker.record(event_type="b.c", level="error")
    worker.record(task_id="T9")
    log.settle()
    yield log.statistics() | {"supervised_restarts": 1}
    log.close()


class Asked:
    """What the writer answers; and how often it was asked."""

    def __init__(self, figures: Mapping[str, Any] | None) -> None:
        self.figures = figures
        self.times = 0
        self.now = 100.0

    def __call__(self) -> Mapping[str, Any]:
        self.times += 1
        if self.figures is None:
            raise WriterUnavailable("it does not answer")
        return self.figures


def exporter_of(asked: Asked) -> Exporter:
    asked.now += KEPT_S
    exporter = Exporter(asked, lambda: SHIPPING, lambda: asked.now)
    asked.now += KEPT_S
    return exporter


def page(exporter: Exporter, path: str = "/metrics", accept: str = "") -> Response:
    return exporter.answer(Request("GET", path, accept))


def samples(response: Response) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name and the values of the labels."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }


# --- names ---


def test_every_name_and_unit_is_by_the_book(figures: dict[str, Any]) -> None:
    names = set()
    for family in families_of(figures, {"version": "1"}, SHIPPING):
        names.add(family.name)
        assert re.fullmatch(r"hansard_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation
        assert not family.documentation.endswith(".")
        if family.type == "counter":
            assert all(sample.name == f"{family.name}_total" for sample in family.samples)
        elif family.type == "histogram":
            assert family.name.endswith(UNITS)
        elif family.type == "gauge":
            assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))
            is_flag = re.match("1 (if|while)", family.documentation)
            assert is_flag or family.name.endswith(UNITS), f"{family.name} has no unit"
        assert not re.search("_(ms|milliseconds|kb|mb|percent)(_|$)", family.name)
    assert len(names) == len(list(families_of(figures, {"version": "1"}, SHIPPING)))


@pytest.mark.parametrize("kind", ["text", "openmetrics"])
def test_what_is_exposed_is_what_the_parsers_of_prometheus_read(
    figures: dict[str, Any], kind: str
) -> None:
    accept = OPENMETRICS if kind == "openmetrics" else ""
    response = page(exporter_of(Asked(figures)), accept=accept)
    text = response.body.decode()
    if kind == "openmetrics":
        families: list[Metric] = list(openmetrics.text_string_to_metric_families(text))
        assert text.endswith("# EOF\n")
        assert response.content_type.startswith("application/openmetrics-text; version=1.0.0")
    else:
        families = list(text_string_to_metric_families(text))
        assert response.content_type.startswith("text/plain; version=0.0.4")
    by_name = {family.name: family for family in families}
    assert by_name["hansard_entries"].samples[0].value == 2
    assert by_name["process_cpu_seconds"].type == "counter"
    assert by_name["hansard_commit_duration_seconds"].type == "histogram"
    assert not [name for name in by_name if name.startswith("python_")], "none of the global state"


def test_counts_by_label_are_those_of_the_figures(figures: dict[str, Any]) -> None:
    seen = samples(page(exporter_of(Asked(figures))))
    assert seen["hansard_entries_by_type_total", ("step.done",)] == 1
    assert seen["hansard_entries_by_type_total", ("b.c",)] == 1
    assert seen["hansard_entries_by_level_total", ("error",)] == 1
    assert seen["hansard_refused_events_total", ("orphan",)] == 1
    assert seen["hansard_shipping_lag_entries", ("nats://here",)] == 1
    assert seen["hansard_shipping_running", ("/mnt/x",)] == 0
    assert ("hansard_shipping_lag_entries", ("/mnt/x",)) not in seen
    assert seen["hansard_supervised_restarts_total", ()] == 1
    assert seen["hansard_commit_batch_events_bucket", ("+Inf",)] == figures["commits"]


def test_of_a_writer_that_does_not_answer_there_is_that_and_its_process() -> None:
    seen = samples(page(exporter_of(Asked(None))))
    assert seen["hansard_writer_up", ()] == 0
    assert not [name for name, _ in seen if name == "hansard_entries_total"]
    assert seen["process_resident_memory_bytes", ()] > 0


def test_what_a_client_says_that_it_accepts_breaks_nothing(figures: dict[str, Any]) -> None:
    exporter = exporter_of(Asked(figures))
    for accept in ("application/openmetrics-text; version=x.y", "text/plain; version=,;=", "\xff"):
        assert page(exporter, accept=accept).status == HTTPStatus.OK


def test_the_process_is_measured_where_the_unit_hides_what_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("/proc/self")
    hidden = {
        family.name: family for family in _Process(registry=None, proc=str(tmp_path)).collect()
    }
    seen = {family.name: family for family in ProcessCollector(registry=None).collect()}
    assert set(hidden) == set(seen)
    started = "process_start_time_seconds"
    assert abs(hidden[started].samples[0].value - seen[started].samples[0].value) < 5


# --- asking, health ---


def test_however_often_it_is_asked_the_writer_is_asked_once_a_second(
    figures: dict[str, Any],
) -> None:
    asked = Asked(figures)
    exporter = exporter_of(asked)
    for _ in range(50):
        page(exporter)
        page(exporter, "/readyz")
        page(exporter, accept=OPENMETRICS)
    assert asked.times == 1
    asked.now += KEPT_S
    page(exporter, "/healthz")
    assert asked.times == 2


def test_a_silent_writer_is_not_ready_at_once_and_dead_after_a_minute(
    figures: dict[str, Any],
) -> None:
    asked = Asked(figures)
    exporter = exporter_of(asked)
    assert [page(exporter, path).status for path in ("/healthz", "/readyz")] == [200, 200]
    asked.figures = None
    asked.now += KEPT_S
    assert [page(exporter, path).status for path in ("/healthz", "/readyz")] == [200, 503]
    asked.now += SILENT_S_MAX
    dead = page(exporter, "/healthz")
    assert dead.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"has not answered for 61.0 s" in dead.body
    asked.figures = figures
    asked.now += KEPT_S
    assert [page(exporter, path).status for path in ("/healthz", "/readyz")] == [200, 200]


def test_who_takes_nothing_in_is_alive_and_not_ready_and_says_why(figures: dict[str, Any]) -> None:
    full = {**figures, "suspended": True, "suspended_by": "the disk is full"}
    assert readiness(full) == (False, "intake is suspended: the disk is full")
    held = {**figures, "held_up_by": "database is locked"}
    assert readiness(held) == (False, "nothing can be committed: database is locked")
    assert readiness(figures).is_good
    assert liveness(0.0).is_good


def test_there_are_three_pages(figures: dict[str, Any]) -> None:
    missing = page(exporter_of(Asked(figures)), "/")
    assert missing.status == HTTPStatus.NOT_FOUND
    assert b"/metrics, /healthz, /readyz" in missing.body


def test_a_missing_library_is_named_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "hansard_writer.metrics.exporter")
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'hansard\[metrics\]'"):
        __import__("hansard_writer.metrics.exporter")


# --- the server ---


class Served:
    """A server with an answer of the test's own."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.server = MetricsServer(MetricsAddress(host, 0), self._answer)
        self.server.start()

    def _answer(self, request: Request) -> Response:
        if request.path == "/fault":
            raise RuntimeError("on purpose")
        return said(HTTPStatus.OK, f"{request.path} {request.accept}")

    def connect(self) -> socket.socket:
        address = self.server.address
        return socket.create_connection((address.host, address.port), timeout=10)

    def ask(self, data: bytes) -> bytes:
        """All that comes back."""
        with self.connect() as client:
            client.sendall(data)
            return b"".join(iter(lambda: client.recv(65_536), b""))


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(metrics_server, "ACCEPT_EVERY_S", 0.0)
    monkeypatch.setattr(metrics_server, "ACCEPT_RETRY_S", 0.01)
    served = Served()
    yield served
    served.server.close()


GET = b"GET /metrics?x=1 HTTP/1.1\r\nHost: here\r\nAccept: text/plain\r\n\r\n"


def test_a_request_is_answered_and_the_connection_ends(served: Served) -> None:
    head, _, body = served.ask(GET).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: %d" % len(body) in head
    assert body == b"/metrics text/plain\n"


def test_head_has_the_same_head_and_no_body(served: Served) -> None:
    with_body = served.ask(GET).partition(b"\r\n\r\n")[0]
    assert served.ask(GET.replace(b"GET", b"HEAD")) == with_body + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd", 405),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"GET /metrics HTTP/2\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX, 431),
    ],
)
def test_what_is_no_question_is_told_so(served: Served, data: bytes, status: int) -> None:
    assert served.ask(data).startswith(b"HTTP/1.1 %d " % status)


def test_a_head_may_come_in_pieces(served: Served) -> None:
    with served.connect() as client:
        for byte in GET:
            client.send(bytes([byte]))
        assert client.recv(4_096).startswith(b"HTTP/1.1 200")


def test_who_sends_nothing_loses_its_place_to_who_comes_later(served: Served) -> None:
    slow = [served.connect() for _ in range(CONNECTIONS_MAX * 2)]
    assert b"200 OK" in served.ask(GET)
    wait_until(lambda: len(served.server._connections) < CONNECTIONS_MAX, "there is room again")
    assert slow[0].recv(1) == b"", "the oldest had to go"
    for each in slow:
        each.close()


def test_who_is_slow_is_cut_off(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "CONNECTION_S", 0.05)
    with served.connect() as slow:
        slow.send(b"GET /met")
        assert slow.recv(1) == b""
    assert served.server._connections == {}


def test_a_fault_of_ours_ends_no_thread(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with served.connect() as client:
        client.sendall(b"GET /fault HTTP/1.1\r\n\r\n")
        wait_until(lambda: "a fault of the metrics' server" in caplog.text, "it is said")
        assert b"200 OK" in served.ask(GET)


def test_a_port_that_is_taken_is_refused_with_the_way_out(served: Served) -> None:
    with pytest.raises(ConfigError, match=r"cannot show metrics at http://127\.0\.0\.1:\d+: .*use"):
        MetricsServer(served.server.address, lambda _: said(HTTPStatus.OK, ""))


def test_a_name_that_is_no_hosts_is_refused() -> None:
    with pytest.raises(ConfigError, match="name another HOST:PORT"):
        MetricsServer(MetricsAddress("no.such.host.invalid", 0), lambda _: said(HTTPStatus.OK, ""))


def test_ipv6_works_where_there_is_any() -> None:
    try:
        served = Served("::1")
    except ConfigError:
        pytest.skip("no IPv6 here")
    assert b"200 OK" in served.ask(GET)
    served.server.close()


def test_the_thread_ends_with_the_server(served: Served) -> None:
    served.server.close()
    served.server.close()
    assert "hansard-metrics" not in [each.name for each in threading.enumerate()]
    with pytest.raises(OSError):  # noqa: PT011 - refused
        served.connect()


def test_a_child_of_a_fork_keeps_no_port_and_disturbs_nobody(served: Served) -> None:
    child = os.fork()
    if not child:
        os._exit(0 if served.server._listener.fileno() == -1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert b"200 OK" in served.ask(GET)


def test_a_request_is_its_path_and_what_it_accepts() -> None:
    assert read_head(b"GET /a?b=c HTTP/1.0\r\naccept: x\r\nAccept:y") == Request("GET", "/a", "x,y")


# --- the dashboard, the alerts ---

NAME = re.compile(r"\b((?:hansard|process)_[a-z_]+)")


def exposed(figures: dict[str, Any]) -> set[str]:
    """The names of all series."""
    exporter = exporter_of(Asked(figures))
    text = page(exporter).body.decode()
    names = {
        sample.name for family in text_string_to_metric_families(text) for sample in family.samples
    }
    return names | {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def shipped(name: str) -> str:
    return resources.files("hansard_writer.metrics").joinpath(name).read_text()


def test_every_name_on_the_dashboard_is_exposed_and_what_matters_is_on_it(
    figures: dict[str, Any],
) -> None:
    there, used = exposed(figures), set(NAME.findall(shipped("dashboard.json")))
    assert used <= there, f"not exposed: {used - there}"
    important = {name for name in there if re.search(
        "_(duration|suspended|held|dropped|refused|dead_letters|wal|disk_free|checkpoint|by_type"
        "|by_level|waiting|queued|spool|start_time|lag)", name
    )} - {"hansard_dead_letters_not_kept_total", "hansard_waiting_calls"}  # fmt: skip
    important = {re.sub("_(bucket|count|sum)$", "", name) for name in important}
    important -= {"hansard_wal_checkpoints_total", "hansard_damaged_spools_total",
                  "hansard_foreign_spools_total", "process_start_time_seconds"}  # fmt: skip
    on_it = {re.sub("_(bucket|count|sum)$", "", name) for name in used}
    assert important <= on_it, f"not on it: {important - on_it}"


def test_every_name_in_an_alert_is_exposed(figures: dict[str, Any]) -> None:
    rules = shipped("alerts.yaml")
    used = set(NAME.findall("\n".join(re.findall(r"expr: (.*)", rules))))
    assert used
    assert used <= exposed(figures)
    assert rules.count("- alert: ") == rules.count("expr: ") == rules.count("summary: ")


def test_grafana_can_load_the_dashboard() -> None:
    dashboard = json.loads(shipped("dashboard.json"))
    assert dashboard["schemaVersion"] >= 36
    assert dashboard["id"] is None, "or it would replace somebody else's"
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}  # fmt: skip
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert target["expr"].count("(") == target["expr"].count(")")
            assert "$job" in target["expr"]
    assert [each["name"] for each in dashboard["templating"]["list"]] == [
        "datasource", "job", "instance"
    ]  # fmt: skip


def test_a_counter_that_is_shown_as_a_rate_is_a_counter(figures: dict[str, Any]) -> None:
    counters = {f"{each.name}_total" for each in families_of(figures, {}) if each.type == "counter"}
    counters.add("process_cpu_seconds_total")
    for text in (shipped("dashboard.json"), shipped("alerts.yaml")):
        rated = re.findall(r"\b(?:rate|increase)\(([a-z_]+)", text)
        assert rated
        for name in rated:
            assert name in counters or re.search("_(bucket|count|sum)$", name), name
