"""Real servers under load: every request that was answered is in the log, once."""

import collections
import itertools
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.measuring.web import Answer, Client, Server, request_bytes, serving
from hansard_writer import RunningWriter
from support import count_entries, query, wait_until

EXAMPLES = Path(__file__).resolve().parents[2] / "scripts" / "examples"
CLIENTS = 4
RECONNECT = 100

FASTAPI = """
import os
from fastapi import FastAPI, HTTPException
from fastapi_app import app

@app.get("/pid")
async def pid():
    return os.getpid()

sub = FastAPI()
app.mount("/of/{tenant}", sub)

@sub.get("/users/{number}")
async def read(number: int):
    if number % 10 == 9:
        raise HTTPException(404)
    return number
"""
STARLETTE = """
import asyncio, hansard
from hansard.integrations.asgi import AuditMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

async def read(request):
    return PlainTextResponse("a")

async def broken(request):
    raise ValueError("no")

async def upload(request):
    hansard.bind(actor="user:uploader")
    await asyncio.sleep(0.05)  # the rest of the body comes, and the server stops to read
    return PlainTextResponse(str(len(await request.body())))

async def slow(request):
    async def lines():
        while True:
            yield b"line\\n"
            await asyncio.sleep(0.01)
    return StreamingResponse(lines())

routes = [
    Route("/users/{number}", read), Route("/broken", broken), Route("/slow", slow),
    Route("/upload", upload, methods=["POST"]),
]
app = Starlette(routes=routes, middleware=[Middleware(AuditMiddleware)])
"""
FLASK = "from flask_app import app"
PLAIN = """
from hansard.integrations.wsgi import AuditMiddleware

def answer(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]

app = AuditMiddleware(answer)
"""

UVICORN = ("uvicorn", "program:app", "--uds", "{socket}", "--no-access-log")
GUNICORN = ("gunicorn", "program:app", "--bind", "unix:{socket}", "--no-control-socket")

Serve = Callable[..., Any]


