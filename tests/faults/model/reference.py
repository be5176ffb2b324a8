"""What must be so: every event that was recorded, who still holds it, and what the logs made of it.

Simple on purpose: lists and dictionaries, no file and no wire. It learns what callers see and what
a `View` finds in a database, and fails where the two do not agree.
"""

import collections
import os
import zlib
from collections.abc import Iterable, Sequence

import msgpack

from faults.checker import Noted
from faults.model.view import DEAD, LOST, News, Producer, View
from hansard import wire


class Event:
    """One event of a worker, under the key that its caller got. ``can_die``: it may become a
    dead letter; ``copies``: so many images of one machine hold it."""

    __slots__ = (
        "can_die",
        "copies",
        "group",
        "ids",
        "is_excused",
        "key",
        "log_id",
        "n",
        "was_dead",
        "worker",
    )

    def __init__(self, worker: str, n: int, key: tuple[bytes, int], *, can_die: bool) -> None:
        self.worker, self.n, self.key = worker, n, key
        self.can_die = can_die
        self.group: Sequence[Event] = (self,)  # those that it was recorded together with
        self.copies = 1
        self.ids: set[int] = set()  # under which it was ever entered
        self.was_dead = False
        self.log_id: bytes | None = None  # of the log that took it
        self.is_excused = False  # from being there at the end

    def __repr__(self) -> str:
        return f"{self.worker}:{self.n} ({self.key[0].hex()[:6]}:{self.key[1]})"

    @property
    def was_committed(self) -> bool:
        """Whether a log has, or had, taken it."""
        return bool(self.ids) or self.was_dead


