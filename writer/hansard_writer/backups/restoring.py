"""A backup becomes the log of a directory: what is checked, what is lost, and that it is said.

The log itself says that it went back in time, under a new origin: whatever was signed behind the
backup is not its history any more. How one log takes the other's place is `swapping`'s business.
"""

import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import apsw

from hansard import directory as layout
from hansard.errors import AuditLogError, ConfigError
from hansard.settings import Settings, load_settings
from hansard_writer.backups import BackupFailed, Progress, staging, swapping
from hansard_writer.backups.contents import Contents, contents_in, have_one_history
from hansard_writer.backups.making import COPYING, VERIFYING, key_file_of
from hansard_writer.backups.swapping import Plan
from hansard_writer.damage import end_at_once
from hansard_writer.identity import Identity
from hansard_writer.lock import DirectoryTaken, WriterLock
from hansard_writer.process import prepare_directory
from hansard_writer.proof import keys
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, NoteError, VerifierKey
from hansard_writer.proof.verifying import Report
from hansard_writer.proof.verifying.anchors import is_of
from hansard_writer.retries import StoreUnready
from hansard_writer.sealing import Sealer
from hansard_writer.signing import read_optional_key
from hansard_writer.store import Store
from hansard_writer.unusable import LogUnusable


class Present(NamedTuple):
    """The log that is there now: its id, as far as that can be told, its size, and, where it has
    another history than the backup, that; or why it cannot be read."""

    log_id: str | None
    entries: int | None
    has_another_history: bool
    why: str


class Prospect(NamedTuple):
    """What a restore would do: the backup, what `verify` says of it, who vouches for its key, and
    the log that it would take the place of, if there is one."""

    file: Path
    backup: Contents
    report: Report | None
    trusting: str
    present: Present | None

    @property
    def lost(self) -> int:
        """How many entries of the present log the backup does not have, where that can be told."""
        if self.present is None or self.present.entries is None:
            return 0
        return max(self.present.entries - self.backup.entries, 0)


class Restored(NamedTuple):
    """What a restore did: the size of the log, with the entry that says so, its new origin, and the
    folder with what was there before, if anything was."""

    entries: int
    origin: str
    aside: Path | None


def _served(directory: Path) -> DirectoryTaken:
    pid = layout.read_lock_file(directory).get("pid", "unknown")
    return DirectoryTaken(
        f"a writer (pid {pid}) serves {directory}: stop it first (`systemctl stop hansard`, or "
        f"`kill {pid}`), then run this again"
    )


def _require_owner(directory: Path) -> None:
    """Raises `ConfigError` where the log is somebody else's."""
    try:
        owner = directory.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror}") from error
    if owner != os.geteuid():
        raise ConfigError(layout.foreign_owner(directory, "restores its log"))


def foresee(
    directory: Path, file: Path, given: Sequence[VerifierKey], *, verifies: bool, progress: Progress
) -> Prospect:
    """What a restore would do, with nothing changed. Raises `BackupFailed` where it would do
    nothing, `hansard_writer.lock.DirectoryTaken` while a writer serves, and `hansard.ConfigError`.
    """
    _require_owner(directory)
    if layout.a_writer_lives(directory):
        raise _served(directory)
    if plan := swapping.unfinished(directory):
        raise BackupFailed(_cut_short(directory, plan))
    staging.require_backup(file)
    with tempfile.TemporaryDirectory(prefix="hansard-") as place:
        staging.show(file.absolute(), Path(place))
        return _prospect(directory, file, Path(place), given, verifies, progress)


