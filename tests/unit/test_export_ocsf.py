"""What an entry is as an OCSF event: valid by the pinned schema, and what is mapped to what."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansard.reader import Event, Extent
from hansard_writer.exporting import FORMATS
from ocsf import violations

EXTENT = Extent("ab" * 16, 0, 9)
EVENT = Event(
    id=7,
    created_at="2026-01-31T23:59:00.000001Z",
    created_at_ns=1_769_903_940_000_001_234,
    event_type="task.done",
    level="info",
    actor="agent:7",
    task_id="T1",
    payload='{"title":"x"}',
    producer="0123456789abcdef" * 4,
    producer_seq=3,
    host="host-a",
    pid=4711,
)
OPERATION = {
    "workflow_id": "nightly", "node_id": "n1", "version_id": "v2", "operation": "add_deps",
    "status": "failed", "stdout": "", "stderr": "no such package", "exit_code": 2,
    "duration_ms": 12.6, "metadata": {"packages": ["numpy"], "error": "exit status 2"},
}  # fmt: skip
REFUSAL = {
    "action": {"kind": "delete_file", "path": "/etc"}, "decision": {"decision": "refuse"},
    "rule_id": "R1", "reason": "outside", "agent_id": "agent:7", "timestamp": "2026-01-31",
}  # fmt: skip
REQUEST = {
    "method": "PUT", "route": "/users/{id}", "path": "/users/7", "query": {"a": "1"}, "bytes": 12,
    "status": 503, "duration_ms": 3.2, "client": "192.0.2.7:5000",
    "headers": {"user-agent": "curl/8", "x": ["1"]},
    "correlation_id": "r-1", "trace_id": "0af7651916cd43dd8448eb211c80319c",
}  # fmt: skip


def line(event: Event) -> bytes:
    encoder = FORMATS["ocsf"](EXTENT)
    return encoder.begin() + encoder.add(event) + encoder.end()


def ocsf(event_type: str = "task.done", payload: object = None, **columns: Any) -> dict[str, Any]:
    """The event, once it is seen to be valid."""
    text = None if payload is None else json.dumps(payload)
    made = line(replace(EVENT, event_type=event_type, payload=text, **columns))
    assert made.endswith(b"\n")
    assert made.count(b"\n") == 1
    event: dict[str, Any] = json.loads(made)
    assert violations(event) == []
    return event


def test_the_schema_finds_what_breaks_it() -> None:
    good = ocsf()
    breaking: list[dict[str, Any]] = [
        {"class_uid": 6004}, {"type_uid": 600305}, {"severity_id": 7}, {"time": "now"},
        {"unknown": 1}, {"actor": {}}, {"src_endpoint": {}}, {"api": {}}, {"unmapped": "text"},
        {"metadata": {"version": "1.8.0"}}, {"metadata": good["metadata"] | {"sequence": 2**31}},
    ]  # fmt: skip
    for broken in breaking:
        assert violations(good | broken), broken
    for name in ("time", "metadata", "actor", "api", "src_endpoint", "severity_id", "activity_id"):
        assert violations({key: value for key, value in good.items() if key != name}), name


def test_an_event_says_all_that_the_entry_says() -> None:
    event = ocsf(payload={"title": "x"})
    assert event == {
        "time": 1_769_903_940_000,
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": 6003,
        "class_name": "API Activity",
        "activity_id": 99,
        "activity_name": "task.done",
        "type_uid": 600399,
        "type_name": "API Activity: Other",
        "severity_id": 1,
        "severity": "Informational",
        "status_id": 0,
        "status": "Unknown",
        "actor": {"process": {"uid": EVENT.producer, "pid": 4711}, "user": {"uid": "agent:7"}},
        "api": {"operation": "task.done", "service": {"name": "task"}},
        "src_endpoint": {"hostname": "host-a"},
        "metadata": {
            "version": "1.8.0",
            "product": event["metadata"]["product"],
            "uid": "0123456789abcdef-3-1769903940000001234",
            "original_event_uid": "7",
            "original_time": "2026-01-31T23:59:00.000001234Z",
            "event_code": "task.done",
            "log_name": "ab" * 16,
            "log_level": "info",
            "log_format": "application/json",
            "sequence": 7,
            "correlation_uid": "T1",
        },
        "unmapped": {"title": "x"},
    }


def test_an_event_has_the_id_of_its_cloudevent() -> None:
    assert ocsf()["metadata"]["uid"] == json.loads(FORMATS["cloudevents"](EXTENT).add(EVENT))["id"]


@pytest.mark.parametrize(
    ("level", "severity"),
    [
        ("debug", (1, "Informational")), ("info", (1, "Informational")), ("warning", (3, "Medium")),
        ("error", (4, "High")), ("critical", (5, "Critical")), ("loud", (0, "Unknown")),
    ],
)  # fmt: skip
def test_a_level_is_a_severity(level: str, severity: tuple[int, str]) -> None:
    event = ocsf(level=level)
    assert (event["severity_id"], event["severity"]) == severity


@pytest.mark.parametrize(
    ("event_type", "expected"),
    [
        ("model.created", "Create"), ("iam.CreateUser", "Create"), ("file.get", "Read"),
        ("user.list_keys", "Read"), ("model.updated", "Update"), ("s3.DeleteBucket", "Delete"),
        ("user_removed", "Delete"), ("user.login", "user.login"), ("X", "X"), ("7", "7"),
        ("settings.changed", "Update"), ("created.elsewhere", "created.elsewhere"),
    ],
)  # fmt: skip
def test_an_activity_is_named_by_the_types_verb(event_type: str, expected: str) -> None:
    event = ocsf(event_type)
    assert event["activity_name"] == expected
    assert event["type_uid"] == 600300 + event["activity_id"]
    assert event["api"]["operation"] == event_type
    assert (event["activity_id"] == 99) == (expected == event_type)


def test_an_operation_says_how_it_ended_and_on_what() -> None:
    event = ocsf("env.operation", OPERATION, level="error")
    assert event["activity_name"] == "Update"
    assert (event["status_id"], event["status"], event["status_code"]) == (2, "Failure", "2")
    assert event["status_detail"] == "exit status 2"
    assert event["duration"] == 13
    assert event["resources"] == [
        {"type": "environment", "uid": "n1", "namespace": "nightly", "version": "v2"}
    ]
    assert event["api"]["response"] == {"code": 2, "error_message": "exit status 2"}
    assert event["unmapped"] == OPERATION
    ran = ocsf("env.operation", OPERATION | {"operation": "run", "status": "success"})
    assert (ran["activity_id"], ran["activity_name"], ran["status_id"]) == (99, "run", 1)


def test_a_refusal_is_denied_and_says_by_which_rule() -> None:
    event = ocsf("governance.refusal", REFUSAL, level="warning")
    assert (event["action_id"], event["disposition_id"]) == (2, 2)
    assert (event["action"], event["disposition"]) == ("Denied", "Blocked")
    assert (event["status_id"], event["status_detail"]) == (2, "outside")
    assert event["policy"] == {"uid": "R1", "is_applied": True}
    assert event["activity_name"] == "Delete"
    assert event["metadata"]["profiles"] == ["security_control"]
    without = {name: REFUSAL[name] for name in ("decision", "agent_id")}
    assert ocsf("governance.refusal", without)["activity_name"] == "governance.refusal"


def test_a_request_is_an_http_request_with_its_response() -> None:
    event = ocsf("http.request", REQUEST, level="error")
    assert event["activity_name"] == "Update"
    assert (event["status_id"], event["status_code"], event["duration"]) == (2, "503", 3)
    assert event["http_request"] == {
        "http_method": "PUT",
        "url": {"path": "/users/7"},
        "user_agent": "curl/8",
        "http_headers": [{"name": "user-agent", "value": "curl/8"}],
        "uid": "r-1",
    }
    assert event["http_response"] == {"code": 503, "body_length": 12}
    assert event["src_endpoint"] == {"ip": "192.0.2.7", "port": 5000}
    assert event["dst_endpoint"] == {"hostname": "host-a"}
    assert event["api"]["request"] == {"uid": "r-1"}
    assert event["trace"] == {"uid": REQUEST["trace_id"]}
    assert event["metadata"]["profiles"] == ["trace"]


def test_a_request_that_did_not_come_to_its_end_has_failed() -> None:
    event = ocsf("http.request", {"method": "GET", "status": 200, "ended": "disconnected"})
    assert (event["status_id"], event["status_detail"]) == (2, "disconnected")


def test_the_rows_of_a_model_are_the_resources() -> None:
    event = ocsf(
        "model.updated", {"model": "shop.Order", "pk": 7, "changed": {"state": ["a", "b"]}}
    )
    assert event["activity_name"] == "Update"
    assert event["resources"] == [{"type": "shop.Order", "uid": "7"}]
    several = ocsf("model.deleted", {"model": "shop.Order", "pks": ["a", 2, None], "count": 3})
    assert [each["uid"] for each in several["resources"]] == ["a", "2"]


def test_a_request_without_a_path_has_its_route_and_one_that_worked_is_a_success() -> None:
    event = ocsf("http.request", {"method": "GET", "route": "/users/{id}", "status": 304})
    assert event["http_request"] == {"http_method": "GET", "url": {"path": "/users/{id}"}}
    assert (event["status_id"], event["activity_name"]) == (1, "Read")
    assert event["src_endpoint"] == {"hostname": "host-a"}
    assert "dst_endpoint" not in event


@pytest.mark.parametrize(
    ("client", "endpoint"),
    [
        ("::1", {"ip": "::1"}), ("[::1]:80", {"ip": "::1", "port": 80}),
        ("192.0.2.7", {"ip": "192.0.2.7"}), ("fe80::1%eth0", {"ip": "fe80::1"}),
        ("192.0.2.7:99999", {"ip": "192.0.2.7"}), ("testclient", {"hostname": "host-a"}),
        ("unix:", {"hostname": "host-a"}), ("", {"hostname": "host-a"}),
    ],
)  # fmt: skip
def test_a_clients_address_is_where_a_request_came_from(
    client: str, endpoint: dict[str, Any]
) -> None:
    assert ocsf("http.request", {"client": client})["src_endpoint"] == endpoint


@pytest.mark.parametrize(
    ("event_type", "payload", "status_id", "detail"),
    [
        ("tool.call", {"error": {"type": "ValueError", "message": "no"}}, 2, "no"),
        ("tool.call", {"error": {"type": "ValueError"}}, 2, "ValueError"),
        ("tool.call", {"error": "no"}, 2, "no"), ("tool.call", {"error": None}, 0, None),
        ("celery.task.failed", {}, 2, None), ("celery.task.succeeded", {}, 1, None),
        ("celery.task.started", {}, 0, None),
    ],
)  # fmt: skip
def test_how_it_ended_is_said_where_the_entry_says_it(
    event_type: str, payload: dict[str, Any], status_id: int, detail: str | None
) -> None:
    event = ocsf(event_type, payload)
    assert event["status_id"] == status_id
    assert event.get("status_detail") == detail


def test_an_entry_that_names_nobody_and_no_host_is_valid_all_the_same() -> None:
    event = ocsf(actor=None, task_id=None, host="", pid=0)
    assert event["actor"] == {"process": {"uid": EVENT.producer}}
    assert event["src_endpoint"] == {"uid": EVENT.producer}
    assert "correlation_uid" not in event["metadata"]


def test_a_number_that_ocsf_has_no_integer_for_stays_whole_elsewhere() -> None:
    event = ocsf(id=2**40, pid=2**40)
    assert "sequence" not in event["metadata"]
    assert event["metadata"]["original_event_uid"] == str(2**40)
    assert event["actor"]["process"] == {"uid": EVENT.producer}
    request = ocsf("http.request", {"status": 2**31, "method": 7, "route": ["/"], "client": {}})
    assert {"http_request", "http_response"}.isdisjoint(request)


def test_a_redacted_payload_is_labelled_as_gone() -> None:
    for event_type in ("task.done", "http.request", "env.operation", "governance.refusal"):
        bare, redacted = ocsf(event_type), ocsf(event_type, redacted=True)
        assert redacted["metadata"].pop("labels") == ["redacted"]
        assert redacted == bare
        assert "unmapped" not in bare


def test_a_payload_stands_there_character_by_character() -> None:
    text = '{ "z": 1.10, "a": 123456789012345678901234567890, "e": 1E400, "s": "\\ud800" }'
    made = line(replace(EVENT, payload=text)).decode()
    assert made.endswith(f'"unmapped":{text}}}\n')
    assert violations(json.loads(made)) == []


@pytest.mark.parametrize("payload", ["[1]", "'json5'", '{"a":NaN}', "7"])
def test_what_only_an_altered_log_can_have_is_shown_raw(payload: str) -> None:
    event = json.loads(line(replace(EVENT, payload=payload)))
    assert violations(event) == []
    assert (event["raw_data"], "unmapped" in event) == (payload, False)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
_OTHERS = {"error", "kind", "type", "message", "pk", "pks", "model", "ended"}
_KNOWN = sorted({*OPERATION, *REFUSAL, *REQUEST, *_OTHERS})
_PAYLOADS = st.dictionaries(st.sampled_from(_KNOWN), _VALUES, max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["env.operation", "governance.refusal", "http.request", "tool.call"]), _PAYLOADS
)
def test_whatever_a_payload_holds_its_event_is_valid(
    event_type: str, payload: dict[str, Any]
) -> None:
    ocsf(event_type, payload)
