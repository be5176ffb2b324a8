"""The WSGI middleware: one event a request, and PEP 3333 in full."""

import io
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import flask
import pytest

import hansard
from hansard import AuditLog, ConfigError
from hansard.integrations.wsgi import AuditMiddleware
from hansard.testing import Event, MemoryLog

OVERHEAD_US_MAX = 50
ROUNDS_MAX = 400  # a few are enough, unless the machine is busy
CALLS = 50

Environ = dict[str, Any]
App = Callable[[Environ, Any], Iterable[bytes]]


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with MemoryLog() as log:
        yield log


def plain(environ: Environ, start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hel", b"lo"]


def environ_of(**others: Any) -> Environ:
    environ: Environ = {}
    setup_testing_defaults(environ)
    return environ | {"QUERY_STRING": ""} | others


class Answer:
    """What a server has of a response: it iterates, and closes whatever comes."""

    def __init__(self, app: App, environ: Environ, chunks_max: int = 1_000) -> None:
        self.status, self.headers, self.body = "", list[tuple[str, str]](), b""
        self.response = app(environ, self._start)
        try:
            for _, chunk in zip(range(chunks_max), self.response, strict=False):
                self.body += chunk
        finally:
            if close := getattr(self.response, "close", None):
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert not (self.body and exc_info is None)
        self.status, self.headers = status, headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.body += data


def only(log: MemoryLog) -> Event:
    (kept,) = log.entries
    return kept


def test_a_request_is_one_event_and_its_answer_carries_the_id(log: MemoryLog) -> None:
    answer = Answer(AuditMiddleware(plain, log), environ_of())
    kept = only(log)
    assert (kept.event_type, kept.level, kept.actor) == ("http.request", "info", None)
    data = dict(kept.data or {})
    assert 0 <= data.pop("duration_ms") < 10_000
    assert answer.headers[1:] == [("X-Correlation-ID", data.pop("correlation_id"))]
    assert data == {"method": "GET", "status": 200, "bytes": 5}
    assert (answer.status, answer.body) == ("200 OK", b"hello")


@pytest.mark.parametrize("body", [[b"a"], (b"a", b"b"), [], iter([b"a"]), (b for b in [b"a", b""])])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_it_keeps_to_the_letter_of_pep_3333_on_both_sides(
    log: MemoryLog, body: Any, method: str
) -> None:
    def app(environ: Environ, start_response: Any) -> Any:
        environ["wsgi.input"].read(1)
        start_response("200 OK", [("Content-Type", "text/plain")], None)
        return body

    audited = AuditMiddleware(validator(app), log, body_bytes_max=10, paths=True)
    environ = environ_of(REQUEST_METHOD=method)
    if method == "POST":
        environ |= {"CONTENT_LENGTH": "1", "wsgi.input": io.BytesIO(b"x")}
    Answer(validator(audited), environ)
    assert only(log).data.get("status") == 200  # type: ignore[union-attr]


def test_a_response_of_one_chunk_still_tells_its_length(log: MemoryLog) -> None:
    def lazy(environ: Environ, start_response: Any) -> Iterable[bytes]:
        yield from plain(environ, start_response)

    assert len(Answer(AuditMiddleware(plain, log), environ_of()).response) == 2  # type: ignore[arg-type]
    assert not hasattr(Answer(AuditMiddleware(lazy, log), environ_of()).response, "__len__")


def test_an_application_may_begin_to_answer_late_begin_again_and_write(log: MemoryLog) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        try:
            raise ValueError
        except ValueError as error:
            fault = (ValueError, error, error.__traceback__)
            start_response("503 Busy", [], fault)(b"wri")
        yield b"tten"

    answer = Answer(AuditMiddleware(app, log), environ_of())
    assert (answer.status, answer.body) == ("503 Busy", b"written")
    kept = only(log)
    assert (kept.level, kept.data["status"], kept.data["bytes"]) == ("error", 503, 7)  # type: ignore[index]


def test_a_file_stays_what_the_server_makes_of_files(log: MemoryLog) -> None:
    file = io.BytesIO(b"hello")

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](file)

    environ = environ_of(**{"wsgi.file_wrapper": FileWrapper})
    answer = Answer(AuditMiddleware(app, log), environ)
    assert isinstance(answer.response, FileWrapper)
    assert file.closed
    assert answer.body == b"hello"
    assert (only(log).data or {}).get("bytes", "uncounted") == "uncounted"


