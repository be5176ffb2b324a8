"""Shipping: a log on its way to PostgreSQL, NATS JetStream and Parquet files, and proven there.

The log is made by the ingest of `tasks`, so that its writer's own rate is of the same run. The real
command ships it with ``--once``; of that the same command's time is taken off when nothing is left.
What has arrived is verified by the real command too; what is in a stream is relayed first. Beside
PostgreSQL stands plain COPY of the very same rows: into a table with the same key, indexes and
partition, and into one with none. What a batch of few entries costs is measured through the
targets themselves.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import hansard_writer
from bench.measuring import load
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure, Found, median
from bench.measuring.machine import directory_bytes
from bench.measuring.run import Run
from bench.measuring.surviving import surviving
from bench.peers import JETSTREAM, POSTGRESQL
from bench.peers.peer import NotServed
from bench.workloads import TASKS
from hansard import AuditLog
from hansard.directory import DATABASE, PUBLIC_KEY
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.shipping.log_source import LogSource
from hansard_writer.shipping.targets import TargetOptions, target_named

PART: Final = "ship"
RATIO_MIN: Final = 1.0  # of the writer's own rate, or the log would never be caught up with
TURNS: Final = 3  # their median counts
SMALL: Final = (1, 10, 100)  # entries of a batch
SMALL_BATCHES: Final = 200  # of each size
TIMEOUT_S: Final = 600.0

_PARTITION: Final = "SELECT tableoid::regclass::text FROM hansard.entries LIMIT 1"
_SIZES: Final = (
    ("table", "SELECT pg_table_size('{0}')"),
    ("indexes", "SELECT pg_indexes_size('{0}')"),
)


def run(share: Run) -> Found:
    """Make a log, and ship it to each. Raises `WrongEntries`."""
    share.place.mkdir()
    found, directory = Found(), share.place / "log"
    share.tell("a log to ship")
    with hansard_writer.running(directory, log_level="warning") as writer:
        done = load.record(
            directory, writer.pid, TASKS, range(share.workers), share.events // share.workers
        )
    found.figures.append(_figure("the writer's own rate", done.events_per_s, "events/s"))
    size = (directory / DATABASE).stat().st_size / done.events
    found.figures.append(_figure("log.db, an entry", size, "bytes"))
    made = _Made(directory, done.events, done.events_per_s, found, share.tell)
    for name, ship in _TARGETS.items():
        share.tell(name)
        with surviving(found, f"{PART}, {name}"):
            try:
                ship(made, share.place / name)
            except NotServed as error:
                found.notes.append(f"{name} is skipped: {error}")
        shutil.rmtree(share.place / name, ignore_errors=True)
    return found


class _Made:
    """The log that is shipped, and where what is found goes."""

    def __init__(
        self, directory: Path, events: int, rate: float, found: Found, tell: Callable[[str], None]
    ) -> None:
        self.directory, self.events, self.rate = directory, events, rate
        self.found, self.tell = found, tell

    def add(self, name: str, value: float, unit: str, reach_min: float | None = None) -> None:
        self.found.figures.append(_figure(name, value, unit, reach_min))

    def ship(self, name: str, target: str, *options: str) -> float:
        """Ship it, and note how fast that was: entries/s."""
        command = ("ship", "--once", *options, "--dir", str(self.directory), target)
        took, idle = _timed(*command), _timed(*command)
        rate = self.events / (took - idle)
        self.add(f"to {name}", rate, "entries/s")
        self.add(f"to {name} / the writer's own rate", rate / self.rate, "x", RATIO_MIN)
        return rate

    def verify(self, name: str, target: str) -> None:
        """That all of it has arrived."""
        key = self.directory / PUBLIC_KEY
        origin = VerifierKey.parse(key.read_text()).name
        seconds = _timed("verify", target, "--origin", origin, "--key", str(key))
        self.add(f"verified in {name}, the start included", self.events / seconds, "entries/s")


# --- the targets ---


def _postgresql(made: _Made, place: Path) -> None:
    place.mkdir()
    _require(POSTGRESQL.missing())
    with POSTGRESQL.served(place / "server") as served, POSTGRESQL.opened(served) as connection:
        target = _url(served.address)
        rate = made.ship("PostgreSQL", target)
        made.verify("PostgreSQL", target)
        (partition,) = connection.execute(_PARTITION).fetchone()
        connection.execute("VACUUM ANALYZE hansard.entries")
        for what, statement in _SIZES:
            (size,) = connection.execute(statement.format(partition)).fetchone()
            made.add(f"PostgreSQL, {what}, an entry", size / made.events, "bytes")
        made.tell("plain COPY")
        rows = _copied_out(connection, partition)
        for what, like in (("the same indexes", "INCLUDING ALL"), ("none", "")):
            connection.execute(f"CREATE TABLE copied (LIKE {partition} {like})")
            plain = median([made.events / _copied_in(connection, rows) for _ in range(TURNS)])
            connection.execute("DROP TABLE copied")
            made.add(f"plain COPY, {what}", plain, "entries/s")
            made.add(f"to PostgreSQL / plain COPY, {what}", rate / plain, "x")
        made.tell("small batches to PostgreSQL")
        _small(made, "PostgreSQL", f"{target}&application_name=small", place)


def _jetstream(made: _Made, place: Path) -> None:
    place.mkdir()
    _require(JETSTREAM.missing())
    with JETSTREAM.served(place / "server") as served:
        made.ship("JetStream", served.address, "--replicas", "1")
        size = directory_bytes(served.directory)
        made.add("JetStream, a replica, an entry", size / made.events, "bytes")
        made.tell("small batches to JetStream")
        _small(made, "JetStream", served.address, place)
        made.tell("from JetStream to PostgreSQL")
        _require(POSTGRESQL.missing())
        with POSTGRESQL.served(place / "relayed to") as store:
            command = ("ship", "--once", "--from", served.address, _url(store.address))
            took, idle = _timed(*command), _timed(*command)
            entries = made.events + sum(SMALL) * SMALL_BATCHES
            made.add("relayed from JetStream to PostgreSQL", entries / (took - idle), "entries/s")
            made.verify("PostgreSQL behind JetStream", _url(store.address))


def _parquet(made: _Made, place: Path) -> None:
    place.mkdir()
    target = place / "files"
    made.ship("Parquet", str(target))
    made.verify("Parquet", str(target))
    size = directory_bytes(target)
    made.add("Parquet, an entry", size / made.events, "bytes")


_TARGETS: Final = {"PostgreSQL": _postgresql, "JetStream": _jetstream, "Parquet": _parquet}


# --- small batches ---


def _small(made: _Made, name: str, target: str, place: Path) -> None:
    """What a batch of few entries costs, its reading and checking included."""
    options = TargetOptions(replicas=1)
    for entries in SMALL:
        directory = place / f"small-{entries}"
        _short_log(directory, entries * SMALL_BATCHES)
        seconds = _batches_s(directory, entries, target_named(target, options).open())
        made.add(f"to {name}, a batch of {entries}", seconds / SMALL_BATCHES * 1e3, "ms")


def _short_log(directory: Path, entries: int) -> None:
    with hansard_writer.running(directory, log_level="warning"), AuditLog(directory) as log:
        for event in TASKS.events(0, entries):
            log.record(event.event_type, event.payload, task_id=event.task_id, actor=event.actor)
        if not log.flush(TIMEOUT_S):
            raise WrongEntries("a short log could not be written")


def _batches_s(directory: Path, entries: int, target: Any) -> float:
    source = LogSource(directory, entries_max=entries)
    try:
        edge, began = target.edge(source.origin), time.perf_counter()
        while batch := source.next(edge.size):
            checked = batch.checked(edge)
            target.append(batch, checked)
            edge = checked.edge
        return time.perf_counter() - began
    finally:
        source.close()
        target.close()


# --- running ---


def _url(address: str) -> str:
    """Of a peer's server, which is known by keywords."""
    facts = dict(each.split("=", 1) for each in address.split())
    return f"postgresql://{facts['user']}@/{facts['dbname']}?host={facts['host']}"


