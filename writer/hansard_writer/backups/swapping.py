"""One log takes another's place: what was there is put aside together, and never mixed with it.

A plan, once it is on the disk, is carried out however often somebody is killed over it: each step
can be seen to be done, and no writer starts in between. Whether to do it is decided before.
"""

import contextlib
import shutil
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from hansard import directory as layout
from hansard_writer.durable_files import replace_file, sync_directory, sync_file
from hansard_writer.unusable import LogUnusable

ASIDE_NAMED_MAX: Final = 10

_LOG: Final = tuple(layout.DATABASE + end for end in ("", "-wal", "-shm", "-journal"))
_SIGNED: Final = (layout.CHECKPOINT, layout.PUBLIC_KEY, layout.VERIFIED)


class Plan(NamedTuple):
    """What is to be done: the backup that was staged, the folder that the present log goes to, none
    where there is no log, the facts for the entry that says so, and whether a lost key is
    accepted."""

    file: str
    aside: str | None
    facts: dict[str, Any]
    accept_lost_key: bool


def staging_of(directory: Path) -> Path:
    """Where a backup waits, on the log's own disk."""
    return directory / layout.RESTORING


def unfinished(directory: Path) -> Plan | None:
    """The plan that somebody was killed over, if any."""
    try:
        content = (directory / layout.RESTORE_PLAN).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Plan(**orjson.loads(content))


def require_no_restore(directory: Path) -> None:
    """Raises `LogUnusable` where a log is neither what it was nor what it is to be. What one has
    left that was killed before it was decided goes: no redaction would reach it. Whoever calls it
    MUST hold the lock. Raises OSError too."""
    if plan := unfinished(directory):
        raise LogUnusable(
            f"a restore of {plan.file} into {directory} was cut short: finish it with `hansard "
            f"restore {plan.file} --dir {directory}`, and start again"
        )
    if staging_of(directory).exists():
        clear(directory)


def present_files(directory: Path) -> list[Path]:
    """What there is of a log's database."""
    return [path for path in (directory / name for name in _LOG) if path.exists()]


def put_aside_in(directory: Path) -> list[str]:
    """What each log is that a restore has put aside, and the way out, for who wants something gone
    for good; the first `ASIDE_NAMED_MAX`."""
    found = sorted(directory.glob(f"{layout.ASIDE_PREFIX}*"))[:ASIDE_NAMED_MAX]
    return [
        f"{each} is a log that a restore has put aside, and holds what it held then: remove it"
        for each in found
    ]


def decide(directory: Path, plan: Plan) -> None:
    """From here on it is carried out. The backup MUST be staged, durably. Raises OSError."""
    content = orjson.dumps(plan._asdict())
    replace_file(directory / layout.RESTORE_PLAN, content, layout.PRIVATE_FILE_MODE)
    sync_directory(directory)


def swap(directory: Path, plan: Plan) -> None:
    """Put the present log aside and the staged one in its place, as far as that is not done.
    Raises OSError; then again, please."""
    staged = staging_of(directory) / layout.DATABASE
    if not staged.exists():
        return
    if plan.aside is not None:
        _put_aside(directory, directory / plan.aside)
    staged.replace(directory / layout.DATABASE)
    sync_directory(staged.parent)
    sync_directory(directory)


def done(directory: Path) -> None:
    """The plan is carried out. Raises OSError."""
    (directory / layout.RESTORE_PLAN).unlink()
    sync_directory(staging_of(directory))
    clear(directory)


def clear(directory: Path) -> None:
    """Remove what waits there; nothing of it was decided. Raises OSError."""
    staging = staging_of(directory)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(staging)
    sync_directory(directory)


def _put_aside(directory: Path, aside: Path) -> None:
    """The log's database with its WAL, and a copy of what was signed last, so that the folder is a
    log's directory that can be read and verified."""
    aside.mkdir(mode=layout.PRIVATE_DIRECTORY_MODE, exist_ok=True)
    sync_directory(directory)
    for name in _SIGNED:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(directory / name, aside / name)
            sync_file(aside / name)
    for path in present_files(directory):
        if (aside / path.name).exists():
            path.unlink()  # a reader made it anew, which came when the database was gone
        else:
            path.rename(aside / path.name)
    sync_directory(aside)
    sync_directory(directory)
