"""An `AuditLog` that keeps its events as they would be entered, for tests that need no writer."""

from datetime import datetime
from time import time_ns
from typing import Any, NamedTuple

import msgpack
import orjson

from hansard import AuditLog, Entry
from hansard.events import created_at_ns


class Event(NamedTuple):
    """One event, with what is bound in its context."""

    created_at: int
    type: str
    level: str
    actor: str | None
    task_id: str | None
    payload: dict[str, Any]


class KeptLog(AuditLog):
    """``events`` are all that was recorded, oldest first."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.events: list[Event] = []

    def record(
        self,
        event_type: str,
        payload: Any = None,
        *,
        level: str = "info",
        actor: str | None = None,
        task_id: str | None = None,
        created_at: int | datetime | None = None,
        **_: Any,
    ) -> Entry:
        moment = time_ns() if created_at is None else created_at_ns(created_at)
        data = self._encoder.encode(event_type, payload, level, actor, task_id, moment)
        _, *fields, text = msgpack.unpackb(data)
        self.events.append(Event(*fields, orjson.loads(text) if text else {}))
        return Entry(-1, "queued", None, event_type, moment)

    @property
    def types(self) -> list[str]:
        """The types of the events, oldest first."""
        return [event.type for event in self.events]
