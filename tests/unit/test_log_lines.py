"""Log lines on stderr: as text, or one JSON object each."""

import json
import logging
from collections.abc import Iterator

import pytest

from hansard_writer.log_lines import configure_logging


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_as_before")
def test_logs_as_json_are_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log = logging.getLogger("hansard.test")
    log.info("a %s\nof two lines", "message")
    try:
        raise ValueError("why")
    except ValueError:
        log.exception("failed")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["message"] == "a message\nof two lines"
    assert (first["level"], first["logger"]) == ("info", "hansard.test")
    assert first["time"].endswith("Z")
    assert "ValueError: why" in second["traceback"]


@pytest.mark.usefixtures("logging_as_before")
def test_logs_as_text_go_to_stderr_from_their_level_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "text")
    logging.getLogger("hansard.test").info("quiet")
    logging.getLogger("hansard.test").warning("loud")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "WARNING hansard.test: loud" in captured.err
    assert "quiet" not in captured.err