class Sealed:
    """As the file wrappers of servers in C: it takes no attributes."""

    __slots__ = ("file",)

    def __init__(self, file: io.BytesIO) -> None:
        self.file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


def test_a_file_of_a_server_in_c_is_iterated(log: MemoryLog) -> None:
    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [])
        return environ["wsgi.file_wrapper"](io.BytesIO(b"a\nb"))

    environ = environ_of(**{"wsgi.file_wrapper": Sealed})
    assert Answer(AuditMiddleware(app, log), environ).body == b"a\nb"
    assert only(log).data["bytes"] == 3  # type: ignore[index]


def test_a_response_that_nobody_closes_is_recorded_at_its_end(log: MemoryLog) -> None:
    """As test clients leave them."""
    response = iter(AuditMiddleware(plain, log)(environ_of(), lambda *_: None))
    assert list(response) == [b"hel", b"lo"]
    assert only(log).level == "info"


@pytest.mark.parametrize("late", [False, True])
def test_an_exception_is_recorded_and_goes_on_up_unchanged(log: MemoryLog, late: bool) -> None:
    fault = KeyError("no")

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        if not late:
            raise fault

        def chunks() -> Iterator[bytes]:
            yield b"a"
            raise fault

        return chunks()

    with pytest.raises(KeyError) as raised:
        Answer(AuditMiddleware(app, log), environ_of())
    assert raised.value is fault
    kept = only(log)
    assert (kept.level, kept.data["status"]) == ("error", 200 if late else 500)  # type: ignore[index]
    assert kept.data["error"] == {"type": "KeyError", "message": "'no'"}  # type: ignore[index]


