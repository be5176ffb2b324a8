"""A writer that keeps its log in memory: what `hansard.testing.MemoryLog` records to.

It answers a producer's hello and waits as the real one does, at once and in the same process.
It keeps nothing on a disk, proves nothing, and answers nobody else.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack

from hansard import wire
from hansard.local_writer import LocalWriter
from hansard.reader import Event
from hansard.refusals import timestamp

NOWHERE: Final = Path(os.devnull)  # a directory in which nothing can ever be
RUN_ID: Final = bytes(16)

INVALID: Final = "invalid"  # the reason of what can never be entered

_TASK_ID, _PAYLOAD = 5, 6  # their places in an event's array


class Refused(NamedTuple):
    """An event that is no entry: why, and what it said."""

    reason: str
    detail: str
    event_type: str


class Joined(NamedTuple):
    """Events that are entered together or not at all, mostly one, and the number of the first."""

    events: list[list[Any]]
    first_seq: int


class _Known:
    """What the log knows of one producer."""

    def __init__(self, hello: wire.Hello) -> None:
        self.hash = wire.producer_hash(hello.producer_id)
        self.host, self.pid = hello.host, hello.pid
        self.watermark = self.crc = self.dropped = 0
        self.outcomes: dict[int, int | Refused] = {}  # the id of an entry, or why there is none
        self.refused = self.returned = 0

    @property
    def refusals(self) -> wire.Refusals:
        return wire.Refusals(self.refused, self.returned, self.refused - self.returned)


class MemoryWriter(LocalWriter):
    """One log, for one producer at a time: MUST be used under that one's lock."""

    def __init__(self, directory: Path, *, enforce_tasks: bool) -> None:
        super().__init__(directory)
        self.name = "the log in memory"
        self.entries: list[Event] = []
        self._enforce_tasks = enforce_tasks
        self._tasks: set[str] = set()
        self._orphans: list[tuple[_Known, Joined]] = []
        self._known: dict[bytes, _Known] = {}
        self._last_id = 0

    def may_live(self) -> bool:
        """Always."""
        return True

    def silent(self, when: str) -> str:  # noqa: ARG002 - as of the writer of a directory
        """Never."""
        return ""

    def answer(self, message: bytes) -> bytes:
        """The reply to a hello or a wait."""
        verb, arguments = wire.unpack_request(message)
        if verb == "hello":
            return self._welcome(wire.hello_of(arguments))
        return self._ack(wire.wait_of(arguments))

    def take(self, frame: wire.Frame) -> None:
        """Enter the events of a frame."""
        known = self._known[frame.producer_id]
        known.dropped = frame.drops.total
        unpacker = msgpack.Unpacker(
            max_buffer_size=wire.MESSAGE_BYTES_MAX, unicode_errors="surrogateescape"
        )
        unpacker.feed(frame.body)
        together: list[list[Any]] = []
        for event in unpacker:
            together.append(event)
            if not event[0] & wire.JOINED:
                self._decide(known, Joined(together, known.watermark + 1))
                known.watermark += len(together)
                together = []
        known.crc = crc32(frame.body, known.crc)

    def outcome(self, key: tuple[bytes, int]) -> int | Refused | None:
        """What became of the event with a key; None for one that never came."""
        found = (each for each in self._known.values() if each.hash == key[0])
        return next((each.outcomes.get(key[1]) for each in found), None)

    # --- inside ---

    def _welcome(self, hello: wire.Hello) -> bytes:
        known = self._known.setdefault(hello.producer_id, _Known(hello))
        limits: Mapping[str, int] = {}
        return wire.pack_reply(
            "hello",
            wire.Welcome(
                RUN_ID, RUN_ID, 1, known.watermark, known.crc, known.dropped, known.refusals, limits
            ),
        )

    def _ack(self, wait: wire.Wait) -> bytes:
        known = self._known[wait.producer_id]
        numbers = range(wait.from_seq, known.watermark + 1) if wait.from_seq else ()
        told = [(seq, known.outcomes[seq]) for seq in numbers]
        unseen = range(wait.seen_seq + 1, known.watermark + 1)
        refused = [(seq, known.outcomes[seq]) for seq in unseen]
        return wire.pack_reply(
            "wait",
            wire.Ack(
                status=wire.COMMITTED,
                run_id=RUN_ID,
                watermark=known.watermark,
                crc=known.crc,
                dropped=known.dropped,
                outcomes_to=known.watermark,
                duplicates=0,
                refusals=known.refusals,
                runs=[(seq, 1, id_) for seq, id_ in told if isinstance(id_, int)],
                dead=[(seq, 1, *why[:2]) for seq, why in told if isinstance(why, Refused)],
                notices=[
                    wire.Notice(seq, why.reason, why.event_type, why.detail)
                    for seq, why in refused
                    if isinstance(why, Refused)
                ],
            ),
        )

    def _decide(self, known: _Known, joined: Joined) -> None:
        """Enter them, refuse them, or keep them until their task is registered."""
        missing = self._missing_task(joined)
        if not all(_is_text(event[_PAYLOAD]) for event in joined.events):
            self._refuse(known, joined, INVALID, "payload holds a lone surrogate: it must be text")
        elif missing is not None:
            self._refuse(known, joined, wire.ORPHAN, f"task {missing!r} is not registered")
            self._orphans.append((known, joined))
        elif not all(_is_object(event[_PAYLOAD]) for event in joined.events):
            self._refuse(known, joined, INVALID, "payload is no JSON object")
        else:
            self._enter(known, joined)

    def _refuse(self, known: _Known, joined: Joined, reason: str, detail: str) -> None:
        for index, (_, _, event_type, *_) in enumerate(joined.events):
            known.outcomes[joined.first_seq + index] = Refused(reason, detail, event_type)
        known.refused += len(joined.events)

    def _missing_task(self, joined: Joined) -> str | None:
        if not self._enforce_tasks:
            return None
        tasks = (event[_TASK_ID] for event in joined.events if event[0] != wire.KIND_TASK)
        return next((each for each in tasks if each not in self._tasks and each is not None), None)

    def _enter(self, known: _Known, joined: Joined) -> None:
        for index, event in enumerate(joined.events):
            kind, created_at, event_type, level, actor, task_id, payload = event
            seq = joined.first_seq + index
            self._last_id += 1
            known.outcomes[seq] = self._last_id
            self.entries.append(
                Event(
                    self._last_id,
                    timestamp(created_at),
                    created_at,
                    event_type,
                    level,
                    actor,
                    task_id,
                    payload,
                    known.hash.hex(),
                    seq,
                    known.host,
                    known.pid,
                )
            )
            if kind == wire.KIND_TASK and task_id not in self._tasks:
                self._tasks.add(task_id)
                self._bring_back()

    def _bring_back(self) -> None:
        """A task became known: enter the orphans that have waited for it, in order."""
        waiting, self._orphans = self._orphans, []
        for known, joined in waiting:
            if self._missing_task(joined) is not None:
                self._orphans.append((known, joined))
                continue
            known.returned += len(joined.events)
            if all(_is_object(event[_PAYLOAD]) for event in joined.events):
                self._enter(known, joined)
            else:
                self._refuse(known, joined, INVALID, "payload is no JSON object")


def _is_text(payload: str | None) -> bool:
    """Whether UTF-8 can hold it: broken UTF-8 became lone surrogates."""
    try:
        (payload or "").encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_object(payload: str | None) -> bool:
    """Whether SQLite, too, would take it for a JSON object: a text that was given as one may be
    anything."""
    try:
        return payload is None or (
            type(json.loads(payload, parse_int=str, parse_constant=_no_json)) is dict
        )
    except (ValueError, RecursionError):
        return False


def _no_json(constant: str) -> None:
    raise ValueError(constant)
