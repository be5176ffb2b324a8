"""The store: the one connection that writes the log, and the transaction of a batch.

It owns SQLite in this process and is used by one thread. It knows no sockets and decides neither
when to commit nor what to accept.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import apsw

from hansard import wire
from hansard.errors import ConfigError
from hansard.reader_connection import require_sqlite
from hansard_writer import decoding, schema
from hansard_writer.decoding import Run
from hansard_writer.intake import Batch, ProducerState

PAGE_BYTES: Final = 4_096
PAGE_CACHE_KIB: Final = 64 << 10
OWN_PRODUCER: Final = 0
START_BUSY_MS: Final = 5_000  # a backup, or a reader's recovery, at the start

_INSERT_ENTRY: Final = (
    "INSERT INTO entries(seq, producer, producer_seq, created_at, event_type, level, actor,"
    " task_id, payload) VALUES(?,?,?,?,?,?,?,?,?)"
)
_INSERT_RUN: Final = (
    "INSERT INTO runs(producer, first_producer_seq, count, first_seq) VALUES(?,?,?,?)"
    " ON CONFLICT DO UPDATE SET count = excluded.count"
)
_INSERT_DEAD_LETTER: Final = (
    "INSERT INTO dead_letters(received_at, producer, producer_seq, count, reason, detail, frame)"
    " VALUES(?,?,?,?,?,?,?)"
)
_INSERT_PRODUCER: Final = (
    "INSERT INTO producers(id, producer_hash, host, pid, started_at, watermark, crc, dropped)"
    " VALUES(?,?,?,?,?,0,0,0)"
)
_UPDATE_PRODUCER: Final = "UPDATE producers SET watermark = ?, crc = ?, dropped = ? WHERE id = ?"
_SELECT_PRODUCER: Final = (
    "SELECT id, producer_hash, host, pid, started_at, watermark, crc, dropped FROM producers"
)


class StoreBusy(Exception):
    """Another program holds SQLite's write lock. The batch is untouched; try again."""


class StoreFull(Exception):
    """The disk is full. The batch is untouched; try again when there is room."""


