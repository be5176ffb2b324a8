"""SQLite's view of the disk, in a test's hands: every call may fail, and power may be cut."""

import contextlib
import functools
import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unittest import mock

import apsw

from faults import disk
from faults.disk import Disk

Hook = Callable[[str], None]

_NUMBERS = itertools.count(1)
_WITH_NAMES: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


class HookedVfs(apsw.VFS):
    """The default file system for one directory, with hooks that may raise: `on_write` before each
    write to a database, `on_wal_write` to a WAL and `on_sync` before each sync get the file's name;
    `before_call` gets the method of SQLite's (``"xWrite"``) and the name, before all that may fail.

    Nothing is really synced: `disk` says what would be, and `calls` how it came to be so. An error
    of the hook with an attribute ``written`` lets so many bytes of a write through.
    """

    def __init__(self) -> None:
        self.name = f"hooked-{next(_NUMBERS)}"
        self.on_write: Hook | None = None
        self.on_wal_write: Hook | None = None
        self.on_sync: Hook | None = None
        self.before_call: Callable[[str, str], None] | None = None
        self.syncs: list[str] = []
        self.retried_syncs: list[str] = []  # through a handle whose sync had failed
        self.loses_syncs = False  # as when the process is killed before it comes to them
        self.disk = Disk()
        self.calls: list[disk.Call] = []
        self.directory: Path | None = None
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = Path(name.filename() if hasattr(name, "filename") else name or "temporary")
        self.may_fail("xOpen", path.name)
        self.directory = path.parent
        file = _File(self, path, name, flags)
        if path.name not in self.disk:
            self._meet(path.name, file.content())
        return file

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.may_fail("xDelete", Path(name).name)
        super().xDelete(name, syncdir)
        self.note(disk.DELETE, Path(name).name)
        if syncdir:
            self.note(disk.SYNC_NAMES)

    def xAccess(self, name: str, flags: int) -> bool:  # noqa: N802
        self.may_fail("xAccess", Path(name).name)
        return super().xAccess(name, flags)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        """No test waits for a lock: who waits has waited."""
        return microseconds

    def cut_power(self, survives: str = disk.NOTHING, chance: random.Random | None = None) -> None:
        """Leave of the files what a power cut does; no handle may be open."""
        files = self.disk.after_power_cut(survives, chance or random.Random(1))
        if self.directory is not None:
            put_files(self.directory, files)
        self.disk = Disk(files)
        self.calls.clear()

    def refreshed(self, path: Path) -> None:
        """To be called when a file's bytes were written once more and synced past SQLite."""
        for call in self.disk.rewrite(path.name):
            self.note_past_sqlite(*call)

    @property
    def is_being_made(self) -> bool:
        """Whether a rollback journal is there: only the first header of a new database is written
        under one, and SQLite itself rolls that back, with a sync, when its sync has failed."""
        return "log.db-journal" in self.disk

    def may_fail(self, method: str, name: str) -> None:
        """A call comes: ask the hooks."""
        if self.before_call:
            self.before_call(method, name)

    def note(self, kind: str, name: str = "", offset: int = 0, data: bytes = b"") -> None:
        """A call has changed the disk."""
        call = disk.Call(kind, name, offset, data)
        self.calls.append(call)
        self.disk.apply(call)

    def note_past_sqlite(self, kind: str, name: str, offset: int = 0, data: bytes = b"") -> None:
        """The same for one that SQLite does not know of."""
        if name in self.disk:
            self.note(kind, name, offset, data)

    def _meet(self, name: str, content: bytes) -> None:
        """A file that this disk has not seen: made just now, or before this disk was there."""
        self.note(disk.CREATE, name)
        if content:
            self.note(disk.WRITE, name, 0, content)
            self.note(disk.SYNC, name)
            self.note(disk.SYNC_NAMES)


class _File(apsw.VFSFile):
    def __init__(self, vfs: HookedVfs, path: Path, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        self._name = path.name
        self._is_database = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        self._is_wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        self._syncs_names = bool(flags[0] & _WITH_NAMES)  # with its first sync, as SQLite does
        self._failed_to_sync = False
        super().__init__("", name, flags)

    def xRead(self, size: int, offset: int) -> bytes:  # noqa: N802
        self._vfs.may_fail("xRead", self._name)
        return super().xRead(size, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            hook = self._vfs.on_write if self._is_database else self._vfs.on_wal_write
            if hook and (self._is_database or self._is_wal):
                hook(self._name)
            self._vfs.may_fail("xWrite", self._name)
        except Exception as error:
            if written := getattr(error, "written", 0):
                self._write(data[:written], offset)
            raise
        self._write(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._vfs.may_fail("xTruncate", self._name)
        super().xTruncate(size)
        self._vfs.note(disk.TRUNCATE, self._name, size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        vfs = self._vfs
        if self._failed_to_sync and not vfs.is_being_made:
            vfs.retried_syncs.append(self._name)
        try:
            if vfs.on_sync:
                vfs.on_sync(self._name)
            vfs.may_fail("xSync", self._name)
        except Exception:
            self._failed_to_sync = True
            vfs.note(disk.FAIL_SYNC, self._name)
            raise
        if vfs.loses_syncs:
            return
        vfs.syncs.append(self._name)
        vfs.note(disk.SYNC, self._name)
        if self._syncs_names:
            self._syncs_names = False
            vfs.note(disk.SYNC_NAMES)

    def xFileSize(self) -> int:  # noqa: N802
        self._vfs.may_fail("xFileSize", self._name)
        return super().xFileSize()

    def xLock(self, level: int) -> None:  # noqa: N802
        self._vfs.may_fail("xLock", self._name)
        super().xLock(level)

    def xUnlock(self, level: int) -> None:  # noqa: N802
        self._vfs.may_fail("xUnlock", self._name)
        super().xUnlock(level)

    def content(self) -> bytes:
        """Read through this handle: another descriptor would drop SQLite's locks."""
        size = super().xFileSize()
        return super().xRead(size, 0) if size else b""

    def _write(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._vfs.note(disk.WRITE, self._name, offset, bytes(data))


@contextlib.contextmanager
def watched_descriptors(vfs: HookedVfs) -> Iterator[None]:
    """Within, the simulated disk also sees what is written and synced past SQLite, by `os.pwrite`,
    `os.fsync` and `os.fdatasync`. (A file object's own writes are not seen.)"""
    pwrite, fsync, fdatasync = os.pwrite, os.fsync, os.fdatasync

    def seen_pwrite(descriptor: int, data: bytes, offset: int) -> int:
        written = pwrite(descriptor, data, offset)
        vfs.note_past_sqlite(disk.WRITE, _path_of(descriptor).name, offset, bytes(data[:written]))
        return written

    def seen_sync(really: Callable[[int], None], descriptor: int) -> None:
        really(descriptor)
        if _path_of(descriptor) == vfs.directory:
            vfs.note(disk.SYNC_NAMES)
        vfs.note_past_sqlite(disk.SYNC, _path_of(descriptor).name)

    with (
        mock.patch.object(os, "pwrite", seen_pwrite),
        mock.patch.object(os, "fsync", functools.partial(seen_sync, fsync)),
        mock.patch.object(os, "fdatasync", functools.partial(seen_sync, fdatasync)),
    ):
        yield


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def put_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make a database's files in a directory be these, and no others."""
    for path in directory.glob("log.db*"):
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (directory / name).write_bytes(content)
