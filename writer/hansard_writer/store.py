"""The store: the one connection that writes the log, and the transaction of a batch.

It owns SQLite in this process and is used by one thread. It knows no sockets and decides neither
when to commit nor what to accept.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from hansard import wire
from hansard.errors import ConfigError
from hansard.reader_connection import require_sqlite
from hansard_writer import schema
from hansard_writer.dead_letters import LETTERS_PER_REPLAY_MAX, Again, DeadLetters
from hansard_writer.decoding import Run, without
from hansard_writer.entering import Entering, Position, malformed
from hansard_writer.foreign_wal import require_own_wal
from hansard_writer.intake import Batch, ProducerState, own_run
from hansard_writer.tasks import TaskBook

PAGE_BYTES: Final = 4_096
PAGE_CACHE_KIB: Final = 64 << 10
OWN_PRODUCER: Final = 0
START_BUSY_MS: Final = 5_000  # a backup, or a reader's recovery, at the start

REPLAYED: Final = "hansard.replayed"

_INSERT_PRODUCER: Final = (
    "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc, dropped)"
    " VALUES(?,?,?,?,?,0,0,0)"
)
_UPDATE_PRODUCER: Final = (
    "UPDATE producers SET watermark = ?, crc = ?, dropped = ?, lost = ? WHERE id = ?"
)
_SELECT_PRODUCER: Final = (
    "SELECT id, producer_hash, host, pid, started_at, watermark, crc, dropped, lost FROM producers"
)


class StoreBusy(Exception):
    """Another program holds SQLite's write lock. The batch is untouched; try again."""


class StoreFull(Exception):
    """The disk is full. The batch is untouched; try again when there is room."""


class _DryRun(Exception):
    """Ends a transaction whose outcome was only to be seen."""


