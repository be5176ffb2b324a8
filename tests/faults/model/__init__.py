"""Any history: a state machine drives producers, wire, writer and store through whatever may
happen, in any order, and holds them against a simple reference model after every step.

`machine` has the rules; `subject` and `watched` are a worker and a log that are looked at; `view`
is what a database says, and `reference` what must be so.
"""

import contextlib
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import seed as seeded
from hypothesis.stateful import run_state_machine_as_test

from faults.model.machine import History
from faults.results import Row

TITLE: Final = "Any history, held against a reference model after every step"

STEPS: Final = 100_000
STEPS_A_HISTORY: Final = 100
HISTORIES_A_ROUND: Final = 100  # under one seed
EVENTS_A_FRAME: Final = 3  # instead of 250: more frames for as many events

_IN_MEMORY: Final = Path("/dev/shm")


class _Kind(NamedTuple):
    fault: str
    how: str
    outcome: str
    names: tuple[str, ...]  # as `History.counts` has them


_KINDS: Final = (
    _Kind(
        "frames that go astray",
        "lost, doubled, shuffled, or late: in another run, a restored log, another log",
        "none entered twice, none out of order; what was lost was sent again",
        (
            "a frame is lost",
            "a frame is doubled",
            "frames change their order",
            "a frame arrives late, perhaps in another run, or another log",
        ),
    ),
    _Kind(
        "requests and answers that go astray",
        "lost, doubled, late; and workers that ask again after a silence",
        "no answer said more than was committed; nothing was freed that was not",
        (
            "a request is lost",
            "a request is doubled",
            "an answer is lost",
            "an answer is doubled",
            "an answer arrives late, and out of order",
            "a worker asks again, after a silence",
        ),
    ),
    _Kind(
        "connections lost",
        "all at once, or one worker's, with its frames still on their way",
        "everything above the watermark was sent again, and entered once",
        ("all connections are lost", "a worker reconnects, with its frames still on their way"),
    ),
    _Kind(
        "the writer killed",
        "between two steps, before any statement of a transaction, before an answer, before an "
        "adopted spool is removed; with and without what is on its way",
        "each transaction there wholly or not at all; adoption went on",
        (
            "the writer is killed",
            "the writer is killed before a statement",
            "the writer is killed before an answer",
            "the writer is killed before it removes a spool",
        ),
    ),
    _Kind(
        "the writer stopped", "as by SIGTERM", "nothing changed behind it", ("the writer stops",)
    ),
    _Kind(
        "a worker killed",
        "between calls, with a record written up to any byte, or with what is committed half freed",
        "all that `record()` had returned for was adopted, once",
        (
            "a worker is killed",
            "a worker is killed in the middle of a record",
            "a worker is killed while it frees what is committed",
        ),
    ),
    _Kind(
        "a worker closed",
        "with events waiting, or not",
        "its spool was adopted",
        ("a worker closes",),
    ),
    _Kind(
        "a spool that changes under the writer's eyes",
        "its worker closes, or renumbers it, between the writer's opening it and the lock",
        "the living were left alone, nothing entered twice",
        ("a worker acts while the writer looks at its spool",),
    ),
    _Kind(
        "a fork",
        "the child holds its parent's descriptors and memory, perhaps beyond its parent's death",
        "the parent's events stayed the parent's; the child was another producer",
        ("a worker forks",),
    ),
    _Kind(
        "a copied machine image",
        "two processes with one producer id, with what waits in both",
        "what waited was entered, at most once for each image; one went on under a new id",
        ("a machine image is copied",),
    ),
    _Kind(
        "a log that went back in time",
        "a copy, made of its files or by a backup, is put in its place",
        "`hansard.lost` with exactly the numbers that nobody held any more; the rest entered",
        ("the log goes back in time",),
    ),
    _Kind(
        "another log in the directory",
        "a new one, or one that was there before",
        "each event in one log only",
        ("another log takes its place",),
    ),
    _Kind(
        "no room for an event",
        "queues of 2 to 5 events, spools full of large ones",
        "each drop counted, and told by the log once",
        ("an event finds no room",),
    ),
    _Kind(
        "no spool to be had",
        "the file cannot be made",
        "nothing lost while the worker lived",
        ("a worker gets no spool",),
    ),
    _Kind(
        "SQLite locked, or full",
        "another connection holds the write lock; the database may not grow",
        "the batch was kept, and committed later, once",
        ("another program locks the database", "the disk is full"),
    ),
    _Kind(
        "the clock set",
        "back by up to a day, or forward",
        "order is that of the numbers",
        ("the clock is set, mostly back", "the clock is set forward"),
    ),
    _Kind(
        "events that cannot be entered",
        "invalid, malformed, of tasks that are not registered, joined to such; replayed",
        "dead letters with their companions; orphans entered once, with their task",
        (
            "an event is refused",
            "an event of a task is recorded",
            "a task is registered",
            "events are recorded together",
            "dead letters are replayed",
        ),
    ),
    _Kind(
        "callers that wait, and give up",
        "a ticket for the id, or for a flush; a lookup by key",
        "each told the truth",
        ("a caller waits", "a caller's time is up", "an outcome is looked up"),
    ),
)


def run(size: int | None = None, *, seed: int = 1, say: Callable[[str], None] = print) -> list[Row]:
    """Make histories of `STEPS_A_HISTORY` steps until there are ``size`` steps, by default
    `STEPS`. Fails with the steps of the shortest history that was found to go wrong."""
    size = size or STEPS
    counts = History.counts = Counter()
    with _quick_and_quiet():
        for round_number in range(size):
            if counts["steps"] >= size:
                break
            _run_round(seed * 1_000_000 + round_number, size - counts["steps"])
            say(f"{counts['steps']:,} of {size:,} steps")
    kinds = [_row(kind, counts) for kind in _KINDS]
    outcome = (
        f"{counts['histories']:,} histories, {counts['events']:,} events: each in its log once, "
        "in order, or in a dead letter, or told to be lost"
    )
    how = "a Hypothesis state machine over the pure core; invariants are checked after each"
    return [Row("steps of any history", how, counts["steps"], outcome), *kinds]


def _run_round(seed: int, steps: int) -> None:
    seeded(seed)(History)
    histories = min(HISTORIES_A_ROUND, -(-steps // STEPS_A_HISTORY))
    how = settings(
        max_examples=histories,
        stateful_step_count=STEPS_A_HISTORY,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(History, settings=how)
    except Exception as error:
        history = "\n".join(getattr(error, "__notes__", []))
        raise AssertionError(f"{error}\nin round {seed}, by\n{history}") from error


def _row(kind: _Kind, counts: Counter[str]) -> Row:
    return Row(kind.fault, kind.how, sum(counts[name] for name in kind.names), kind.outcome)


@contextlib.contextmanager
def _quick_and_quiet() -> Iterator[None]:
    """Logs in memory, small frames, and none of the warnings that these faults are worth."""
    log = logging.getLogger("hansard")
    level = log.level
    memory = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    with contextlib.ExitStack() as stack:
        History.place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))
        for module in ("spool.live", "spool.orphan", "memory_queue"):
            patch = mock.patch(f"hansard.{module}.FRAME_EVENTS_CUT", EVENTS_A_FRAME)
            stack.enter_context(patch)
        log.setLevel(logging.CRITICAL + 1)
        stack.callback(log.setLevel, level)
        yield
