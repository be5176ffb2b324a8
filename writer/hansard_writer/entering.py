"""The entries of one transaction: seqs are given; rows, runs and the tree are written.

It begins and ends no transaction; what it has counted is the log's once that is committed.
"""

from collections import Counter
from itertools import repeat
from typing import Final, NamedTuple

import apsw

from hansard_writer.decoding import DETAIL_CHARS_MAX, Fault, Run, part
from hansard_writer.derived.deriving import INSERT_VALUE, Deriving
from hansard_writer.proof import leaves
from hansard_writer.proof.merkle_hash_tree import Edge, grow
from hansard_writer.proof.stored_tree import WRITE_ROW
from hansard_writer.sqlite_errors import Kind, code_of, kind_of
from hansard_writer.tallies import count_into

_INSERT_ENTRY: Final = (
    "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, actor,"
    " task_id, payload, salt, payload_hash) VALUES(?,?,?,?,?,?,?,?,?,?,?)"
)
_INSERT_RUN: Final = (
    "INSERT INTO runs(producer, first_producer_seq, count, first_seq) VALUES(?,?,?,?)"
    " ON CONFLICT DO UPDATE SET count = excluded.count"
)
_INSERT_TASK: Final = (
    "INSERT INTO tasks(task_id, created_at, attributes) VALUES(?,?,?) ON CONFLICT DO UPDATE"
    " SET attributes = excluded.attributes WHERE excluded.attributes IS NOT NULL"
)


class Position(NamedTuple):
    """How far the log reaches: the edge of its tree, and its last row of `runs`."""

    edge: Edge = Edge()
    last_run: tuple[int, int, int, int] | None = None

    @property
    def size(self) -> int:
        """How many entries there are, or ever were."""
        return self.edge.size


class Entering:
    """Enters runs behind a position, in the order of the calls."""

    def __init__(self, connection: apsw.Connection, position: Position, deriving: Deriving) -> None:
        self._connection = connection
        self._deriving = deriving
        self._many = connection.executemany
        self._edge, self._last_run = position
        self._size = self._edge.size
        self._leaves: list[bytes] = []
        self._runs: list[tuple[int, int, int, int]] = []
        self.by_type: Counter[str] = Counter()
        self.by_level: Counter[str] = Counter()
        self.registered: dict[str, None] = {}  # tasks, each once, in order
        self.newest_runs: dict[int, tuple[int, int, int]] = {}  # by producer, as `runs` has them

    @property
    def position(self) -> Position:
        """Behind what was entered, once it is finished."""
        return Position(self._edge, self._last_run)

    def enter(self, producer: int, producer_hash: bytes, run: Run) -> int:
        """Enter a run; the seq of its first event."""
        seq, length, first = self._size + 1, run.length, run.first_seq
        seqs, numbers = range(seq, seq + length), range(first, first + length)
        *facts, payloads = run.columns
        salts, hashes = leaves.hide(payloads)
        self._many(
            _INSERT_ENTRY,
            zip(seqs, repeat(producer), numbers, *facts, payloads, salts, hashes, strict=False),
        )
        types = set(facts[1])
        if self._deriving.concerns(types):
            self._many(INSERT_VALUE, self._deriving.rows(seq, facts[1], payloads))
        for task in run.tasks:
            self._many(_INSERT_TASK, [task])
            self.registered[task[0]] = None
        last = self._last_run
        if last and last[0] == producer and last[1] + last[2] == first:
            last = (producer, last[1], last[2] + length, last[3])
            if self._runs:
                self._runs.pop()
        else:
            last = (producer, first, length, seq)
        self._runs.append(last)
        self._last_run = last
        self.newest_runs[producer] = last[1:]
        version, owner = repeat(leaves.LEAF_VERSION), repeat(producer_hash)
        entries = zip(version, seqs, owner, numbers, *facts, hashes, strict=False)
        self._leaves.append(leaves.leaf_hashes(entries))
        self._size += length
        count_into(self.by_type, facts[1], types)
        count_into(self.by_level, facts[2], set(facts[2]))
        return seq

    def attempt(self, producer: int, producer_hash: bytes, run: Run) -> int | Fault:
        """Enter a run, or nothing of it where SQLite does not take it: its first seq, or what is
        wrong. For the few that are in doubt: each costs two statements more."""
        execute, tasks = self._connection.execute, dict(self.registered)
        execute("SAVEPOINT attempt")
        try:
            seq = self.enter(producer, producer_hash, run)
        except apsw.Error as error:
            is_gone = not self._connection.in_transaction  # a trigger may undo all of it
            if is_gone or kind_of(code_of(error)) is not Kind.CONTENT:
                raise
            execute("ROLLBACK TO attempt")
            self.registered = tasks
            return Fault(str(error)[:DETAIL_CHARS_MAX])
        finally:
            if self._connection.in_transaction:
                execute("RELEASE attempt")
        return seq

    def faults(self, producer: int, producer_hash: bytes, run: Run) -> dict[int, Fault]:
        """The events of a run that cannot be entered, by index; the others are."""
        faults = {}
        for index in range(run.length):
            outcome = self.attempt(producer, producer_hash, part(run, index, index + 1))
            if isinstance(outcome, Fault):
                faults[index] = outcome
        return faults

    def finish(self) -> None:
        """Write the runs, and what the tree has grown by. Once, behind everything."""
        self._many(_INSERT_RUN, self._runs)
        self._edge, rows = grow(self._edge, b"".join(self._leaves))
        self._many(WRITE_ROW, rows)


def malformed(run: Run, connection: apsw.Connection) -> dict[int, Fault]:
    """The events whose payload SQLite does not take for a JSON object, by index."""
    faults = {}
    for index, payload in enumerate(run.columns[-1]):
        if payload is None:
            continue
        if not connection.execute("SELECT json_valid(?)", (payload,)).get:
            faults[index] = Fault("payload is no JSON")
            continue
        kind = connection.execute("SELECT json_type(?)", (payload,)).get
        if kind != "object":
            faults[index] = Fault(f"payload is a JSON {kind}, not an object")
    return faults
