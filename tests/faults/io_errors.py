"""I/O errors: each of SQLite's calls fails in its turn, once or until the disk is repaired.

The writer either goes on by itself or ends, and is started on the repaired disk. Which of the two
is the product's business; here is checked that nothing is lost by it, nothing doubled, and that no
fsync is tried again on a handle where it has failed.
"""

import collections
import errno
import random
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import apsw

from faults.power_cut import MEMORY, told
from faults.recording import closed_at_the_end
from faults.results import Row
from faults.scenario import Stage, play, quietly
from faults.shared_memory import SystemCallFails, shared_memory_hooked
from hooked_vfs import HookedVfs

TITLE: Final = "I/O errors"

REPAIRED_AFTER_S: Final = 0.3  # where the writer goes on: it tries again every 0.1 s


class Fault(NamedTuple):
    """What a call answers: its name for people, SQLite's code (of a system call: errno), and of
    what is to be written the bytes that are."""

    name: str
    code: int
    written: int = 0


class Faulty(NamedTuple):
    """Which calls fail, how many of them there are from one fault to the next (a writer must be
    able to start in between), and what each may answer, by method or system call."""

    what: str
    calls_between: int
    answers: Mapping[str, tuple[Fault, ...]]

    @property
    def histories(self) -> int:
        """In so many each call has its turn with all that it may answer."""
        return self.calls_between * max(map(len, self.answers.values()))


METHODS: Final = Faulty(
    "calls to the disk",
    200,
    MappingProxyType(
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
    ),
)
SHARED_MEMORY: Final = Faulty(
    "system calls on the WAL's index",
    100,
    MappingProxyType(
        {
            "open": (Fault("EMFILE", errno.EMFILE),),
            "pwrite64": (Fault("ENOSPC", errno.ENOSPC),),
            "mmap": (Fault("ENOMEM", errno.ENOMEM),),
            "fcntl": (Fault("ENOLCK", errno.ENOLCK),),
        }
    ),
)


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """``size`` faults or a few more; None for each call in its turn, with all it may answer."""
    wanted = None if size is None else -(-size // 3)
    rows = ((METHODS, False), (METHODS, True), (SHARED_MEMORY, False))
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place, quietly():
        room = Path(place)
        return [_row(room, faulty, wanted, seed, lasting=lasting) for faulty, lasting in rows]


def _row(room: Path, faulty: Faulty, wanted: int | None, seed: int, *, lasting: bool) -> Row:
    numbers = list(range(faulty.histories))
    if wanted is not None:
        random.Random(seed).shuffle(numbers)
    made: collections.Counter[str] = collections.Counter()
    ended = histories = 0
    for number in numbers:
        if wanted is not None and made.total() >= wanted:
            break
        how_long = "lasting" if lasting else "single"
        with told(f"{faulty.what}, {how_long} faults, history {number}"):
            faults = play_with_faults(room / "log", number, faulty, lasting=lasting)
        made += faults.made
        ended += faults.ended
        histories += 1
    kinds = ", ".join(f"{count:,} {name}" for name, count in made.most_common())
    return Row(
        f"{faulty.what} that fail until the disk is repaired"
        if lasting
        else f"single {faulty.what} that fail",
        f"every {faulty.calls_between}th of SQLite's calls, in {histories} histories that each "
        f"begin with another call or fault: {kinds}",
        made.total(),
        f"the writer ended {ended:,} times, else went on; no fsync was tried again on its handle; "
        "all that was answered is there; all that was recorded is entered once, in order",
    )


class Faults:
    """Makes a history's faults: the hook of a stage's disk."""

    def __init__(
        self, stage: Stage, vfs: HookedVfs, number: int, faulty: Faulty, *, lasting: bool
    ) -> None:
        self.made: collections.Counter[str] = collections.Counter()
        self.ended = 0
        self._stage = stage
        self._vfs = vfs
        self._choice, self._calls_left = divmod(number, faulty.calls_between)
        self._faulty = faulty
        self._lasting = lasting
        self._broken: tuple[str, Fault] | None = None  # the method that fails
        self._repaired_at = 0.0
        self._hook()

    def before_call(self, method: str, _name: str) -> None:
        if method not in self._faulty.answers:
            return
        if self._broken and self._stage.now < self._repaired_at:
            broken, fault = self._broken
            if method == broken:
                raise self._error_of(fault)
            return
        self._calls_left -= 1
        if self._calls_left >= 0:
            return
        answers = self._faulty.answers[method]
        fault = answers[self._choice % len(answers)]
        self.made[fault.name] += 1
        self._calls_left = self._faulty.calls_between
        if self._lasting:
            self._broken = method, fault
            self._repaired_at = self._stage.now + REPAIRED_AFTER_S
        raise self._error_of(fault)

    def writer_ended(self, error: BaseException) -> None:
        """Of a fault, and the disk is repaired."""
        if not isinstance(error, Exception) or isinstance(error, AssertionError):
            raise error
        self.ended += 1
        self._broken = None
        self._hook()

    def _error_of(self, fault: Fault) -> Exception:
        """What a hook raises for a fault."""
        if self._faulty is SHARED_MEMORY:
            return SystemCallFails(fault.code)
        error = apsw.exception_for(fault.code)
        error.written = fault.written  # type: ignore[attr-defined]
        return error

    def _hook(self) -> None:
        self._vfs.before_call = self.before_call


def play_with_faults(
    directory: Path, number: int, faulty: Faulty = METHODS, *, lasting: bool
) -> Faults:
    """One history, and what must be so behind it."""
    vfs = HookedVfs()
    stage = Stage(directory, vfs)
    faults = Faults(stage, vfs, number, faulty, lasting=lasting)
    stage.on_end = faults.writer_ended
    is_hooked = shared_memory_hooked(vfs) if faulty is SHARED_MEMORY else nullcontext()
    with closed_at_the_end(stage), is_hooked:
        play(stage)
        vfs.before_call = None
        stage.check_all()
        assert not vfs.retried_syncs, f"synced again after a failed sync: {vfs.retried_syncs}"
    return faults