def restore(
    directory: Path,
    file: Path,
    given: Sequence[VerifierKey],
    *,
    by: str,
    verifies: bool,
    accept_lost_key: bool,
    confirm: Callable[[Prospect], bool],
    progress: Progress,
) -> Restored | None:
    """Put a backup in place of the log in a directory; None unless that is confirmed. One that was
    cut short is finished, and nothing asked.

    Raises `hansard_writer.lock.DirectoryTaken` while a writer serves, `BackupFailed` with all as it
    was, `hansard.ConfigError`, and `LogUnusable` where it is decided but cannot be finished now:
    then no writer starts before it is.
    """
    _require_owner(directory)
    file = file.absolute()
    plan = swapping.unfinished(directory)
    if plan and plan.file != str(file):
        raise BackupFailed(_cut_short(directory, plan))
    if plan is None:
        staging.require_backup(file)
    is_shared = prepare_directory(directory, layout.group_of(directory)) is not None
    mode = layout.GROUP_DATABASE_MODE if is_shared else layout.PRIVATE_FILE_MODE
    with _errors_named(directory), _locked(directory, mode) as lock:
        if plan := swapping.unfinished(directory):
            return _carry_out(directory, plan, lock, mode)
        place = swapping.staging_of(directory)
        swapping.clear(directory)
        place.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE)
        try:
            staging.copy(file, place, lambda done, all_: progress(COPYING, done, all_))
            prospect = _prospect(directory, file, place, given, verifies, progress)
            _require_key(directory, prospect, accept_lost_key=accept_lost_key)
            if not confirm(prospect):
                return None
            _take_key(directory, file)
            plan = _plan(directory, prospect, by, accept_lost_key=accept_lost_key)
            (place / layout.DATABASE).chmod(mode)
            swapping.decide(directory, plan)
        finally:
            if not swapping.unfinished(directory):
                swapping.clear(directory)
        return _carry_out(directory, plan, lock, mode)


# --- before anything is changed ---


def _prospect(
    directory: Path,
    file: Path,
    place: Path,
    given: Sequence[VerifierKey],
    verifies: bool,
    progress: Progress,
) -> Prospect:
    """Of a backup that was staged in a place. Raises `BackupFailed` where it must not be done."""
    backup = staging.contents(place)
    _require_same_log(directory, backup.log_id)
    report = None
    if verifies:
        report = staging.check(place, given, lambda done, all_: progress(VERIFYING, done, all_))
    present = _present(directory, place, backup)
    if present and present.log_id not in (None, backup.log_id):
        raise BackupFailed(
            f"{directory} holds another log ({present.log_id}) than {file} ({backup.log_id}): name "
            "an empty directory with --dir, or move that log away"
        )
    return Prospect(file, backup, report, _trusting(directory, backup, given), present)


def _require_same_log(directory: Path, log_id: str) -> None:
    """A checkpoint of another log would be in the way of what is restored."""
    path = directory / layout.CHECKPOINT
    try:
        with path.open("rb") as content:
            origin = read_checkpoint(content.read(NOTE_BYTES_MAX)).origin
    except FileNotFoundError:
        return
    except NoteError as error:
        raise BackupFailed(f"{path} is no checkpoint ({error}): move it away first") from error
    if not is_of(origin, log_id):
        raise BackupFailed(
            f"{path} is of another log ({origin}) than the backup ({log_id}): name an empty "
            "directory with --dir, or move what is there away"
        )


def _present(directory: Path, place: Path, backup: Contents) -> Present | None:
    if not swapping.present_files(directory):
        return None
    try:
        found = contents_in(directory)
        common = min(found.entries, backup.entries)
        differs = found.log_id == backup.log_id and not have_one_history(directory, place, common)
    except (ConfigError, AuditLogError) as error:
        log_id = layout.read_lock_file(directory).get("log_id")
        return Present(log_id if isinstance(log_id, str) else None, None, False, str(error))
    return Present(found.log_id, found.entries, differs, "")


def _trusting(directory: Path, backup: Contents, given: Sequence[VerifierKey]) -> str:
    """Who says that the key of a backup is its log's."""
    if given:
        return "the given key"
    if backup.chain is None:
        return "nobody: it was never signed"
    key = backup.chain.current.key
    known: list[VerifierKey] = []
    try:
        known.append(keys.read_verifier_key(directory / layout.PUBLIC_KEY))
        if chain := contents_in(directory).chain:
            known += chain.keys
    except (AuditLogError, FileNotFoundError):
        pass
    if key in known:
        return f"{key} ({layout.PUBLIC_KEY} and the log in {directory})"
    return f"{key}, as the backup itself says: see that it is the key that you have kept, or --key"


