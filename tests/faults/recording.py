"""A history on a simulated disk, played once: what is on that disk, and promised, at each call.

It cuts no power: `moments` say what a cut would meet, `recover` what must be so after it.
"""

import contextlib
import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faults import disk
from faults.checker import Noted
from faults.disk import Disk
from faults.promises import Answer, Key
from faults.scenario import Spools, Stage, play
from hansard.settings import SPOOL_BYTES_MIN
from hooked_vfs import HookedVfs, put_files, watched_descriptors


class Recording(NamedTuple):
    """From which disk on, by which calls; what was recorded and answered, and the workers' spools,
    each with the number of calls that came before."""

    disk: Disk
    calls: Sequence[disk.Call]
    answers: Sequence[Answer]
    spools: Sequence[Spools]
    noted: Sequence[Noted]
    payloads: Mapping[Key, dict[str, Any]]
    producer_ids: Sequence[bytes]


class Moment(NamedTuple):
    """Just before the call number ``at``: what is so then. ``spools`` are as they are, behind what
    they were at any time before."""

    at: int
    disk: Disk
    answers: Sequence[Answer]
    spools: Sequence[Spools]
    noted: Sequence[Noted]
    payloads: Mapping[Key, dict[str, Any]]
    producer_ids: Sequence[bytes]


def record(directory: Path) -> Recording:
    """The whole history, on a disk that nothing happens to."""
    vfs = HookedVfs()
    stage = Stage(directory, vfs)
    with closed_at_the_end(stage):
        stage.keep_spools()
        play(stage)
        stage.check_all()
        return _recorded(stage, vfs, Disk())


def record_next_run(directory: Path, moment: Moment, fails: str = "") -> Recording:
    """The process ends, or a sync of the file ``fails`` and it ends of that; the machine lives. The
    next run finds what the page cache has, tells producers of it, and goes on."""
    vfs = HookedVfs()
    vfs.disk = copy.deepcopy(moment.disk)
    if fails:
        vfs.disk.apply(disk.Call(disk.FAIL_SYNC, fails))
    since = copy.deepcopy(vfs.disk)
    stage = stage_at(directory, moment, vfs.disk.cached(), vfs=vfs)
    with closed_at_the_end(stage), watched_descriptors(vfs):
        stage.start_writer()
        for producer_id in moment.producer_ids:
            stage.greet(producer_id)
        stage.turns(2)
        worker = stage.worker("z")
        stage.record(worker, 2)
        stage.turns(3)
        stage.pass_time(2)  # TRUNCATE
        stage.turns(2)
        stage.record(worker, 2)
        stage.check_all()
        return _recorded(stage, vfs, since)


def moments(recording: Recording) -> Iterator[Moment]:
    """Before each call, and after the last. The disk is one object that goes on."""
    now = copy.deepcopy(recording.disk)
    _, calls, answers, spools, noted, payloads, producer_ids = recording
    for at in range(len(calls) + 1):
        until = [each for each in spools if each.at <= at]
        yield Moment(
            at,
            now,
            [answer for answer in answers if answer.at <= at],
            until,
            noted[: until[-1].noted],
            payloads,
            producer_ids,
        )
        if at < len(calls):
            now.apply(calls[at])


def recover(
    directory: Path,
    moment: Moment,
    files: Mapping[str, bytes],
    spools: Mapping[str, bytes] | None = None,
) -> None:
    """Start on what a power cut has left. What was answered must be so; and all that was recorded
    is in once the spools are: those of the moment, or others, which may have lost something."""
    stage = stage_at(directory, moment, files, spools)
    with closed_at_the_end(stage):
        stage.start_writer()
        stage.check_new_epoch()
        stage.check_answers()
        if spools is None:
            stage.check_all()
        else:
            stage.settle()
            stage.check_answers()
            stage.check_account([])


def stage_at(
    directory: Path,
    moment: Moment,
    files: Mapping[str, bytes],
    spools: Mapping[str, bytes] | None = None,
    vfs: HookedVfs | None = None,
) -> Stage:
    """No process lives: there are files, spools, and what was promised."""
    stage = Stage(directory, vfs)
    put_files(directory, files)
    for name, content in moment.spools[-1].beside.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)
    for name, content in (moment.spools[-1].contents if spools is None else spools).items():
        path = stage.spools / name
        path.write_bytes(content)
        with path.open("r+b") as file:
            file.truncate(SPOOL_BYTES_MIN)
    stage.witness.answers = [answer._replace(at=0) for answer in moment.answers]
    stage.noted = list(moment.noted)
    stage.recorded_payloads = dict(moment.payloads)
    stage.producer_ids = list(moment.producer_ids)
    stage.keep_spools()
    return stage


def _recorded(stage: Stage, vfs: HookedVfs, since: Disk) -> Recording:
    return Recording(
        since,
        list(vfs.calls),
        list(stage.witness.answers),
        stage.spools_kept,
        stage.noted,
        stage.recorded_payloads,
        stage.producer_ids,
    )


@contextlib.contextmanager
def closed_at_the_end(stage: Stage) -> Iterator[None]:
    """And nothing of it is left."""
    try:
        yield
    finally:
        stage.end()
        shutil.rmtree(stage.directory)
