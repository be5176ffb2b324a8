"""Lines of stdlib logging as events: type, level, what is kept of a line, and what never is."""

import logging
import logging.config
import logging.handlers
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import hansard
from hansard import ConfigError
from hansard.complaints import LOGGER
from hansard.integrations import lines, shared_log
from hansard.integrations.logging import AuditHandler
from hansard.testing import MemoryLog
from hansard.wire import EVENT_BYTES_MAX

Attach = Callable[..., AuditHandler]
logger = logging.getLogger("app.orders")


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    with MemoryLog() as log:
        yield log


@pytest.fixture
def attach(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attach]:
    """Puts a handler on the root logger for the test, with all levels on."""
    root, attached = logging.getLogger(), []
    level = root.level

    def put(*, on: logging.Logger = root, **options: Any) -> AuditHandler:
        handler = AuditHandler(options.pop("log", log), **options)
        on.addHandler(handler)
        attached.append((on, handler))
        return handler

    root.setLevel(1)
    yield put
    root.setLevel(level)
    for on, handler in attached:
        on.removeHandler(handler)
        handler.close()


def line(said: dict[str, Any]) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "a", "levelno": logging.INFO} | said)


class Wordless:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


# --- what a line becomes ---


def test_a_line_is_one_event(log: MemoryLog, attach: Attach) -> None:
    attach()
    logger.info("order %d is paid", 7)
    (entry,) = log.entries
    assert (entry.event_type, entry.level) == ("log.app.orders", "info")
    assert entry.data == {"message": "order 7 is paid", "logger": "app.orders"}


def test_it_has_the_time_of_the_line(log: MemoryLog) -> None:
    record = line({"name": "a", "created": 1_700_000_000.25})
    AuditHandler(log).handle(record)
    assert log.entries[0].created_at_ns == 1_700_000_000_250_000_000


@pytest.mark.parametrize(
    ("number", "level"),
    [
        *((number, "debug") for number in (-5, 1, 10, 19)),
        *((number, "info") for number in (20, 25)),
        *((number, "warning") for number in (30, 39)),
        (40, "error"),
        *((number, "critical") for number in (50, 99)),
    ],
)
def test_any_level_number_is_one_of_the_five(number: int, level: str) -> None:
    assert lines.level_of(number) == level


def test_levels_of_the_applications_own_can_be_mapped(log: MemoryLog, attach: Attach) -> None:
    attach(levels={35: "critical", "AUDIT": "info"})
    logger.log(35, "by number")
    AuditHandler(log, levels={"AUDIT": "info"}).handle(
        line({"levelno": 60, "levelname": "AUDIT", "msg": "by name"})
    )
    assert [entry.level for entry in log.entries] == ["critical", "info"]


def test_extra_is_in_the_payload_and_names_what_the_event_is(
    log: MemoryLog, attach: Attach
) -> None:
    attach()
    extra = {"event_type": "order.paid", "actor": "user:7", "task_id": "T1", "amount": 3}
    logger.info("paid", extra=extra)
    assert log.recorded("order.paid", actor="user:7", task_id="T1", amount=3, message="paid")
    assert set(log.entries[0].data or {}) == {"message", "logger", "amount"}


def test_types_are_those_of_the_nearest_logger_above(log: MemoryLog, attach: Attach) -> None:
    attach(types={"app": "app.line", "app.auth": "auth.line", "root": "any.line"})
    for name in ("app.auth.login", "app.orders", "application", "root"):
        logging.getLogger(name).warning("x")
    types = [entry.event_type for entry in log.entries]
    assert types == ["auth.line", "app.line", "any.line", "any.line"]


@pytest.mark.parametrize(
    ("name", "event_type"),
    [("", "log.root"), ("a b/ü", "log.a_b/_"), ("__main__", "log.__main__"), ("x" * 300, None)],
)
def test_the_name_of_any_logger_makes_a_type(
    log: MemoryLog, name: str, event_type: str | None
) -> None:
    AuditHandler(log).handle(line({"name": name, "msg": "m"}))
    assert log.entries[0].event_type == (event_type or "log." + "x" * 251)


