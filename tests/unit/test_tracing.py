"""The line at DEBUG for each committed event of a task."""

import logging
from collections.abc import Iterator

import orjson
import pytest

from hansard.complaints import LOGGER
from hansard.tracing import trace_recorded

FACTS = {"repo_id": "r1", "operation": "write_file", "status": "success", "n": 1}
LINE = "Recorded audit: task=T1, repo=r1, operation=write_file, status=success"


@pytest.mark.parametrize("payload", [FACTS, orjson.Fragment(orjson.dumps(FACTS))])
def test_the_line_is_said_at_debug(
    payload: dict[str, object] | orjson.Fragment, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "hansard"):
        trace_recorded("T1", payload)
    assert caplog.record_tuples == [("hansard", logging.DEBUG, LINE)]


def test_what_the_payload_does_not_say_is_none(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "hansard"):
        trace_recorded("T1", None)
    assert caplog.messages == ["Recorded audit: task=T1, repo=None, operation=None, status=None"]


@pytest.mark.parametrize("text", [b'{"x":"\\udc80"}', b'{"n":' + b"9" * 5_000 + b"}"])
def test_no_payload_that_the_log_takes_is_too_odd(
    text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "hansard"):
        trace_recorded("T1", orjson.Fragment(text))
    assert len(caplog.messages) == 1


def test_nothing_is_said_or_looked_at_when_nobody_listens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "hansard"):
        trace_recorded("T1", orjson.Fragment(b"never parsed"))
    assert caplog.messages == []


class Recording(logging.Handler):
    """A handler that records through Hansard what it is told, as some do."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())
        trace_recorded("T2", None)


@pytest.fixture
def recording() -> Iterator[Recording]:
    handler, level = Recording(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(level)


def test_a_handler_that_records_itself_comes_to_an_end(recording: Recording) -> None:
    for _ in range(2):
        trace_recorded("T1", FACTS)
    assert recording.told == [LINE, LINE]
