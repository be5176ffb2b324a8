"""A disk, simulated: what was written to its files, and what of it a power cut leaves.

Pure: calls go in as values, the bytes of files come out. It knows nothing of SQLite.

The rules are those of POSIX and of disks that keep their word: a sync of a file makes its bytes and
size last, a sync of the directory its names; of everything else each sector (512 bytes) may have
any of the contents that it had since, in any order. A sync that fails makes nothing last, and
leaves the page cache clean: a later sync writes only the pages (4 KiB) that were written since.
"""

import random
from collections.abc import Callable
from typing import Final, NamedTuple

SECTOR: Final = 512
PAGE: Final = 4_096

WRITE: Final = "write"
TRUNCATE: Final = "truncate"
SYNC: Final = "sync"
FAIL_SYNC: Final = "fail to sync"
CREATE: Final = "create"
DELETE: Final = "delete"
SYNC_NAMES: Final = "sync the directory"

# What a power cut leaves of all that is not synced.
NOTHING: Final = "nothing"
EVERYTHING: Final = "everything"
TORN: Final = "everything, the last write torn"
SCATTERED: Final = "any of it"
SIZES: Final = "sizes and names, zeros for data"
SURVIVORS: Final = (NOTHING, EVERYTHING, TORN, SCATTERED, SIZES)


class Call(NamedTuple):
    """One call that changes the disk. ``offset`` is also the size that a truncation leaves."""

    kind: str
    name: str = ""
    offset: int = 0
    data: bytes = b""


class Disk:
    """One directory. `apply` what is called, in its order; `after_power_cut` may be asked at any
    time, and changes nothing."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self._files = {name: _File(content) for name, content in (files or {}).items()}
        self._synced_names = dict(self._files)
        self._last: tuple[_File, int, int, bytes] | None = None  # the last write, and what was

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def apply(self, call: Call) -> None:
        """Take in what was called."""
        kind, name, offset, data = call
        self._last = None
        if kind == CREATE:
            self._files[name] = _File()
        elif kind == DELETE:
            self._files.pop(name, None)
        elif kind == SYNC_NAMES:
            self._synced_names = dict(self._files)
        elif kind == WRITE:
            file = self._files[name]
            before = bytes(file.cached[offset : offset + len(data)])
            self._last = (file, offset, len(data), before)
            file.write(offset, data)
        elif kind == TRUNCATE:
            self._files[name].truncate(offset)
        else:
            self._files[name].sync(fails=kind == FAIL_SYNC)

    def rewrite(self, name: str) -> list[Call]:
        """The calls that write a file's bytes once more where they are, and sync it."""
        return [Call(WRITE, name, 0, bytes(self._files[name].cached)), Call(SYNC, name)]

    def cached(self) -> dict[str, bytes]:
        """The files as processes see them: what a killed process leaves."""
        return {name: bytes(file.cached) for name, file in self._files.items()}

    def after_power_cut(self, survives: str, chance: random.Random) -> dict[str, bytes]:
        """The files as they are once there is power again."""
        files = self._files
        if survives == NOTHING:
            files = self._synced_names
        elif survives == SCATTERED:
            files = self._some_names(chance)
        return {name: self._content(file, survives, chance) for name, file in files.items()}

    def _some_names(self, chance: random.Random) -> "dict[str, _File]":
        """Of each name that changed since, the old file or the new one."""
        files = {}
        for name in sorted(self._files.keys() | self._synced_names.keys()):
            file = chance.choice((self._files, self._synced_names)).get(name)
            if file is not None:
                files[name] = file
        return files

    def _content(self, file: "_File", survives: str, chance: random.Random) -> bytes:
        if survives == NOTHING:
            return file.synced
        if survives == SCATTERED:
            return file.scattered(chance)
        if survives == SIZES:
            return file.extended()
        if survives == TORN and self._last and self._last[0] is file:
            return _torn(*self._last, chance)
        return file.written()


class _Unsynced:
    """What may be written of a file, from some content on: sizes, and versions of sectors."""

    def __init__(self, base: bytes) -> None:
        self.base = base
        self.sizes = [len(base)]
        self.versions: dict[int, list[bytes]] = {}  # of all pages that are dirty

    def touch(self, cached: bytearray, offset: int, end: int) -> None:
        """All pages in a range have a further version."""
        self.sizes.append(len(cached))
        first = offset // PAGE * (PAGE // SECTOR)
        last = -(-end // PAGE) * (PAGE // SECTOR)
        for sector in range(first, last):
            versions = self.versions.setdefault(sector, [_sector(self.base, sector)])
            now = _sector(cached, sector)
            if versions[-1] != now:
                versions.append(now)

    def cut_to(self, size: int) -> "_Unsynced":
        """The same for the file that a truncation leaves."""
        rest = _Unsynced(self.base[:size])
        for sector, versions in self.versions.items():
            if sector * SECTOR < size:
                rest.versions[sector] = [
                    _sector(each[: size - sector * SECTOR], 0) for each in versions
                ]
        return rest

    def written(self, size: int, choose: Callable[[list[bytes]], bytes]) -> bytes:
        """The file with a size, and one version of each sector."""
        content = bytearray(self.base[:size].ljust(size, b"\0"))
        for sector, versions in self.versions.items():
            at = sector * SECTOR
            if at < size:
                part = choose(versions)[: size - at]
                content[at : at + len(part)] = part
        return bytes(content)


class _File:
    """What the page cache has of a file, what the disk has, and what may be written. A truncation
    is on the disk or not, as a whole; so there is one `_Unsynced` for each."""

    def __init__(self, content: bytes = b"") -> None:
        self.cached = bytearray(content)
        self.synced = content
        self._unsynced = [_Unsynced(content)]

    def write(self, offset: int, data: bytes) -> None:
        if len(self.cached) < offset:
            self.cached.extend(bytes(offset - len(self.cached)))
        self.cached[offset : offset + len(data)] = data
        self._unsynced[-1].touch(self.cached, offset, offset + len(data))

    def truncate(self, size: int) -> None:
        if size < len(self.cached):
            del self.cached[size:]
            self._unsynced.append(self._unsynced[-1].cut_to(size))
        else:
            self.cached.extend(bytes(size - len(self.cached)))
            self._unsynced[-1].sizes.append(size)

    def sync(self, *, fails: bool) -> None:
        if not fails:
            self.synced = self.written()
            self._unsynced = [_Unsynced(self.synced)]
        for each in self._unsynced:
            each.versions.clear()

    def written(self) -> bytes:
        """The file once its size and its dirty pages are written."""
        return self._unsynced[-1].written(len(self.cached), lambda versions: versions[-1])

    def extended(self) -> bytes:
        """The file once only its size is."""
        size = len(self.cached)
        return self._unsynced[-1].base[:size].ljust(size, b"\0")

    def scattered(self, chance: random.Random) -> bytes:
        """The file with any size and any sectors that it had."""
        unsynced = chance.choice(self._unsynced)
        return unsynced.written(chance.choice(unsynced.sizes), chance.choice)


def _sector(content: bytes | bytearray, sector: int) -> bytes:
    return bytes(content[sector * SECTOR : (sector + 1) * SECTOR]).ljust(SECTOR, b"\0")


def _torn(file: _File, offset: int, size: int, before: bytes, chance: random.Random) -> bytes:
    """A file as of a write that was cut at a sector's boundary: behind it is what was before."""
    content = bytearray(file.written())
    boundaries = range((offset // SECTOR + 1) * SECTOR, offset + size, SECTOR)
    cut = chance.choice(boundaries) if boundaries else offset
    content[cut : offset + size] = before[cut - offset :]
    return bytes(content)
