"""The database of a log, read without changing a byte of its directory, whoever serves it.

An ordinary reader of a WAL leaves shared memory behind where there was none. This one maps what is
there for reading, or takes the file as it is while it keeps writers out. Each question is a read
transaction of its own, and a short one, unless all of the file is to be checked.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from hansard import directory as layout
from hansard.reader_connection import APPLICATION_ID, SCHEMA_VERSION
from hansard_writer import wal_readers
from hansard_writer.derived.stored_fields import stored_fields
from hansard_writer.doctor.facts import DatabaseFacts, Letters, LogFacts, Losses, Trouble, Unfilled
from hansard_writer.sqlite_errors import Kind, code_of, is_damage, kind_of, name_of

BUSY_MS: Final = 1_000  # while a writer recovers the WAL
START_TRIES: Final = 10  # of a writer that has the lock, and not the database yet
START_INTERVAL_S: Final = 0.1
RECENT: Final = 1_000  # entries, by which rate and clock are judged
TASKS_NAMED_MAX: Final = 5
DAMAGE_NAMED_MAX: Final = 5

_ENDS: Final = "SELECT seq, created_at FROM entries WHERE seq > 0 ORDER BY seq {} LIMIT 1"
_LATEST: Final = (
    "SELECT count(*), max(created_at) FROM"
    " (SELECT created_at FROM entries ORDER BY seq DESC LIMIT ?)"
)
_LETTERS: Final = (
    "SELECT reason, count(*), sum(count), min(received_at) FROM dead_letters"
    " WHERE replayed_as IS NULL GROUP BY reason ORDER BY 2 DESC, 1"
)
_ORPHANS: Final = (
    "SELECT task_id, count(*), sum(count), min(received_at) FROM dead_letters"
    " WHERE reason = 'orphan' AND replayed_as IS NULL GROUP BY task_id"
    " ORDER BY 2 DESC, 1 LIMIT ?"
)
_LOST: Final = (
    "SELECT count(*), coalesce(max(created_at), 0) FROM entries WHERE event_type = 'hansard.lost'"
)
_PRODUCERS: Final = (
    "SELECT count(*), coalesce(sum(dropped), 0), coalesce(sum(lost), 0) FROM producers WHERE id > 0"
)
_SIGNED: Final = "SELECT size, created_at FROM checkpoints ORDER BY size DESC LIMIT 1"
_COVERING: Final = "SELECT created_at FROM checkpoints WHERE size > ? ORDER BY size LIMIT 1"
_META: Final = "SELECT key, value FROM meta"


class Unreadable(Exception):
    """The database cannot be read so that nothing changes."""

    def __init__(self, trouble: Trouble, why: str) -> None:
        super().__init__(why)
        self.trouble = trouble


def look_at_database(
    directory: Path, verified_size: int, *, is_deep: bool = False
) -> DatabaseFacts | None:
    """What there is to know of a log's database, None where there is none. ``verified_size`` of its
    entries were verified; ``is_deep`` has SQLite check all of the file."""
    path = directory / layout.DATABASE
    try:
        if not _size(path):
            _require_no_wal(path)
            return None
        with _opened(path) as connection:
            return _facts(connection, path, verified_size, is_deep=is_deep)
    except Unreadable as error:
        return DatabaseFacts(trouble=error.trouble, unreadable=str(error))
    except apsw.Error as error:
        return DatabaseFacts(trouble=_trouble(error), unreadable=f"{path.name}: {_told(error)}")
    except OSError as error:
        return DatabaseFacts(
            trouble=Trouble.CLOSED, unreadable=f"{path.name} cannot be read: {error.strerror}"
        )


# --- opening ---


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[apsw.Connection]:
    """A connection that writes nothing; while no writer lives, none can start within. Raises
    `Unreadable`, OSError and apsw's errors."""
    with path.open("rb"):
        pass  # whatever forbids it has the system's words for it
    with _writers_kept_out(path.parent) as is_idle:
        connection = _connected(path, is_idle=is_idle)
        try:
            connection.set_busy_timeout(BUSY_MS)
            yield connection
        finally:
            connection.close()


