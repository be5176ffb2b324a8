"""What there is to do for a log of an earlier schema: steps, how many entries, how much room.

It reads a log that nobody serves, and changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from hansard_writer import damage, schema
from hansard_writer.foreign_wal import require_own_wal
from hansard_writer.handle import START_BUSY_MS
from hansard_writer.lock import WriterRun
from hansard_writer.proof.earlier_entries import hash_earlier_entries
from hansard_writer.unusable import LogUnusable

HASHED_BYTES: Final = 192  # of an entry that gets its proof: its columns, its leaf, and their WAL

STEPS: Final[Mapping[int, Callable[[apsw.Connection, Callable[[int], None]], None]]] = {
    3: hash_earlier_entries
}
"""What statements cannot do: done first, within the transaction of the migration to that version.
Each goes through all entries."""


class Step(NamedTuple):
    """The migration to a version, what it does, and how many entries it goes through."""

    version: int
    summary: str
    entries: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with the log at ``path``, whose schema is ``version`` (0: it is not made
    yet). ``backup_bytes`` is what a backup takes, ``room_bytes`` what the steps take besides."""

    path: Path
    version: int
    steps: tuple[Step, ...]
    backup_bytes: int
    room_bytes: int


def plan_for(path: Path, predecessor: WriterRun | None, *, leaves_no_trace: bool) -> Plan:
    """Read from a log that no writer serves; ``predecessor`` is the run whose WAL may be there.
    With ``leaves_no_trace`` not even a file of SQLite's own changes. Raises `LogUnusable`."""
    try:
        connection = _opened(path, leaves_no_trace=leaves_no_trace)
        try:
            if damage.has_wal(path):
                require_own_wal(connection, path, predecessor)
            return _planned(connection, path)
        finally:
            connection.close()
    except apsw.Error as error:
        raise LogUnusable(damage.reason_to_end(path, error)) from error


def _opened(path: Path, *, leaves_no_trace: bool) -> apsw.Connection:
    """For reading. A file without a WAL is read by itself; else SQLite's index of the WAL is kept
    in memory, if no trace is to be left: for that it must be alone."""
    if not damage.has_wal(path):
        uri = f"{path.absolute().as_uri()}?immutable=1"
        return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.set_busy_timeout(START_BUSY_MS)
    if leaves_no_trace:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
    return connection


def _planned(connection: apsw.Connection, path: Path) -> Plan:
    def one(statement: str) -> Any:
        return connection.execute(statement).get

    version: int = one("PRAGMA user_version")
    size: int = one("PRAGMA page_count") * one("PRAGMA page_size")
    if not one("SELECT count(*) FROM sqlite_schema"):
        return Plan(path, 0, (), size, 0)
    application_id: int = one("PRAGMA application_id")
    if application_id != schema.APPLICATION_ID:
        raise damage.another_programs(path, application_id)
    if not version:
        raise damage.no_version(path)
    damage.require_version(path, version)
    entries: int = one("SELECT count(*) FROM entries") if version < max(STEPS) else 0
    steps = tuple(
        Step(each, schema.SUMMARIES[each - 1], entries if each in STEPS else 0)
        for each in range(version + 1, schema.VERSION + 1)
    )
    # All pages of what is gone through come to lie in the WAL, and then some.
    room = size + entries * HASHED_BYTES if any(step.entries for step in steps) else 0
    return Plan(path, version, steps, size, room)
