"""The reckoning of a round: what the workers have noted, held against the log at rest.

It reads both; the general rules are the independent checker's (`faults.checker`), here are those
of drops, of what was on its way when a kill came, and of dead letters.
"""

from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw

from faults.chaos.notes import RAISED, Event, Read
from faults.checker import Account, Noted, account

NOT_RECORDED: Final = {"dropped", RAISED}
REASONS: Final = {"orphan", "invalid"}  # of an unregistered task's event; of broken JSON


class Reckoned(NamedTuple):
    """Where the events of a round are: ``recorded = entered + dead_lettered + dropped``.

    Of these ``unheard``, at most one call a stream that was killed, had no note. ``raised``:
    refused with `QueueFull`, so not recorded. ``returned``: entered from dead letters.
    """

    recorded: int = 0
    entered: int = 0
    dead_lettered: int = 0
    dropped: int = 0
    unheard: int = 0
    raised: int = 0
    returned: int = 0
    lost_entries: int = 0

    def plus(self, other: "Reckoned") -> "Reckoned":
        """Both."""
        return Reckoned(*(a + b for a, b in zip(self, other, strict=True)))


def reckon(directory: Path, read: Read) -> Reckoned:
    """Account for every event. Raises `AssertionError` with the first that is wrong."""
    kept = [event for event in read.events if event.status not in NOT_RECORDED]
    found = account(directory, [_noted(event) for event in kept])
    calls = _calls_without_end(read, found)
    letters = _letters(directory)
    keys = {event.key for event in kept}
    dead_unheard = sum(key not in keys for key in letters)
    dropped_unheard = _drops_unheard(read, found, calls - dead_unheard)
    _check_statistics(read, found.missing)
    _check_log(directory, found.lost_events)
    unheard = found.unheard + dead_unheard + dropped_unheard
    raised = sum(event.status == RAISED for event in read.events)
    reckoned = Reckoned(
        recorded=len(read.events) - raised + unheard,
        entered=found.entered + found.unheard,
        dead_lettered=len(letters),
        dropped=found.lost_events,
        unheard=unheard,
        raised=raised,
        returned=found.returned,
        lost_entries=found.lost_entries,
    )
    recorded, *rest = reckoned[:4]
    assert recorded == sum(rest), f"the sum does not hold: {reckoned}"
    return reckoned


def _calls_without_end(read: Read, found: Account) -> int:
    """How many events of calls that came to no end are not in the log. What is there and was not
    noted must be of such a call."""
    numbers = {(event.stream, event.number) for event in read.events}
    assert len(numbers) == len(read.events), "the load has noted an event twice"
    on_the_way = dict(read.on_the_way)
    for stream, number in sorted(found.unheard_of):
        assert (stream, number) not in numbers, f"{stream}:{number} was dropped, and is in the log"
        on_the_way[stream] = on_the_way.get(stream, 0) - 1
        assert on_the_way[stream] >= 0, f"{stream}:{number} is in the log, and was not recorded"
    return sum(on_the_way.values())


def _drops_unheard(read: Read, found: Account, calls: int) -> int:
    """How many drops the log tells of that no caller was told; only ``calls`` explain them."""
    told = {(e.stream, e.number) for e in read.events if e.status not in {"queued", *NOT_RECORDED}}
    assert not found.missing & told, f"neither entered nor dropped: {found.missing & told}"
    dropped = sum(event.status == "dropped" for event in read.events) + len(found.missing)
    surplus = found.lost_events - dropped
    assert 0 <= surplus <= calls, (
        f"the log says that {found.lost_events} events were lost, but {dropped} were dropped; "
        f"{calls} more were on their way when their worker was killed"
    )
    return surplus


def _noted(event: Event) -> Noted:
    return Noted(event.stream, event.number, *(event.key or ()))


def _check_statistics(read: Read, missing: frozenset[tuple[str, int]]) -> None:
    """What a log's statistics call dropped is what its callers were told, and what was dropped
    of interruptions, who cannot be told."""
    for opened, counted in read.by_statistics.items():
        told = sum(
            event.status == "dropped" or (event.stream, event.number) in missing
            for event in read.events
            if event.stream == opened or event.stream.startswith(f"{opened}.")
        )
        assert counted == told, f"the log of {opened} has counted {counted} drops, not {told}"


def _check_log(directory: Path, lost_events: int) -> None:
    """Nothing but what was recorded, drops as producers have them, no orphan of a known task."""
    strange = "SELECT count(*) FROM entries WHERE producer > 0 AND payload ->> 'w' IS NULL"
    assert _rows(directory, strange) == [(0,)], "entries that nobody recorded"
    dropped = "SELECT coalesce(sum(dropped), 0), coalesce(sum(lost), 0) FROM producers"
    assert _rows(directory, dropped) == [(lost_events, 0)], "drops that the log does not tell"
    reasons = {row[0] for row in _rows(directory, "SELECT DISTINCT reason FROM dead_letters")}
    assert reasons <= REASONS, f"dead letters with the reasons {reasons - REASONS}"
    lone = (
        "SELECT count(*) FROM dead_letters WHERE reason = 'orphan' AND replayed_as IS NULL"
        " AND task_id IN (SELECT task_id FROM tasks)"
    )
    assert _rows(directory, lone) == [(0,)], "an orphan whose task is registered"


def _letters(directory: Path) -> list[tuple[bytes, int]]:
    """Each number that is in a dead letter."""
    rows = _rows(
        directory,
        "SELECT producer_hash, producer_seq, count FROM dead_letters JOIN producers"
        " ON producers.id = producer WHERE replayed_as IS NULL",
    )
    return [
        (hash_, number) for hash_, first, count in rows for number in range(first, first + count)
    ]


def _rows(directory: Path, statement: str) -> list[Any]:
    connection = apsw.Connection(str(directory / "log.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
