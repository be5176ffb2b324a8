"""What a thread of a worker records: numbered, in order, and each event noted as its call returns.

It decides nothing about what to record.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

from faults.chaos.notes import RAISED, Event, Notes
from hansard import AckTimeout, AuditLog, Entry, QueueFull, Rejected, WriterUnavailable

EVENT_TYPE: Final = "chaos.event"
SYNC_TIMEOUT_S: Final = 0.6
WENT_WRONG: Final = (AckTimeout, WriterUnavailable, QueueFull, Rejected)  # and was to be told


class Stream:
    """What one thread records through one log: numbered, in order, and noted.

    A fork of it goes on in another process, a branch in another thread; both count anew.
    """

    def __init__(self, log: AuditLog, name: str, notes: Notes) -> None:
        self.log, self.name, self.notes = log, name, notes
        self._number = 0
        self._branches = itertools.count()
        notes.open(name)

    def branch(self) -> Stream:
        """For another thread of this process."""
        return Stream(self.log, f"{self.name}.{next(self._branches)}", self.notes)

    def end(self) -> None:
        """Nothing more comes."""
        self.notes.end(self.name)

    def next_payload(self, size: int) -> dict[str, Any]:
        """The payload of the next event."""
        self._number += 1
        return {"w": self.name, "n": self._number} | ({"x": "x" * size} if size else {})

    def record(self, payload: Any, *, sync: bool = False, task: str | None = None) -> None:
        """`AuditLog.record`, and a note of what it gave."""
        number = self._number
        try:
            entry = self.log.record(
                EVENT_TYPE, payload, sync=sync, task_id=task, timeout=SYNC_TIMEOUT_S
            )
        except WENT_WRONG as error:
            self.note([number], self._raised(error))
        else:
            self.note([number], entry)

    async def arecord(self, payload: Any, *, sync: bool) -> None:
        """`AuditLog.arecord`, and a note of what it gave."""
        number = self._number
        try:
            entry = await self.log.arecord(EVENT_TYPE, payload, sync=sync, timeout=SYNC_TIMEOUT_S)
        except WENT_WRONG as error:
            self.note([number], self._raised(error))
        else:
            self.note([number], entry)

    def together(self, count: int, size: int, *, sync: bool) -> None:
        """`AuditLog.record_many`, and a note of what it gave."""
        events = [
            {"event_type": EVENT_TYPE, "payload": self.next_payload(size)} for _ in range(count)
        ]
        numbers = range(self._number - count + 1, self._number + 1)
        self.notes.begin(self.name, self._number)
        try:
            entries = self.log.record_many(events, sync=sync, timeout=SYNC_TIMEOUT_S)
        except WENT_WRONG as error:
            self.note(numbers, *[self._raised(error)] * count)
        else:
            self.note(numbers, *entries)

    def register(self, task: str) -> None:
        """`AuditLog.register_task`, its event numbered like any other."""
        payload = self.next_payload(0)
        number = self._number
        try:
            entry = self.log.register_task(task, **payload)
        except QueueFull as error:
            self.note([number], self._raised(error))
        else:
            self.note([number], entry)

    def note(self, numbers: Any, *outcomes: Entry | str) -> None:
        """What became of events."""
        self.notes.events(
            [
                Event(self.name, number, outcome, None)
                if isinstance(outcome, str)
                else Event(self.name, number, outcome.status, outcome.key)
                for number, outcome in zip(numbers, outcomes, strict=True)
            ]
        )

    def _raised(self, error: Exception) -> str:
        """The status that an error stands for, as the contract has it."""
        if isinstance(error, QueueFull):
            return RAISED if self.log.settings.on_full == "raise" else "dropped"
        return "rejected" if isinstance(error, Rejected) else "unknown"
