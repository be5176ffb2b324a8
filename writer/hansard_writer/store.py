"""The store: the one connection that writes the log, and the transaction of a batch.

It is used by one thread. It knows no sockets and decides neither when to commit nor what to accept;
what an error means is the handle's to judge.
"""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import apsw

from hansard import wire
from hansard.reader_connection import require_sqlite
from hansard_writer import comparing, damage, recovered
from hansard_writer.dead_letters import DeadLetters
from hansard_writer.decoding import Fault, Run, without
from hansard_writer.derived.deriving import Deriving
from hansard_writer.derived.stored_fields import stored_fields
from hansard_writer.entering import Entering, Position, malformed
from hansard_writer.handle import Handle
from hansard_writer.intake import PRODUCERS_MAX, Batch, ProducerState
from hansard_writer.lock import WriterRun
from hansard_writer.proof.merkle_hash_tree import Edge, root
from hansard_writer.proof.stored_tree import READ_ROW, READ_SIZE, NodeMissing, StoredTree
from hansard_writer.sqlite_errors import Kind, code_of, kind_of
from hansard_writer.tallies import EVENTS, SECONDS, Histogram, Tally
from hansard_writer.tasks import TaskBook

OWN_PRODUCER: Final = 0

_INSERT_PRODUCER: Final = (
    "INSERT INTO producers(id, producer_hash, host, pid, started_at, client, watermark, crc,"
    " dropped) VALUES(?,?,?,?,?,?,0,0,0)"
)
_UPDATE_PRODUCER: Final = (
    "UPDATE producers SET watermark = ?, crc = ?, dropped = ?, lost = ? WHERE id = ?"
)
_SELECT_PRODUCER: Final = (
    "SELECT id, producer_hash, host, pid, started_at, watermark, crc, dropped, lost, client"
    " FROM producers"
)


PRUNED_KEYS: Final = ("pruned_to", "prune_to", "prune_before")  # of `meta`, as `Pruned` has them


class Pruned(NamedTuple):
    """How far the log's oldest entries are deleted, and how far they are to be, by seq; and a time
    (ns since 1970 UTC) before which all of those were created."""

    to: int = 0
    target: int = 0
    before: int = 0


class Newest(NamedTuple):
    """The entries of the newest batch: their seqs, and the event types among them."""

    first: int
    last: int
    event_types: Collection[str]


class DryRun(Exception):
    """Ends a transaction whose outcome was only to be seen."""


class Standing(Protocol):
    """Who says, at the start, whether a log is served, and as whom."""

    def require(self, handle: Handle, edge: Edge) -> None:
        """Raises what is to be said where it is not. MUST NOT change anything."""

    def assume(self, store: "Store") -> None:
        """The epoch has begun. What it raises ends the start."""