@pytest.mark.parametrize("given", ["7 up", "hansard.lost", "é", 7, "x" * 400])
def test_a_type_that_is_none_is_made_one(log: MemoryLog, attach: Attach, given: object) -> None:
    attach()
    logger.info("m", extra={"event_type": given})
    assert log.recorded(message="m")


def test_an_exception_is_its_error(log: MemoryLog, attach: Attach) -> None:
    attach()
    attach(traceback=True, source=True)
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("went wrong", stack_info=True)
    plain, whole = (entry.data or {} for entry in log.entries)
    assert plain["error"] == {"type": "KeyError", "message": "'k'"}
    assert 'raise KeyError("k")' in whole["error"]["traceback"]
    assert "Stack (most recent call last)" in whole["stack"]
    assert whole["source"]["function"] == "test_an_exception_is_its_error"
    assert Path(whole["source"]["file"]).name == Path(__file__).name
    assert "stack" not in plain


def test_exc_info_without_an_exception_is_none(log: MemoryLog, attach: Attach) -> None:
    attach(traceback=True)
    logger.info("calm", exc_info=True)  # noqa: LOG014 - nothing is handled
    assert set(log.entries[0].data or {}) == {"message", "logger"}


def test_what_is_bound_is_in_the_event(log: MemoryLog, attach: Attach) -> None:
    attach()
    with hansard.bound(actor="user:7", correlation_id="r-1"):
        logger.info("in a request")
    assert log.recorded(actor="user:7", correlation_id="r-1")


def test_a_formatter_makes_the_message(log: MemoryLog, attach: Attach) -> None:
    attach().setFormatter(logging.Formatter("<%(message)s>"))
    logger.info("m")
    assert log.recorded(message="<m>")


# --- what no event can hold ---


def test_what_json_cannot_hold_is_kept_as_its_repr(log: MemoryLog, attach: Attach) -> None:
    attach()
    loop: list[Any] = []
    loop.append(loop)
    extra = {"o": {1, "a"}, "w": Wordless(), "f": max, "loop": loop, "lone": "\ud800", "n": [1.5]}
    logger.info("odd", extra=extra | {"actor": 7, "task_id": "t\0" + "x" * 2_000})
    (entry,) = log.entries
    data = entry.data or {}
    assert data["f"] == repr(max)
    assert data["w"] == "<Wordless that cannot be shown>"
    assert data["n"] == [1.5]
    assert sorted(map(str, data["o"])) == ["1", "a"]
    assert entry.actor == "7"
    assert entry.task_id == "t" + "x" * 1_023


@pytest.mark.parametrize(
    "extra",
    [
        {"big": "x" * (2 << 20)},
        {"big": ["\x01" * 1_000] * 1_000_0},
        {f"k{i}": "\x02" * 3_000 for i in range(2_000)},
        {"wide": [[["y"] * 100] * 100] * 30},
    ],
    ids=["a text", "a list", "a mapping", "nested"],
)
def test_what_is_too_large_is_cut_with_a_mark(
    log: MemoryLog, attach: Attach, extra: dict[str, Any]
) -> None:
    attach()
    logger.info("m" * 100, extra=extra)
    (entry,) = log.entries
    assert len(entry.payload or "") < EVENT_BYTES_MAX
    assert "…" in (entry.payload or "")
    assert (entry.data or {})["message"] == "m" * 100


@dataclass
class _Credentials:
    user: str
    password: str


class _Name(str, Enum):  # noqa: UP042 - its str() is another one than a StrEnum's
    PASSWORD = "password"


@pytest.mark.parametrize("unfit", [{"actor": 7}, {"thing": max}])
@pytest.mark.parametrize(
    "creds", [_Credentials("ann", "hunter2"), {_Name.PASSWORD: "hunter2", "user": "ann"}]
)
def test_what_is_made_to_fit_is_masked_as_any(
    log: MemoryLog, attach: Attach, unfit: dict[str, Any], creds: Any
) -> None:
    attach()
    logger.info("connected", extra={**unfit, "creds": creds})
    (entry,) = log.entries
    assert entry.data is not None
    assert entry.data["creds"] == {"user": "ann", "password": "[masked]"}


