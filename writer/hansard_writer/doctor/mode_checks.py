"""Modes and owners of a log's files, against those that the design has.

Pure: facts in, findings out.
"""

from collections.abc import Iterator
from typing import Final

from hansard import directory as layout
from hansard.settings import SETTINGS_FILE
from hansard.spool import SUFFIX
from hansard_writer.doctor.facts import Facts, FileFacts
from hansard_writer.doctor.findings import Finding, action, note, ok
from hansard_writer.doctor.named_files import listed, paths

MODES: Final = "modes"

_OTHERS_WRITE: Final = 0o022
_KEYS: Final = (layout.KEY, layout.NEXT_KEY)
_SECRETS: Final = (*_KEYS, layout.OWNERS, layout.CURVE_KEY)
_GROUPS: Final = frozenset(  # what a group may read where the log is shared
    [layout.DATABASE + end for end in ("", "-wal", "-shm")]
    + [layout.LOCK, layout.CHECKPOINT, layout.PUBLIC_KEY, layout.VERIFIED]
)
_SOCKETS: Final = (layout.PUSH_SOCKET, layout.ACK_SOCKET)
KNOWN: Final = _GROUPS | {
    *(*_SECRETS, *_SOCKETS, layout.RESERVE, layout.BACKFILL_LOCK, layout.SPOOL, SETTINGS_FILE),
    *(layout.CURVE_PUBLIC, layout.CURVE_ALLOWED, layout.SHIPPING),
}
PUT_ASIDE: Final = (layout.ASIDE_PREFIX, layout.MIGRATION_BACKUP_PREFIX)
_MAY_BE_CLOSED: Final = (*_SECRETS, SETTINGS_FILE, layout.CURVE_PUBLIC)
_SETTINGS_MODE: Final = 0o755  # no secret, but nobody else's to change


def check_modes(facts: Facts) -> Iterator[Finding]:
    """Modes as the design has them, owners as the directory's."""
    if facts.top is None or not facts.is_directory:
        return
    directories = [(facts.top, _top_mode(facts))]
    files: list[tuple[FileFacts, int]] = []
    for each in facts.files:
        expected = expected_mode(each, is_shared=facts.is_shared)
        if expected is not None:
            (directories if each.kind == "directory" else files).append((each, expected))
    found = [
        *_open_directories(facts, directories),
        *_wrong_files(facts, files),
        *_strangers(facts, facts.top.uid),
    ]
    yield from found
    if not (found or facts.closed):
        yield ok(MODES, "all as they should be")


def expected_mode(file: FileFacts, *, is_shared: bool) -> int | None:
    """The mode of a file of the log, None for one that is not the log's, or a link."""
    if file.kind == "link":
        return None
    if file.name == layout.SPOOL:
        return layout.SHARED_SPOOL_MODE if is_shared else layout.PRIVATE_DIRECTORY_MODE
    if file.name == layout.SHIPPING:
        return layout.PRIVATE_DIRECTORY_MODE
    if file.name in (SETTINGS_FILE, layout.CURVE_PUBLIC):
        return _SETTINGS_MODE
    if file.name in _SOCKETS or file.name.endswith(SUFFIX):
        return layout.SHARED_FILE_MODE if is_shared else layout.PRIVATE_FILE_MODE
    if file.name in _GROUPS:
        return layout.GROUP_DATABASE_MODE if is_shared else layout.PRIVATE_FILE_MODE
    if file.name in KNOWN or (file.name.startswith(PUT_ASIDE) and file.kind == "file"):
        return layout.PRIVATE_FILE_MODE
    return None


def _top_mode(facts: Facts) -> int:
    return layout.SHARED_DIRECTORY_MODE if facts.is_shared else layout.PRIVATE_DIRECTORY_MODE


def _open_directories(facts: Facts, directories: list[tuple[FileFacts, int]]) -> Iterator[Finding]:
    """The files inside are closed all the same, unless somebody may replace them."""
    for each, expected in directories:
        shown = "the directory" if each is facts.top else f"{each.name}/"
        step = f"`chmod {expected:04o} {paths(facts, [each])}`"
        if each.mode & ~expected & _OTHERS_WRITE:
            yield action(
                MODES, f"{shown} has mode {each.mode:04o}: others may replace what is in it", step
            )
        elif each.mode & ~expected & 0o777:
            yield note(MODES, f"{shown} has mode {each.mode:04o}: others may list it", step)
        elif expected & ~each.mode:
            yield action(
                MODES, f"{shown} has mode {each.mode:04o}: closed to who must get in", step
            )


def _wrong_files(facts: Facts, files: list[tuple[FileFacts, int]]) -> Iterator[Finding]:
    """Those that are open to others, and those that are closed to who needs them."""
    wrong: dict[tuple[bool, int], list[FileFacts]] = {}
    for each, expected in files:
        if each.mode & ~expected & 0o777 and each.name in _KEYS:
            yield _open_key(facts, each, expected)
        elif each.mode & ~expected & 0o777:
            wrong.setdefault((True, expected), []).append(each)
        elif expected & ~each.mode and each.name not in _MAY_BE_CLOSED:
            wrong.setdefault((False, expected), []).append(each)
    for (is_open, expected), those in wrong.items():
        step = f"`chmod {expected:04o} {paths(facts, those)}`"
        why = "open to others" if is_open else "closed to who needs it"
        yield action(MODES, f"{listed(those)}: {why}", step)


def _open_key(facts: Facts, key: FileFacts, expected: int) -> Finding:
    return action(
        MODES,
        f"{listed([key])}: others may read it, and sign in this log's name",
        f"`chmod {expected:04o} {paths(facts, [key])}`; if somebody may have read it, "
        f"{facts.command('keys rotate')}",
    )


def _strangers(facts: Facts, owner: int) -> Iterator[Finding]:
    """Files of other users. Workers of a group have spools of their own."""
    inside = f"{layout.SPOOL}/"
    strangers = [
        each
        for each in facts.files
        if each.uid != owner
        and (each.name in KNOWN or (each.name.startswith(inside) and not facts.is_shared))
    ]
    if strangers:
        yield action(
            MODES,
            f"{listed(strangers)}: another user's than the directory",
            f"`chown {owner} {paths(facts, strangers)}`",
        )
