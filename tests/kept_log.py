"""A log that keeps its events for the test, encoded and decoded as for the wire, and sends none."""

import asyncio
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple

import msgpack
import orjson

from hansard import AuditLog, Entry


class Kept(NamedTuple):
    """One event, as a writer would enter it."""

    event_type: str
    level: str
    actor: str | None
    data: dict[str, Any]


class KeptLog(AuditLog):
    """Records into ``entries``. ``fault`` is raised instead; ``room`` is waited for."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        super().__init__(directory, **settings)
        self.entries: list[Kept] = []
        self.fault: Exception | None = None
        self.room: asyncio.Event | None = None

    def record(self, event_type: str, payload: Any = None, **arguments: Any) -> Entry:
        if self.fault is not None:
            raise self.fault
        who = (arguments.get("actor"), arguments.get("task_id"), time_ns())
        data = self._encoder.encode(event_type, payload, arguments.get("level", "info"), *who)
        _, _, kind, level, actor, _, text = msgpack.unpackb(data)
        self.entries.append(Kept(kind, level, actor, orjson.loads(text or "{}")))
        return Entry(-1, "queued", None, event_type, who[-1])

    async def arecord(self, event_type: str, payload: Any = None, **arguments: Any) -> Entry:
        if self.room is not None:
            await self.room.wait()
        return self.record(event_type, payload, **arguments)
