"""The limit: a bare `executemany` of the rows that an ingest entered. No writer can be cheaper.

The same rows as they are in the table, with salt and payload hash, and once more without these
two, in the same order, into the same tables and indexes, with the store's own connection settings,
as many a transaction as the ingest had on average, ``synchronous=FULL``. Rows are tuples made
beforehand, and the collector is off, as in the writer.
"""

import gc
import time
from pathlib import Path
from typing import Any, Final

import apsw

from bench.measuring import machine
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure
from bench.measuring.load import Load
from bench.measuring.processes import in_fresh_process
from hansard.directory import DATABASE, PRIVATE_FILE_MODE
from hansard.settings import Settings
from hansard_writer.free_space import PAGE_BYTES
from hansard_writer.store import Store
from hansard_writer.wal_governor import PASSIVE_SHARE

PART: Final = "limit"
RATIO_MAX: Final = 2.0

COLUMNS: Final = (
    "seq, producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
)
HIDDEN: Final = ", salt, payload_hash"
INSERT: Final = f"INSERT INTO entries({COLUMNS}) VALUES(?,?,?,?,?,?,?,?,?)"
INSERT_AS_ENTERED: Final = f"INSERT INTO entries({COLUMNS}{HIDDEN}) VALUES(?,?,?,?,?,?,?,?,?,?,?)"
_PASSIVE_PAGES: Final = Settings().wal_bytes_target // PASSIVE_SHARE // PAGE_BYTES

_KINDS: Final = {
    "rows as entered": (COLUMNS + HIDDEN, INSERT_AS_ENTERED, RATIO_MAX),
    "rows without salt and hash": (COLUMNS, INSERT, None),
}


def run(ingested: Path, place: Path, workload: str, done: Load) -> list[Figure]:
    """Insert what the log in ``ingested`` holds into databases in ``place``. Raises
    `WrongEntries`."""
    place.mkdir()
    batch, source = round(done.events / done.commits), ingested / DATABASE
    figures = [Figure(PART, "events a transaction", batch, "events", workload=workload)]
    for name, (columns, insert, reach) in _KINDS.items():
        cpu_s, seconds = in_fresh_process(
            _insert, source, columns, insert, place / name, done.events, batch
        )
        cpu_us, ratio = cpu_s * 1e6 / done.events, done.writer_cpu_us * done.events / cpu_s / 1e6
        figures += [
            Figure(PART, name, done.events / seconds, "events/s", workload=workload),
            Figure(PART, f"{name}: CPU an event", cpu_us, "µs", workload=workload),
            Figure(PART, f"writer CPU / {name}", ratio, "x", reach, workload=workload),
        ]
    return figures


def open_store(directory: Path) -> tuple[Store, apsw.Connection]:
    """A store, fresh where there is none, and its connection: pragmas, page cache and hooks are the
    store's own."""
    directory.mkdir(exist_ok=True)
    store = Store(
        directory / DATABASE, PRIVATE_FILE_MODE, dead_letters_max=0, dead_letters_bytes_max=0
    )
    return store, store._connection


def keep_wal_small(store: Store) -> None:
    """As the writer does it."""
    if store.handle.wal_pages >= _PASSIVE_PAGES:
        store.handle.checkpoint_passive()


def _insert(
    source: Path, columns: str, insert: str, directory: Path, events: int, batch: int
) -> tuple[float, float]:
    """CPU and wall-clock seconds."""
    rows = _rows(source, columns)
    store, connection = open_store(directory)
    gc.collect()
    gc.disable()
    cpu_before, began = machine.own_cpu_s(), time.perf_counter()
    for start in range(0, len(rows), batch):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows[start : start + batch])
        connection.execute("COMMIT")
        keep_wal_small(store)
    cpu_s, seconds = machine.own_cpu_s() - cpu_before, time.perf_counter() - began
    count: Any = connection.execute("SELECT count(*) FROM entries").get
    store.close()
    if count != events:
        raise WrongEntries(f"{events:,} rows were to be inserted, and the database has {count:,}")
    return cpu_s, seconds


def _rows(source: Path, columns: str) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(f"SELECT {columns} FROM entries ORDER BY seq").fetchall()
    finally:
        connection.close()
