"""Whether events are in the log as they are: what tells a producer's own from a twin's.

It looks at what is committed and nothing else, so what it says stays true. It changes nothing.
What was redacted is known by all that is left of it, among it the time in nanoseconds: else it
would come back under a twin's name.
"""

from typing import Any, Final, NamedTuple, Protocol

from hansard import wire
from hansard_writer.dead_letters import REDACTED
from hansard_writer.decoding import events_of


class Committed(Protocol):
    """What of the log is looked at: `hansard_writer.store.Store`."""

    def outcomes(
        self, producer: int, first: int, last: int
    ) -> tuple[list[tuple[int, int, int]], list[tuple[int, int, str, str]], int]: ...

    def entered(self, seq: int, count: int) -> list[tuple[Any, ...] | None]: ...

    @property
    def pruned_before(self) -> int: ...

    def letter(self, producer: int, number: int) -> bytes: ...


_WHOLE: Final = slice(None)
_ENTRY: Final = slice(1, None)  # the log does not know what it was joined to
_REDACTED_ENTRY: Final = slice(1, 6)  # nor, any more, its payload
_REDACTED_LETTER: Final = slice(0, 2)  # kind and time


class _Kept(NamedTuple):
    """What the log has of an event, and which of the event's fields those are."""

    event: Any
    fields: slice

    def is_that(self, event: Any) -> bool:
        if self.fields != _WHOLE:
            return type(event) is tuple and bool(self.event == event[self.fields])
        try:
            return bool(self.event == event)
        except RecursionError:  # nested too deep to be told
            return False


class _Pruned(NamedTuple):
    """An entry that is gone, of which only a time is known that it was created before. It may have
    been any event that is as old: otherwise what an old spool holds would come back."""

    before: int

    def is_that(self, event: Any) -> bool:
        if type(event) is not tuple or len(event) < 2:
            return False
        created_at = event[1]
        return type(created_at) is int and created_at < self.before


def holds(log: Committed, producer: int, number: int, event: Any) -> bool:
    """Whether a number that is committed is this event, as `decoding.event_at` gives it. A dead
    letter that was not kept, or that cannot be told apart, may be any."""
    kept = _kept(log, producer, number, number).get(number)
    return kept is None or kept.is_that(event)


def held(log: Committed, producer: int, frame: wire.Frame) -> int:
    """How many of a frame's events, from the first on, the log has as they are: those only of
    which that is certain, and joined ones not without each other."""
    kept = _kept(log, producer, frame.first_seq, frame.last_seq)
    whole = 0
    for count, event in enumerate(events_of(frame), 1):
        found = kept.get(frame.first_seq + count - 1)
        if found is None or not found.is_that(event):
            break
        if not _is_joined(event):
            whole = count
    return whole


def _kept(log: Committed, producer: int, first: int, last: int) -> dict[int, _Kept | _Pruned]:
    """What is committed under a producer's numbers, by number; nothing under those of a dead
    letter that was not kept or cannot be told apart, and of what was lost."""
    runs, dead, _ = log.outcomes(producer, first, last)
    found: dict[int, _Kept | _Pruned] = {}
    for number, count, reason, _ in dead:
        letter = wire.Frame(b"", number, count, 0, wire.Drops(), log.letter(producer, number))
        fields = _REDACTED_LETTER if reason == REDACTED else _WHOLE
        for at, event in enumerate(events_of(letter), number):
            found[at] = _Kept(event[fields] if fields != _WHOLE else event, fields)
    for number, count, seq in runs:
        skip, stop = max(first - number, 0), min(last - number + 1, count)
        entered = enumerate(log.entered(seq + skip, stop - skip), number + skip)
        found |= {at: _kept_entry(log, entry) for at, entry in entered}
    return found


def _kept_entry(log: Committed, entry: tuple[Any, ...] | None) -> _Kept | _Pruned:
    if entry is None:
        return _Pruned(log.pruned_before)
    *columns, payload, is_redacted = entry
    if is_redacted:
        return _Kept(tuple(columns), _REDACTED_ENTRY)
    return _Kept((*columns, payload), _ENTRY)


def _is_joined(event: Any) -> bool:
    kind = event[0] if type(event) is tuple and event else None
    return type(kind) is int and bool(kind & wire.JOINED)