class Store:
    """The log's database, open for writing. Opening it begins a new epoch, durably."""

    def __init__(
        self,
        path: Path,
        mode: int,
        *,
        dead_letters_max: int,
        dead_letters_bytes_max: int,
        vfs: str | None = None,
    ) -> None:
        require_sqlite()
        self.path = path
        self._dead_letters_max = dead_letters_max
        self._dead_letters_bytes_max = dead_letters_bytes_max
        self.commits = 0
        self.wal_pages = 0
        self._last_run: tuple[int, int, int, int] | None = None
        is_new = not path.exists()
        if is_new:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
        self._connection = apsw.Connection(str(path), vfs=vfs)
        self._execute = self._connection.execute
        self._connection.set_busy_timeout(START_BUSY_MS)
        try:
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
        self.size: int = self._one("SELECT coalesce(max(seq), 0) FROM entries")
        self._producer_id: int = self._one("SELECT max(id) FROM producers")
        self.dead_letters, self.dead_letter_bytes = self._one(
            "SELECT count(*), coalesce(sum(length(frame)), 0) FROM dead_letters"
        )

    # --- reading ---

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
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str]], int]:
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
            "SELECT producer_seq, count, reason FROM dead_letters"
            " WHERE producer = ?1 AND producer_seq BETWEEN ?2 - ?5 AND ?3"
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

    # --- writing ---

    def write(self, batch: Batch, now_ns: int) -> None:
        """Commit a batch: entries, runs, dead letters and watermarks in one transaction.

        Payloads that are no JSON objects to SQLite become dead letters; the rest is committed.
        Raises `StoreBusy` and `StoreFull` with the batch and the database as they were.
        """
        try:
            self._write(batch, now_ns)
        except apsw.ConstraintError:
            self._refuse_malformed(batch)
            self._write(batch, now_ns)

    @property
    def connection(self) -> apsw.Connection:
        """For reading, and for writing within `transaction`."""
        return self._connection

    @contextlib.contextmanager
    def transaction(self) -> Iterator[apsw.Connection]:
        """A transaction beside the batches'. Raises `StoreBusy` and `StoreFull`, rolled back."""
        with self._transaction():
            yield self._connection

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
        with self._transaction():
            size = self._write_rows(batch, now_ns)
            if not self._connection.in_transaction:
                raise AssertionError("a statement ended the batch's transaction")
            self._connection.executemany(
                _UPDATE_PRODUCER,
                [(s.watermark, s.crc, s.dropped, s.id) for s in batch.touched.values()],
            )
        self.commits += 1
        for state, run in self._newest_runs.items():
            state.newest_run = run
        self.size, self._last_run = size, self._new_last_run
        self.dead_letters, self.dead_letter_bytes = self._new_dead_letters

    def _write_rows(self, batch: Batch, now_ns: int) -> int:
        many = self._connection.executemany
        new = [s for s in batch.touched.values() if not s.is_stored]
        if new:
            many(_INSERT_PRODUCER, [(s.id, s.hash, s.host, s.pid, s.started_at) for s in new])
        seq = self.size + 1
        runs: list[tuple[int, int, int, int]] = []
        newest: dict[ProducerState, tuple[int, int, int]] = {}
        last = self._last_run
        for state, run in batch.runs:
            length, first = run.length, run.first_seq
            many(
                _INSERT_ENTRY,
                zip(
                    range(seq, seq + length),
                    repeat(state.id),
                    range(first, first + length),
                    *run.columns,
                    strict=False,
                ),
            )
            if last and last[0] == state.id and last[1] + last[2] == first:
                last = (state.id, last[1], last[2] + length, last[3])
                if runs:
                    runs.pop()
            else:
                last = (state.id, first, length, seq)
            runs.append(last)
            newest[state] = last[1:]
            seq += length
        many(_INSERT_RUN, runs)
        self._new_last_run, self._newest_runs = last, newest
        self._new_dead_letters = self._write_dead_letters(batch, now_ns)
        return seq - 1

    def _write_dead_letters(self, batch: Batch, now_ns: int) -> tuple[int, int]:
        """As many as the limits allow; beyond them only the counter in ``meta`` moves."""
        count, size = self.dead_letters, self.dead_letter_bytes
        beyond = 0
        for state, (first_seq, numbers, reason, detail, data) in batch.refused:
            if count >= self._dead_letters_max or size + len(data) > self._dead_letters_bytes_max:
                beyond += 1
                continue
            count, size = count + 1, size + len(data)
            producer = None if state is None else state.id
            self._execute(
                _INSERT_DEAD_LETTER,
                (now_ns, producer, first_seq or None, numbers, reason, detail, data),
            )
        if beyond:
            self._execute(
                "INSERT INTO meta VALUES('dead_letters_not_kept', ?)"
                " ON CONFLICT DO UPDATE SET value = value + excluded.value",
                (beyond,),
            )
        return count, size

    def _refuse_malformed(self, batch: Batch) -> None:
        """Take the payloads out of the batch that SQLite does not take for JSON objects."""
        runs: list[tuple[ProducerState, Run]] = []
        for state, run in batch.runs:
            bad: dict[int, str] = {}
            for index, payload in enumerate(run.columns[-1]):
                complaint = None if payload is None else self._complaint_about(payload)
                if complaint:
                    bad[index] = complaint
            good, refused = decoding.without(run, bad) if bad else ([run], [])
            runs.extend((state, each) for each in good)
            batch.refused.extend((state, each) for each in refused)
        batch.runs = runs

    def _complaint_about(self, payload: str) -> str | None:
        if not self._one("SELECT json_valid(?)", (payload,)):
            return "payload is no JSON"
        kind = self._one("SELECT json_type(?)", (payload,))
        return None if kind == "object" else f"payload is a JSON {kind}, not an object"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """BEGIN to COMMIT, or a rollback. Errors are told apart by code, never by text."""
        try:
            self._execute("BEGIN IMMEDIATE")
            yield
            if not self._connection.in_transaction:
                raise AssertionError("a statement ended the batch's transaction")
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
