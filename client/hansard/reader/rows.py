"""What a reader gives: one frozen, typed row for each thing that a log holds.

It asks nothing of a database; who has an entry has all that it takes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from hansard.reader.first_event import FirstEvent, first_event


class Extent(NamedTuple):
    """Which log it is, and which entries it has: those behind ``pruned_to``, up to ``last_id``.

    ``log_id`` is in hex. Where no entry was pruned ``pruned_to`` is 0; in an empty log
    ``last_id`` is the same.
    """

    log_id: str
    pruned_to: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log.

    ``created_at`` is ISO 8601 UTC, cut to microseconds; ``created_at_ns`` is exact. ``payload``
    is the JSON text as it was recorded, None where there was none, or where it is ``redacted``.
    ``producer`` is the hash of the producer's id, in hex; with ``producer_seq`` it is the entry's
    key.
    """

    id: int
    created_at: str
    created_at_ns: int
    event_type: str
    level: str
    actor: str | None
    task_id: str | None
    payload: str | None
    producer: str
    producer_seq: int
    host: str
    pid: int
    redacted: bool = False

    @classmethod
    def of(cls, *columns: Any) -> Self:
        """The entry of a row of the view `events`."""
        values = (*columns[:-1], bool(columns[-1]))
        return cls(*values)

    @property
    def data(self) -> dict[str, Any] | None:
        """The payload, parsed anew at each look; integers of any size are exact."""
        if self.payload is None:
            return None
        parsed: dict[str, Any] = json.loads(self.payload)
        return parsed


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on an environment, as `env_operations` shows it.

    ``status`` is success or failed; ``duration_ms`` comes from a monotonic clock. ``metadata``
    is parsed; a failed operation's has ``error``. Where output was cut, ``payload`` of the
    entry (`LogReader.get`) says how long it was, and its SHA-256.
    """

    id: int
    workflow_id: str | None
    node_id: str | None
    version_id: str | None
    operation: str | None
    status: str | None
    stdout: str | None
    stderr: str | None
    exit_code: int | None
    duration_ms: float | None
    metadata: Mapping[str, Any]
    created_at: str

    @property
    def error(self) -> str | None:
        """Why it failed, in a line: the last of stderr, else the error in the metadata."""
        if self.status != "failed":
            return None
        lines = self.stderr.split("\n") if isinstance(self.stderr, str) else []
        metadata = self.metadata if isinstance(self.metadata, Mapping) else {}
        said = [line.strip() for line in lines if line.strip()]
        error = said[-1] if said else metadata.get("error")
        return error if isinstance(error, str) else None

    @classmethod
    def of(cls, event: Event) -> Self:
        """The operation that an entry is; what its payload lacks is None."""
        said = event.data or {}
        columns: dict[str, Any] = {name: said.get(name) for name in cls.__slots__}
        columns |= {"id": event.id, "created_at": event.created_at}
        return cls(**columns | {"metadata": said.get("metadata") or {}})


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal by a rule. ``action`` and ``decision`` are what they were given as, parsed;
    ``timestamp`` is RFC 3339, as the payload says it."""

    id: int
    agent_id: str | None
    action: Any
    decision: Any
    rule_id: str | None
    reason: str | None
    timestamp: str | None
    created_at: str

    @classmethod
    def of(cls, event: Event) -> Self:
        """The refusal that an entry is; what its payload lacks is None."""
        said = event.data or {}
        columns: dict[str, Any] = {name: said.get(name) for name in cls.__slots__}
        return cls(**columns | {"id": event.id, "created_at": event.created_at})


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event or frame that the writer could not enter, and why.

    It stands for ``count`` numbers from ``producer_seq`` on; both producer fields are None where
    the frame did not say whose it is. ``task_id`` is what an orphan waits for. ``attempts`` counts
    replays that were refused; ``replayed_as`` is the id of its first entry, None while it has none.
    ``event_type`` is that of the first event, where its bytes say it. ``frame`` holds its
    ``frame_bytes`` bytes, None in a list.
    """

    id: int
    received_at: str
    producer: str | None
    producer_seq: int | None
    count: int
    reason: str
    detail: str
    task_id: str | None
    attempts: int
    replayed_as: int | None
    frame_bytes: int
    event_type: str | None = None
    frame: bytes | None = None

    @property
    def first_event(self) -> FirstEvent:
        """What its bytes say of the first event; nothing in a list."""
        return first_event(self.frame or b"")
