"""Whether there is a directory, and what lies in it that should not.

Pure: facts in, findings out.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from hansard import directory as layout
from hansard.spool import SUFFIX, TEMPORARY_SUFFIX
from hansard.wording import counted
from hansard_writer.adoption import DAMAGED_SUFFIX
from hansard_writer.doctor import amounts
from hansard_writer.doctor.facts import Facts, FileFacts
from hansard_writer.doctor.findings import Finding, action, note, ok
from hansard_writer.doctor.mode_checks import KNOWN, PUT_ASIDE
from hansard_writer.doctor.named_files import listed, paths

TEMPORARY_AGE_S: Final = 60  # from which on nobody is at it any more

DIRECTORY: Final = "directory"

_IN_SPOOL: Final = (
    *(SUFFIX, TEMPORARY_SUFFIX, DAMAGED_SUFFIX),
    *(layout.IMPORT_SUFFIX, layout.IMPORT_WORKERS_SUFFIX),
)
_TEMPORARY: Final = re.compile(r"\..+\.(\d+|partial)")  # by `durable_files`, backup, migrate


def check_directory(facts: Facts) -> Iterator[Finding]:
    """Whether there is one, and somebody may look into it."""
    top = facts.top
    if top is None:
        yield action(
            DIRECTORY,
            "it does not exist: no writer has ever run there",
            f"start one, {facts.command('serve')}; or name another with --dir or HANSARD_DIR",
        )
        return
    if not facts.is_directory:
        yield action(DIRECTORY, "it is no directory", "name another with --dir or HANSARD_DIR")
        return
    whose = "this user's" if top.uid == facts.uid else f"another user's (uid {top.uid})"
    shared = ", shared with its group" if facts.is_shared else ""
    spools = sum(each.name.endswith(SUFFIX) for each in facts.files)
    files = len(facts.files) - spools
    told = f"{whose}{shared}; {counted(files, 'file')}, {counted(spools, 'spool')}"
    if facts.closed:
        yield action(DIRECTORY, facts.closed, "run it as that user, or be let in")
        return
    yield ok(DIRECTORY, told)
    if facts.file(layout.SPOOL) is None and facts.database:
        spool = facts.directory / layout.SPOOL
        yield action(
            DIRECTORY,
            f"{layout.SPOOL}/ is missing: producers keep events in memory, and lose them when they "
            "are killed",
            f"`mkdir -m {0o3730 if facts.is_shared else 0o700:o} {shlex.quote(str(spool))}`",
        )


def check_leftovers(facts: Facts) -> Iterator[Finding]:
    """What nobody needs any more, or what is not the log's."""
    old = facts.now - TEMPORARY_AGE_S * amounts.SECOND
    temporary = [f for f in facts.files if _TEMPORARY.fullmatch(f.name) and f.modified_at < old]
    if temporary:
        yield note(
            DIRECTORY,
            f"{listed(temporary)}: begun by a process that was killed",
            f"`rm {paths(facts, temporary)}`",
        )
    yield from _restores(facts)
    damaged = [each for each in facts.files if each.name.endswith(DAMAGED_SUFFIX)]
    if damaged:
        yield action(
            DIRECTORY,
            f"{listed(damaged)}: set aside; what comes before the damage is entered",
            "keep them for who finds out what happened (the disk?), then "
            f"`rm {paths(facts, damaged)}`",
        )
    aside = [each for each in facts.files if each.name.startswith(PUT_ASIDE)]
    if aside:
        yield note(
            DIRECTORY,
            f"{listed(aside)}: the log as it was once, with all that is redacted since",
            f"once the log is seen to be right, `rm -r {paths(facts, aside)}`",
        )
    following = facts.file(layout.NEXT_KEY)
    if following and following.modified_at < old:
        yield note(
            DIRECTORY,
            f"{layout.NEXT_KEY} is there: a change of keys was cut short, and the next start goes "
            "on with it if it was entered",
            f"see {facts.command('keys list')}",
        )
    others = [each for each in facts.files if _is_not_ours(each)]
    if others:
        yield note(DIRECTORY, f"{listed(others)}: not the log's", "leave them, or move them away")


def _restores(facts: Facts) -> Iterator[Finding]:
    """One that is to be finished, as its plan says, or one that nobody has to finish."""
    if facts.file(layout.RESTORE_PLAN):
        yield action(
            DIRECTORY,
            f"{layout.RESTORING}/ is there: a restore goes on, or was cut short, and no writer "
            "starts before it is finished",
            f"{facts.command('restore BACKUP')}, with the same backup, goes on with it",
        )
    elif facts.file(layout.RESTORING):
        yield note(
            DIRECTORY,
            f"{layout.RESTORING}/ is there: a restore is under way, or was killed before it "
            "changed anything, or when all was done",
            "leave it: a restore that goes on needs it, and the next start of a writer removes it",
        )


def _is_not_ours(file: FileFacts) -> bool:
    if file.name in (*KNOWN, layout.RESTORING, layout.RESTORE_PLAN):
        return False
    if _TEMPORARY.fullmatch(file.name) or file.name.startswith(PUT_ASIDE):
        return False
    return not (file.name.startswith(f"{layout.SPOOL}/") and file.name.endswith(_IN_SPOOL))
