"""One event of a workload, as every contestant gets it. Pure."""

from typing import Any, NamedTuple


class Event(NamedTuple):
    """The arguments of one `record()`."""

    event_type: str
    payload: dict[str, Any]
    level: str
    actor: str
    task_id: str