@contextlib.contextmanager
def _writers_kept_out(directory: Path) -> Iterator[bool]:
    """Share the lock that a writer needs for itself; whether none holds it."""
    try:
        descriptor = os.open(directory / layout.LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a copy: no writer has ever run here
        yield True
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_idle = True
        except BlockingIOError:
            is_idle = False
        yield is_idle
    finally:
        os.close(descriptor)


def _connected(path: Path, *, is_idle: bool) -> apsw.Connection:
    wal, shared_memory = _beside(path, "-wal"), _beside(path, "-shm")
    for _ in range(1 if is_idle else START_TRIES):
        if shared_memory.exists():
            return _connection(path, "mode=ro&readonly_shm=1")
        if is_idle and not _size(wal):
            return _connection(path, "mode=ro&immutable=1")
        if not is_idle:
            time.sleep(START_INTERVAL_S)  # its writer is about to open it
    if is_idle:
        why = f"{wal.name} holds entries, and {shared_memory.name} is not there to read them by"
        raise Unreadable(Trouble.WAL_ALONE, why)
    raise Unreadable(Trouble.STARTING, f"its writer has not opened {path.name} yet")


def _connection(path: Path, parameters: str) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return apsw.Connection(f"{path.as_uri()}?{parameters}", flags=flags)


def _require_no_wal(path: Path) -> None:
    """SQLite, asked to read an empty database, deletes the WAL that lies beside it."""
    if _size(_beside(path, "-wal")):
        what = "is empty" if path.exists() else "is missing"
        raise Unreadable(
            Trouble.WAL_ALONE, f"{path.name} {what}, and {path.name}-wal beside it holds entries"
        )
    if path.exists():
        raise Unreadable(Trouble.EMPTY, f"{path.name} is empty")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# --- reading ---


def _facts(
    connection: apsw.Connection, path: Path, verified_size: int, *, is_deep: bool
) -> DatabaseFacts:
    application_id = connection.pragma("application_id")
    if application_id != APPLICATION_ID:
        why = f"{path.name} is a database of another program (application id {application_id})"
        raise Unreadable(Trouble.ANOTHERS, why)
    version = connection.pragma("user_version")
    own = {layout.read_lock_file(path.parent).get("pid")}  # the writer reads, too
    damage = _damage(connection) if is_deep else None
    is_read = version == SCHEMA_VERSION and not damage
    readers = wal_readers.readers(_beside(path, "-shm")) - own
    return DatabaseFacts(
        version=version,
        page_bytes=connection.pragma("page_size"),
        pages=connection.pragma("page_count"),
        free_pages=connection.pragma("freelist_count"),
        readers=tuple(map(wal_readers.named, sorted(readers))),
        log=_log_facts(connection, verified_size) if is_read else None,
        damage=damage,
    )


def _log_facts(connection: apsw.Connection, verified_size: int) -> LogFacts:
    """The checkpoint before the end of the entries: whatever is entered meanwhile, it never seems
    to be of more than there are."""

    def rows(statement: str, *bindings: Any) -> list[Any]:
        return connection.execute(statement, bindings).fetchall()

    def one(statement: str, *bindings: Any) -> Any:
        found = rows(statement, *bindings)
        return found[0] if found else None

    signed = one(_SIGNED)
    first, first_at = one(_ENDS.format("")) or (0, 0)
    last, last_at = one(_ENDS.format("DESC")) or (0, 0)
    recent, latest_at = one(_LATEST, RECENT)
    recent_since = one("SELECT created_at FROM entries WHERE seq = ?", last - recent + 1)
    entered = one("SELECT count(*) FROM dead_letters WHERE replayed_as IS NOT NULL")
    producers, dropped, gone_back = one(_PRODUCERS)
    lost, newest_lost_at = one(_LOST)
    meta: dict[Any, Any] = dict(rows(_META))
    log_id = meta.get("log_id")
    return LogFacts(
        log_id=log_id.hex() if isinstance(log_id, bytes) else "",
        epoch=meta.get("epoch", 0),
        first=first,
        first_at=first_at,
        last=last,
        last_at=last_at,
        recent=recent,
        recent_since=recent_since[0] if recent_since else 0,
        latest_at=latest_at or 0,
        signed=signed[0] if signed else None,
        signed_at=signed[1] if signed else 0,
        unverified_since=_there_since(one, max(verified_size, first - 1), last),
        producers=producers,
        full_text_tail=last - one("SELECT indexed_to FROM full_text_state")[0],
        letters=tuple(map(Letters._make, rows(_LETTERS))),
        orphans=tuple(map(Letters._make, rows(_ORPHANS, TASKS_NAMED_MAX))),
        letters_entered=entered[0],
        letters_not_kept=meta.get("dead_letters_not_kept", 0),
        losses=Losses(lost, newest_lost_at, dropped, gone_back),
        unfilled=tuple(_unfilled(connection, first - 1)),
    )


def _there_since(one: Callable[..., Any], size: int, last: int) -> int:
    """When the first entry behind ``size`` was there at the latest: its checkpoint's time, which an
    import does not choose, or its own where nobody has signed it."""
    if size >= last:
        return 0
    row = one(_COVERING, size) or one("SELECT created_at FROM entries WHERE seq = ?", size + 1)
    return row[0] if row else 0


def _unfilled(connection: apsw.Connection, pruned_to: int) -> Iterator[Unfilled]:
    for each in stored_fields(connection.execute):
        entries = each.declared_at - max(each.filled_to, pruned_to)
        if entries > 0:
            yield Unfilled(each.field.name, entries)


def _damage(connection: apsw.Connection) -> tuple[str, ...]:
    """What SQLite finds wrong with the file, in one read transaction."""
    try:
        rows = connection.execute(f"PRAGMA quick_check({DAMAGE_NAMED_MAX})").fetchall()
    except apsw.CorruptError as error:  # so badly that it cannot be checked
        return (_told(error),)
    lines = [line for (text,) in rows for line in str(text).splitlines()]
    return tuple(line for line in lines if line != "ok" and not line.startswith("***"))


# --- errors ---


def _trouble(error: apsw.Error) -> Trouble:
    code = code_of(error)
    if is_damage(code):
        return Trouble.DAMAGED
    return Trouble.BUSY if kind_of(code) is Kind.BUSY else Trouble.FAILING


def _told(error: apsw.Error) -> str:
    return f"{name_of(code_of(error))} ({error})"
