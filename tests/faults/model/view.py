"""What one log has, read from its database piece by piece, and held to the log's own rules.

It knows the contract and the schema; nothing of the writer's code, nothing of who recorded what.
"""

import collections
from typing import Any, Final, NamedTuple

import apsw
import orjson

ENTERED: Final = "entered"
DEAD: Final = "dead-lettered"
LOST: Final = "lost"
WENT_BACK: Final = "the log went back in time"

_PRODUCERS: Final = (
    "SELECT id, producer_hash, watermark, crc, dropped, refused, returned, orphaned, lost"
    " FROM producers"
)
_LETTERS: Final = (
    "SELECT id, producer, producer_seq, count, reason, replayed_as, task_id FROM dead_letters"
)
_ENTRIES: Final = (
    "SELECT seq, producer, producer_seq, payload ->> 'w', payload ->> 'n', event_type, task_id,"
    " iif(event_type GLOB 'hansard.*', payload, NULL) FROM entries WHERE seq > ? ORDER BY seq"
)
_RUN_OF: Final = (
    "SELECT first_producer_seq, count, first_seq FROM runs WHERE producer = ?"
    " AND first_producer_seq <= ? ORDER BY first_producer_seq DESC LIMIT 1"
)


class Producer(NamedTuple):
    """A row of `producers`."""

    hash: bytes
    watermark: int
    crc: int
    dropped: int
    refused: int
    returned: int
    orphaned: int
    lost: int


class Letter(NamedTuple):
    """A row of `dead_letters`."""

    producer: int | None
    first: int | None
    count: int
    reason: str
    replayed_as: int | None
    task_id: str | None

    @property
    def numbers(self) -> range:
        """The numbers that it stands for."""
        first = self.first or 0
        return range(first, first + (self.count if first else 0))


class Entry(NamedTuple):
    """A row of `entries`: whose number it is, and which event of which worker."""

    producer: int
    number: int
    worker: str | None
    n: int | None


class News(NamedTuple):
    """What a look has found: seqs of entries, ids of letters, and ranges of producers' numbers
    that the log says it lost when it went back."""

    seqs: list[int]
    letters: list[int]
    lost: list[tuple[bytes, int, int]]


