"""What a look at a log has found: a frozen record, from which the checks make their findings.

It knows nothing of files and sockets, and judges nothing. What could not be seen is None, or empty.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from hansard.settings import Settings


class FileFacts(NamedTuple):
    """A file in the log's directory, as ``lstat`` tells: its name from there on, its kind
    (``file``, ``directory``, ``socket``, ``link``, ``other``), times in ns since 1970 UTC."""

    name: str
    kind: str
    mode: int
    uid: int
    size: int
    modified_at: int


class PlaceFacts(NamedTuple):
    """The disk that holds the directory. ``network`` is the type of a network file system;
    ``inodes_free`` None where the file system counts none."""

    network: str | None
    read_only: bool
    free_bytes: int
    inodes_free: int | None


class WriterFacts(NamedTuple):
    """Who serves the log. ``lock`` is what the last writer wrote into its lock file, ``is_held``
    whether somebody holds it, None where that cannot be seen; ``state`` is that of the process in
    ``/proc``, None where it is not to be seen. ``figures`` are its own, with the time that they
    took; ``silence`` says why there are none. ``has_second_sqlite`` is None where it is unknown."""

    is_held: bool | None = False
    lock: Mapping[str, Any] = MappingProxyType({})
    state: str | None = None
    figures: Mapping[str, Any] | None = None
    answer_s: float = 0.0
    silence: str = ""
    has_second_sqlite: bool | None = None

    @property
    def pid(self) -> int | None:
        """Of the last writer; as that process saw itself."""
        pid = self.lock.get("pid")
        return pid if isinstance(pid, int) else None


class Trouble(StrEnum):
    """Why a database cannot be read."""

    DAMAGED = "damaged"
    ANOTHERS = "another program's"
    EMPTY = "empty"
    WAL_ALONE = "a WAL without its database, or without its shared memory"
    STARTING = "its writer starts"
    BUSY = "locked"
    CLOSED = "not allowed"
    FAILING = "failing"


class Letters(NamedTuple):
    """Dead letters of one reason, or orphans of one task, which wait: how many, of how many
    events, and when the first of them came."""

    about: str
    letters: int
    events: int
    oldest_at: int


class Unfilled(NamedTuple):
    """A derived field that earlier entries, so many, do not have yet."""

    name: str
    entries: int


class Losses(NamedTuple):
    """Entries ``hansard.lost``, and the events that producers could not keep, or that were in a
    log that went back in time."""

    entries: int = 0
    newest_at: int = 0
    dropped: int = 0
    gone_back: int = 0


NO_WRITER: Final = WriterFacts()
NO_LOSSES: Final = Losses()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What the database says of the log: sizes in entries, times in ns since 1970 UTC, 0 for none.

    ``recent`` of the newest entries were entered from ``recent_since`` on; the latest time among
    them is ``latest_at``. ``signed`` of all entries are in the newest checkpoint.
    ``unverified_since``: when the oldest entry behind the last verification was there at the
    latest.
    """

    log_id: str = ""
    epoch: int = 0
    first: int = 0
    first_at: int = 0
    last: int = 0
    last_at: int = 0
    recent: int = 0
    recent_since: int = 0
    latest_at: int = 0
    signed: int | None = None
    signed_at: int = 0
    unverified_since: int = 0
    producers: int = 0
    full_text_tail: int = 0
    letters: tuple[Letters, ...] = ()
    orphans: tuple[Letters, ...] = ()
    letters_entered: int = 0
    letters_not_kept: int = 0
    losses: Losses = NO_LOSSES
    unfilled: tuple[Unfilled, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """The file ``log.db``. Where it could not be read, ``trouble`` is the kind of reason and
    ``unreadable`` the reason, and the rest is not known. ``damage`` are the words of SQLite's
    check, None where nobody asked for it. ``log`` is None where there is some, and for a schema
    that this release does not read."""

    trouble: Trouble | None = None
    unreadable: str = ""
    version: int = 0
    page_bytes: int = 0
    pages: int = 0
    free_pages: int = 0
    readers: tuple[str, ...] = ()
    log: LogFacts | None = None
    damage: tuple[str, ...] | None = None


class SpoolFacts(NamedTuple):
    """A producer's spool. ``is_locked``: its producer lives, or a child that inherited it; None
    where that cannot be seen. ``pid_seen``: whether a process of that pid is to be seen here, None
    for another host's. ``log_id`` is empty where no writer has answered it yet. ``events`` wait in
    it, or more, if ``is_counted`` is false. ``unreadable`` says why nothing of this is known."""

    name: str
    size: int
    is_locked: bool | None = None
    host: str = ""
    pid: int = 0
    pid_seen: bool | None = None
    log_id: str = ""
    events: int = 0
    bytes: int = 0
    is_counted: bool = True
    oldest_at: int = 0
    damage: str = ""
    unreadable: str = ""


class Verified(NamedTuple):
    """What the last `hansard verify` left in the directory."""

    verdict: str
    size: int
    verified_at: int


class ShippingFacts(NamedTuple):
    """How far a target of `hansard ship` has got, as who ships says; ``at`` in ns since 1970."""

    target: str
    state: str
    why: str
    shipped_to: int
    covered: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it, at the time ``now`` (ns since 1970 UTC).

    ``is_found_by_default``: a command finds the directory without --dir. ``top`` is the directory
    itself, or what has its name; None where there is nothing. ``closed`` says why it cannot be
    looked into. ``settings_given`` are the names of those that are not as by default.
    ``spools_are_seen``: this user may list them. ``checkpoint`` is the size that DIR/checkpoint is
    of; ``checkpoint_is_odd`` where it is none.
    """

    directory: Path
    is_found_by_default: bool
    now: int
    uid: int
    top: FileFacts | None = None
    closed: str = ""
    files: tuple[FileFacts, ...] = ()
    place: PlaceFacts | None = None
    settings: Settings = field(default_factory=Settings)
    settings_error: str = ""
    settings_given: tuple[str, ...] = ()
    writer: WriterFacts = NO_WRITER
    database: DatabaseFacts | None = None
    spools: tuple[SpoolFacts, ...] = ()
    spools_are_seen: bool = True
    checkpoint: int | None = None
    checkpoint_is_odd: bool = False
    verified: Verified | None = None
    shipping: tuple[ShippingFacts, ...] = ()
    clock_is_synchronised: bool | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_directory(self) -> bool:
        """Whether what has the directory's name is one."""
        return self.top is not None and self.top.kind == "directory"

    @property
    def is_shared(self) -> bool:
        """Whether the directory is its group's too (`serve --group`)."""
        return self.top is not None and bool(self.top.mode & 0o2000)

    def file(self, name: str) -> FileFacts | None:
        """The file of this name, if there is one."""
        return next((each for each in self.files if each.name == name), None)

    def command(self, words: str) -> str:
        """A command of ours as it is to be typed, between backticks."""
        where = "" if self.is_found_by_default else f" --dir {shlex.quote(str(self.directory))}"
        return f"`hansard {words}{where}`"

    @property
    def log(self) -> LogFacts | None:
        """What the database says, where it could be read."""
        return self.database.log if self.database else None
