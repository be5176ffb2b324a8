"""Power cut, simulated: at every call that changes the disk, with all that a disk may leave then.

A history is played once on a simulated disk; what power cuts leave of it is made from its calls.
"""

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from faults import disk
from faults.recording import (
    Recording,
    closed_at_the_end,
    moments,
    record,
    record_next_run,
    recover,
)
from faults.results import Row
from faults.scenario import Spools, Stage, play, quietly
from hooked_vfs import HookedVfs
from stepped import Killed

TITLE: Final = "Power cut, simulated"

MEMORY: Final = Path("/dev/shm")
SPOOL_PAGE: Final = 4_096
CALLS_BETWEEN_CUTS_MAX: Final = 60
CALLS_OF_A_NEW_LOG_MAX: Final = 400  # which is made in one transaction, or not at all
AGAIN_AND_AGAIN: Final = 500  # cuts, in full
CUTS_OF_A_RUN: Final = 5  # where it is not every one
OF_RUNS_SURVIVE: Final = (disk.NOTHING, disk.SCATTERED)  # of what the next run has not synced

Point = tuple[int, str]  # the call before which power is cut, and what survives


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """``size`` cuts or a few more; None for each row's full number."""
    share = None if size is None else -(-size // 4)
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as place, quietly():
        room = Path(place)
        recording = record(room / "recorded")
        say(f"  a history of {len(recording.calls)} calls and {len(recording.answers)} answers")
        return [
            _everywhere(recording, room, share, seed),
            _with_the_spools(recording, room, share, seed),
            _after_recovery(recording, room, share, seed, fails=False),
            _after_recovery(recording, room, share, seed, fails=True),
            _again_and_again(room, share, seed),
        ]


# --- the rows ---


def _everywhere(recording: Recording, room: Path, size: int | None, seed: int) -> Row:
    points = _points(recording, disk.SURVIVORS, size, seed)
    cut(recording, points, room, seed)
    return Row(
        "power cut",
        f"before every one of {len(recording.calls)} calls that write, sync, truncate, make or "
        "remove log.db, its WAL or its journal; what is not synced is gone, there, torn at a "
        "sector, scattered by sectors in any order, or zeros",
        len(points),
        "integrity_check ok, a higher epoch; all that was answered is there; all that was recorded "
        "is entered once, in order",
    )


def _with_the_spools(recording: Recording, room: Path, size: int | None, seed: int) -> Row:
    points = _points(recording, (disk.SCATTERED,), size, seed)
    cut(recording, points, room, seed, spools_too=True)
    return Row(
        "power cut on the workers' machine too",
        "the same, and of the spools any page is as it was at any time before, or the file is gone",
        len(points),
        "integrity_check ok; all that was answered is there; nothing twice, in order",
    )


def _after_recovery(
    recording: Recording, room: Path, size: int | None, seed: int, *, fails: bool
) -> Row:
    """At each sync of the history, or some, the run ends; the next one finds what the page cache
    has."""
    syncs = {at: call.name for at, call in enumerate(recording.calls) if call.kind == disk.SYNC}
    if size is not None:
        some = random.Random(seed).sample(
            sorted(syncs.items()), min(-(-size // CUTS_OF_A_RUN), len(syncs))
        )
        syncs = dict(some)
    count = 0
    for moment in moments(recording):
        if moment.at in syncs:
            with told(f"a run that ends at call {moment.at}, seed {seed}"):
                fault = syncs[moment.at] if fails else ""
                next_run = record_next_run(room / "next", moment, fault)
                of_each = None if size is None else CUTS_OF_A_RUN
                points = _points(next_run, OF_RUNS_SURVIVE, of_each, seed)
                cut(next_run, points, room, seed)
            count += len(points)
    how = (
        f"each of {len(syncs)} fsyncs fails, the page cache calls its pages clean, the writer ends"
        if fails
        else f"the writer is killed before each of {len(syncs)} fsyncs, and the page cache is kept"
    )
    return Row(
        "failed fsync, then power cut" if fails else "power cut after recovery",
        f"{how}; the next run answers what recovery shows and goes on; power is cut before any of "
        "its calls",
        count,
        "all that either run answered is there; all that was recorded is entered once, in order",
    )


def _again_and_again(room: Path, size: int | None, seed: int) -> Row:
    """The workers live through it, on another machine, and send again what was not acked."""
    count, runs = 0, 0
    while count < (AGAIN_AND_AGAIN if size is None else size):
        with told(f"seed {seed}, history {runs}"):
            count += _play_with_cuts(room / "living", random.Random(f"{seed} {runs}"))
        runs += 1
    return Row(
        "power cut, again and again",
        f"while workers on another machine live through {runs} histories: up to "
        f"{CALLS_BETWEEN_CUTS_MAX} calls between two cuts",
        count,
        "all that was recorded is entered once, in order; all that was answered is there",
    )


# --- cutting ---


def cut(
    recording: Recording,
    points: Iterable[Point],
    room: Path,
    seed: int,
    *,
    spools_too: bool = False,
) -> None:
    """Cut power at these points of a recording, and recover from each."""
    at_call: dict[int, list[str]] = {}
    for at, survives in points:
        at_call.setdefault(at, []).append(survives)
    for moment in moments(recording):
        for survives in at_call.get(moment.at, ()):
            chance = random.Random(f"{seed} {moment.at} {survives}")
            with told(f"call {moment.at} of {len(recording.calls)}: {survives}; seed {seed}"):
                files = moment.disk.after_power_cut(survives, chance)
                spools = some_pages(moment.spools, chance) if spools_too else None
                recover(room / "cut", moment, files, spools)


def some_pages(history: Sequence[Spools], chance: random.Random) -> Mapping[str, bytes]:
    """Spools whose machine lost power: any page as it was at any time, or no file at all."""
    spools = {}
    for name in sorted({name for each in history for name in each.contents}):
        versions = [each.contents.get(name, b"") for each in history]
        if chance.random() < 0.2:
            continue
        pages = range(0, max(map(len, versions)), SPOOL_PAGE)
        spools[name] = b"".join(
            chance.choice(versions)[at : at + SPOOL_PAGE].ljust(SPOOL_PAGE, b"\0") for at in pages
        )
    return spools


class _Cuts:
    """Cuts power now and then: the hook of a stage's disk."""

    def __init__(self, vfs: HookedVfs, chance: random.Random, stage: Stage) -> None:
        self.count = 0
        self._stage = stage
        self._is_made = False
        self._vfs = vfs
        self._chance = chance
        self._plan()

    def before_call(self, method: str, _name: str) -> None:
        if method not in ("xWrite", "xSync", "xTruncate", "xDelete"):
            return
        self._calls_left -= 1
        if self._calls_left < 0:  # and whatever is tried after that is tried in vain
            raise Killed

    def ended(self, error: BaseException) -> None:
        if not isinstance(error, Killed):
            raise error
        self.count += 1
        self._vfs.cut_power(self._chance.choice(disk.SURVIVORS), self._chance)
        self._plan()

    def _plan(self) -> None:
        self._is_made |= self._stage.predecessor is not None
        most = CALLS_BETWEEN_CUTS_MAX if self._is_made else CALLS_OF_A_NEW_LOG_MAX
        self._calls_left = self._chance.randrange(most)
        self._vfs.before_call = self.before_call


def _play_with_cuts(directory: Path, chance: random.Random) -> int:
    vfs = HookedVfs()
    stage = Stage(directory, vfs)
    cuts = _Cuts(vfs, chance, stage)
    stage.on_end = cuts.ended
    with closed_at_the_end(stage):
        play(stage)
        vfs.before_call = None
        stage.check_all()
    return cuts.count


def _points(
    recording: Recording, survivors: Sequence[str], size: int | None, seed: int
) -> list[Point]:
    """Every call with all that may survive; or some."""
    points = [(at, each) for at in range(len(recording.calls) + 1) for each in survivors]
    return points if size is None else random.Random(seed).sample(points, min(size, len(points)))


@contextlib.contextmanager
def told(where: str) -> Iterator[None]:
    """A failure says where it was, to be made again."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{where}: {error!r}") from error