class View:
    """Grows with the log. `read` takes in what is new, and fails with the first thing wrong."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.where: dict[tuple[str, int], list[int]] = {}  # the seqs of a worker's event
        self.fates: dict[int, dict[int, str]] = {}  # by producer, of each number
        self.producers: dict[int, Producer] = {}
        self.by_hash: dict[bytes, int] = {}
        self.letters: dict[int, Letter] = {}
        self._returning: set[tuple[int | None, int]] = set()  # numbers that are entered late
        self._highest: dict[int, int] = {}  # by producer, of what was entered in order
        self.drops: collections.Counter[str] = collections.Counter()  # as entries tell them
        self.tasks: set[str] = set()
        self._last: dict[tuple[str, int], int] = {}  # by worker and id, its last event

    def producer(self, producer_hash: bytes) -> Producer | None:
        """A producer's row."""
        return self.producers.get(self.by_hash.get(producer_hash, -1))

    def fate(self, producer_hash: bytes, number: int) -> str | None:
        """What became of a producer's number, None while it is not committed."""
        return self.fates.get(self.by_hash.get(producer_hash, -1), {}).get(number)

    def read(self, connection: apsw.Connection) -> News:
        """Take in what was committed since the last look."""
        before = self.producers
        self.producers = {row[0]: Producer(*row[1:]) for row in connection.execute(_PRODUCERS)}
        self.by_hash = {each.hash: number for number, each in self.producers.items()}
        news = News([], self._read_letters(connection), [])
        touched: dict[int, int] = {}
        for seq, producer, number, worker, n, event_type, task_id, own in connection.execute(
            _ENTRIES, (len(self.entries),)
        ):
            assert seq == len(self.entries) + 1, f"seq {seq} follows {len(self.entries)}"
            self.entries[seq] = Entry(producer, number, worker, n)
            is_late = self._enter(producer, number)
            touched[producer] = seq
            news.seqs.append(seq)
            if worker is not None:
                self._note(seq, self.entries[seq], is_late=is_late)
            if event_type == "hansard.task_registered":
                self.tasks.add(task_id)
            if event_type == "hansard.lost":
                self._read_lost(orjson.loads(own), news)
        for producer, now in self.producers.items():
            if now != before.get(producer):
                self._check_producer(producer, before.get(producer), now)
        for seq in touched.values():
            self._check_run(connection, seq)
        self._check_orphans()
        assert before.keys() <= self.producers.keys(), "a producer is gone"
        assert not self._returning, f"returned, but not entered: {self._returning}"
        return news

    # --- inside ---

    def _read_letters(self, connection: apsw.Connection) -> list[int]:
        before = self.letters
        self.letters = {row[0]: Letter(*row[1:]) for row in connection.execute(_LETTERS)}
        assert before.keys() <= self.letters.keys(), "a dead letter is gone"
        new = [each for each in self.letters if each not in before]
        for each in new:
            letter = self.letters[each]
            for number in letter.numbers:
                self._settle(letter.producer, number, DEAD)
        for each, letter in self.letters.items():
            was_in = each in before and before[each].replayed_as is not None
            if letter.replayed_as is not None and not was_in:
                self._returning.update((letter.producer, number) for number in letter.numbers)
        return new

    def _enter(self, producer: int, number: int) -> bool:
        """Whether it is a dead letter that was returned."""
        if (producer, number) in self._returning:
            self._returning.remove((producer, number))
            self.fates[producer][number] = ENTERED
            return True
        highest = self._highest.get(producer, 0)
        assert number > highest, f"number {number} of producer {producer} behind {highest}"
        self._highest[producer] = number
        self._settle(producer, number, ENTERED)
        return False

    def _note(self, seq: int, entry: Entry, *, is_late: bool) -> None:
        producer, _, worker, n = entry
        assert worker is not None
        assert n is not None
        self.where.setdefault((worker, n), []).append(seq)
        last = self._last.get((worker, producer), 0)
        assert n > last or is_late, f"{worker}:{n} stands behind {last}"
        self._last[worker, producer] = max(n, last)

    def _settle(self, producer: int | None, number: int, fate: str) -> None:
        if producer is None:
            return
        fates = self.fates.setdefault(producer, {})
        assert number not in fates, f"{producer}:{number} is {fate}, and {fates[number]} before"
        fates[number] = fate

    def _read_lost(self, lost: dict[str, Any], news: News) -> None:
        if lost["reason"] != WENT_BACK:
            self.drops[lost["producer"]] += lost["count"]
            return
        first, last = lost["first_producer_seq"], lost["last_producer_seq"]
        assert lost["count"] == last - first + 1 > 0, f"a range that does not count: {lost}"
        producer_hash = bytes.fromhex(lost["producer"])
        for number in range(first, last + 1):
            self._settle(self.by_hash[producer_hash], number, LOST)
        news.lost.append((producer_hash, first, last))

    def _check_producer(self, producer: int, before: Producer | None, now: Producer) -> None:
        """Every number up to the watermark has one fate, none has one beyond; the sums hold."""
        if before:
            assert now.hash == before.hash, f"producer {producer} is another one"
            assert now.watermark >= before.watermark, f"the watermark of {producer} went back"
        fates = self.fates.get(producer, {})
        assert len(fates) == max(fates, default=0) == now.watermark, (
            f"producer {producer}: {len(fates)} numbers up to {max(fates, default=0)} have a fate, "
            f"the watermark is {now.watermark}"
        )
        letters = [letter for letter in self.letters.values() if letter.producer == producer]
        waiting = [letter for letter in letters if letter.replayed_as is None]
        orphans = [letter for letter in waiting if letter.reason == "orphan"]
        refused, left = _events(letters), _events(waiting)
        assert (now.refused, now.returned) == (refused, refused - left), f"{now}: {letters}"
        assert now.orphaned == _events(orphans), f"{now}: {orphans}"
        assert now.lost == sum(fate == LOST for fate in fates.values()), f"{now}: {fates}"
        told = self.drops[now.hash.hex()]
        assert now.dropped == told, f"{now.dropped} dropped, but hansard.lost says {told}"

    def _check_run(self, connection: apsw.Connection, seq: int) -> None:
        """`runs` leads from the number of an entry to its seq."""
        entry = self.entries[seq]
        run = connection.execute(_RUN_OF, (entry.producer, entry.number)).fetchone()
        assert run is not None, f"no run leads to {entry}"
        first, count, first_seq = run
        is_right = entry.number < first + count and first_seq + entry.number - first == seq
        assert is_right, f"the run {run} does not lead from {entry} to {seq}"

    def _check_orphans(self) -> None:
        """No letter waits for a task that is registered."""
        for letter in self.letters.values():
            if letter.reason == "orphan" and letter.replayed_as is None:
                assert letter.task_id not in self.tasks, f"{letter} waits for what is there"


def _events(letters: list[Letter]) -> int:
    return sum(letter.count for letter in letters)
