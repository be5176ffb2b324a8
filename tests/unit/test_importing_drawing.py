"""What presets draw out of records of other systems."""

import gzip
import json
from collections import Counter
from pathlib import Path as FilePath
from typing import Any

import pytest

from hansard.events import EventEncoder
from hansard_writer.importing.drawing import Drawing
from hansard_writer.importing.fields import Event, Given
from hansard_writer.importing.letters import Unfit
from hansard_writer.importing.presets import RECORDS
from hansard_writer.json_path import Path

DATA = FilePath(__file__).parent.parent / "data"
NOON = 1_704_110_400_000_000_000  # 2024-01-01T12:00:00Z


def drawing(preset: str, given: Given | None = None) -> Drawing:
    return Drawing(preset, preset, given or Given())


def drawn(preset: str, record: Any, **given: Any) -> Event:
    return drawing(preset, Given(**given)).event(json.dumps(record).encode())


def real(name: str) -> list[bytes]:
    return gzip.decompress((DATA / name).read_bytes()).splitlines()


def kubernetes(**more: Any) -> dict[str, Any]:
    return {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": "a-1",
        "stage": "ResponseComplete",
        "verb": "create",
        "user": {"username": "system:admin"},
        "objectRef": {"resource": "pods", "namespace": "n", "name": "p"},
        "responseStatus": {"code": 201},
        "requestReceivedTimestamp": "2024-01-01T11:59:59.000000Z",
        "stageTimestamp": "2024-01-01T12:00:00.000001Z",
        **more,
    }


@pytest.mark.parametrize(
    ("preset", "name"),
    [("cloudtrail", "cloudtrail_stratus.jsonl.gz"), ("github-webhook", "github_webhooks.jsonl.gz")],
)
def test_all_real_records_are_events(preset: str, name: str) -> None:
    reading, encoder, seen = drawing(preset), EventEncoder(None, None), Counter[str]()
    for line in real(name):
        event = reading.event(line)
        event.check(encoder)
        assert event.payload == line
        seen[event.event_type.split(".")[1]] += 1
    assert seen["webhook"] < sum(seen.values()) // 5


def test_cloudtrail_records_are_known_by_their_event_id() -> None:
    lines = real("cloudtrail_stratus.jsonl.gz")
    keys = [drawing("cloudtrail").key_of(line) for line in lines]
    assert keys == [json.loads(line)["eventID"] for line in lines]


@pytest.mark.parametrize(
    ("record", "event_type", "level"),
    [
        (kubernetes(), "k8s.pods.create", "info"),
        (
            kubernetes(objectRef={"resource": "pods", "subresource": "exec"}),
            "k8s.pods/exec.create",
            "info",
        ),
        (kubernetes(objectRef=None, verb="get"), "k8s.get", "info"),
        (kubernetes(responseStatus={"code": 403}), "k8s.pods.create", "warning"),
        (kubernetes(responseStatus={"code": 500}), "k8s.pods.create", "error"),
    ],
)
def test_kubernetes_events_are_named_by_resource_and_verb(
    record: Any, event_type: str, level: str
) -> None:
    event = drawn("kubernetes-audit", record)
    assert (event.event_type, event.level) == (event_type, level)
    assert (event.actor, event.task_id) == ("system:admin", "a-1")
    assert event.created_at == NOON + 1_000


def test_the_stages_of_a_request_are_events_of_their_own() -> None:
    keys = {
        drawing("kubernetes-audit").key_of(json.dumps(kubernetes(stage=stage)).encode())
        for stage in ("RequestReceived", "ResponseComplete")
    }
    assert keys == {"a-1/RequestReceived", "a-1/ResponseComplete"}


PAYLOAD = {"action": "opened", "issue": {"number": 1}, "sender": {"login": "mona"}}


@pytest.mark.parametrize(
    "record",
    [
        {
            "guid": "g-1",
            "event": "issues",
            "delivered_at": "2024-01-01T12:00:00Z",
            "request": {"headers": {}, "payload": PAYLOAD},
        },
        {
            "headers": {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "g-1"},
            "received_at": 1704110400,
            "payload": PAYLOAD,
        },
        {
            "headers": {"x-github-event": "issues", "x-github-delivery": "g-1"},
            "received_at": 1704110400,
            "body": PAYLOAD,
        },
    ],
)
def test_a_webhook_is_the_same_however_its_server_keeps_it(record: Any) -> None:
    event = drawn("github-webhook", record)
    assert (event.event_type, event.actor) == ("github.issues.opened", "mona")
    assert event.created_at == NOON
    assert drawing("github-webhook").key_of(json.dumps(record).encode()) == "g-1"


def test_a_webhook_payload_alone_is_named_by_what_is_in_it_and_has_no_id() -> None:
    event = drawn("github-webhook", PAYLOAD)
    assert (event.event_type, event.created_at) == ("github.issues.opened", None)
    assert drawing("github-webhook").key_of(json.dumps(PAYLOAD).encode()) is None


def test_numbers_in_a_payload_are_untouched_and_times_are_exact() -> None:
    text = b'{"name": "a", "created": 1704110400.123456789, "n": 12345678901234567890123}'
    event = drawing("python-logging").event(text)
    assert (event.payload, event.created_at) == (text, NOON + 123_456_789)


def test_what_is_given_goes_before_the_preset() -> None:
    record = {"time": "2024-01-01T12:00:00Z", "k": "x.y", "at": 1, "who": 7, "job": "j"}
    event = drawn(
        "python-logging",
        record,
        type_path=Path("k"),
        time_path=Path("at"),
        actor_path=Path("who"),
        task_path=Path("job"),
    )
    assert event[0] == "x.y"
    assert event[2:5] == ("7", "j", 1_000_000_000)
    bad = record | {"k": "no type"}
    assert drawn("python-logging", bad, type_path=Path("k"), event_type="z").event_type == "z"


@pytest.mark.parametrize(
    ("preset", "record", "reason"),
    [
        ("cloudtrail", {"eventName": "a"}, r"time: there is none \(at eventTime\)"),
        ("cloudtrail", {"eventTime": "2024-01-01"}, "event type: none of what names it is there"),
        ("kubernetes-audit", {"verb": "no verb"}, "event type: event_type is 'k8s.no verb'"),
        ("python-logging", {"time": 1, "name": "a", "level": "LOUD"}, "level: 'LOUD' is none"),
        ("python-logging", [1], "payload: no JSON object"),
    ],
)
def test_what_does_not_fit_says_why(preset: str, record: Any, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        drawn(preset, record)


def test_every_name_in_a_template_has_its_paths() -> None:
    for preset in RECORDS.values():
        for template in (*preset.event_type, *preset.key):
            for name in template.split("{")[1:]:
                assert name.split("}")[0] in preset.values
        assert "time" in preset.values
