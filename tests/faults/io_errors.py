"""I/O errors: each of SQLite's calls fails in its turn, once or until the disk is repaired.

The writer either goes on by itself or ends, and is started on the repaired disk. Which of the two
is the product's business; here is checked that nothing is lost by it, nothing doubled, and that no
fsync is tried again on a handle where it has failed.
"""

import collections
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import apsw

from faults.power_cut import MEMORY, told
from faults.recording import closed_at_the_end
from faults.results import Row
from faults.scenario import Stage, play, quietly
from hooked_vfs import HookedVfs

TITLE: Final = "I/O errors"

CALLS_BETWEEN_FAULTS: Final = 200  # in which a writer can start on a new disk
REPAIRED_AFTER_S: Final = 0.3  # where the writer goes on: it tries again every 0.1 s


class Fault(NamedTuple):
    """What a call answers: its name for people, SQLite's code, and of what is to be written the
    bytes that are."""

    name: str
    code: int
    written: int = 0


OF_METHOD: Final[Mapping[str, tuple[Fault, ...]]] = MappingProxyType(
    {
        "xWrite": (
            Fault("EIO", apsw.SQLITE_IOERR_WRITE),
            Fault("ENOSPC", apsw.SQLITE_FULL),
            Fault("short write, then ENOSPC", apsw.SQLITE_FULL, 512),
            Fault("short write, then EIO", apsw.SQLITE_IOERR_WRITE, 13),
        ),
        "xSync": (Fault("failed fsync", apsw.SQLITE_IOERR_FSYNC),),
        "xTruncate": (Fault("failed truncation", apsw.SQLITE_IOERR_TRUNCATE),),
        "xRead": (Fault("EIO on read", apsw.SQLITE_IOERR_READ),),
        "xOpen": (Fault("failed open", apsw.SQLITE_CANTOPEN),),
        "xDelete": (Fault("failed removal", apsw.SQLITE_IOERR_DELETE),),
        "xAccess": (Fault("failed access", apsw.SQLITE_IOERR_ACCESS),),
        "xFileSize": (Fault("failed fstat", apsw.SQLITE_IOERR_FSTAT),),
        "xLock": (Fault("failed lock", apsw.SQLITE_IOERR_LOCK),),
        "xUnlock": (Fault("failed unlock", apsw.SQLITE_IOERR_UNLOCK),),
    }
)


HISTORIES: Final = CALLS_BETWEEN_FAULTS * max(map(len, OF_METHOD.values()))


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """``size`` faults or a few more, one half of them lasting; None for every call in its turn,
    with all that it may answer."""
    numbers = list(range(HISTORIES))
    if size is not None:
        random.Random(seed).shuffle(numbers)
    wanted = None if size is None else size // 2
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place, quietly():
        room = Path(place)
        return [_row(room, numbers, wanted, lasting=lasting) for lasting in (False, True)]


def _row(room: Path, numbers: Sequence[int], wanted: int | None, *, lasting: bool) -> Row:
    made: collections.Counter[str] = collections.Counter()
    ended = histories = 0
    for number in numbers:
        if wanted is not None and made.total() >= wanted:
            break
        with told(f"{'lasting' if lasting else 'single'} faults, history {number}"):
            faults = play_with_faults(room / "log", number, lasting=lasting)
        made += faults.made
        ended += faults.ended
        histories += 1
    kinds = ", ".join(f"{count:,} {name}" for name, count in made.most_common())
    return Row(
        "calls that fail until the disk is repaired" if lasting else "single calls that fail",
        f"every {CALLS_BETWEEN_FAULTS}th of SQLite's calls to the disk, beginning with another one "
        f"or with another fault in each of {histories} histories: {kinds}",
        made.total(),
        f"the writer ended {ended:,} times, else went on; no fsync was tried again on its handle; "
        "all that was answered is there; all that was recorded is entered once, in order",
    )


class Faults:
    """Makes a history's faults: the hook of a stage's disk."""

    def __init__(self, stage: Stage, vfs: HookedVfs, number: int, *, lasting: bool) -> None:
        self.made: collections.Counter[str] = collections.Counter()
        self.ended = 0
        self._stage = stage
        self._vfs = vfs
        self._choice, self._calls_left = divmod(number, CALLS_BETWEEN_FAULTS)
        self._lasting = lasting
        self._broken: tuple[str, Fault] | None = None  # the method that fails
        self._repaired_at = 0.0
        self._hook()

    def before_call(self, method: str, _name: str) -> None:
        if self._broken and self._stage.now < self._repaired_at:
            broken, fault = self._broken
            if method == broken:
                raise error_of(fault)
            return
        self._calls_left -= 1
        if self._calls_left >= 0:
            return
        fault = OF_METHOD[method][self._choice % len(OF_METHOD[method])]
        self.made[fault.name] += 1
        self._calls_left = CALLS_BETWEEN_FAULTS
        if self._lasting:
            self._broken = method, fault
            self._repaired_at = self._stage.now + REPAIRED_AFTER_S
        raise error_of(fault)

    def writer_ended(self, error: BaseException) -> None:
        """Of a fault, and the disk is repaired."""
        if not isinstance(error, Exception) or isinstance(error, AssertionError):
            raise error
        self.ended += 1
        self._broken = None
        self._hook()

    def _hook(self) -> None:
        self._vfs.before_call = self.before_call


def play_with_faults(directory: Path, number: int, *, lasting: bool) -> Faults:
    """One history, and what must be so behind it."""
    vfs = HookedVfs()
    stage = Stage(directory, vfs)
    faults = Faults(stage, vfs, number, lasting=lasting)
    stage.on_end = faults.writer_ended
    with closed_at_the_end(stage):
        play(stage)
        vfs.before_call = None
        stage.check_all()
        assert not vfs.retried_syncs, f"synced again after a failed sync: {vfs.retried_syncs}"
    return faults


def error_of(fault: Fault) -> apsw.Error:
    """What a method raises to answer a fault."""
    error = apsw.exception_for(fault.code)
    error.written = fault.written  # type: ignore[attr-defined]
    return error
