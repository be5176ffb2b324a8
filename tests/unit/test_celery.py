"""What `audit` records of Celery's tasks that run where they are called, and what travels along."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals
from celery.exceptions import Ignore

import hansard
from hansard import ConfigError
from hansard.context import bound_now
from hansard.integrations import celery_event as says
from hansard.integrations.celery import RECEIVED_MAX, audit
from hansard.testing import MemoryLog


class Circular:
    """What no JSON can hold, with a secret in its repr."""

    def __repr__(self) -> str:
        return "hunter2"


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("shop", broker="memory://", set_as_current=False)
    made.conf.task_always_eager = True
    yield made
    for signal in vars(signals).values():
        if isinstance(signal, type(signals.task_prerun)):
            signal.disconnect(dispatch_uid=f"hansard {id(made)}")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def types(log: MemoryLog) -> list[str]:
    return [each.event_type.removeprefix("celery.task.") for each in log.entries]


# --- where a task runs ---


def test_a_task_that_is_run_where_it_is_called_is_recorded(app: Celery, log: MemoryLog) -> None:
    audit(app, log)

    @app.task
    def add(a: int, b: int) -> int:
        log.record("shop.added", {"sum": a + b})
        return a + b

    with hansard.bound(actor="user:7", correlation_id="r-1"):
        done = add.delay(1, 2)
    assert types(log) == ["started", "shop.added", "succeeded"]
    assert {(each.task_id, each.actor) for each in log.entries} == {(done.id, "user:7")}
    assert {each.data["correlation_id"] for each in log.entries} == {"r-1"}
    assert log.entries[0].data["eager"] is True
    assert log.entries[2].data["duration_ms"] > 0
    assert "result" not in log.entries[2].data
    assert bound_now() is None


def test_without_a_correlation_id_tasks_share_that_of_the_first(
    app: Celery, log: MemoryLog
) -> None:
    audit(app, log)

    @app.task
    def child() -> None:
        log.record("shop.inner")

    @app.task
    def parent() -> None:
        child.delay()
        log.record("shop.outer")

    first = parent.delay().id
    assert {each.data["correlation_id"] for each in log.entries} == {first}
    assert [each.task_id == first for each in log.entries] == [
        *(True, False, False, False),  # the parent starts, the child starts, records and ends
        *(True, True),
    ]


def test_a_failure_has_its_error_and_by_choice_its_traceback(app: Celery, log: MemoryLog) -> None:
    audit(app, log, tracebacks=True)

    @app.task
    def fail() -> None:
        raise ValueError("no such order")

    fail.delay()
    failed = log.entries[-1]
    assert (failed.event_type, failed.level) == ("celery.task.failed", "error")
    assert failed.data["error"] == {"type": "ValueError", "message": "no such order"}
    assert failed.data["traceback"].endswith("ValueError: no such order\n")


def test_a_task_that_is_ignored_says_so(app: Celery, log: MemoryLog) -> None:
    audit(app, log)

    @app.task
    def ignored() -> None:
        raise Ignore

    ignored.delay()
    assert types(log) == ["started", "ignored"]


def test_arguments_and_results_are_recorded_by_choice_masked_and_bounded(
    app: Celery, log: MemoryLog
) -> None:
    audit(app, log, arguments=True, results=True)

    @app.task
    def pay(card: str, amount: Any, *more: Any, **options: Any) -> str:
        return "x" * 2_000

    pay.apply(("4111", Circular(), 1), {"token": "hunter2", "note": "y" * 2_000})
    arguments = log.entries[0].data["arguments"]
    assert arguments["card"] == "4111"
    assert arguments["amount"] == "<Circular>"
    assert arguments["more"] == [1]
    assert arguments["token"] == "[masked]"
    assert arguments["note"] == "y" * 1_000 + "… (2,000 characters)"
    assert log.entries[1].data["result"].endswith("… (2,000 characters)")


def test_what_a_task_binds_ends_with_it(app: Celery, log: MemoryLog) -> None:
    audit(app, log)

    @app.task
    def binding() -> None:
        hansard.bind(tenant="acme")

    binding.delay()
    binding.delay()
    assert [each.data.get("tenant") for each in log.entries] == [None, "acme", None, "acme"]


def test_another_apps_tasks_are_left_alone(app: Celery, log: MemoryLog) -> None:
    audit(app, log)
    other = Celery("other", set_as_current=False)
    other.conf.task_always_eager = True

    @other.task
    def elsewhere() -> None:
        log.record("shop.inner")

    elsewhere.delay()
    assert types(log) == ["shop.inner"]


def test_to_call_it_again_replaces_what_was_chosen(app: Celery, log: MemoryLog) -> None:
    audit(app, MemoryLog())
    audit(app, log, results=True)

    @app.task
    def one() -> int:
        return 1

    one.delay()
    assert types(log) == ["started", "succeeded"]
    assert log.entries[1].data["result"] == 1


def test_a_log_that_wants_tasks_to_be_known_is_told_of_them(app: Celery) -> None:
    log = MemoryLog(enforce_tasks=True)
    audit(app, log)

    @app.task
    def known() -> None: ...

    known.delay()
    assert types(log) == ["hansard.task_registered", "started", "succeeded"]


def test_a_fault_of_the_log_does_not_reach_the_task(
    app: Celery, log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    audit(app, log)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    log.close()
    assert add.delay(1, 2).get(disable_sync_subtasks=False) == 3
    assert "the log is closed" in caplog.text
    assert "Signal handler" not in caplog.text, "Celery itself has caught nothing"
    assert bound_now() is None


# --- between sender and worker ---


def test_a_message_carries_who_and_which_request(app: Celery, log: MemoryLog) -> None:
    audit(app, log, published=True)
    headers = {"id": "t1", "root_id": "t1", "retries": 0}
    with hansard.bound(actor=lambda: "user:7", correlation_id="r-1"):
        signals.before_task_publish.send(sender="shop.add", headers=headers)
    with hansard.bound(actor="user:8"):
        signals.before_task_publish.send(sender="shop.add", headers=headers)
    assert headers["hansard"] == {"actor": "user:7", "correlation_id": "r-1"}, "it is sent again"
    signals.after_task_publish.send(sender="shop.add", headers=headers, routing_key="slow")
    (event,) = log.entries
    assert (event.event_type, event.actor, event.task_id) == (
        "celery.task.published",
        "user:7",
        "t1",
    )
    assert event.data == {
        "task": "shop.add",
        "queue": "slow",
        "retries": 0,
        "correlation_id": "r-1",
    }


def test_where_nothing_is_bound_nothing_is_sent_along(app: Celery, log: MemoryLog) -> None:
    audit(app, log)
    headers = {"id": "t1"}
    signals.before_task_publish.send(sender="shop.add", headers=headers)
    with hansard.bound(tenant="acme", correlation_id=7):
        signals.before_task_publish.send(sender="shop.add", headers=headers)
    assert headers == {"id": "t1"}


@pytest.mark.parametrize("sent", [7, {"actor": 7}, {"actor": "a\0b"}, {"actor": ""}, {"other": 1}])
def test_what_came_along_and_cannot_be_used_is_left_out(sent: Any) -> None:
    assert says.carried({"hansard": sent}) == {}


def test_a_revoked_task_says_why(app: Celery, log: MemoryLog) -> None:
    audit(app, log)

    @app.task
    def slow() -> None: ...

    class Context:
        def __init__(self) -> None:
            self.id, self.hostname = "t1", "celery@here"

    for why in (
        {"terminated": True, "signum": "SIGKILL", "expired": False},
        {"terminated": False, "signum": None, "expired": True},
    ):
        signals.task_revoked.send(slow, request=Context(), **why)
    assert [each.data["reason"] for each in log.entries] == ["terminated", "expired"]
    assert log.entries[0].level == "warning"


def test_a_task_that_was_lost_outside_of_its_process_keeps_its_connection(
    app: Celery, log: MemoryLog
) -> None:
    audit(app, log)

    @app.task
    def lost() -> None: ...

    class Request:
        def __init__(self, task_id: str) -> None:
            self.app, self.id, self.name = app, task_id, lost.name
            along = {"actor": "user:7", "correlation_id": "r-1"}
            self.request_dict = {"id": task_id, "root_id": task_id, "hansard": along}

    for number in range(RECEIVED_MAX + 1):
        signals.task_received.send(None, request=Request(str(number)))
    log.clear()
    for number in (RECEIVED_MAX, 0):
        error = TimeoutError("its time was up")
        signals.task_failure.send(lost, task_id=str(number), exception=error, einfo=None)
    known, forgotten = log.entries
    assert (known.actor, known.data["correlation_id"]) == ("user:7", "r-1")
    assert (forgotten.actor, "correlation_id" in forgotten.data) == (None, False)
    assert known.data["error"] == {"type": "TimeoutError", "message": "its time was up"}


def test_a_worker_process_that_ends_delivers_what_waits(
    app: Celery, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []
    monkeypatch.setattr(log, "flush", waited.append)
    audit(app, log)
    signals.worker_process_shutdown.send(sender="celery@here", pid=1, exitcode=0)
    signals.worker_shutdown.send(sender=None)
    assert waited == [log.settings.close_timeout] * 2


# --- what cannot be used ---


def test_a_log_that_allows_other_types_alone_is_refused(app: Celery) -> None:
    with pytest.raises(ConfigError, match=r"lacks celery\.task\.received.*: add them"):
        audit(app, MemoryLog(event_types=["shop.added"]))


def test_without_celery_the_line_that_mends_it_is_named() -> None:
    program = "import sys; sys.modules['celery'] = None; import hansard.integrations.celery"
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, check=False, capture_output=True, text=True)
    assert "needs Celery: pip install 'hansard[celery]'" in done.stderr


def test_what_is_no_app_is_refused_where_it_is_set_up() -> None:
    with pytest.raises(ConfigError, match="is given a str: it must be the Celery app itself"):
        audit("app")
