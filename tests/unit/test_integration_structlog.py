"""Event dicts of structlog as events, and what the processor passes on."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from hansard import ConfigError
from hansard.integrations.structlog import AuditProcessor
from hansard.testing import MemoryLog


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with MemoryLog() as log:
        yield log


@pytest.fixture(autouse=True)
def nothing_bound() -> Iterator[None]:
    structlog.contextvars.clear_contextvars()
    yield
    structlog.contextvars.clear_contextvars()


def logger_with(*processors: Any, name: str = "") -> tuple[Any, list[Any]]:
    """A logger of these processors, and what reaches its end."""
    passed: list[Any] = []

    def end(_logger: Any, _name: str, event_dict: Any) -> Any:
        passed.append(event_dict)
        raise structlog.DropEvent

    inner = structlog.PrintLogger() if not name else logging.getLogger(name)
    wrapper = structlog.stdlib.BoundLogger if name else structlog.make_filtering_bound_logger(0)
    chain = [*processors, end]
    return structlog.wrap_logger(inner, processors=chain, wrapper_class=wrapper), passed


def test_a_line_is_recorded_and_passed_on_unchanged(log: MemoryLog) -> None:
    logger, passed = logger_with(AuditProcessor(log))
    logger.info("paid", event_type="order.paid", actor="user:7", task_id="T1", amount=3)
    (entry,) = log.entries
    assert (entry.event_type, entry.level, entry.actor) == ("order.paid", "info", "user:7")
    assert (entry.task_id, entry.data) == ("T1", {"message": "paid", "amount": 3})
    given = {"event_type": "order.paid", "actor": "user:7", "task_id": "T1", "amount": 3}
    assert passed == [{"event": "paid", **given}]


def test_it_gives_back_the_very_same_dict(log: MemoryLog) -> None:
    event_dict = {"event": "x", "odd": object()}
    assert AuditProcessor(log)(None, "info", event_dict) is event_dict
    assert set(event_dict) == {"event", "odd"}
    assert AuditProcessor(log)(None, "info", "rendered already") == "rendered already"
    assert log.recorded(message="rendered already")


@pytest.mark.parametrize(
    ("method", "level"),
    [
        ("debug", "debug"),
        ("msg", "info"),
        ("warn", "warning"),
        ("error", "error"),
        ("exception", "error"),
        ("fatal", "critical"),
    ],
)
def test_the_level_is_the_methods(log: MemoryLog, method: str, level: str) -> None:
    AuditProcessor(log)(None, method, {"event": "x"})
    assert log.entries[0].level == level


def test_the_type_is_by_the_loggers_name(log: MemoryLog) -> None:
    processor = AuditProcessor(log, types={"app": "app.line"})
    logger_with(processor, name="other.module")[0].info("a")
    logger_with(structlog.stdlib.add_logger_name, processor, name="app.auth")[0].info("b")
    processor(None, "info", {"event": "c"})
    types = [entry.event_type for entry in log.entries]
    assert types == ["log.other.module", "app.line", "log.structlog"]


@pytest.mark.parametrize("merges", [True, False])
def test_what_structlog_has_bound_is_in_the_event(log: MemoryLog, merges: bool) -> None:
    before = [structlog.contextvars.merge_contextvars] if merges else []
    logger, passed = logger_with(*before, AuditProcessor(log))
    with structlog.contextvars.bound_contextvars(tenant="x", actor="user:7"):
        logger.bind(step=1).info("m")
    assert log.recorded(message="m", tenant="x", step=1, actor="user:7")
    assert ("tenant" in passed[0]) is merges


def test_an_exception_is_its_error(log: MemoryLog) -> None:
    logger, _ = logger_with(AuditProcessor(log))
    whole, _ = logger_with(AuditProcessor(log, traceback=True))
    rendered, _ = logger_with(structlog.processors.format_exc_info, AuditProcessor(log))
    try:
        raise KeyError("k")
    except KeyError as error:
        logger.exception("first")
        whole.error("second", exc_info=error)
        rendered.exception("third")
    first, second, third = (entry.data or {} for entry in log.entries)
    assert first == {"message": "first", "error": {"type": "KeyError", "message": "'k'"}}
    assert 'raise KeyError("k")' in second["error"]["traceback"]
    assert 'raise KeyError("k")' in third["exception"]


def test_lines_below_its_level_are_passed_on_only(log: MemoryLog) -> None:
    logger, passed = logger_with(AuditProcessor(log, level="warning"))
    logger.info("low")
    logger.error("high")
    assert [entry["event"] for entry in passed] == ["low", "high"]
    assert [(entry.data or {})["message"] for entry in log.entries] == ["high"]


def test_nothing_is_raised_and_hansard_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with MemoryLog(event_types=["only.this"]) as log:
        logger, passed = logger_with(AuditProcessor(log))
        logger.info("m")
        assert passed
        assert not log.entries
    assert "a line was not recorded: event_type 'log.structlog' is not among" in caplog.text


def test_hansards_own_lines_are_not_recorded(log: MemoryLog) -> None:
    processor = AuditProcessor(log)
    formatter = structlog.stdlib.ProcessorFormatter(
        processor=structlog.processors.JSONRenderer(), foreign_pre_chain=[processor]
    )
    for name in ("hansard", "hansard.child", "theirs"):
        formatter.format(logging.makeLogRecord({"name": name, "msg": "m", "levelname": "INFO"}))
    assert [entry.event_type for entry in log.entries] == ["log.theirs"]


def test_a_level_that_is_none_is_said_when_it_is_made(log: MemoryLog) -> None:
    with pytest.raises(ConfigError, match="level is 'loud'"):
        AuditProcessor(log, level="loud")
