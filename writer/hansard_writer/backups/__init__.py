"""Backups: a log as one file, and such a file as the log again.

`back_up` reads a log and changes nothing of it. What takes the log's place is `restoring`'s
business. It loads apsw and cryptography when it is used, not when it is imported.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from hansard.errors import AuditLogError

if TYPE_CHECKING:
    from hansard_writer.proof.verifying import Report

__all__ = ["Backup", "BackupFailed", "Progress", "back_up"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is to do."""


class BackupFailed(AuditLogError):
    """There is no backup under the name that was given. Do what the message says, and repeat it.

    ``report`` says what `verify` found, where that is the reason.
    """

    report: "Report | None" = None


class Backup(NamedTuple):
    """A backup that was made: its file, and that of the key, if that was asked for.

    ``entries`` is the size of the log at the moment it is of; ``bytes`` the size of the file.
    ``checkpoint`` is the size of the newest signed checkpoint in it, None where there is none.
    ``report`` is what `verify` found, None where it was not asked.
    """

    path: Path
    key_path: Path | None
    bytes: int
    log_id: str
    entries: int
    checkpoint: int | None
    report: "Report | None"


def back_up(
    directory: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    with_key: bool = False,
    verify: bool = True,
    force: bool = False,
    progress: Progress = lambda _what, _done, _all: None,
    let_go: Callable[[], None] = lambda: None,
) -> Backup:
    """Copy the log in ``directory`` into the one file ``to``, as of one moment, while its writer
    serves or none does.

    The file is a plain SQLite database that needs no WAL, for `hansard restore` or, as ``log.db``
    in a directory of its own, for whatever reads a log. It is recomputed by `verify` unless that
    is not wanted, and gets its name only then, durably. ``with_key`` also writes the private key,
    to ``to`` with ``.key`` behind it. ``force`` replaces files that are there.

    One read transaction is held while the pages are copied, so that the WAL keeps what is recorded
    meanwhile; ``let_go`` is called once it is over. MUST NOT be called in a writer's process.

    Raises `BackupFailed`, with no new file under the name, and `hansard.ConfigError` for a log
    that cannot be read or a place that no backup can have.
    """
    from hansard_writer.backups.making import make

    return make(
        Path(directory),
        Path(to),
        with_key=with_key,
        verifies=verify,
        force=force,
        progress=progress,
        let_go=let_go,
    )
