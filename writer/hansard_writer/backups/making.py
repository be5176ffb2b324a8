"""A backup is made: the copy in a directory of its own, verified there, then under its name.

Until then nothing is there, or what was there before. What the copying costs a writer is
`copying`'s business.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hansard import directory as layout
from hansard.errors import ConfigError
from hansard.reader_connection import ReadConnection
from hansard.settings import load_settings
from hansard_writer.anchoring import NoCheckpoint, take_newest
from hansard_writer.backups import Backup, BackupFailed, Progress
from hansard_writer.backups.contents import Contents, contents_in
from hansard_writer.backups.copying import copy_log
from hansard_writer.durable_files import sync_directory
from hansard_writer.lock import is_held_here
from hansard_writer.proof import keys
from hansard_writer.proof.verifying import Report, verify

KEY_SUFFIX: Final = ".key"
CHECKPOINT_S: Final = 10.0  # for the writer to sign what is committed
COPYING, VERIFYING = "copying", "verifying"

_DATABASE_BYTES: Final = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"


def make(
    directory: Path,
    to: Path,
    *,
    with_key: bool,
    verifies: bool,
    force: bool,
    progress: Progress,
    let_go: Callable[[], None],
) -> Backup:
    """As `hansard_writer.backups.back_up`."""
    if is_held_here():
        raise ConfigError("a writer's process makes no backup: let another one, as the command is")
    to, key_path = (
        to.absolute(),
        to.absolute().with_name(to.name + KEY_SUFFIX) if with_key else None,
    )
    _require_place(directory, to)
    for path in filter(None, (to, key_path)):
        if path.exists() and not force:
            raise BackupFailed(f"{path} exists: name another file, or say --force to replace it")
    key = _private_key(directory) if with_key else None
    with _errors_of(to), _staging(to) as staging:
        note = _newest_note(directory)
        _copy(directory, staging / layout.DATABASE, progress)
        let_go()
        contents = contents_in(staging)
        report = None
        if verifies:
            report = _verified(staging, note, progress)
        if key_path and key:
            _keep_key(key_path, key, contents)
        size = (staging / layout.DATABASE).stat().st_size
        (staging / layout.DATABASE).replace(to)
        sync_directory(to.parent)
    found = (contents.log_id, contents.entries, contents.checkpoint)
    return Backup(to, key_path, size, *found, report)


def key_file_of(backup: Path) -> Path:
    """Where the private key of a backup is, if it was asked for."""
    return backup.with_name(backup.name + KEY_SUFFIX)


# --- before anything is written ---


def _require_place(directory: Path, to: Path) -> None:
    """Raises `ConfigError` where a backup cannot be."""
    if to.is_dir():
        raise ConfigError(f"{to} is a directory: name a file, as {to / 'log.backup'}")
    if not to.parent.is_dir():
        raise ConfigError(f"there is no directory {to.parent}: make it, or name a file elsewhere")
    if not os.access(to.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{to.parent} cannot be written to: see to its mode, or name another")
    if to.parent.resolve().is_relative_to(directory.resolve()):
        raise ConfigError(
            f"{to} is in the log's own directory, where it is lost with the log, and keeps what is "
            "redacted: name a file elsewhere"
        )


def _private_key(directory: Path) -> Ed25519PrivateKey:
    try:
        return keys.read_key(directory / layout.KEY)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {directory / layout.KEY} to put beside the backup: leave --with-key off"
        ) from None


def _newest_note(directory: Path) -> str | None:
    """A checkpoint that the copy must be in accord with; of all that is committed, where a writer
    answers."""
    try:
        return take_newest(directory, CHECKPOINT_S, must_answer=False).note
    except NoCheckpoint:
        return None


# --- the copy ---


@contextlib.contextmanager
def _staging(to: Path) -> Iterator[Path]:
    """A directory beside the file, gone in the end, as is what one that was killed has left."""
    staging = to.with_name(f".{to.name}.partial")
    staging.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, exist_ok=True)
    descriptor = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _empty(staging)
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BlockingIOError:
        raise BackupFailed(f"another backup to {to} is under way: wait for its end") from None
    finally:
        os.close(descriptor)


def _empty(staging: Path) -> None:
    for path in staging.iterdir():
        path.unlink()


def _copy(directory: Path, target: Path, progress: Progress) -> None:
    """Copy the log, and what says who signs it, as far as there is room for both log and copy."""
    is_recorded = layout.a_writer_lives(directory)
    floor = load_settings(directory).disk_suspend if is_recorded else 0
    with closing(ReadConnection(directory)) as log:
        needed: int = log.rows(_DATABASE_BYTES)[0][0]
        _require_room(directory, target.parent, needed, floor)

        def require() -> None:
            if is_recorded and shutil.disk_usage(directory).free < floor:
                raise BackupFailed(
                    f"the disk of {directory} has become full meanwhile, and its writer needs what "
                    "is left: make room there"
                )

        def went(done: int, all_: int) -> None:
            progress(COPYING, done, all_)

        copy_log(log, target, is_recorded=is_recorded, require=require, progress=went)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(directory / layout.PUBLIC_KEY, target.with_name(layout.PUBLIC_KEY))


def _require_room(directory: Path, place: Path, needed: int, floor: int) -> None:
    free = shutil.disk_usage(place).free
    is_same_disk = place.stat().st_dev == directory.stat().st_dev
    if free < needed + (floor if is_same_disk else 0):
        kept = f", and the writer needs {_megabytes(floor)} there" if is_same_disk and floor else ""
        raise BackupFailed(
            f"the log has {_megabytes(needed)}, and the disk has {_megabytes(free)} left{kept}: "
            "make room, or name a file on another disk"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


# --- what came of it ---


def _verified(staging: Path, note: str | None, progress: Progress) -> Report:
    """What `verify` says; raises `BackupFailed` unless that is good."""
    notes = [] if note is None else [note]
    report = verify(
        staging, checkpoints=notes, progress=lambda done, all_: progress(VERIFYING, done, all_)
    )
    if not report.is_good:
        found = "; ".join(map(str, report.findings[:1]))
        failed = BackupFailed(
            f"what was copied is {report.verdict}{f' ({found})' if found else ''}, and so, most "
            "likely, is the log: `hansard verify` says more; --no-verify makes a backup of it as "
            "it is"
        )
        failed.report = report
        raise failed
    return report


def _keep_key(path: Path, key: Ed25519PrivateKey, contents: Contents) -> None:
    chain = contents.chain
    if chain and chain.current.key.public_key != keys.public_bytes(key):
        raise BackupFailed("the key of the log has changed meanwhile: try again")
    path.unlink(missing_ok=True)
    keys.write_key(path, key)


@contextlib.contextmanager
def _errors_of(to: Path) -> Iterator[None]:
    """Within, a failure says which backup was not made."""
    try:
        yield
    except BackupFailed as error:
        failed = BackupFailed(f"{to} is not made: {error}")
        failed.report = error.report
        raise failed from error
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise BackupFailed(f"{to} is not made ({why})") from error