class Store:
    """The log's database, open for writing. Opening it begins a new epoch, durably.

    With ``enforce_tasks`` only events of registered tasks are entered.
    """

    def __init__(
        self,
        path: Path,
        mode: int,
        *,
        dead_letters_max: int,
        dead_letters_bytes_max: int,
        enforce_tasks: bool = False,
        vfs: str | None = None,
    ) -> None:
        require_sqlite()
        self.path = path
        self.commits = 0
        self.wal_pages = 0
        is_new = not path.exists()
        if is_new:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
        self._connection = apsw.Connection(str(path), vfs=vfs)
        self._execute = self._connection.execute
        self._connection.set_busy_timeout(START_BUSY_MS)
        try:
            if vfs is None:  # a test's own keeps its files where it likes
                require_own_wal(self._connection, path)
            self._configure()
            self._migrate()
            self._begin_epoch()
        except (apsw.NotADBError, apsw.CorruptError) as error:
            self._connection.close()
            raise ConfigError(
                f"{path} is damaged or no database ({error}): move it away and put a copy back"
            ) from error
        except StoreBusy as error:
            self._connection.close()
            raise ConfigError(f"{path}: {error}; end that program, then start again") from error
        except BaseException:
            self._connection.close()
            raise
        self._connection.set_busy_timeout(0)  # the loop tries again; workers never wait for it
        self._position = Position(self._one("SELECT coalesce(max(seq), 0) FROM entries"))
        self._producer_id: int = self._one("SELECT max(id) FROM producers")
        self.tasks = TaskBook(self._is_registered) if enforce_tasks else None
        self._dead_letters = DeadLetters(
            self._connection,
            letters_max=dead_letters_max,
            bytes_max=dead_letters_bytes_max,
            tasks=self.tasks,
        )

    # --- reading ---

    @property
    def connection(self) -> apsw.Connection:
        """For reading, and for writing within `transaction`."""
        return self._connection

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self._position.size

    def refusals(self, producer: int) -> wire.Refusals:
        """How many of a producer's numbers are no entries."""
        return wire.Refusals(
            *self._one(
                "SELECT refused, returned, orphaned FROM producers WHERE id = ?", (producer,)
            )
        )

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
            "dead_letters": self._dead_letters.kept.letters,
            "dead_letter_bytes": self._dead_letters.kept.bytes,
            "dead_letters_not_kept": self._dead_letters.kept.not_kept,
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
        """An entry's type and time."""
        facts: tuple[str, int] = self._one(
            "SELECT event_type, created_at FROM entries WHERE seq = ?", (seq,)
        )
        return facts

    def holds(self, producer: int, number: int, event: tuple[Any, ...]) -> bool:
        """Whether a number that is committed is this event (its fields behind the kind)."""
        for first, count, first_seq in self.outcomes(producer, number, number)[0]:
            if first <= number < first + count:
                entered = self._one(
                    "SELECT created_at, event_type, level, actor, task_id, payload FROM entries"
                    " WHERE seq = ?",
                    (first_seq + number - first,),
                )
                return bool(entered == event)
        return True  # a dead letter

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

        Committed at the end of the block, rolled back if that raises. Raises `StoreBusy` and
        `StoreFull`, with the database as it was.
        """
        with self._transaction():
            yield self._connection
        self.commits += 1

    def write(self, batch: Batch, now_ns: int) -> None:
        """Commit a batch: entries, runs, dead letters and watermarks in one transaction, with
        the orphans of the tasks that it registers.

        Payloads that are no JSON objects to SQLite become dead letters; the rest is committed.
        Raises `StoreBusy` and `StoreFull` with the batch and the database as they were.
        """
        try:
            self._write(batch, now_ns)
        except apsw.ConstraintError:
            self._refuse_malformed(batch)
            self._write(batch, now_ns)

    def replay(self, replay: wire.Replay, own: ProducerState, now_ns: int) -> wire.Replayed:
        """Try to enter the next dead letters that are asked for, in one transaction, with an
        entry that says so. Raises as `write`."""
        ids = self._dead_letters.waiting(replay)
        return self._try_again(ids, replay.reason, own, now_ns, dry_run=replay.dry_run)

    def sweep(self, after_id: int, own: ProducerState, now_ns: int) -> wire.Replayed:
        """The same with the next orphans that nothing keeps out any more."""
        ids = self._dead_letters.returnable(after_id)
        return self._try_again(ids, wire.ORPHAN, own, now_ns)

    def checkpoint_passive(self) -> None:
        """Move the WAL's pages into the database, as far as readers let it; waits for nobody."""
        with contextlib.suppress(apsw.BusyError, apsw.LockedError, apsw.FullError):
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def checkpoint_truncate(self) -> bool:
        """Empty the WAL; False if a reader, or a full disk, stands in the way."""
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except (apsw.BusyError, apsw.LockedError, apsw.FullError):
            return False
        self.wal_pages = 0
        return True

    def close(self) -> None:
        """End; the last connection of all also removes the WAL."""
        self._connection.close()

    # --- inside ---

    def _write(self, batch: Batch, now_ns: int) -> None:
        letters = self._dead_letters
        entering = Entering(self._connection, self._position)
        returned: set[int] = set()
        with self._transaction():
            letters.begin()
            new = [s for s in batch.touched.values() if not s.is_stored]
            if new:
                self._connection.executemany(
                    _INSERT_PRODUCER, [(s.id, s.hash, s.host, s.pid, s.started_at) for s in new]
                )
            for state, run in batch.runs:
                entering.enter(state.id, run)
            refused = [(None if state is None else state.id, each) for state, each in batch.refused]
            ids = letters.write(refused, now_ns)
            for task_id in list(entering.registered):
                returned |= letters.return_orphans(task_id, entering).returned
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
        self._position = entering.position
        letters.committed()
        if self.tasks:
            self.tasks.committed()
        if returned:  # nobody needs to be told of orphans that are in
            still = zip(ids, batch.refused, strict=True)
            batch.refused = [each for letter, each in still if letter not in returned]

    def _try_again(
        self,
        ids: list[int],
        reason: str | None,
        own: ProducerState,
        now_ns: int,
        *,
        dry_run: bool = False,
    ) -> wire.Replayed:
        letters, entering = self._dead_letters, Entering(self._connection, self._position)
        with contextlib.suppress(_DryRun), self._transaction():
            letters.begin()
            again = letters.try_again(ids, entering)
            for task_id in list(entering.registered):
                letters.return_orphans(task_id, entering)
            if again.entered:
                self._note_replay(again, reason, own, entering, now_ns)
            entering.finish()
            if dry_run:
                raise _DryRun
        if dry_run and self.tasks:
            self.tasks.forget()
        if not dry_run:
            letters.committed()
            self._position = entering.position
            own.watermark += bool(again.entered)
            own.committed()
        is_last = len(ids) < LETTERS_PER_REPLAY_MAX
        last_id = ids[-1] if ids else 0
        return wire.Replayed(again.entered, again.refused, again.hopeless, last_id, is_last)

    def _note_replay(
        self,
        again: Again,
        reason: str | None,
        own: ProducerState,
        entering: Entering,
        now_ns: int,
    ) -> None:
        facts: dict[str, Any] = {
            "reason": reason,
            "entered": again.entered,
            "refused": again.refused,
        }
        facts["letters"] = sorted(again.returned)
        seq = own.watermark + 1
        entering.enter(own.id, own_run(seq, REPLAYED, "info", facts, now_ns))
        self._execute("UPDATE producers SET watermark = ? WHERE id = ?", (seq, own.id))

    def _refuse_malformed(self, batch: Batch) -> None:
        """Take the payloads out of the batch that SQLite does not take for JSON objects."""
        runs: list[tuple[ProducerState, Run]] = []
        for state, run in batch.runs:
            faults = malformed(run, self._connection)
            good, refused = without(run, faults) if faults else ([run], [])
            runs.extend((state, each) for each in good)
            batch.refused.extend((state, each) for each in refused)
        batch.runs = runs

    def _is_registered(self, task_id: str) -> bool:
        return self._one("SELECT 1 FROM tasks WHERE task_id = ?", (task_id,)) is not None

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """BEGIN to COMMIT, or a rollback. Errors are told apart by code, never by text."""
        try:
            self._execute("BEGIN IMMEDIATE")
            yield
            if not self._connection.in_transaction:
                raise AssertionError("a statement ended the transaction")
            self._execute("COMMIT")
        except BaseException as error:
            if self._connection.in_transaction:
                self._execute("ROLLBACK")
            if isinstance(error, apsw.BusyError | apsw.LockedError):
                raise StoreBusy("another program holds the write lock of log.db") from error
            if isinstance(error, apsw.FullError):
                raise StoreFull("the disk that holds log.db is full") from error
            raise

    def _configure(self) -> None:
        application_id, version = self._one("PRAGMA application_id"), self._user_version()
        is_empty = self._one("SELECT count(*) FROM sqlite_schema") == 0
        if not (is_empty or application_id == schema.APPLICATION_ID):
            raise ConfigError(
                f"{self.path} is a database of another program (application id {application_id}): "
                "move it away, or name another directory"
            )
        if version > schema.VERSION:
            raise ConfigError(
                f"{self.path} was written by a newer release (schema {version}, this one knows "
                f"{schema.VERSION}): install that release or a later one"
            )
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            f"application_id = {schema.APPLICATION_ID}",
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
            "recursive_triggers = ON",  # or REPLACE would delete behind the triggers' back
            "trusted_schema = OFF",
            "temp_store = MEMORY",
            "wal_autocheckpoint = 0",  # the loop says when
            f"cache_size = -{PAGE_CACHE_KIB}",
        ):
            self._execute(f"PRAGMA {pragma}").fetchall()
        if self._one("PRAGMA journal_mode") != "wal":
            raise ConfigError(f"{self.path} cannot be put into WAL mode: use a local file system")
        self._connection.set_wal_hook(self._on_wal)

    def _on_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self.wal_pages = pages
        return apsw.SQLITE_OK

    def _migrate(self) -> None:
        for version in range(self._user_version(), schema.VERSION):
            with self._transaction():
                for statement in schema.MIGRATIONS[version]:
                    self._execute(statement)
                self._execute(f"PRAGMA user_version = {version + 1}")

    def _begin_epoch(self) -> None:
        """A run's first commit, fsynced: recovery may have shown commits that never were."""
        with self._transaction():
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
                (OWN_PRODUCER, own, "", 0, time.time_ns()),
            )

    def _user_version(self) -> int:
        version: int = self._one("PRAGMA user_version")
        return version

    def _rows(self, statement: str, bindings: tuple[Any, ...]) -> list[Any]:
        return self._execute(statement, bindings).fetchall()

    def _one(self, statement: str, bindings: tuple[Any, ...] = ()) -> Any:
        return self._execute(statement, bindings).get