class Reference:
    """All events of a history, and the logs that were in its directory."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, int], Event] = {}
        self.views: dict[bytes, View] = {}  # by log_id
        self.spools: dict[str, list[Event]] = {}  # what the dead have left, by path
        self.shared: set[bytes] = set()  # hashes of ids that several images have used
        self.went_back: set[bytes] = set()  # logs that were restored
        self.drops: collections.Counter[str] = collections.Counter()  # by worker, without room
        self.owners: dict[bytes, str] = {}  # by hash, the worker that used it first
        self.untold: set[str] = set()  # workers whose drops may never come to the log
        self._crcs: dict[bytes, list[int]] = {}  # by hash, behind each number
        self._by_key: dict[tuple[bytes, int], Event] = {}

    # --- what callers see ---

    def recorded(self, event: Event, data: bytes) -> None:
        """`record()` has returned a number."""
        producer_hash, number = event.key
        if producer_hash not in self.shared:
            crcs = self._crcs.setdefault(producer_hash, [0])
            assert number == len(crcs), f"number {number} follows {len(crcs) - 1}"
            crcs.append(zlib.crc32(data, crcs[-1]))
            self.owners.setdefault(producer_hash, event.worker)
            self._by_key[event.key] = event
        self.events[event.worker, event.n] = event

    def dropped(self, worker: str, producer_hash: bytes, count: int) -> None:
        """`record()` has said that there was no room."""
        self.owners.setdefault(producer_hash, worker)
        self.drops[worker] += count

    def share(self, producer_hash: bytes, held: Iterable[Event]) -> None:
        """Another process has got this id, and what waits under it."""
        self.shared.add(producer_hash)
        self.untold.add(self.owners.get(producer_hash, ""))
        for event in held:
            event.copies += 1

    # --- what the log says ---

    def committed(self, log_id: bytes, news: News, held: set[Event]) -> None:
        """A look at the database has found something new; ``held`` are the events in spools."""
        view = self.views[log_id]
        for seq in news.seqs:
            self._entered(view, log_id, seq)
        for letter in (view.letters[each] for each in news.letters):
            producer = view.producers.get(-1 if letter.producer is None else letter.producer)
            for number in letter.numbers if producer else ():
                event = self._of_key(producer.hash, number)
                if event:
                    assert event.can_die, f"{event} is a dead letter: {letter}"
                    self._belongs(event, log_id)
                    event.was_dead = True
        for producer_hash, first, last in news.lost:
            assert log_id in self.went_back, f"{first} to {last} are lost in a log of one history"
            for number in range(first, last + 1):
                event = self._of_key(producer_hash, number)
                if event:
                    assert event.was_committed, f"{event} is called lost, but never was committed"
                    assert event not in held, f"{event} is called lost, but is still held"
                    event.is_excused = True
        for producer in view.producers.values():
            self._check_producer(producer)
        self._check_drops()

    def restored(self, log_id: bytes, view: View, held: set[Event]) -> None:
        """A log was replaced by an earlier copy: what was only in its future, and is not held any
        more, need not come back."""
        self.went_back.add(log_id)
        self.views[log_id] = view
        for event in self.events.values():
            if event.log_id == log_id and event.was_committed and event not in held:
                event.is_excused = not self._is_in(view, event)

    def said(self, log_id: bytes, producer_hash: bytes, reply: bytes) -> None:
        """The writer answers a producer: it says nothing that is not committed."""
        _, verb, fields = msgpack.unpackb(reply)
        view = self.views[log_id]
        row = view.producer(producer_hash)
        committed = (row.watermark, row.crc) if row else (0, 0)
        if verb == "hello":
            welcome = wire.welcome_of(fields)
            if welcome.log_id == log_id:
                assert welcome.watermark <= committed[0], f"{welcome}, but {row}"
        elif verb == "wait":
            ack = wire.ack_of(fields)
            assert ack.watermark <= committed[0], f"{ack}, but {row}"
            assert ack.watermark < committed[0] or ack.crc == committed[1], f"{ack}, but {row}"
            for first, count, seq in ack.runs:
                for index in range(count):
                    entry = view.entries[seq + index]
                    assert view.producers[entry.producer].hash == producer_hash, f"{ack}: {entry}"
                    assert entry.number == first + index, f"{ack}: {entry}"

    def check_freed(self, event: Event) -> None:
        """A producer has let go of an event: so it was committed."""
        assert event.was_committed or (event.can_die and event.key[0] in self.shared), (
            f"{event} was freed, and never committed"
        )

    def adopted(self, view: View) -> None:
        """Spools of the dead may be gone: then all that was in them is in the log."""
        for path in [each for each in self.spools if not os.path.exists(each)]:  # noqa: PTH110 - hot
            for event in self.spools.pop(path):
                assert self._is_in(view, event), f"{event} was in {path}, which was removed"

    def check_all_is_in(self) -> None:
        """At the end, with all spools entered in all logs."""
        assert not self.spools, f"nobody removed {self.spools}"
        told = self._check_drops()
        for worker, count in self.drops.items():
            is_told = told[worker] == count or worker in self.untold or self.went_back
            assert is_told, f"{worker} dropped {count}, hansard.lost says {told[worker]}"
        for event in self.events.values():
            is_in = any(self._is_in(view, event) for view in self.views.values())
            assert is_in or event.is_excused, f"{event} is in no log"

    def noted(self, log_id: bytes) -> list[Noted]:
        """What a log must have, for the independent checker."""
        view = self.views[log_id]
        return [
            Noted(event.worker, event.n, *event.key)
            for event in self.events.values()
            if self._is_in(view, event) and event.key[0] not in self.shared
        ]

    # --- inside ---

    def _of_key(self, producer_hash: bytes, number: int) -> Event | None:
        if producer_hash in self.shared:
            return None  # whose number it was cannot be told
        return self._by_key.get((producer_hash, number))

    def _entered(self, view: View, log_id: bytes, seq: int) -> None:
        entry = view.entries[seq]
        if entry.worker is None or entry.n is None:
            return
        event = self.events[entry.worker, entry.n]
        seqs = view.where[entry.worker, entry.n]
        assert len(seqs) <= event.copies, f"{event} was entered as {seqs}"
        key = (view.producers[entry.producer].hash, entry.number)
        assert key == event.key or event.key[0] in self.shared, f"{event} was entered as {key}"
        self._belongs(event, log_id)
        event.ids.add(seq)
        first = seq - event.group.index(event)
        for index, each in enumerate(event.group):
            beside = view.entries.get(first + index)
            is_there = beside is not None and (beside.worker, beside.n) == (each.worker, each.n)
            assert is_there, f"{event} was entered as {seq}, and {each} not, but {beside}"

    def _belongs(self, event: Event, log_id: bytes) -> None:
        assert event.log_id in (None, log_id) or event.copies > 1, f"{event} is in two logs"
        event.log_id = log_id

    def _is_in(self, view: View, event: Event) -> bool:
        """Entered, or a dead letter; of an id that several used, whose number became what cannot
        be told, and one may have let go of what a log that went back has lost."""
        if view.where.get((event.worker, event.n)):
            return True
        fate = view.fate(*event.key)
        is_shared = event.key[0] in self.shared
        return fate == DEAD or (is_shared and (event.can_die or fate == LOST))

    def _check_producer(self, producer: Producer) -> None:
        crcs = self._crcs.get(producer.hash)
        if crcs is None or producer.hash in self.shared:
            return
        assert producer.watermark < len(crcs), f"{producer}, but {len(crcs) - 1} were recorded"
        assert producer.crc == crcs[producer.watermark], f"{producer} has another CRC"

    def _check_drops(self) -> collections.Counter[str]:
        """No log says that more was dropped than was; what they say, by worker."""
        told: collections.Counter[str] = collections.Counter()
        for view in self.views.values():
            for producer in view.producers.values():
                if producer.dropped:
                    told[self.owners[producer.hash]] += producer.dropped
        for worker, count in told.items():
            is_true = count <= self.drops[worker] or worker in self.untold
            assert is_true, f"{worker} dropped {self.drops[worker]}, hansard.lost says {count}"
        return told
