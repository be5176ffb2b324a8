"""Entries as OCSF events of the class API Activity, in JSON, an event a line. Pure.

Source: https://schema.ocsf.io/1.8.0/classes/api_activity. Every entry is of this one class: who
(``actor``) did what (``api.operation``, the event type) from where (``src_endpoint``), when
(``time``, in ms) and how it ended (``status_id``). What a payload says of that beyond the entry's
columns is `ocsf_activity`'s to find; ``unmapped`` is the whole payload as it was recorded.

``metadata.uid`` is the id that the CloudEvent of the same entry has; ``sequence`` and
``original_event_uid`` are the entry's id (the former only while it has 31 bits, as OCSF's integers
do); ``original_time`` is exact to the nanosecond; ``log_name`` is the log's id, ``log_level`` the
level. ``actor.process.uid`` is the producer. A task is ``correlation_uid``. A payload that was
taken out is not there, and the label ``redacted`` says so.
"""

from typing import Any, Final

import hansard
from hansard.reader import Event, Extent
from hansard_writer.exporting.cloudevents import CONTENT_TYPE, INTEGER_MAX, event_uid, exact_time
from hansard_writer.exporting.ocsf_activity import Activity, activity_of
from hansard_writer.spliced_json import json_line

SCHEMA_VERSION: Final = "1.8.0"
CATEGORY_UID: Final = 6
CLASS_UID: Final = 6003

_UNKNOWN: Final = (0, "Unknown")
_SEVERITIES: Final = {
    "debug": (1, "Informational"),
    "info": (1, "Informational"),
    "warning": (3, "Medium"),
    "error": (4, "High"),
    "critical": (5, "Critical"),
}
_PRODUCT: Final = {"name": "Hansard", "vendor_name": "Hansard", "version": hansard.__version__}


class Ocsf:
    """An `Encoder`."""

    def __init__(self, extent: Extent) -> None:
        self._log_id = extent.log_id

    def begin(self) -> bytes:
        return b""

    def add(self, event: Event) -> bytes:
        activity = activity_of(event)
        severity_id, severity = _SEVERITIES.get(event.level, _UNKNOWN)
        said: dict[str, Any] = {
            "time": event.created_at_ns // 1_000_000,
            "category_uid": CATEGORY_UID,
            "category_name": "Application Activity",
            "class_uid": CLASS_UID,
            "class_name": "API Activity",
            "activity_id": activity.id,
            "activity_name": activity.name,
            "type_uid": CLASS_UID * 100 + activity.id,
            "type_name": f"API Activity: {activity.caption}",
            "severity_id": severity_id,
            "severity": severity,
            "status_id": activity.status_id,
            "status": activity.status,
            **activity.attributes,
            "actor": _actor(event),
            "api": _api(event, activity),
            **_endpoints(event, activity),
            "metadata": self._metadata(event, activity),
        }
        if event.payload is not None:
            said["unmapped" if activity.has_object else "raw_data"] = event.payload
        return json_line(said, "unmapped")

    def end(self) -> bytes:
        return b""

    def _metadata(self, event: Event, activity: Activity) -> dict[str, Any]:
        said: dict[str, Any] = {
            "version": SCHEMA_VERSION,
            "product": _PRODUCT,
            "uid": event_uid(event),
            "original_event_uid": str(event.id),
            "original_time": exact_time(event),
            "event_code": event.event_type,
            "log_name": self._log_id,
            "log_level": event.level,
            "log_format": CONTENT_TYPE,
        }
        if event.id <= INTEGER_MAX:
            said["sequence"] = event.id
        if correlation := event.task_id or activity.correlation_id:
            said["correlation_uid"] = correlation
        if activity.profiles:
            said["profiles"] = list(activity.profiles)
        if event.redacted:
            said["labels"] = ["redacted"]
        return said


def _actor(event: Event) -> dict[str, Any]:
    process: dict[str, Any] = {"uid": event.producer}
    if 0 < event.pid <= INTEGER_MAX:
        process["pid"] = event.pid
    return {"process": process, **({"user": {"uid": event.actor}} if event.actor else {})}


def _api(event: Event, activity: Activity) -> dict[str, Any]:
    """The event type, and as the service all of it but the last word."""
    said: dict[str, Any] = {"operation": event.event_type}
    service = event.event_type.rpartition(".")[0]
    if service:
        said["service"] = {"name": service}
    if activity.correlation_id:
        said["request"] = {"uid": activity.correlation_id}
    if activity.response:
        said["response"] = activity.response
    return said


def _endpoints(event: Event, activity: Activity) -> dict[str, Any]:
    """The host where it was recorded is where it came from, unless a client is named."""
    here = {"hostname": event.host} if event.host else {"uid": event.producer}
    if activity.client:
        return {"src_endpoint": activity.client, "dst_endpoint": here}
    return {"src_endpoint": here}
