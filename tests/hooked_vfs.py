"""SQLite's view of the disk, in a test's hands: what is written and what is really synced."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

Hook = Callable[[str], None]

_NUMBERS = itertools.count(1)


class HookedVfs(apsw.VFS):
    """The default file system, with a hook before each write to a database or its WAL,
    and each sync.

    A hook gets the file's name and may raise. `synced` has the database's and the WAL's bytes as
    they were at their last sync: what a power cut leaves.
    """

    def __init__(self) -> None:
        self.name = f"hooked-{next(_NUMBERS)}"
        self.on_write: Hook | None = None
        self.on_wal_write: Hook | None = None
        self.on_sync: Hook | None = None
        self.syncs: list[str] = []
        self.synced: dict[Path, bytes] = {}
        self.loses_syncs = False  # as when the process is killed before it comes to them
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(name, syncdir)
        self.synced.pop(Path(name), None)

    def cut_power(self) -> None:
        """Put every file back to what was synced of it."""
        for path, content in self.synced.items():
            path.write_bytes(content)


class _File(apsw.VFSFile):
    def __init__(self, vfs: HookedVfs, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        self._path = Path(name.filename() if hasattr(name, "filename") else name or "temporary")
        self._is_database = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        self._is_wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)
        super().__init__("", name, flags)
        if self._is_database or self._is_wal:
            vfs.synced.setdefault(self._path, self._path.read_bytes())

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        hook = self._vfs.on_write if self._is_database else self._vfs.on_wal_write
        if hook and (self._is_database or self._is_wal):
            hook(self._path.name)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        vfs = self._vfs
        if vfs.on_sync:
            vfs.on_sync(self._path.name)
        if vfs.loses_syncs:
            return
        super().xSync(flags)
        vfs.syncs.append(self._path.name)
        if self._path in vfs.synced:
            vfs.synced[self._path] = _content(self)


def _content(file: apsw.VFSFile) -> bytes:
    """The file's bytes, read through it: another descriptor would drop SQLite's locks."""
    size = file.xFileSize()
    return file.xRead(size, 0) if size else b""
