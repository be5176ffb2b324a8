"""For tests of what records: `MemoryLog`, an `AuditLog` that keeps its entries in memory.

Events are checked, encoded and numbered by the code that does it for a real log; there is no
directory, no writer, no thread and no socket. It keeps nothing behind the process, and proves
nothing.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hansard import calls as named_operations
from hansard.audit_log import AuditLog
from hansard.calls import CallKey, CallOutcome
from hansard.complaints import Complaints
from hansard.entry import COMMITTED, ID_UNKNOWN, ORPHANED, REJECTED, UNKNOWN, Entry
from hansard.errors import ClosedError, InvalidEvent, Rejected, WriterUnavailable
from hansard.memory_delivery import MemoryProducer, MemorySender
from hansard.memory_writer import NOWHERE, MemoryWriter
from hansard.reader import Event
from hansard.recorded import Recorded, recorded_among, shown
from hansard.settings import Settings, load_settings
from hansard.settling import Settling
from hansard.wire import ORPHAN

__all__ = ["Event", "MemoryLog", "Recorded", "recorded_among", "shown"]


class MemoryLog(AuditLog):
    """An `AuditLog` in memory: ``assert log.recorded("task.done", task_id="T1")``.

    All that may be called of an `AuditLog` may be called of it. Each call is over when it returns:
    an event is entered then, so `flush` is true and ``sync`` gives ids 1, 2, 3 …. After `close` it
    can still be asked.

    ``settings`` are those of `AuditLog` and the writer's ``enforce_tasks``; neither ``HANSARD_*``
    variables nor files count, so that a test does the same everywhere. ``directory`` may be given
    where the code under test does, and is not touched. ``calls`` says what `call` does: functions
    of the params by name, whose exceptions are rejections. `redact` needs a real writer.

    A forked child has a copy; what it records, its parent does not see.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        calls: Mapping[str, Callable[[Any], Any]] | None = None,
        **settings: Any,
    ) -> None:
        self._calls = dict(calls or {})
        super().__init__(NOWHERE if directory is None else directory, **settings)

    # --- what was recorded ---

    @property
    def entries(self) -> list[Event]:
        """All entries, oldest first; what `hansard.reader.LogReader.events` gives of a real log."""
        self._sender.wake()  # what an interruption may have left
        return list(self._memory.entries)

    def recorded(self, event_type: str | None = None, **conditions: Any) -> Recorded:
        """The entries of this type that meet all conditions; true if there is one.

        In ``event_type`` a ``*`` stands for any text. ``id``, ``level``, ``actor`` and ``task_id``
        are the entry's; every other name is a field of the payload; ``payload={…}`` names fields
        that are called like one of these. A condition is a value, or a function that is given what
        there is. What is compared is what the log holds, so after masking, and as JSON.

        In a failed assertion it shows the entries that come nearest.
        """
        return recorded_among(self.entries, event_type, **conditions)

    def clear(self) -> None:
        """Forget the entries so far. Their ids are not given again."""
        self._sender.wake()
        self._memory.entries.clear()

    # --- what a real log asks its writer ---

    def lookup(self, key: Any, timeout: float | None = None) -> Any:  # noqa: ARG002
        """As `AuditLog.lookup`. No outcome of a call is ever unknown here, so none is kept."""
        if isinstance(key, bytes):
            return CallOutcome(UNKNOWN, None, None, CallKey(key))
        try:
            producer_hash, producer_seq = key
            told = self._memory.outcome((bytes(producer_hash), int(producer_seq)))
        except (TypeError, ValueError):
            raise InvalidEvent(f"key is {key!r:.100}: it must be an Entry's key") from None
        if told is None:
            return Entry(ID_UNKNOWN, UNKNOWN, key, "", 0)
        if not isinstance(told, int):
            status = ORPHANED if told.reason == ORPHAN else REJECTED
            return Entry(None, status, key, "", 0)  # a log tells no more of what is not in it
        found = (each for each in self._memory.entries if each.id == told)
        event_type, created_at = next(((e.event_type, e.created_at_ns) for e in found), ("", 0))
        return Entry(told, COMMITTED, key, event_type, created_at)

    def call(
        self,
        name: str,
        params: Any = None,
        *,
        timeout: float = named_operations.TIMEOUT_S,  # noqa: ARG002 - there is no wait
    ) -> Any:
        """What the function of ``calls`` with this name returns. Raises `Rejected` where it raises,
        or there is none."""
        if self._closed:
            raise ClosedError("the log is closed: call() before close(), or make a new AuditLog")
        named_operations.check_name(name)
        if name not in self._calls:
            raise Rejected(
                f"the operation {name!r} was rejected: this log in memory has none of that name; "
                "give it as MemoryLog(calls={name: function}), or take a real writer"
            )
        carried = _carried("params", params)
        try:
            result = _carried("the result", self._calls[name](carried))
        except Exception as error:
            kind = type(error).__name__
            raise Rejected(f"the operation {name!r} was rejected: {kind}: {error}") from error
        return result

    def redact(self, **_: Any) -> Any:
        """Needs the files of a real log."""
        raise WriterUnavailable("a log in memory redacts nothing: take a real writer for this test")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<MemoryLog {state}, {len(self._memory.entries)} recorded>"

    # --- inside ---

    def _meet(self, directory: Path, settings: Mapping[str, Any]) -> tuple[Settings, MemoryWriter]:
        found = load_settings(NOWHERE, settings, {})
        self._memory = MemoryWriter(directory, enforce_tasks=found.enforce_tasks)
        return found, self._memory

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._complaints = Complaints()
        producer = MemoryProducer(self.directory, self.settings, self._complaints, self._wake)
        producer.begin(self._memory)
        self._producer = producer
        self._sender = MemorySender(producer)  # type: ignore[assignment] # the same face
        self._settling = Settling(
            self._memory,
            producer,
            self._sender,
            self._complaints,
            best_effort=self.settings.best_effort,
        )


def _carried(what: str, value: Any) -> Any:
    """As it arrives on the other side of a call."""
    try:
        return named_operations.unpack_value(named_operations.pack_value(what, value))
    except ValueError as error:
        raise InvalidEvent(str(error)) from error
