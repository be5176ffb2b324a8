"""Full text: what a search takes in a long log, and what an event costs more that is searchable.

The long log is written through the store itself, one in ten entries an operation with a stderr
of about 300 characters, and is indexed by the writer's own code but for a tail.
"""

import math
import random
import time
from collections.abc import Callable, Container, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import orjson

from bench.measuring.entered import WrongEntries
from bench.measuring.figures import Figure, percentile
from bench.measuring.processes import in_fresh_process
from bench.parts import limit
from bench.workloads.event import Event
from bench.workloads.tasks import events
from hansard.operations import ENV_OPERATION
from hansard.reader import Event as Row
from hansard.reader import LogReader
from hansard_writer.entering import Position
from hansard_writer.full_text import TAIL_ENTRIES_MAX, FullText
from hansard_writer.proof.merkle_hash_tree import Edge
from hansard_writer.store import Store

PART: Final = "search"
ENTRIES: Final = 1_000_000
BATCH: Final = 2_000  # entries a transaction, a full batch of the writer's
TAIL: Final = TAIL_ENTRIES_MAX + BATCH  # what a writer under load leaves unindexed at most
OPERATIONS_SHARE: Final = 10  # one of so many
RARE_MATCHES: Final = 10  # of the rare word, evenly, the last one in the last entry
SEARCHES: Final = 200
SEARCH_MS_MAX: Final = 50.0
COST_EVENTS: Final = 50_000
COST_TURNS: Final = 3

_WORDS: Final = 5_000
_WORDS_A_TEXT: Final = 40
_RARE: Final = "zeitgeist"


def run(place: Path, entries: int = ENTRIES, cost_events: int = COST_EVENTS) -> list[Figure]:
    """Search a log of ``entries`` entries; raises `WrongEntries` for a wrong answer."""
    place.mkdir()
    figures = in_fresh_process(_search, place / "long", entries)
    return figures + in_fresh_process(_cost, place / "cost", cost_events)