def _timed(*arguments: str) -> float:
    """How long (s) the command takes. Raises `WrongEntries` where it does not end with 0."""
    command = [sys.executable, "-m", "hansard_writer", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise WrongEntries(f"hansard {arguments[0]} ended with {done.returncode}: {done.stderr}")
    return time.perf_counter() - began


def _copied_out(connection: Any, table: str) -> list[bytes]:
    with (
        connection.cursor() as cursor,
        cursor.copy(f"COPY {table} TO STDOUT (FORMAT binary)") as out,
    ):
        return [bytes(piece) for piece in out]


def _copied_in(connection: Any, rows: Sequence[bytes]) -> float:
    """How long (s) the rows take into an empty table."""
    connection.execute("TRUNCATE copied")
    began = time.perf_counter()
    with connection.cursor() as cursor, cursor.copy("COPY copied FROM STDIN (FORMAT binary)") as to:
        for piece in _joined(rows):
            to.write(piece)
    return time.perf_counter() - began


def _joined(pieces: Sequence[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """Pieces of about a size: COPY is to be measured, not what hands rows to it one by one."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= size:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _figure(name: str, value: float, unit: str, reach_min: float | None = None) -> Figure:
    return Figure(PART, name, value, unit, reach_min=reach_min, workload=TASKS.name)


def _require(missing: str | None) -> None:
    if missing is not None:
        raise NotServed(missing)
