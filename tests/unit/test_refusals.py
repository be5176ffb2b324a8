"""Governance refusals: what enters, as what, what is refused, and that nothing blocks or raises."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from hansard import AuditLog, InvalidEvent
from hansard.refusals import refusal_payload, timestamp

ACTION = {"kind": "write_file", "path": "/etc/passwd"}
REFUSE = {"decision": "refuse", "rule_id": "R7", "reason": "outside the workspace"}
AT_NS = 1_700_000_000_123_456_789


@pytest.fixture
def log(directory: Path) -> Iterator[AuditLog]:
    log = AuditLog(directory, spool_bytes=2 << 20)
    yield log
    log.close(0)


def test_the_payload_is_flat_and_stable() -> None:
    payload = refusal_payload("agent:7", ACTION, REFUSE, AT_NS)
    assert orjson.dumps(payload).decode() == (
        '{"action":{"kind":"write_file","path":"/etc/passwd"},'
        '"decision":{"decision":"refuse","rule_id":"R7","reason":"outside the workspace"},'
        '"rule_id":"R7","reason":"outside the workspace","agent_id":"agent:7",'
        '"timestamp":"2023-11-14T22:13:20.123456Z"}'
    )


def test_a_custom_action_is_carried_as_given() -> None:
    action = {"kind": "custom", "custom_kind": "deploy", "payload": {"to": ["eu", 2**70]}}
    payload = refusal_payload("a", MappingProxyType(action), REFUSE, AT_NS)
    assert payload is not None
    assert payload["action"] == action


def test_a_refusal_need_not_say_why() -> None:
    payload = refusal_payload("a", ACTION, {"decision": "refuse"}, AT_NS)
    assert payload is not None
    assert (payload["rule_id"], payload["reason"]) == (None, None)


@pytest.mark.parametrize("decision", ["allow", "warn"])
def test_what_is_no_refusal_enters_nothing(log: AuditLog, decision: str) -> None:
    assert log.refusal("a", ACTION, {**REFUSE, "decision": decision}) is False
    assert log.statistics()["submitted"] == 0


@pytest.mark.parametrize("decision", ["allow", "refuse"])
@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"agent_id": None}, "agent_id is None: it must be a string that names an agent"),
        ({"agent_id": ""}, "agent_id is '': it must be a string that names an agent"),
        ({"agent_id": "a" * 1_025}, "agent_id has 1,025 bytes: at most 1,024 are allowed"),
        ({"action": "write"}, "action is a str: it must be a mapping with the key 'kind'"),
        ({"action": {}}, "action has no 'kind'"),
        ({"action": {"kind": 7}}, "action's kind is 7: it must be a string"),
        ({"decision": "refuse"}, "decision is a str: it must be a mapping with the key 'decision'"),
        ({"decision": {}}, "decision has no 'decision'"),
        ({"rule_id": 7}, "decision's rule_id is 7: it must be a string or None"),
        ({"reason": []}, r"decision's reason is \[\]: it must be a string or None"),
    ],
)
def test_bad_arguments_are_refused_by_name_whatever_the_decision(
    log: AuditLog, changed: dict[str, Any], rule: str, decision: str
) -> None:
    given: dict[str, Any] = {
        "agent_id": "a",
        "action": ACTION,
        "decision": {"decision": decision, **changed},
        **{key: changed[key] for key in changed if key in ("agent_id", "action", "decision")},
    }
    with pytest.raises(InvalidEvent, match=rule):
        log.refusal(**given)


@pytest.mark.parametrize("decision", ["deny", None, ["refuse"], {}])
def test_an_unknown_decision_is_refused_with_the_known_ones(log: AuditLog, decision: Any) -> None:
    with pytest.raises(InvalidEvent, match="it must be one of allow, warn, refuse"):
        log.refusal("a", ACTION, {"decision": decision})


def test_an_action_that_json_cannot_hold_is_refused(log: AuditLog) -> None:
    with pytest.raises(InvalidEvent, match="object has no place in JSON"):
        log.refusal("a", {"kind": "x", "payload": object()}, REFUSE)


def test_times_are_cut_to_microseconds_like_the_views() -> None:
    assert timestamp(0) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(999) == "1970-01-01T00:00:00.000000Z"
    assert timestamp(1_700_000_000_000_001_999) == "2023-11-14T22:13:20.000001Z"


@pytest.mark.parametrize("best_effort", [True, False])
@pytest.mark.parametrize("on_full", ["block", "drop", "raise"])
def test_a_full_queue_says_false_at_once_and_counts_it_as_dropped(
    directory: Path, on_full: str, best_effort: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"on_full": on_full, "best_effort": best_effort, "ack_timeout": 60}
    with AuditLog(directory, queue_maxsize=2, close_timeout=0, **settings) as log:
        begin = time.monotonic()
        answers = [log.refusal("a", ACTION, REFUSE) for _ in range(5)]
        assert time.monotonic() - begin < 10
        assert answers == [True, True, False, False, False]
        figures = log.statistics()
        assert (figures["submitted"], figures["waiting"], figures["dropped"]) == (5, 2, {"full": 3})
    assert "event dropped" in caplog.text


def test_after_close_it_says_false_counts_it_and_warns(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AuditLog(directory)
    log.close()
    assert log.refusal("a", ACTION, REFUSE) is False
    assert log.refusal("a", ACTION, {"decision": "allow"}) is False
    figures = log.statistics()
    assert (figures["submitted"], figures["send_failures"]) == (1, 1)
    assert figures["dropped"] == {"closed": 1}
    assert "a refusal was not recorded: the log is closed" in caplog.text


@pytest.mark.parametrize("best_effort", [True, False])
@pytest.mark.parametrize("on_full", ["block", "raise"])
def test_with_sync_it_waits_and_says_false_for_what_is_not_known_to_be_committed(
    directory: Path, best_effort: bool, on_full: str
) -> None:
    settings = {"best_effort": best_effort, "on_full": on_full, "queue_maxsize": 1}
    with AuditLog(directory, sync=True, ack_timeout=0.1, close_timeout=0, **settings) as log:
        begin = time.monotonic()
        assert log.refusal("a", ACTION, REFUSE) is False
        assert time.monotonic() - begin >= 0.1
        assert log.refusal("a", ACTION, REFUSE) is False, "there is no room"
        assert log.statistics()["dropped"] == {"full": 1}


def test_a_log_that_allows_other_types_only_says_so(directory: Path) -> None:
    with (
        AuditLog(directory, event_types=("task.done",)) as log,
        pytest.raises(InvalidEvent, match=r"'governance\.refusal' is not among the allowed"),
    ):
        log.refusal("a", ACTION, REFUSE)