def _require_key(directory: Path, prospect: Prospect, *, accept_lost_key: bool) -> None:
    """Somebody has to sign what is restored."""
    own = read_optional_key(directory / layout.KEY)
    beside = read_optional_key(key_file_of(prospect.file))
    if own or accept_lost_key or prospect.backup.chain is None:
        return
    path, key = directory / layout.KEY, prospect.backup.chain.current.key
    if beside is None:
        raise BackupFailed(
            f"there is no key to sign the log with: put its writer.key there as {path} (mode 0600; "
            f"its public half is {key}); if it is lost, say --accept-lost-key: then a new one is "
            "made, and the log says so for ever"
        )
    if keys.public_bytes(beside) != key.public_key:
        raise BackupFailed(
            f"{key_file_of(prospect.file)} is not the key of the backup, whose public half is "
            f"{key}: move it away, and put the right one there as {path}"
        )


def _take_key(directory: Path, file: Path) -> None:
    beside = read_optional_key(key_file_of(file))
    if beside and not (directory / layout.KEY).exists():
        keys.write_key(directory / layout.KEY, beside)


def _plan(directory: Path, prospect: Prospect, by: str, *, accept_lost_key: bool) -> Plan:
    at = time.gmtime()
    aside = None
    if prospect.present:
        aside = f"{layout.ASIDE_PREFIX}{time.strftime('%Y%m%dT%H%M%SZ', at)}"
        while (directory / aside).exists():  # a second restore within a second
            aside += "-2"
    facts = {
        "restored_from": os.fsdecode(os.fsencode(prospect.file)),
        "restored_by": by,
        "restored_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
        "restored_entries": prospect.backup.entries,
        "replaced_entries": prospect.present.entries if prospect.present else None,
        "put_aside": aside,
        "restore": secrets.token_hex(8),
    }
    return Plan(str(prospect.file), aside, facts, accept_lost_key)


# --- carried out ---


def _carry_out(directory: Path, plan: Plan, lock: WriterLock, mode: int) -> Restored:
    """Put it in place, and be its writer for as long as it takes to say so."""
    swapping.swap(directory, plan)
    identity = Identity(
        directory,
        is_shared=mode == layout.GROUP_DATABASE_MODE,
        accept_lost_key=plan.accept_lost_key,
        restored=plan.facts,
    )
    try:
        store = _store(directory, mode, identity, load_settings(directory))
        lock.announce(store.run, secrets.token_bytes(16))
        sealer = Sealer(store, identity.signing, 0.0, time.time_ns)
        sealer.seal(0.0)
        if sealer.held_up_by:
            raise LogUnusable(sealer.held_up_by)
        store.handle.checkpoint_truncate()
        size = store.size
        store.close()
    except apsw.Error as error:  # nothing more may be done with this handle
        end_at_once(directory / layout.DATABASE, error)
    swapping.done(directory)
    aside = directory / plan.aside if plan.aside else None
    return Restored(size, identity.signing.origin, aside)


def _store(directory: Path, mode: int, identity: Identity, settings: Settings) -> Store:
    return Store(
        directory / layout.DATABASE,
        mode,
        dead_letters_max=settings.dead_letters_max,
        dead_letters_bytes_max=settings.dead_letters_bytes_max,
        standing=identity,
    )


# --- around it ---


@contextmanager
def _locked(directory: Path, mode: int) -> Iterator[WriterLock]:
    try:
        lock = WriterLock(directory, mode)
    except DirectoryTaken as error:
        raise _served(directory) from error
    try:
        yield lock
    finally:
        lock.close()


@contextmanager
def _errors_named(directory: Path) -> Iterator[None]:
    """Within, what fails says whether anything was changed, and how it is gone on with."""
    try:
        yield
    except (OSError, StoreUnready, LogUnusable) as error:
        why = str(error)
        if isinstance(error, OSError):
            why = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
        plan = swapping.unfinished(directory)
        if plan is None:
            raise BackupFailed(f"nothing was changed in {directory} ({why})") from error
        raise LogUnusable(
            f"{why}. Mend that, and repeat the command: the restore is begun, and finished then; "
            "no writer starts before"
        ) from error


def _cut_short(directory: Path, plan: Plan) -> str:
    return (
        f"a restore of {plan.file} into {directory} was cut short: finish that first, with "
        f"`hansard restore {plan.file} --dir {directory}`"
    )
