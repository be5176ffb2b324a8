"""Where what is in a directory of Parquet files, and by which names. Pure but for what it lists.

    entries/log=TOKEN/FIRST-LAST.parquet    ranges of entries, for whoever asks; nothing else
    checkpoints/log=TOKEN/SIZE.checkpoint   signed checkpoints (C2SP), each under its size
    staging/log=TOKEN/FIRST-LAST.parquet    batches that wait to become a range
    staging/log=TOKEN/FIRST-LAST.pending    one whose redactions and prunes are not carried out
    staging/log=TOKEN/_…                    what is being written, and who ships

FIRST, LAST and SIZE have 20 digits, so that names sort as numbers do. TOKEN is an origin without
``hansard/``, and with a dot for a slash. The checkpoint of a range is the first whose SIZE is not
less than its LAST.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from hansard_writer.rollback_guard import ORIGIN_PREFIX
from hansard_writer.shipping.target import TargetRefused

DIGITS: Final = 20
PARQUET: Final = ".parquet"
PENDING: Final = ".pending"
OURS_ALONE: Final = "_"  # names that begin with it are passed over by Spark and Trino

ENTRIES: Final = "entries"
CHECKPOINTS: Final = "checkpoints"
STAGING: Final = "staging"
_LOG: Final = "log="
_HOLDER: Final = f"{OURS_ALONE}shipper"
_CHECKPOINT: Final = ".checkpoint"

_ORIGIN: Final = re.compile(rf"{ORIGIN_PREFIX}[0-9a-f]{{2,64}}(/[1-9][0-9]{{0,17}})?", re.ASCII)
_TOKEN: Final = re.compile(r"[0-9a-f]{2,64}(\.[1-9][0-9]{0,17})?", re.ASCII)
_RANGE: Final = re.compile(
    rf"([0-9]{{{DIGITS}}})-([0-9]{{{DIGITS}}})(\{PARQUET}|\{PENDING})", re.ASCII
)
_SIZE: Final = re.compile(rf"([0-9]{{{DIGITS}}})\{_CHECKPOINT}", re.ASCII)


class Part(NamedTuple):
    """A file of entries, by its name: from the first to the last one."""

    first: int
    last: int
    path: Path

    @property
    def is_pending(self) -> bool:
        """Whether what it says is taken out may still be there."""
        return self.path.suffix == PENDING

    def has_some(self, first: int, last: int) -> bool:
        """Whether it has some of the entries from first to last."""
        return self.first <= last and first <= self.last

    def named(self, first: int, suffix: str) -> "Part":
        """The same under another name."""
        return Part(first, self.last, self.path.with_name(_range_name(first, self.last) + suffix))


class LogPlace(NamedTuple):
    """The folders of one log."""

    entries: Path
    checkpoints: Path
    staging: Path

    @property
    def holder(self) -> Path:
        """Who ships the log there."""
        return self.staging / _HOLDER

    def range(self, first: int, last: int) -> Part:
        """A file of entries for others to read."""
        return Part(first, last, self.entries / (_range_name(first, last) + PARQUET))

    def staged(self, first: int, last: int, suffix: str) -> Part:
        """A batch that waits."""
        return Part(first, last, self.staging / (_range_name(first, last) + suffix))

    def checkpoint(self, size: int) -> Path:
        """The file of a checkpoint."""
        return self.checkpoints / f"{size:0{DIGITS}}{_CHECKPOINT}"


def place_of(directory: Path, origin: str) -> LogPlace:
    """The folders of a log. Raises `TargetRefused` for an origin that is none of ours."""
    if not _ORIGIN.fullmatch(origin):
        raise TargetRefused(
            f"{origin!r:.100} is no origin of a log of hansard: it gives no name for its folder"
        )
    name = _LOG + origin.removeprefix(ORIGIN_PREFIX).replace("/", ".")
    return LogPlace(*(directory / each / name for each in (ENTRIES, CHECKPOINTS, STAGING)))


def origins_in(directory: Path) -> list[str]:
    """The logs that a directory has entries of. Raises OSError, and `TargetRefused` where somebody
    else's files are among the entries."""
    found = set()
    for folder in (ENTRIES, STAGING):
        for path in _listed(directory / folder):
            token = path.name.removeprefix(_LOG)
            if path.name == token or not _TOKEN.fullmatch(token):
                raise _not_ours(path)
            if any(_RANGE.fullmatch(each.name) for each in _listed(path)):
                found.add(ORIGIN_PREFIX + token.replace(".", "/"))
    return sorted(found)


def left_of_others(directory: Path, origin: str) -> list[str]:
    """The other origins of a log under which batches wait. A log that has its first origin has no
    other one. Raises as `origins_in` does."""
    first, _, number = origin.removeprefix(ORIGIN_PREFIX).partition("/")
    if not number:
        return []
    found = []
    for path in _listed(directory / STAGING):
        token = path.name.removeprefix(_LOG)
        other = ORIGIN_PREFIX + token.replace(".", "/")
        is_of_it = token == first or token.startswith(f"{first}.")
        if is_of_it and other != origin and parts_in(path):
            found.append(other)
    return sorted(found)


def parts_in(folder: Path) -> list[Part]:
    """The files of entries in a folder, in order. Raises as `origins_in` does."""
    found = []
    for path in _listed(folder):
        match = _RANGE.fullmatch(path.name)
        if match:
            found.append(Part(int(match[1]), int(match[2]), path))
        elif folder.parent.name == ENTRIES or not path.name.startswith((OURS_ALONE, ".")):
            raise _not_ours(path)
    return sorted(found)


def sizes_in(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints in a folder, ascending. Raises OSError."""
    found = ((_SIZE.fullmatch(path.name), path) for path in _listed(folder))
    return sorted((int(match[1]), path) for match, path in found if match)


def leftovers_in(place: LogPlace) -> list[Path]:
    """What was being written when somebody was killed. Raises OSError."""
    return [
        path
        for path in _listed(place.staging)
        if path.name.startswith(OURS_ALONE) and path != place.holder
    ]


def _listed(folder: Path) -> Iterator[Path]:
    """In no order; nothing where the folder is not there."""
    try:
        yield from list(folder.iterdir())
    except FileNotFoundError:
        return


def _range_name(first: int, last: int) -> str:
    return f"{first:0{DIGITS}}-{last:0{DIGITS}}"


def _not_ours(path: Path) -> TargetRefused:
    return TargetRefused(
        f"{path} is nothing that `hansard ship` wrote, and whoever reads the entries would take it "
        "for some: move it elsewhere"
    )
