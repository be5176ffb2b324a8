"""A backup looked at, in a directory by itself: whether it is one, what it holds, what verify says.

The file is read, and never changed. Whether its log may take another's place is not asked here.
"""

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard_writer import schema
from hansard_writer.backups import BackupFailed
from hansard_writer.backups.contents import Contents, contents_in
from hansard_writer.database_header import HEADER_BYTES, DatabaseHeader, read_header
from hansard_writer.durable_files import sync_directory, sync_file
from hansard_writer.proof import keys
from hansard_writer.proof.signed_note import VerifierKey
from hansard_writer.proof.verifying import Report, verify

PIECE_BYTES: Final = 8 << 20
LARGEST_PAGE: Final = 65_536  # which the header calls 1

Went = Callable[[int, int], None]


class NoBackup(BackupFailed):
    """The file is no backup of a log that this release restores. Do what the message says."""


def require_backup(file: Path) -> None:
    """Raises `NoBackup` unless a file is what `hansard backup` makes, by its first bytes and its
    size."""
    header, size = _look(file)
    if header is None:
        what = "is empty" if not size else "is no SQLite database"
        raise NoBackup(f"{file} {what}, and so no backup: name a file of `hansard backup --to`")
    if header.application_id != schema.APPLICATION_ID:
        raise NoBackup(
            f"{file} is a database of another program (application id {header.application_id}): "
            "name a file of `hansard backup --to`"
        )
    if header.user_version > schema.VERSION:
        raise NoBackup(
            f"{file} is of a newer release (schema {header.user_version}, this one knows "
            f"{schema.VERSION}): install that release or a later one"
        )
    if header.user_version < schema.VERSION:
        raise NoBackup(
            f"{file} has schema {header.user_version}, and this release restores {schema.VERSION}: "
            "put a copy of it into an empty directory X as log.db; `hansard migrate --dir X`; "
            "`hansard backup --dir X --to NEW`; then restore NEW"
        )
    if header.is_wal:
        raise NoBackup(
            f"{file} is a copy of log.db, and no backup: entries may be in its WAL. Put it into a "
            "directory X as log.db, with its log.db-wal; then `hansard backup --dir X --to FILE`"
        )
    whole = header.pages * (header.page_bytes if header.page_bytes > 1 else LARGEST_PAGE)
    if size != whole:
        raise NoBackup(f"{file} is cut short: it has {size:,} of {whole:,} bytes. Copy it again")


def show(file: Path, place: Path) -> None:
    """Let it be seen in an empty directory as a log, where it is."""
    (place / layout.DATABASE).symlink_to(file)


def copy(file: Path, place: Path, progress: Went) -> None:
    """Copy it into an empty directory as a log, durably. Raises OSError."""
    target = place / layout.DATABASE
    size = file.stat().st_size
    free = shutil.disk_usage(place).free
    if free < size:
        raise BackupFailed(
            f"{file} has {size:,} bytes, and the disk of {place.parent} has {free:,} left: make "
            "room there"
        )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with (
        file.open("rb") as source,
        os.fdopen(os.open(target, flags, layout.PRIVATE_FILE_MODE), "wb") as written,
    ):
        while piece := source.read(PIECE_BYTES):
            written.write(piece)
            progress(written.tell(), size)
    sync_file(target)
    sync_directory(place)


def contents(place: Path) -> Contents:
    """What it holds; with the key that it names as writer.pub, which `check` believes."""
    found = contents_in(place)
    if found.chain:
        key = found.chain.current.key
        keys.write_verifier_key(place / layout.PUBLIC_KEY, key, layout.PRIVATE_FILE_MODE)
    return found


def check(place: Path, given: Sequence[VerifierKey], progress: Went) -> Report:
    """What `verify` says; raises `BackupFailed` unless that is good."""
    report = verify(place, keys=given, progress=progress)
    if not report.is_good:
        found = "; ".join(map(str, report.findings[:3]))
        failed = BackupFailed(
            f"the backup is {report.verdict} ({found}), and was left alone: take another, or "
            "restore it as it is with --no-verify"
        )
        failed.report = report
        raise failed
    return report


def _look(file: Path) -> tuple[DatabaseHeader | None, int]:
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise NoBackup(f"{file} is no file: name one that `hansard backup --to` has made")
        with file.open("rb") as content:
            return read_header(content.read(HEADER_BYTES)), facts.st_size
    except FileNotFoundError:
        raise NoBackup(f"there is no file {file}: name one of `hansard backup --to`") from None
    except OSError as error:
        raise NoBackup(f"cannot read {file}: {error.strerror}") from error