def test_a_name_is_not_cut_off_from_what_it_masks() -> None:
    for left in range(0, 100, 5):
        texts = {"a": "x" * lines.TEXT_CHARS_MAX, "b": "x" * (lines.TEXT_CHARS_MAX - left)}
        made = lines.fitting_payload({**texts, "password": 4711})
        assert [name for name, value in made.items() if value == 4711] in ([], ["password"])


def test_an_oversized_message_is_cut_with_a_mark(log: MemoryLog, attach: Attach) -> None:
    attach()
    logger.info("é" * (1 << 20))
    message = (log.entries[0].data or {})["message"]
    assert message.startswith("éééé")
    assert message.endswith("… (cut from 1,048,576 characters)")


def test_arguments_that_do_not_fit_the_message_are_kept_beside_it(
    log: MemoryLog, attach: Attach
) -> None:
    logger = logging.getLogger("wrong.arguments")
    logger.propagate = False  # pytest's own handler raises for these
    attach(on=logger)
    logger.info("%d of %s", "seven")  # noqa: PLE1206 - that is the point
    assert (log.entries[0].data or {})["message"].startswith("%d of %s ('seven',) (TypeError: ")


# --- what it never does ---


def test_emit_raises_nothing(
    log: MemoryLog, attach: Attach, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = attach(log=MemoryLog(event_types=["only.this"]))
    logger.info("not allowed")
    assert "event_type 'log.app.orders' is not among the allowed" in capsys.readouterr().err
    handler.handle(line({"created": float("nan"), "name": "x"}))
    assert "ValueError" in capsys.readouterr().err


def test_hansards_own_warnings_are_not_recorded(log: MemoryLog, attach: Attach) -> None:
    attach()
    LOGGER.warning("no room")
    logging.getLogger("hansard.child").error("x")
    logging.getLogger("hansardly").error("not ours")
    assert [entry.event_type for entry in log.entries] == ["log.hansardly"]


def test_a_value_that_logs_while_it_is_recorded_comes_to_an_end(
    log: MemoryLog, attach: Attach
) -> None:
    attach()

    class Talkative:
        def __repr__(self) -> str:
            logger.info("again", extra={"value": self})
            return "Talkative()"

    logger.info("first", extra={"value": Talkative()})
    messages = [(entry.data or {})["message"] for entry in log.entries]
    assert messages == ["again"] * (len(messages) - 1) + ["first"]
    assert len(messages) <= 4


def test_a_signal_handler_that_logs_inside_a_line_is_recorded(
    log: MemoryLog, attach: Attach
) -> None:
    attach()
    before = signal.signal(signal.SIGUSR1, lambda *_: logger.warning("from the handler"))

    class Interrupted:
        def __repr__(self) -> str:
            os.kill(os.getpid(), signal.SIGUSR1)
            return "Interrupted()"

    try:
        logger.info("outer", extra={"value": Interrupted()})
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert log.recorded(message="from the handler")
    assert log.recorded(message="outer", value="Interrupted()")


def test_a_line_that_waits_keeps_no_other_thread_waiting(log: MemoryLog, attach: Attach) -> None:
    attach()
    arrived, go_on = threading.Event(), threading.Event()

    class Slow:
        def __repr__(self) -> str:
            arrived.set()
            assert go_on.wait(10)
            return "Slow()"

    thread = threading.Thread(target=lambda: logger.info("slow", extra={"value": Slow()}))
    thread.start()
    assert arrived.wait(10)
    logger.info("quick")
    assert log.recorded(message="quick")
    go_on.set()
    thread.join()
    assert log.recorded(message="slow", value="Slow()")


def test_a_fork_while_others_log_leaves_the_child_able_to(log: MemoryLog, attach: Attach) -> None:
    alone = logging.getLogger("forking")
    alone.propagate = False  # pytest's own handlers may keep a stream locked in the child
    attach(on=alone)
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            alone.info("beside")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    alone.info("in the child")
                    status = 0 if log.recorded(message="in the child") else 2
                finally:
                    os._exit(status)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


# --- how it is set up, and ended ---


def test_dict_config_makes_it(tmp_path: Path) -> None:
    before = logging.getLogger("configured").handlers
    handler = {
        "class": "hansard.integrations.logging.AuditHandler",
        "log": str(tmp_path / "audit"),
        "level": "WARNING",
        "types": {"configured": "app.line"},
        "actor": "service:a",
    }
    config = {"version": 1, "disable_existing_loggers": False, "incremental": False}
    logger = {"handlers": ["audit"], "propagate": False}
    root = logging.getLogger()
    kept = list(root.handlers)
    logging.config.dictConfig(
        config | {"handlers": {"audit": handler}, "loggers": {"configured": logger}}
    )
    try:
        (made,) = logging.getLogger("configured").handlers
        assert isinstance(made, AuditHandler)
        assert made.level == logging.WARNING
        log = shared_log(tmp_path / "audit")
        assert log.settings.actor == "service:a"
        logging.getLogger("configured").info("below")
        logging.getLogger("configured").warning("m")
        assert log.statistics()["submitted"] == 1
        log.close()
    finally:
        logging.getLogger("configured").handlers = before
        root.handlers = kept


@pytest.mark.parametrize(
    "options",
    [
        {"levels": {25: "loud"}},
        {"types": {"a": "7 up"}},
        {"types": {"a": None}},
        {"spool_bites": 1},
    ],
)
def test_a_mistake_in_its_set_up_is_said_there(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        AuditHandler(tmp_path / "log", **options)
    for known in logging._handlerList:  # type: ignore[attr-defined]  # flushed by logging at exit
        if isinstance(handler := known(), AuditHandler):
            handler.flush()
    assert caught


def test_a_line_behind_a_queue_is_recorded_in_the_listeners_thread(log: MemoryLog) -> None:
    lines: queue.Queue[Any] = queue.Queue()
    listener = logging.handlers.QueueListener(lines, AuditHandler(log))
    through = logging.getLogger("through.a.queue")
    through.propagate = False
    through.addHandler(handler := logging.handlers.QueueHandler(lines))
    listener.start()
    try:
        raise ValueError("v")
    except ValueError:
        through.exception("%s", "m", extra={"task_id": "T1", "value": 7})
    finally:
        listener.stop()
        through.removeHandler(handler)
    (entry,) = log.recorded("log.through.a.queue", task_id="T1", value=7, level="error")
    assert (entry.data or {})["message"].startswith("m\nTraceback (most recent call last):")


def test_a_record_of_another_process_is_recorded(log: MemoryLog) -> None:
    record = line({"name": "far", "msg": "m", "extra_one": 1, "taskName": "t"})
    AuditHandler(log).handle(pickle.loads(pickle.dumps(record)))
    assert log.recorded("log.far", message="m", extra_one=1)
    assert set(log.entries[0].data or {}) == {"message", "logger", "extra_one"}


def test_flush_is_bounded_and_close_leaves_the_log_to_others(tmp_path: Path) -> None:
    log = hansard.AuditLog(tmp_path / "log", close_timeout=0.05)
    handler = AuditHandler(log)
    handler.handle(line({"msg": "m"}))
    logging.shutdown([lambda: handler])  # type: ignore[list-item] # a reference that never dies
    assert log.is_open
    assert log.close(timeout=0) == 1
    handler.flush()


def test_a_shared_log_that_was_closed_is_followed_by_another(tmp_path: Path) -> None:
    handler = AuditHandler(tmp_path / "log")
    shared_log(tmp_path / "log").close()
    handler.handle(line({"msg": "m"}))
    with shared_log(tmp_path / "log") as log:
        assert log.statistics()["submitted"] == 1
        assert handler._log is log