@pytest.fixture
def serve(tmp_path: Path, directory: Path) -> Serve:
    """Serves a program, given as text, that records into the test's log."""

    def start(program: str, *command: str) -> Any:
        (tmp_path / "program.py").write_text(program)
        path = os.pathsep.join([str(tmp_path), str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
        environment = {"HANSARD_DIR": str(directory), "PYTHONPATH": path}
        return serving(*command, place=tmp_path, environment=environment)

    return start


def ask_all(
    server: Server, count: int, ask: Callable[[Client, int, str], Answer], offset: int = 0
) -> dict[str, Answer]:
    """What so many requests, each with an id, were answered, by several clients at once."""

    def some(number: int) -> dict[str, Answer]:
        answers = {}
        with Client(server.path) as client:
            for n in range(offset + number, offset + count, CLIENTS):
                try:
                    answers[f"r-{n}"] = ask(client, n, f"r-{n}")
                except ConnectionError:  # a worker that goes hangs up on who is idle
                    answers[f"again-{n}"] = ask(client, n, f"again-{n}")
                if n % RECONNECT == number:
                    client.close()  # for the other worker
        return answers

    with ThreadPoolExecutor(CLIENTS) as clients:
        answers: dict[str, Answer] = {}
        for part in clients.map(some, range(CLIENTS)):
            answers |= part
    return answers


def entered(directory: Path, event_type: str) -> collections.Counter[str]:
    """How often the log has each correlation id."""
    rows = query(
        directory,
        "SELECT payload ->> 'correlation_id', count(*) FROM entries "
        "WHERE event_type = ? GROUP BY 1",
        (event_type,),
    )
    return collections.Counter(dict(rows))


def assert_each_is_entered_once(directory: Path, answers: dict[str, Answer]) -> None:
    wait_until(
        lambda: entered(directory, "http.request").keys() >= answers.keys(), "all is entered"
    )
    counts = entered(directory, "http.request")
    assert set(counts.values()) == {1}
    assert not [each for each in counts.keys() - answers.keys() if not each.startswith("r-")]
    assert {each.headers["x-request-id"] for each in answers.values()} == answers.keys()


@pytest.mark.usefixtures("writer")
def test_all_requests_to_two_workers_of_uvicorn_are_entered_once(
    serve: Serve, directory: Path
) -> None:
    def ask(client: Client, n: int, name: str) -> Answer:
        headers = {"X-Request-ID": name, "X-User": f"u{n % 3}"}
        if n % 2:
            return client.get(f"/of/acme/users/{n}", headers)
        return client.ask(request_bytes("POST", f"/orders/{n}", headers))

    def pid(server: Server) -> bytes:
        with Client(server.path) as client:
            return client.get("/pid", {"X-Request-ID": f"r-pid-{next(asked)}"}).body

    pids: set[bytes] = set()
    asked = itertools.count()
    with serve(FASTAPI, *UVICORN, "--workers", "2") as server:
        wait_until(lambda: len(pids) == 2 or pids.add(pid(server)), "both workers answer")
        answers = ask_all(server, 2_400, ask)
        with Client(server.path) as client:
            assert client.get("/healthz", {}).status == 200
        server.end()
    assert_each_is_entered_once(directory, answers)
    assert len(answers) == 2_400
    found = query(
        directory,
        "SELECT payload ->> 'route', payload ->> 'status', level, actor IS NULL, count(*) FROM "
        "entries WHERE event_type = 'http.request' AND payload ->> 'route' <> '/pid' "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2",
    )
    assert found == [
        ("/of/{tenant}/users/{number}", 200, "info", 1, 960),
        ("/of/{tenant}/users/{number}", 404, "warning", 1, 240),
        ("/orders/{number}", 200, "info", 0, 1_200),
    ]
    assert len(entered(directory, "order.placed")) == 1_200
    who = collections.defaultdict(set)
    for name, actor in query(directory, "SELECT payload ->> 'correlation_id', actor FROM entries"):
        who[name].add(actor)
    assert {len(actors) for actors in who.values()} == {1}, "handler and middleware say the same"
    assert query(directory, "SELECT count(DISTINCT producer) FROM entries") == [(2,)]


@pytest.mark.usefixtures("writer")
def test_all_requests_to_gunicorn_are_entered_once_while_workers_are_recycled_and_reloaded(
    serve: Serve, directory: Path
) -> None:
    def ask(client: Client, n: int, name: str) -> Answer:
        headers = {"X-Request-ID": name, "X-User": "alice"}
        return client.ask(request_bytes("POST", f"/orders/{n}", headers))

    options = "--workers 2 --worker-class gthread --threads 2 --preload --max-requests 500"
    with serve(FLASK, *GUNICORN, *options.split()) as server:
        answers = ask_all(server, 1_200, ask)
        server.process.send_signal(signal.SIGHUP)
        answers |= ask_all(server, 1_200, ask, offset=1_200)
        assert server.end() == 0
    assert_each_is_entered_once(directory, answers)
    assert len(answers) == 2_400
    producers = "SELECT count(DISTINCT producer) FROM entries"
    assert query(directory, producers)[0][0] > 4, "workers went and came"
    kinds = "SELECT DISTINCT event_type, actor, payload ->> 'route' FROM entries ORDER BY 1"
    assert query(directory, kinds) == [
        ("http.request", "user:alice", "/orders/<int:number>"),
        ("order.placed", "user:alice", None),
    ]


def test_a_worker_of_gunicorn_that_ends_gives_its_events_to_the_writer_before_it_goes(
    serve: Serve, directory: Path, writer: RunningWriter
) -> None:
    with serve(PLAIN, *GUNICORN, "--workers", "2") as server:
        with Client(server.path) as client:
            for n in range(200):
                client.get("/", {"X-Request-ID": f"r-{n}"})
        assert server.end() == 0
        assert count_entries(directory) == 200, "at once, without anybody to adopt a spool"
    assert not any((directory / "spool").iterdir())


@pytest.mark.usefixtures("writer")
def test_a_worker_of_uvicorn_that_ends_gives_its_events_to_the_writer_before_it_goes(
    serve: Serve, directory: Path
) -> None:
    """By the lifespan: uvicorn ends by the signal that ended it, and no exit hook is called."""
    with serve(STARLETTE, *UVICORN) as server:
        with Client(server.path) as client:
            for n in range(200):
                client.get(f"/users/{n}", {"X-Request-ID": f"r-{n}"})
        server.end()
        assert count_entries(directory) == 200


@pytest.mark.usefixtures("writer")
def test_faults_and_clients_that_leave_are_entered_as_such(serve: Serve, directory: Path) -> None:
    with serve(STARLETTE, *UVICORN) as server:
        with Client(server.path) as client:
            assert client.get("/broken", {}).status == 500
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(str(server.path))
            leaving.sendall(request_bytes("GET", "/slow", {}))
            assert leaving.recv(10)
        wait_until(lambda: count_entries(directory) == 2, "both are entered")
        server.end()
    found = query(
        directory,
        "SELECT level, payload ->> 'route', payload ->> 'status', payload ->> 'ended', "
        "payload ->> '$.error.type' FROM entries ORDER BY seq",
    )
    assert found == [
        ("error", "/broken", 500, None, "ValueError"),
        ("warning", "/slow", 200, "disconnected", None),
    ]


@pytest.mark.usefixtures("writer")
def test_what_one_request_binds_is_not_in_the_next_of_its_connection(
    serve: Serve, directory: Path
) -> None:
    """asyncio hands a request's context on, where uvicorn stops reading and goes on within it."""
    with serve(STARLETTE, *UVICORN) as server:
        with Client(server.path) as client:
            upload = request_bytes("POST", "/upload", {}, b"x" * 1_000_000)
            assert client.ask(upload).body == b"1000000"
            assert client.get("/users/1", {}).status == 200
        server.end()
    rows = query(directory, "SELECT payload ->> 'route', actor FROM entries ORDER BY seq")
    assert rows == [("/upload", "user:uploader"), ("/users/{number}", None)]