class Store:
    """The log's database, open for writing. Opening it begins a new epoch, durably.

    With ``enforce_tasks`` only events of registered tasks are entered. ``predecessor`` is the run
    whose WAL may be there, as far as it is known; ``standing`` is asked whether to go on. Raises
    `hansard_writer.unusable.LogUnusable` for what cannot be served, which is not touched then, and
    `StoreFull`. What SQLite raises later and is no `StoreUnready` MUST end the process.
    """

    def __init__(
        self,
        path: Path,
        mode: int,
        *,
        dead_letters_max: int,
        dead_letters_bytes_max: int,
        enforce_tasks: bool = False,
        predecessor: WriterRun | None = None,
        standing: Standing | None = None,
        vfs: str | None = None,
    ) -> None:
        require_sqlite()
        self.path = path
        self.commits = 0
        self._batch_seconds, self._batch_events = Histogram(SECONDS), Histogram(EVENTS)
        self._by_type, self._by_level, self._refused_by_reason = Tally(), Tally(), Tally()
        self.handle = handle = Handle(path, mode, vfs)
        self._connection, self._execute = handle.connection, handle.connection.execute
        self._transaction, self._rows, self._one = handle.transaction, handle.rows, handle.one
        with handle.starting(predecessor):
            self._position = Position(self._edge())
            self.newest = Newest(self.size + 1, self.size, set())
            if standing:
                standing.require(handle, self._position.edge)
            self._begin_epoch()
            self._require_tree()
            self.pruned = self._pruned()
            self.deriving = Deriving(stored_fields(self._connection.execute))
            self._refusals: dict[int, wire.Refusals] = {}  # of letters that are committed
            self._producer_id: int = self._one("SELECT max(id) FROM producers")
            self.tasks = TaskBook(self._is_registered) if enforce_tasks else None
            self.letters = DeadLetters(
                self._connection,
                letters_max=dead_letters_max,
                bytes_max=dead_letters_bytes_max,
                tasks=self.tasks,
            )
            if standing:
                standing.assume(self)

    # --- reading ---

    @property
    def connection(self) -> apsw.Connection:
        """For reading, and for writing within `transaction`."""
        return self._connection

    @property
    def run(self) -> WriterRun:
        """What the next run has to know of this one."""
        return WriterRun(self.log_id, self.epoch, self.handle.wal.stat().st_ino)

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self._position.size

    def root(self) -> bytes:
        """The root of the tree of its entries."""
        return root(self._position.edge)

    def refusals(self, producer: int) -> wire.Refusals:
        """How many of a producer's numbers are no entries. Remembered, because each ack says it."""
        known = self._refusals.get(producer)
        if known is None:
            statement = "SELECT refused, returned, orphaned FROM producers WHERE id = ?"
            known = wire.Refusals(*self._one(statement, (producer,)))
            if len(self._refusals) >= PRODUCERS_MAX:
                self._refusals.clear()
            self._refusals[producer] = known
        return known

    def totals(self) -> dict[str, Any]:
        """What became of all producers' events, and how many letters are kept, and not. Numbers of
        any size: producers may lie, and SQLite's own sum() fails beyond 64 bits."""
        names = ("watermark", "refused", "returned", "orphaned", "dropped", "lost")
        halves = ", ".join(f"sum({name} >> 32), sum({name} & 0xFFFFFFFF)" for name in names)
        row = self._one(f"SELECT {halves} FROM producers WHERE id > {OWN_PRODUCER}")  # noqa: S608
        pairs = zip(row[::2], row[1::2], strict=True)
        sums = [((high or 0) << 32) + (low or 0) for high, low in pairs]
        watermark, refused, returned, orphaned, dropped, lost = sums
        return {
            "appended": watermark - lost - refused + returned,
            "dead_lettered": refused - returned,
            "orphaned": orphaned,
            "dropped": {"by_producers": dropped, "log_went_back": lost},
            "append_failures": refused,
            "dead_letters": self.letters.kept.letters,
            "dead_letter_bytes": self.letters.kept.bytes,
            "dead_letters_not_kept": self.letters.kept.not_kept,
        }

    def figures(self) -> dict[str, Any]:
        """For `hansard stats`: of this run. A refused message that is nobody's counts as one."""
        return {
            "commits": self.commits,
            "commit_seconds": self._batch_seconds.figures(),
            "commit_events": self._batch_events.figures(),
            "entered_by_type": self._by_type.figures(),
            "entered_by_level": self._by_level.figures(),
            "refused_by_reason": self._refused_by_reason.figures(),
        }

    def find_producer(self, producer_hash: bytes) -> ProducerState | None:
        """A producer's row, None if it has none."""
        row = self._one(_SELECT_PRODUCER + " WHERE producer_hash = ?", (producer_hash,))
        return None if row is None else ProducerState(*row, is_stored=True)

    def own_producer(self) -> ProducerState:
        """The writer itself, as the producer of the entries that it makes."""
        row = self._one(_SELECT_PRODUCER + " WHERE id = ?", (OWN_PRODUCER,))
        return ProducerState(*row, is_stored=True)

    def next_producer_id(self) -> int:
        """The id of a row that is still to be inserted."""
        self._producer_id += 1
        return self._producer_id

    def outcomes(
        self, producer: int, first: int, last: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str, str]], int]:
        """What became of a producer's numbers from ``first`` to ``last``: runs, dead letters, and
        the number up to which the two say everything."""
        runs = self._rows(
            "SELECT first_producer_seq, count, first_seq FROM runs WHERE producer = ?1"
            " AND first_producer_seq >= coalesce((SELECT max(first_producer_seq) FROM runs"
            " WHERE producer = ?1 AND first_producer_seq <= ?2), 0)"
            " AND first_producer_seq <= ?3 ORDER BY first_producer_seq LIMIT ?4",
            (producer, first, last, wire.RUNS_PER_REPLY_MAX),
        )
        if len(runs) == wire.RUNS_PER_REPLY_MAX:
            last = min(last, runs[-1][0] + runs[-1][1] - 1)
        dead = self._rows(
            "SELECT producer_seq, count, reason, detail FROM dead_letters"
            " WHERE producer = ?1 AND producer_seq BETWEEN ?2 - ?5 AND ?3 AND replayed_as IS NULL"
            " AND producer_seq + count > ?2 ORDER BY producer_seq LIMIT ?4",
            (producer, first, last, wire.RUNS_PER_REPLY_MAX, wire.FRAME_EVENTS_MAX),
        )
        if len(dead) == wire.RUNS_PER_REPLY_MAX:
            last = min(last, dead[-1][0] + dead[-1][1] - 1)
        return runs, dead, last

    def entry_facts(self, seq: int) -> tuple[str, int]:
        """An entry's type and time; none, and 0, of one that was pruned."""
        facts: tuple[str, int] | None = self._one(
            "SELECT event_type, created_at FROM entries WHERE seq = ?", (seq,)
        )
        return facts or ("", 0)

    @property
    def pruned_before(self) -> int:
        """A time (ns since 1970 UTC) before which all entries were created that are pruned."""
        return self.pruned.before

    def holds(self, producer: int, number: int, event: Any) -> bool:
        """As `comparing.holds`."""
        return comparing.holds(self, producer, number, event)

    def held(self, producer: int, frame: wire.Frame) -> int:
        """As `comparing.held`."""
        return comparing.held(self, producer, frame)

    def entered(self, seq: int, count: int) -> list[tuple[Any, ...] | None]:
        """Entries from ``seq`` on, as their events were, but for the kind; and whether their
        payload is redacted. None for each that was pruned."""
        rows: list[tuple[Any, ...] | None] = self._rows(
            "SELECT created_at, event_type, level, actor, task_id, payload,"
            " payload IS NULL AND payload_hash IS NOT NULL FROM entries"
            " WHERE seq BETWEEN ? AND ? ORDER BY seq",
            (seq, seq + count - 1),
        )
        return [None] * (count - len(rows)) + rows

    def letter(self, producer: int, number: int) -> bytes:
        """The bytes of the dead letter that begins at a number."""
        body: bytes = self._one(
            "SELECT frame FROM dead_letters WHERE producer = ? AND producer_seq = ?"
            " AND replayed_as IS NULL",
            (producer, number),
        )
        return body

    def call_outcome(self, call_id: bytes) -> bytes | None:
        """What became of a call, as it was kept; None if nothing was."""
        outcome: bytes | None = self._one("SELECT outcome FROM calls WHERE call_id = ?", (call_id,))
        return outcome

    def has_calls_before(self, before: int) -> bool:
        """Whether outcomes of calls are kept from before a time (ns since 1970 UTC)."""
        return bool(
            self._one("SELECT EXISTS (SELECT 1 FROM calls WHERE created_at < ?)", (before,))
        )

    # --- writing ---

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """A transaction beside the batches', with the connection to use in it and not after it.

        Committed at the end of the block, rolled back if that raises. Raises `StoreUnready`, with
        the database as it was.
        """
        with self._transaction():
            yield self._connection
        self.commits += 1

    def write(self, batch: Batch, now_ns: int) -> None:
        """Commit a batch: entries, runs, dead letters and watermarks in one transaction, with
        the orphans of the tasks that it registers.

        Events that SQLite does not take become dead letters; the rest is committed. Raises
        `StoreUnready` with the batch and the database as they were.
        """
        began = time.perf_counter()
        try:
            self._write(batch, now_ns)
        except apsw.Error as error:
            if kind_of(code_of(error)) is not Kind.CONTENT or not self._refuse_faulty(batch):
                raise
            self._write(batch, now_ns)
        self._batch_seconds.observe(time.perf_counter() - began)

    @contextlib.contextmanager
    def entering(self) -> Iterator[Entering]:
        """A transaction beside the batches' in which letters are entered, or given up. As
        `transaction`; MUST NOT begin while a batch holds what is not committed."""
        entering = Entering(self._connection, self._position, self.deriving)
        try:
            with self._transaction():
                self._require_tree()
                self.letters.begin()
                yield entering
                entering.finish()
        except BaseException:
            if self.tasks:
                self.tasks.forget()  # what was registered is not
            raise
        self.commits += 1
        self._refusals.clear()
        self._entered(entering)
        self.letters.committed()

    def close(self) -> None:
        """End; the last connection of all also removes the WAL."""
        self.handle.close()

    # --- inside ---

    def _write(self, batch: Batch, now_ns: int) -> None:
        letters = self.letters
        entering = Entering(self._connection, self._position, self.deriving)
        returned: set[int] = set()
        with self._transaction():
            self._require_tree()
            letters.begin()
            new = [s for s in batch.touched.values() if not s.is_stored]
            if new:
                self._connection.executemany(
                    _INSERT_PRODUCER,
                    [(s.id, s.hash, s.host, s.pid, s.started_at, s.client) for s in new],
                )
            for state, run in batch.runs:
                entering.enter(state.id, state.hash, run)
            refused = [(None if state is None else state.id, each) for state, each in batch.refused]
            ids = letters.write(refused, now_ns)
            for task_id in list(entering.registered):
                returned |= set(letters.return_orphans(task_id, entering).entered)
            entering.finish()
            if not self._connection.in_transaction:
                raise AssertionError("a statement ended the batch's transaction")
            self._connection.executemany(
                _UPDATE_PRODUCER,
                [(s.watermark, s.crc, s.dropped, s.lost, s.id) for s in batch.touched.values()],
            )
        self.commits += 1
        for state in batch.touched.values():
            state.newest_run = entering.newest_runs.get(state.id, state.newest_run)
        first = self.size + 1
        self._entered(entering)
        self._batch_events.observe(batch.events)
        if batch.refused or entering.registered:
            self._refusals.clear()
            self._refused_by_reason.add(_by_reason(batch))
        self.newest = Newest(first, self.size, entering.by_type.keys())
        letters.committed()
        if self.tasks:
            self.tasks.committed()
        if returned:  # nobody needs to be told of orphans that are in
            still = zip(ids, batch.refused, strict=True)
            batch.refused = [each for letter, each in still if letter not in returned]

    def _entered(self, entering: Entering) -> None:
        """What was entered is committed."""
        self._position = entering.position
        self._by_type.add(entering.by_type)
        self._by_level.add(entering.by_level)

    def _refuse_faulty(self, batch: Batch) -> bool:
        """Take the events out of the batch that SQLite does not take; whether there were any.

        Most often a payload is no JSON object to SQLite. Whatever else it may be (an index or a
        trigger of somebody else's) is found by entering each event alone.
        """
        found = [malformed(run, self._connection) for _, run in batch.runs]
        if not any(found):
            found = self._tried_alone(batch)
        runs: list[tuple[ProducerState, Run]] = []
        for (state, run), faults in zip(batch.runs, found, strict=True):
            good, refused = without(run, faults) if faults else ([run], [])
            runs.extend((state, each) for each in good)
            batch.refused.extend((state, each) for each in refused)
        batch.runs = runs
        return any(found)

    def _tried_alone(self, batch: Batch) -> list[dict[int, Fault]]:
        """What is wrong with which event of each run, in a transaction that is undone."""
        entering = Entering(self._connection, self._position, self.deriving)
        found = []
        with contextlib.suppress(DryRun), self._transaction():
            for state, run in batch.runs:
                found.append(entering.faults(state.id, state.hash, run))
            raise DryRun
        return found

    def _is_registered(self, task_id: str) -> bool:
        return self._one("SELECT 1 FROM tasks WHERE task_id = ?", (task_id,)) is not None

    def _edge(self) -> Edge:
        """Where the tree goes on."""
        leaves: int = self._one(READ_SIZE)
        try:
            return StoredTree(lambda *row: self._one(READ_ROW, row)).edge(leaves)
        except NodeMissing as error:
            raise damage.tree_disagrees(self.path, leaves, leaves) from error

    def _require_tree(self) -> None:
        """It MUST be that of the entries, or what is signed next is of another history. Nobody
        else enters or takes away, but who can write to the file may try."""
        entries: int = self._execute("SELECT coalesce(max(seq), 0) FROM entries").get
        if entries != self.size:
            raise damage.tree_disagrees(self.path, entries, self.size)

    def _pruned(self) -> Pruned:
        values = dict(self._rows("SELECT key, value FROM meta WHERE key GLOB 'prune*'"))
        return Pruned(*(values.get(key, 0) for key in PRUNED_KEYS))

    def _begin_epoch(self) -> None:
        """A run's first commit, fsynced: recovery may have shown commits that never were. What
        it has shown is written once more, while the write lock keeps it as it is; then it is
        moved into the database, which may itself be the work of a sync that failed."""
        with self._transaction():
            recovered.rewrite(self.handle.wal)
            self._execute(
                "INSERT INTO meta VALUES('log_id', ?) ON CONFLICT DO NOTHING",
                (secrets.token_bytes(16),),
            )
            self._execute(
                "INSERT INTO meta VALUES('epoch', 1) ON CONFLICT DO UPDATE SET value = value + 1"
            )
            self.log_id: bytes = self._one("SELECT value FROM meta WHERE key = 'log_id'")
            self.epoch: int = self._one("SELECT value FROM meta WHERE key = 'epoch'")
            own = wire.producer_hash(b"hansard writer " + self.log_id)
            self._execute(
                _INSERT_PRODUCER + " ON CONFLICT DO NOTHING",
                (OWN_PRODUCER, own, "", 0, time.time_ns(), None),
            )
        self.handle.checkpoint_passive()


def _by_reason(batch: Batch) -> dict[str, int]:
    """How many events each reason kept out."""
    counts: Counter[str] = Counter()
    for _, each in batch.refused:
        counts[each.reason] += max(each.numbers, 1)
    return counts
