"""A log of an earlier schema becomes one of this release: a backup, then one version at a time.

What each version's statements are is the schema's business, and what is printed the command's. It
goes forward only; the way back is the backup.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import apsw

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.reader_connection import require_sqlite
from hansard_writer import damage, recovered, schema
from hansard_writer.database_copy import copy_database
from hansard_writer.handle import START_BUSY_MS, Handle
from hansard_writer.lock import DirectoryTaken, WriterLock, WriterRun, without_writer
from hansard_writer.migration_plan import STEPS, Plan, Step, plan_for
from hansard_writer.retries import StoreFull
from hansard_writer.unusable import LogUnusable

BACKUPS_NAMED_MAX: Final = 10

_PARTIAL: Final = f".{layout.DATABASE}.before.partial"


class Migrated(NamedTuple):
    """What was done, and where the backup is, if one was made."""

    plan: Plan
    backup: Path | None


class Observer:
    """Hears how it goes. This one does not listen."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Of ``what`` (bytes that are backed up, entries that are hashed) so many are done."""

    def backed_up(self, backup: Path) -> None:
        """The backup is whole and durable, and nothing is changed yet."""

    def migrated(self, step: Step) -> None:
        """A step is committed."""


def look(directory: Path) -> Plan:
    """What `migrate` would do. Changes no byte of the directory, and makes no file there.

    Raises as `migrate` does.
    """
    path = _require_log(directory)
    with _told_what_to_do(directory), without_writer(directory):
        predecessor = WriterRun.of(layout.read_lock_file(directory))
        return _require_made(plan_for(path, predecessor, leaves_no_trace=True))


def migrate(
    directory: Path,
    *,
    backup: bool = True,
    backup_to: Path | None = None,
    observer: Observer | None = None,
) -> Migrated:
    """Bring the log in ``directory`` to `schema.VERSION`, unless it is there.

    First a ``backup``, to a file that is not there yet, else to one beside the log. Killed at any
    moment, the log is whole, at the version it had or at one of those between.

    Raises `ConfigError` where there is no log of this user's, `DirectoryTaken` while a writer
    serves it, and `LogUnusable` for what cannot be migrated; the message says how to go on.
    """
    _require_log(directory)
    is_shared = directory.stat().st_mode & stat.S_ISGID
    mode = layout.GROUP_DATABASE_MODE if is_shared else layout.PRIVATE_FILE_MODE
    with _told_what_to_do(directory):
        try:
            lock = WriterLock(directory, mode)
        except OSError as error:
            raise LogUnusable(f"cannot lock {error.filename}: {error.strerror}") from error
    try:
        done = migrate_locked(
            directory, lock, backup=backup, backup_to=backup_to, observer=observer
        )
    finally:
        lock.close()
    _require_made(done.plan)
    return done


def migrate_locked(
    directory: Path,
    lock: WriterLock,
    *,
    backup: bool = True,
    backup_to: Path | None = None,
    observer: Observer | None = None,
) -> Migrated:
    """The same for who holds the lock. Nothing is done to a log that is not made yet."""
    require_sqlite()
    observer = observer or Observer()
    path = directory / layout.DATABASE
    damage.require_log(path, may_be_old=True)
    if not _is_there(path):
        return Migrated(Plan(path, 0, (), 0, 0), None)
    plan = plan_for(path, lock.predecessor, leaves_no_trace=False)
    if not plan.steps:
        return Migrated(plan, None)
    path.with_name(_PARTIAL).unlink(missing_ok=True)  # a killed one's
    to = (backup_to or _beside(path)) if backup else None
    if backup_to is not None:
        _require_elsewhere(directory, backup_to)
    _require_room(plan, to)
    reached = plan.version
    handle = Handle(path, layout.PRIVATE_FILE_MODE, may_be_old=True)
    try:
        with handle.starting(lock.predecessor):
            if to is not None:
                _back_up(handle, to, observer)
            for step in plan.steps:
                _migrate(handle, path, step, observer)
                reached = step.version
    except (LogUnusable, StoreFull) as error:
        still = "still " if reached == plan.version else ""
        raise LogUnusable(f"{error} (its schema is {still}{reached})") from error
    handle.close()
    return Migrated(plan, to)


def backups_beside(path: Path) -> list[str]:
    """What each backup is that a migration of the log at ``path`` has left, and the way out, for
    who wants something gone for good; the first `BACKUPS_NAMED_MAX`."""
    found = sorted(path.parent.glob(f"{layout.MIGRATION_BACKUP_PREFIX}*"))[:BACKUPS_NAMED_MAX]
    return [
        f"{each} is a backup from before a migration, and holds what the log held then: remove it"
        for each in found
    ]


# --- looking ---


