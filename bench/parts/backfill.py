"""What `hansard backfill` takes, and what it costs those who record meanwhile.

The log holds supervisors' entries of about 300 bytes, with both built-in fields in each, and was
made while the settings file kept the fields from them. The command is timed from the shell's point
of view, beside a writer that nobody else uses; of that the same command's time is taken off when
nothing is left to be filled. The predecessor's figures are those that it published.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any, Final

import hansard_writer
from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure, percentile
from bench.measuring.processes import SPAWN, started
from bench.parts import sync
from hansard import AuditLog, requester, wire
from hansard.reader_connection import ReadConnection

PART: Final = "backfill"
# How many entries, what the predecessor takes for them (s), and how often it is tried.
SIZES: Final = ((1_000, 0.5, 15), (10_000, 3.0, 9), (100_000, 30.0, 3))
MILLION: Final = (1_000_000, 300.0, 1)
TIMES_AS_FAST: Final = 30
CALLS: Final = 1_000  # of the synchronous caller, in each round
ROUNDS: Final = 3
BESIDE_ENTRIES: Final = 100_000  # enough to be filled for longer than the calls take
P99_RATIO_MAX: Final = 2.0
FILLED_MIN: Final = 100  # while the calls last, or there was no backfill to speak of
FLUSH_S_MAX: Final = 600.0
START_S_MAX: Final = 60.0

EVENT_TYPE: Final = "V2_SUPERVISOR_DECISION"
_WITHOUT_FIELDS: Final = "\n".join(
    f'[derived.{name}]\ntype = "timestamp"\nevent_types = ["none"]'
    for name in ("source_event_ts", "supervisor_processed_at")
)


def run(
    place: Path,
    *,
    sizes: tuple[tuple[int, float, int], ...] = SIZES,
    million: bool = False,
    beside_entries: int = BESIDE_ENTRIES,
    rounds: int = ROUNDS,
    calls: int = CALLS,
) -> list[Figure]:
    """Fill logs of these sizes, and one more while somebody records. Raises `WrongEntries`."""
    place.mkdir()
    figures = []
    for entries, theirs_s, tries in (*sizes, MILLION) if million else sizes:
        figures += _filling(place / str(entries), entries, theirs_s, tries)
    return figures + _beside(place / "beside", beside_entries, rounds, calls)


def _filling(directory: Path, entries: int, theirs_s: float, tries: int) -> list[Figure]:
    made = directory.with_suffix(".made")
    _make(made, entries)
    results = []
    for _ in range(tries):
        shutil.copytree(made, directory, ignore=shutil.ignore_patterns("*.sock"))
        with hansard_writer.running(directory, log_level="error"):
            filling_s, start_s = _command_s(directory), _command_s(directory)
            results.append((filling_s - start_s, start_s))
        _check(directory, entries)
        shutil.rmtree(directory)
    shutil.rmtree(made)
    net_s, start_s = (sorted(each)[tries // 2] for each in zip(*results, strict=True))
    return [
        Figure(PART, f"{entries:,} entries", net_s * 1e3, "ms", theirs_s * 1e3 / TIMES_AS_FAST),
        Figure(PART, f"{entries:,} entries, an entry", net_s * 1e6 / entries, "µs"),
        Figure(PART, f"{entries:,} entries, the command's own start besides", start_s * 1e3, "ms"),
    ]


def _beside(directory: Path, entries: int, rounds: int, calls: int) -> list[Figure]:
    """The p99 of a synchronous caller who never pauses, by turns without a backfill and with."""
    _make(directory, entries)
    with hansard_writer.running(directory, log_level="error"):
        rows = [_round(directory, entries, calls) for _ in range(rounds)]
    alone_ns, beside_ns, rate = (sorted(each)[rounds // 2] for each in zip(*rows, strict=True))
    return [
        Figure(PART, "sync p99 alone", alone_ns / 1e3, "µs"),
        Figure(PART, "sync p99 beside a backfill", beside_ns / 1e3, "µs"),
        Figure(PART, "p99 beside / alone", beside_ns / alone_ns, "x", P99_RATIO_MAX),
        Figure(PART, "filled meanwhile", rate, "entries/s"),
    ]


def _round(directory: Path, entries: int, calls: int) -> tuple[float, float, float]:
    """The p99s, and how many entries a second were filled."""
    alone, filling, enough = SPAWN.Event(), SPAWN.Event(), SPAWN.Event()
    caller = started(_call, directory, calls, alone, filling, enough)
    if not alone.wait(START_S_MAX):
        raise TimeoutError("the synchronous caller was not answered")
    declared_at, _ = _marks(directory)
    command = subprocess.Popen(_command(directory, "--rebuild"), stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    _wait("the backfill did not begin", lambda: _marks(directory)[0] != declared_at)
    (_, before), began = _marks(directory), time.monotonic()
    filling.set()
    _wait(
        f"fewer than {FILLED_MIN} entries were filled in {START_S_MAX:.0f} s beside the caller",
        lambda: _marks(directory)[1] >= before + FILLED_MIN,
    )
    enough.set()
    durations = [sorted(each) for each in caller.recv()]
    (_, filled), seconds = _marks(directory), time.monotonic() - began
    command.send_signal(signal.SIGINT)
    command.wait()
    if filled >= entries:
        raise WrongEntries("the backfill ended before the calls: fill more entries")
    p99_alone, p99_beside = (percentile(each, 0.99) for each in durations)
    return p99_alone, p99_beside, (filled - before) / seconds


def _wait(otherwise: str, happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.01)


def _call(
    directory: Path,
    count: int,
    alone: Flag,
    filling: Flag,
    enough: Flag,
    result: "Connection[Any, Any]",
) -> None:
    """Record so many events synchronously, go on until there is a backfill, and so many more.

    The second lot lasts until the backfill has got on, too: it steps back for a caller, and on a
    busy machine so many calls alone would be a measurement beside nothing.
    """
    durations, clock = array("q"), time.perf_counter_ns

    def call() -> None:
        began = clock()
        log.record("bench.called", {"n": len(durations)}, timeout=sync.ANSWER_S_MAX)
        durations.append(clock() - began)

    with closing(result), AuditLog(directory, sync=True, best_effort=False) as log:
        for _ in range(count):
            call()
        alone.set()
        while not filling.is_set():
            call()
        before = len(durations)
        while len(durations) < before + count or not enough.is_set():
            call()
        result.send((durations[:count], durations[before:]))


def _command(directory: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "hansard_writer", "backfill", "--dir", str(directory), *options]


def _command_s(directory: Path) -> float:
    began = time.perf_counter()
    subprocess.run(_command(directory), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _make(directory: Path, entries: int) -> None:
    directory.mkdir(mode=0o700)
    settings = directory / "hansard.toml"
    settings.write_text(_WITHOUT_FIELDS)
    with (
        hansard_writer.running(directory, log_level="error"),
        AuditLog(directory, ack_timeout=FLUSH_S_MAX) as log,
    ):
        for number, payload in enumerate(_payloads(entries)):
            log.record(EVENT_TYPE, payload, task_id=f"task-{number // 20}")
        if not log.flush(FLUSH_S_MAX):
            raise TimeoutError("the log to be filled could not be written")
    settings.unlink()
    with hansard_writer.running(directory, log_level="error"):
        nothing = wire.Fill(0, 0, 0, wire.pack_values([]))  # clears what the file had declared
        while wire.filled_of(requester.ask_as_owner(directory, nothing, FLUSH_S_MAX)).has_retired:
            pass


def _payloads(count: int) -> Iterator[dict[str, Any]]:
    chance, moment = random.Random(count), datetime(2024, 1, 1, tzinfo=UTC)
    for number in range(count):
        moment += timedelta(microseconds=chance.randrange(2_000_000))
        processed = moment + timedelta(microseconds=chance.randrange(5_000_000))
        yield {
            "source_event_ts": moment.isoformat(),
            "decision": {
                "outcome": chance.choice(("approved", "rejected", "escalated")),
                "reason": "within the limits that were agreed on for this repository",
                "processed_at": processed.isoformat().replace("+00:00", "Z"),
            },
            "repo_id": f"repo-{chance.randrange(100):02}",
            "agent": f"agent-{chance.randrange(20)}",
            "step": number,
            "note": "no finding",
        }


def _check(directory: Path, entries: int) -> None:
    log = ReadConnection(directory)
    found = log.rows("SELECT field, count(*) FROM derived GROUP BY field ORDER BY field")
    log.close()
    expected = [("source_event_ts", entries), ("supervisor_processed_at", entries)]
    if found != expected:
        raise WrongEntries(f"a backfill has left {found}, and it should be {expected}")


def _marks(directory: Path) -> tuple[int, int]:
    """When the fields were declared, or begun anew, in entries; and up to where they are filled."""
    log = ReadConnection(directory)
    ((declared_at, filled_to),) = log.rows(
        "SELECT max(declared_at), min(filled_to) FROM derived_fields WHERE is_current"
    )
    log.close()
    return declared_at, filled_to