def _search(directory: Path, entries: int) -> list[Figure]:
    began = time.perf_counter()
    store, _ = limit.open_store(directory)
    full_text = FullText(store, None)
    rare = range(entries // RARE_MATCHES, entries + 1, entries // RARE_MATCHES)
    _insert(store, _rows(entries - TAIL, rare=rare))
    written_s = time.perf_counter() - began
    _index(full_text)
    indexed_s = time.perf_counter() - began - written_s
    _insert(store, _rows(TAIL, first=entries - TAIL + 1, rare=rare))
    figures = [
        Figure(PART, "entries, of which one in ten is searchable", entries, "entries"),
        Figure(PART, "of them behind the index's mark", TAIL, "entries"),
        Figure(PART, "writing them", entries / written_s, "entries/s"),
        Figure(PART, "looking at them and indexing", entries / indexed_s, "entries/s"),
    ]
    newest = list(range(entries // OPERATIONS_SHARE * OPERATIONS_SHARE, 0, -OPERATIONS_SHARE))
    with LogReader(directory) as reader:
        for what, expected, ask in (
            ("rare word", [*rare], lambda: reader.search(_RARE)),
            ("rare AND common word", [*rare], lambda: reader.search(f"{_RARE} AND error")),
            (
                "common word, newest 20",
                newest[:20],
                lambda: reader.search("error", newest_first=True, limit=20),
            ),
        ):
            figures += _timed(what, ask, expected)
    store.close()
    return figures


def _timed(what: str, ask: Callable[[], Iterator[Row]], expected: list[int]) -> list[Figure]:
    durations = []
    for _ in range(SEARCHES):
        began = time.perf_counter_ns()
        found = [event.id for event in ask()]
        durations.append(time.perf_counter_ns() - began)
        if found != expected:
            raise WrongEntries(f"a search found {found[:50]}, and it should be {expected[:50]}")
    durations.sort()
    return [
        Figure(PART, f"{what} p50", percentile(durations, 0.50) / 1e6, "ms"),
        Figure(PART, f"{what} p99", percentile(durations, 0.99) / 1e6, "ms", SEARCH_MS_MAX),
    ]


def _cost(directory: Path, count: int) -> list[Figure]:
    """CPU of operations and of other events, with full text and without.

    Committed as the writer does it, and looked at behind the commits; by turns, the least counts.
    """
    directory.mkdir()
    operations = [row for row in _rows(count * OPERATIONS_SHARE) if row[4] == ENV_OPERATION]
    others = [row for row in _rows(count * 2) if row[4] != ENV_OPERATION][:count]
    cases = [(operations, False), (operations, True), (others, False), (others, True)]
    least = [math.inf] * len(cases)
    for turn in range(COST_TURNS):
        for number, (rows, keep_up) in enumerate(cases):
            cpu_us = _cpu_us(directory / f"{turn}-{number}", rows, keep_up=keep_up)
            least[number] = min(least[number], cpu_us)
    entered, searchable, other, other_looked_at = least
    return [
        Figure(PART, "an operation, entered only", entered, "µs CPU"),
        Figure(PART, "an operation, indexed and caught up with", searchable, "µs CPU"),
        Figure(PART, "an event of another type, entered only", other, "µs CPU"),
        Figure(PART, "an event of another type, looked at", other_looked_at, "µs CPU"),
    ]


def _cpu_us(directory: Path, rows: list[tuple[Any, ...]], *, keep_up: bool) -> float:
    store, _ = limit.open_store(directory)
    full_text = FullText(store, None)
    numbered = [(number, *row[1:]) for number, row in enumerate(rows, 1)]
    before = time.process_time()
    for start in range(0, len(numbered), BATCH):
        _insert(store, iter(numbered[start : start + BATCH]))
        if keep_up:
            full_text.keep_up()
    if keep_up:
        _index(full_text)
    cpu_s = time.process_time() - before
    store.close()
    return cpu_s * 1e6 / len(rows)


def _index(full_text: FullText) -> None:
    while full_text.tail:
        full_text.index_piece()
        limit.keep_wal_small(full_text._store)


def _insert(store: Store, rows: Iterator[tuple[Any, ...]]) -> None:
    """In batches, as the store's own size, which full text goes by."""
    while batch := [row for row, _ in zip(rows, repeat(None, BATCH), strict=False)]:
        with store.transaction() as connection:
            connection.executemany(limit.INSERT, batch)
        store._position = Position(Edge(store.size + len(batch)))  # full text asks no tree
        limit.keep_wal_small(store)


def _rows(count: int, *, first: int = 1, rare: Container[int] = ()) -> Iterator[tuple[Any, ...]]:
    """Rows of `limit.INSERT`; every tenth an operation."""
    chance = random.Random(first)
    words = ["".join(chance.choices("abcdefghiklmnoprstu", k=chance.randint(3, 10)))
             for _ in range(_WORDS)]  # fmt: skip
    others = [_other(event) for event in events(0, 10_000)]
    for seq in range(first, first + count):
        facts = others[seq % len(others)]
        if seq % OPERATIONS_SHARE == 0:
            facts = _operation(seq, chance, words, rare)
        yield seq, 0, seq, 1_700_000_000_000_000_000 + seq * 1_000_000, *facts


def _other(event: Event) -> tuple[str, str, str, str, str]:
    payload = orjson.dumps(event.payload).decode()
    return event.event_type, event.level, event.actor, event.task_id, payload


def _operation(
    seq: int, chance: random.Random, words: list[str], rare: Container[int]
) -> tuple[Any, ...]:
    stderr = "error: " + " ".join(chance.choices(words, k=_WORDS_A_TEXT))
    payload = {
        "workflow_id": f"wf-{seq % 1_000}", "node_id": f"n-{seq % 7}", "version_id": None,
        "operation": "run", "status": "failed", "stdout": "",
        "stderr": f"{stderr} {_RARE}" if seq in rare else stderr,
        "exit_code": 1, "duration_ms": 12.5, "metadata": {"error": "exit status 1"},
    }  # fmt: skip
    return ENV_OPERATION, "error", "agent:0", None, orjson.dumps(payload).decode()
