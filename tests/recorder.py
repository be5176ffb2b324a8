"""An `AuditLog` that keeps what it is told, for tests that need no writer."""

from typing import Any

import orjson

from hansard import AuditLog, Entry

WHERE = {"workflow_id": "wf", "node_id": "n1"}


class Recorder(AuditLog):
    """An `AuditLog` that keeps what it is told, and fails where it is told to."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.failure: Exception | None = None

    def record(self, event_type: str, payload: Any = None, **options: Any) -> Entry:
        if self.failure:
            raise self.failure
        self.told.append((event_type, options["level"], orjson.loads(orjson.dumps(payload))))
        return super().record(event_type, payload, **options)

    async def arecord(self, event_type: str, payload: Any = None, **options: Any) -> Entry:
        return self.record(event_type, payload, **options)

    def only(self) -> dict[str, Any]:
        ((_, _, payload),) = self.told
        return payload