def test_a_response_that_is_closed_before_its_end_was_cut_off(log: MemoryLog) -> None:
    closed: list[bool] = []

    class Chunks:
        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            yield b"b"

        def close(self) -> None:
            closed.append(True)

    def app(environ: Environ, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Chunks()

    Answer(AuditMiddleware(app, log), environ_of(), chunks_max=1)
    assert closed == [True]
    kept = only(log)
    assert (kept.level, kept.data["ended"]) == ("warning", "disconnected")  # type: ignore[index]


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_an_answer_without_a_body_is_whole_where_the_server_asks_for_none(
    log: MemoryLog, method: str, status: str
) -> None:
    def app(_: Environ, start_response: Any) -> list[bytes]:
        start_response(status, [])
        return []

    response: Any = AuditMiddleware(app, log)(
        environ_of(REQUEST_METHOD=method), lambda *_: lambda _: None
    )
    response.close()
    assert only(log).level == "info"
    assert "ended" not in (only(log).data or {})


def test_all_that_is_recorded_while_the_response_is_made_carries_the_id_and_nothing_later(
    log: MemoryLog,
) -> None:
    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        hansard.bind(actor="user:7")
        start_response("200 OK", [])

        def chunks() -> Iterator[bytes]:
            log.record("row.sent")
            yield b"a"

        return chunks()

    Answer(AuditMiddleware(app, log), environ_of(HTTP_X_REQUEST_ID="r-1"))
    log.record("later")
    sent, request, later = log.entries
    assert (sent.actor, sent.data) == ("user:7", {"correlation_id": "r-1"})
    assert request.actor == "user:7"
    assert (later.actor, later.data) == (None, None)


@pytest.mark.parametrize(
    "hostile",
    ["a\r\nB: b", "x" * 5_000, "ä", "a,b"],
    ids=["lines", "long", "umlaut", "two"],
)
def test_a_hostile_id_is_replaced_and_never_comes_back(log: MemoryLog, hostile: str) -> None:
    answer = Answer(AuditMiddleware(plain, log), environ_of(HTTP_X_CORRELATION_ID=hostile))
    assert hostile not in str(answer.headers)
    assert len(only(log).data["correlation_id"]) == 32  # type: ignore[index]


def test_the_server_or_a_callable_says_who_it_was(log: MemoryLog) -> None:
    Answer(AuditMiddleware(plain, log), environ_of(REMOTE_USER="alice"))
    told = AuditMiddleware(plain, log, actor=lambda environ: environ["user.id"])
    Answer(told, environ_of(**{"user.id": 7}))
    Answer(told, environ_of(REMOTE_USER="alice"))  # it raises
    assert [kept.actor for kept in log.entries] == ["alice", "7", "alice"]


def test_of_what_a_stranger_sends_only_what_is_chosen_is_recorded(log: MemoryLog) -> None:
    body = b'{"a": 1}'
    environ: Environ = {
        "PATH_INFO": "/gr\xc3\xbc\xc3\x9f", "QUERY_STRING": "q=1", "REMOTE_ADDR": "192.0.2.7",
        "HTTP_USER_AGENT": "curl", "CONTENT_TYPE": "application/json", "CONTENT_LENGTH": "8",
    }  # fmt: skip
    app = flask.Flask("test")
    app.add_url_rule("/grüß", view_func=lambda: flask.jsonify(flask.request.json), methods=["POST"])
    chosen: Any = {
        "paths": True, "queries": True, "clients": True, "body_bytes_max": 10,
        "headers": ["User-Agent", "Content-Type"],
    }  # fmt: skip
    for settings in ({}, chosen):
        environ |= {"wsgi.input": io.BytesIO(body), "REQUEST_METHOD": "POST"}
        Answer(AuditMiddleware(app, log, **settings), environ_of(**environ))
    bare, full = (kept.data or {} for kept in log.entries)
    assert bare.keys() == {"method", "route", "status", "bytes", "duration_ms", "correlation_id"}
    assert {name: full[name] for name in full.keys() - bare.keys()} == {
        "path": "/grüß", "query": {"q": "1"}, "client": "192.0.2.7", "body": {"a": 1},
        "headers": {"user-agent": "curl", "content-type": "application/json"},
    }  # fmt: skip


def test_a_body_is_kept_however_it_is_read(log: MemoryLog) -> None:
    lines = b"a\nb\nc\nd"

    def app(environ: Environ, start_response: Any) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        assert [stream.read(2), stream.readline()] == [b"a\n", b"b\n"]
        assert [*stream.readlines(1), *stream] == [b"c\n", b"d"]
        return plain(environ, start_response)

    environ = environ_of(CONTENT_TYPE="text/plain", **{"wsgi.input": io.BytesIO(lines)})
    Answer(AuditMiddleware(app, log, body_bytes_max=100), environ)
    assert only(log).data["body"] == lines.decode()  # type: ignore[index]


def test_what_is_excluded_passes_untouched(log: MemoryLog) -> None:
    app = AuditMiddleware(plain, log, exclude=["/healthz"])
    assert Answer(app, environ_of(PATH_INFO="/healthz")).headers == [("Content-Type", "text/plain")]
    Answer(app, environ_of(PATH_INFO="/healthz/deep"))
    assert len(log.entries) == 1


def test_two_around_each_other_record_one_event(log: MemoryLog) -> None:
    Answer(AuditMiddleware(AuditMiddleware(plain, log), log), environ_of())
    assert len(log.entries) == 1


def test_no_fault_of_the_log_reaches_the_application(directory: Path) -> None:
    with AuditLog(directory) as log:
        pass
    assert Answer(AuditMiddleware(plain, log), environ_of()).body == b"hello"


def test_a_log_that_allows_requests_alone_is_enough(log: MemoryLog) -> None:
    AuditMiddleware(plain, MemoryLog(event_types=("http.request",)))
    with pytest.raises(ConfigError, match=r"lacks 'http\.request'"):
        AuditMiddleware(plain, MemoryLog(event_types=("task.done",)))


@pytest.mark.usefixtures("writer")
def test_a_request_costs_less_than_50_us_more(directory: Path) -> None:
    """Its own thread's time, and the best round of each kind: what others do meanwhile on this
    machine is not its cost. What a client sees is measured by the bench, part web."""

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any: ...

    def round_us(app: App) -> float:
        took = []
        for _ in range(CALLS):
            environ = environ_of(HTTP_X_REQUEST_ID="r-1")
            began = time.thread_time_ns()
            response = app(environ, start_response)
            for _ in response:
                pass
            if close := getattr(response, "close", None):
                close()
            took.append(time.thread_time_ns() - began)
        return median(took) / 1e3

    with AuditLog(directory) as log:
        audited, least, most = AuditMiddleware(plain, log), math.inf, math.inf
        for _ in range(ROUNDS_MAX):
            least, most = min(least, round_us(plain)), min(most, round_us(audited))
            if most - least < OVERHEAD_US_MAX:
                break
    assert most - least < OVERHEAD_US_MAX
