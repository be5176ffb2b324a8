"""What the metrics' server answers: the writer's figures, whether it lives, whether it is ready.

It asks the writer over its sockets, at most once a second, however often it is asked itself. All of
it belongs to the server's thread.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import apsw
import zmq

import hansard
from hansard import wire
from hansard.errors import AuditLogError, ConfigError
from hansard.local_writer import LocalWriter
from hansard.metrics_address import metrics_address
from hansard.requester import ask
from hansard_writer.metrics.exchange import Request, Response, said
from hansard_writer.metrics.health import Verdict, liveness, readiness
from hansard_writer.metrics.server import MetricsServer
from hansard_writer.shipping.standing import standings

try:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.core import Metric
    from prometheus_client.exposition import choose_encoder
except ImportError as missing:
    raise ConfigError(
        "--metrics needs prometheus_client: pip install 'hansard[metrics]', or leave it out"
    ) from missing

from hansard_writer.metrics.families import families_of

ASK_S: Final = 1.0  # for the loop to answer, which does so between two commits
KEPT_S: Final = 1.0  # an answer, for all who ask meanwhile
PAGES: Final = ("/metrics", "/healthz", "/readyz")

_KNOWS_BOOT: Final = hasattr(time, "CLOCK_BOOTTIME")  # Linux, which alone has that /proc

Ask = Callable[[], Mapping[str, Any]]


class _Process(ProcessCollector):
    """The library's, which gives up where it cannot read /proc/stat for the time of the boot; the
    systemd unit hides that file (ProcSubset=pid), and the kernel's clock knows, too."""

    def _boot_time(self) -> float | None:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) if _KNOWS_BOOT else None


class Exporter:
    """The pages. ``ask`` gives the writer's figures, or raises `AuditLogError` or `WireError`."""

    def __init__(
        self,
        ask: Ask,
        shipping: Callable[[], list[dict[str, Any]]] = list,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._shipping = shipping
        self._clock = clock
        self._versions = {
            "version": hansard.__version__,
            "sqlite_version": apsw.sqlite_lib_version(),
            "libzmq_version": zmq.zmq_version(),
        }
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        _Process(registry=self._registry)
        self._figures: Mapping[str, Any] | None = None
        self._answered_at = clock()
        self._kept_until = self._answered_at
        self._texts: dict[str, bytes] = {}  # by content type

    def answer(self, request: Request) -> Response:
        """The response to a request."""
        if request.path not in PAGES:
            return said(HTTPStatus.NOT_FOUND, f"here are {', '.join(PAGES)}")
        self._look()
        if request.path == "/metrics":
            return self._metrics(request.accept)
        if request.path == "/healthz":
            return _told(liveness(self._silent_s()))
        return _told(readiness(self._figures))

    def collect(self) -> Iterator[Metric]:
        """For the registry."""
        shipping = self._shipping() if self._figures else []
        return families_of(self._figures, self._versions, shipping)

    def _look(self) -> None:
        if self._clock() < self._kept_until:
            return
        self._texts.clear()
        self._figures = None
        with contextlib.suppress(AuditLogError, wire.WireError):
            self._figures = self._ask()
            self._answered_at = self._clock()
        self._kept_until = self._clock() + KEPT_S

    def _silent_s(self) -> float:
        return 0.0 if self._figures else self._clock() - self._answered_at

    def _metrics(self, accept: str) -> Response:
        try:
            encode, content_type = choose_encoder(accept)
        except Exception:  # noqa: BLE001 - whatever its parser makes of what somebody sends
            encode, content_type = choose_encoder("")
        if content_type not in self._texts:
            self._texts[content_type] = encode(self._registry)
        return Response(HTTPStatus.OK, self._texts[content_type], content_type)


def open_metrics(directory: Path, address: str) -> MetricsServer:
    """The server of a log's metrics, not started. Raises `ConfigError` where it cannot listen."""
    writer = LocalWriter(directory)

    def figures_now() -> Mapping[str, Any]:
        _, figures = ask(writer, wire.pack_stats_request(), ASK_S)
        if not isinstance(figures, dict):
            raise wire.WireError("the writer's figures are no mapping")
        return figures

    exporter = Exporter(figures_now, lambda: standings(directory))
    return MetricsServer(metrics_address(address), exporter.answer)


def _told(verdict: Verdict) -> Response:
    status = HTTPStatus.OK if verdict.is_good else HTTPStatus.SERVICE_UNAVAILABLE
    return said(status, verdict.words)
