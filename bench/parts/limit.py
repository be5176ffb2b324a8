"""The limit: a bare `executemany` of the rows that an ingest entered. No writer can be cheaper.

The same rows but for their proof, in the same order, into the same tables and indexes, with the
store's own connection settings, as many a transaction as the ingest had on average,
``synchronous=FULL``. Rows are tuples made beforehand, and the collector is off, as in the writer.
"""

import gc
import time
from pathlib import Path
from typing import Any, Final

import apsw

from bench.measuring import machine
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure
from bench.measuring.processes import in_fresh_process
from hansard.directory import DATABASE, PRIVATE_FILE_MODE
from hansard.settings import Settings
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.store import Store
from hansard_writer.wal_governor import PASSIVE_SHARE

PART: Final = "limit"
RATIO_MAX: Final = 2.7  # 1.5 for the rows, and 1.8 times that with their proof

COLUMNS: Final = (
    "seq, producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
)
INSERT: Final = f"INSERT INTO entries({COLUMNS}) VALUES(?,?,?,?,?,?,?,?,?)"
_PASSIVE_PAGES: Final = Settings().wal_bytes_target // PASSIVE_SHARE // PAGE_BYTES


def run(ingested: Path, directory: Path, batch: int, writer_cpu_us: float) -> list[Figure]:
    """Insert what the log in ``ingested`` holds into a database in ``directory``."""
    events, cpu_s, seconds = in_fresh_process(_insert, ingested / DATABASE, directory, batch)
    cpu_us = cpu_s * 1e6 / events
    return [
        Figure(PART, "bare executemany, events a transaction", batch, "events"),
        Figure(PART, "bare executemany", events / seconds, "events/s"),
        Figure(PART, "bare executemany, CPU an event", cpu_us, "µs"),
        Figure(PART, "writer CPU / bare executemany", writer_cpu_us / cpu_us, "x", RATIO_MAX),
    ]


def open_store(directory: Path) -> tuple[Store, apsw.Connection]:
    """A fresh store, and its connection: pragmas, page cache and hooks are the store's own."""
    directory.mkdir()
    store = Store(
        directory / DATABASE, PRIVATE_FILE_MODE, dead_letters_max=0, dead_letters_bytes_max=0
    )
    return store, store._connection


def keep_wal_small(store: Store) -> None:
    """As the writer does it."""
    if store.handle.wal_pages >= _PASSIVE_PAGES:
        store.handle.checkpoint_passive()


def _insert(source: Path, directory: Path, batch: int) -> tuple[int, float, float]:
    """Events, CPU and wall-clock seconds."""
    rows = _rows(source)
    store, connection = open_store(directory)
    gc.collect()
    gc.disable()
    cpu_before, began = machine.own_cpu_s(), time.perf_counter()
    for start in range(0, len(rows), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, rows[start : start + batch])
        connection.execute("COMMIT")
        keep_wal_small(store)
    cpu_s, seconds = machine.own_cpu_s() - cpu_before, time.perf_counter() - began
    count: Any = connection.execute("SELECT count(*) FROM entries").get
    store.close()
    if count != len(rows):
        raise WrongEntries(f"{len(rows):,} rows were inserted, and the database has {count:,}")
    return count, cpu_s, seconds


def _rows(source: Path) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(f"SELECT {COLUMNS} FROM entries ORDER BY seq").fetchall()
    finally:
        connection.close()
