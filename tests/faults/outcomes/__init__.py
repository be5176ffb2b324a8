"""Decided outcomes: what happens where a system may do this or that, each made tens of times."""

import collections
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from faults.outcomes import clocks, logs, places, processes, twins
from faults.outcomes.scene import Scene, Unmakeable
from faults.results import Row

TITLE: Final = "Decided outcomes"
TIMES: Final = 30


class Scenario(NamedTuple):
    """A fault, how it is made, what makes it once, and its outcome with the figures of all."""

    fault: str
    how: str
    make: Callable[[Scene], dict[str, int]]
    outcome: str


SCENARIOS: Final = (
    Scenario(
        "two writers at once",
        "four `hansard serve` at the same moment, beside one that serves or none",
        processes.two_writers,
        "one serves; {refused:,} exited with 4 and named its pid; {events:,} events entered once",
    ),
    Scenario(
        "stale lock and sockets",
        "the writer is killed; its lock names a living pid, its sockets are dead, or plain files",
        processes.stale_files,
        "the next writer takes over at once; {events:,} events entered once",
    ),
    Scenario(
        "the system is suspended",
        "writer and workers are stopped for three times `ack_timeout`",
        processes.suspension,
        "a sync caller hears `unknown`, and `lookup` says committed; {events:,} events entered "
        "once",
    ),
    Scenario(
        "a fork while other threads record",
        "two threads record on, children record at once; a third of them is killed",
        processes.forks_beside_threads,
        "{forks:,} children; {events:,} events entered once, each child its own producer",
    ),
    Scenario(
        "the clock is set",
        "by up to ten hours, back and forth, under writer and workers that take it from a file; "
        "also while a call is on its way",
        clocks.clock_is_set,
        "{events:,} events entered once, in order, under the times that the clock said; of the "
        "calls {ran:,} ran once and {rejected:,} were refused for their deadline: not run",
    ),
    Scenario(
        "a reader sleeps in a transaction",
        "while a client records until the WAL has grown by a MiB or more",
        logs.sleeping_reader,
        "no caller waited for it; `wal_bytes` in `hansard stats` said it; the WAL shrank again; "
        "{events:,} events entered once",
    ),
    Scenario(
        "the log is replaced by an older backup, its writer stopped",
        "the file is copied back; the client lives on",
        logs.replaced_while_stopped,
        "refused with exit 1, until `--accept-rollback`; {lost:,} events of the log that is gone "
        "are in `hansard.lost`, by number; the {events:,} others entered once",
    ),
    Scenario(
        "the same, its writer killed",
        "the backup is copied over the database, the WAL still beside it",
        logs.replaced_while_killed,
        "refused with exit 1 and both files untouched, until the WAL is moved away; {lost:,} "
        "events are in `hansard.lost`, the {events:,} others entered once",
    ),
    Scenario(
        "the log is replaced by an older backup under its writer",
        "a backup is renamed over it, or it is moved away first",
        logs.replaced_under_writer,
        "the writer ends with 1 before it acks; {lost:,} events are in `hansard.lost`, the "
        "{events:,} others entered once",
    ),
    Scenario(
        "two processes go on from one machine image",
        "the same producer id, the same committed events, then others, at the same time",
        twins.live_twins,
        "the later one takes a new id; {events:,} events entered once",
    ),
    Scenario(
        "a machine image's spool comes back",
        "one of two from one image is killed with other events under the same numbers",
        twins.dead_twin,
        "adopted under an id of its own; {events:,} events entered once",
    ),
    Scenario(
        "the directory is away, and put back",
        "moved under its writer and a client that records on",
        places.moved_and_back,
        "the writer ends with 1, the client goes on; {events:,} events entered once",
    ),
    Scenario(
        "the directory is removed, and a new log begun in it",
        "under its writer and a client that records on",
        places.removed,
        "the writer ends with 1; {parted:,} events that the removed log had not committed are "
        "counted as set aside or lost, none enters the new log; {events:,} later ones entered once",
    ),
    Scenario(
        "a spool is removed under its worker",
        "unlinked while events wait; later the worker is killed",
        places.spool_removed,
        "made again within a second; {events:,} events entered once",
    ),
    Scenario(
        "the directory becomes read-only",
        "`chattr +i` on it and its spool, under a writer, clients and a dead one's spool",
        places.read_only,
        "who has a spool goes on, who comes is in memory and is warned; {events:,} events entered "
        "once",
    ),
    Scenario(
        "the spools' disk is full",
        "room for two of four spools, then filled to the last byte",
        places.spool_disk_full,
        "nobody dies; {memory:,} clients went on in memory, warned; {events:,} events entered once",
    ),
)


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """Make each ``size`` times, 30 by default."""
    rows = []
    for scenario in SCENARIOS:
        rows.append(make(scenario, size or TIMES, seed))
        say(f"  {scenario.fault}: {rows[-1].outcome}")
    return rows


def make(scenario: Scenario, times: int, seed: int) -> Row:
    """Make one fault so many times."""
    figures: collections.Counter[str] = collections.Counter()
    for number in range(times):
        name = f"{seed}:{scenario.make.__name__}:{number}"
        try:
            with (
                tempfile.TemporaryDirectory(prefix="hansard-outcome-") as place,
                Scene(Path(place), name) as scene,
            ):
                figures.update(scenario.make(scene))
        except Unmakeable as error:
            return Row(scenario.fault, scenario.how, 0, f"not made: {error}")
        except Exception as error:
            raise AssertionError(f"{scenario.fault} ({name}): {error}") from error
    return Row(scenario.fault, scenario.how, times, scenario.outcome.format(**figures))