def _require_log(directory: Path) -> Path:
    """The database of a log. Raises `ConfigError` where there is none that this user may change,
    and `LogUnusable` for what is no log."""
    path = directory / layout.DATABASE
    try:
        facts = directory.stat()
        if not stat.S_ISDIR(facts.st_mode):
            raise _no_log(directory)
        if facts.st_uid != os.geteuid():
            raise ConfigError(layout.foreign_owner(directory, "migrates its log"))
        layout.require_local(directory)
        damage.require_log(path, may_be_old=True)
        if _is_there(path):
            return path
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror}") from error
    raise _no_log(directory)


def _is_there(path: Path) -> bool:
    """Not where power was cut while it was made."""
    try:
        return path.stat().st_size > 0 and not damage.is_half_made(path)
    except FileNotFoundError:
        return False


def _require_made(plan: Plan) -> Plan:
    if not plan.version:
        raise _no_log(plan.path.parent)
    return plan


def _no_log(directory: Path) -> ConfigError:
    return ConfigError(
        f"there is no log in {directory}: name another directory with --dir or HANSARD_DIR; a new "
        "log is made by `hansard serve`, and needs no migration"
    )


@contextlib.contextmanager
def _told_what_to_do(directory: Path) -> Iterator[None]:
    """Within, who finds a writer there hears how to go on."""
    try:
        yield
    except DirectoryTaken as error:
        pid = layout.read_lock_file(directory).get("pid", "unknown")
        raise DirectoryTaken(
            f"a writer (pid {pid}) serves {directory}, or a migration is under way: stop it first "
            f"(`systemctl stop hansard`, or `kill {pid}`), then run this again; what workers "
            "record meanwhile waits in their spools"
        ) from error


# --- the backup ---


def _beside(path: Path) -> Path:
    now = datetime.now(UTC)
    return path.with_name(
        f"{layout.MIGRATION_BACKUP_PREFIX}{schema.VERSION}-{now:%Y%m%dT%H%M%S.%fZ}"
    )


def _require_elsewhere(directory: Path, to: Path) -> None:
    if to.parent.resolve().is_relative_to(directory.resolve()):
        raise LogUnusable(
            f"{to} is in the log's own directory, where no redaction knows it by that name: name a "
            "file elsewhere, or leave --backup-to off"
        )


def _require_room(plan: Plan, to: Path | None) -> None:
    """Raises `LogUnusable` where the backup cannot be put, or the disk could not hold it all."""
    wanted = [(plan.path.parent, plan.room_bytes, "the migration")]
    if to is not None:
        if os.path.lexists(to):
            raise LogUnusable(f"{to} exists: name another file")
        if not to.parent.is_dir():
            raise ConfigError(
                f"there is no directory {to.parent}: make it, or name a file elsewhere"
            )
        wanted.append((to.parent, plan.backup_bytes, "the backup"))
    needs: dict[int, int] = {}
    for directory, size, what in wanted:
        try:
            facts, device = os.statvfs(directory), directory.stat().st_dev
        except OSError as error:
            raise LogUnusable(f"cannot use {directory}: {error.strerror}") from error
        needs[device] = needs.get(device, 0) + size
        free = facts.f_bavail * facts.f_frsize
        if free < needs[device]:
            raise LogUnusable(
                f"{what} needs {size:,} bytes, and with it {needs[device]:,} are wanted on the "
                f"disk of {directory}, where {free:,} are free: make room there"
                + ("" if to is None else ", or put the backup elsewhere with --backup-to FILE")
            )


def _back_up(handle: Handle, to: Path, observer: Observer) -> None:
    """One at a time beside the log: what a killed one has left is written over."""
    beside = handle.wal.parent == to.parent.resolve()
    partial = to.with_name(_PARTIAL if beside else f".{to.name}.partial")
    copy_database(
        handle.connection,
        to,
        partial,
        lambda done, total: observer.progress("backing up", done, total),
    )
    observer.backed_up(to)


# --- the steps ---


def _migrate(handle: Handle, path: Path, step: Step, observer: Observer) -> None:
    def went_through(entries: int) -> None:
        observer.progress("hashing", entries, step.entries)

    try:
        with handle.transaction():
            recovered.rewrite(handle.wal)  # a killed writer's, before anything is built on it
            if do := STEPS.get(step.version):
                went_through(0)
                do(handle.connection, went_through)
            for statement in schema.MIGRATIONS[step.version - 1]:
                handle.connection.execute(statement)
            handle.connection.execute(f"PRAGMA user_version = {step.version}")
    except apsw.SQLError as error:
        raise LogUnusable(
            f"{path} cannot get schema {step.version} ({error}): if it has a table, view or index "
            "of your own with that name, drop it, and run this again"
        ) from error
    handle.connection.set_busy_timeout(0)  # a reader may be in the middle of something
    handle.checkpoint_truncate()
    handle.connection.set_busy_timeout(START_BUSY_MS)
    observer.migrated(step)
