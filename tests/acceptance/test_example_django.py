"""The example of a Django site, under gunicorn with two workers that were forked from one site."""

import contextlib
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hansard.reader import Event, LogReader
from support import assert_log_is_sound, wait_until

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"
REQUESTS = 60


def answered(port: int, path: str, user: str | None = None, **headers: str) -> int:
    """The status of a POST."""
    given = {"X-User": user} if user else {}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data=b"", headers=given | headers
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@contextlib.contextmanager
def served(directory: Path, site: Path) -> Iterator[int]:
    """The port of the example, which gunicorn serves."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "--chdir", str(EXAMPLES), "--preload"]
        command += ["-w", "2", "-b", f"fd://{listener.fileno()}", "--log-level", "warning"]
        environment = os.environ | {
            "HANSARD_DIR": str(directory),
            "SITE": str(site),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        server = subprocess.Popen(
            [*command, "django_site:application"], env=environment, pass_fds=[listener.fileno()]
        )
        try:
            yield port
        finally:
            server.terminate()
            assert server.wait(20) == 0


def events(directory: Path) -> list[Event]:
    with LogReader(directory) as reader:
        return list(reader.events())


@pytest.mark.usefixtures("writer")
def test_a_site_under_gunicorn_records_every_request_and_change_once(
    directory: Path, tmp_path: Path
) -> None:
    with served(directory, tmp_path / "site.db") as port:
        first = answered(port, "/orders/7/paid", "alice", **{"X-Request-ID": "r-1"})
        refused = answered(port, "/orders/8/paid?funds=none", "bob")
        assert (first, refused) == (200, 402)
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(lambda _: answered(port, "/"), range(REQUESTS))) == {200}
    count = REQUESTS + 5
    found = wait_until(
        lambda: every if len(every := events(directory)) >= count else None, "all is in the log"
    )
    assert_log_is_sound(directory)
    assert Counter(each.event_type for each in found) == {
        "http.request": REQUESTS + 2,
        "model.created": 1,
        "model.updated": 1,
        "payment.refused": 1,
    }
    alices = [each for each in found if each.actor == "user:alice"]
    assert [each.event_type for each in alices] == [
        "model.created",
        "model.updated",
        "http.request",
    ]
    assert {each.data["correlation_id"] for each in alices} == {"r-1"}
    (update,) = (each for each in alices if each.event_type == "model.updated")
    assert update.data["changes"] == {"status": ["open", "paid"]}
    bobs = {each.event_type: each for each in found if each.actor == "user:bob"}
    assert bobs["http.request"].data["route"] == "/orders/<int:number>/paid"
    assert bobs["http.request"].data["status"] == 402
    assert len({each.pid for each in found}) == 2, "each worker is a producer of its own"
