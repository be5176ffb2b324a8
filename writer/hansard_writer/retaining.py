"""Retention by setting: the writer finds by itself which of the oldest entries are to go.

It looks once in a while, at a piece of the log in each turn of the loop, and never at all of it.
What goes, and when there is time for a piece of that, others decide; an entry says so first.
"""

import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final

from hansard import wire
from hansard.refusals import timestamp
from hansard.settings import Settings
from hansard_writer import retention
from hansard_writer.pruning import PRUNED, Pruning
from hansard_writer.retention import Prefix
from hansard_writer.store import OWN_PRODUCER, Store
from hansard_writer.trusted_clock import TrustedClock
from hansard_writer.vacuuming import room

FIRST_LOOK_S: Final = 1.0  # after the start, and ...
LOOK_S: Final = 60.0  # ... between two looks; where nothing is to be done, each is two questions
PIECE_S: Final = 0.05  # between two pieces of one, unless there is nothing else to do
PIECE_ENTRIES: Final = 1_000  # looked at in one turn: 1 ms
SHARE: Final = 10  # of retention_max_bytes, how much goes in a round; of retention_max_age, ...
ROUND_S_MAX: Final = 86_400.0  # ... how long after the last one, or a day
NEWEST_KEPT: Final = 1_000  # whatever retention_max_bytes says: perhaps others' tables fill it
FUTURE_S: Final = 86_400.0  # from which on an entry's time is wondered at
BY: Final = "retention"  # who prunes, as the log says it

_LOG: Final = logging.getLogger("hansard.writer")
_LAST_ROUND: Final = (
    "SELECT coalesce(max(created_at), 0) FROM entries"  # noqa: S608 - our own words
    f" WHERE event_type = '{PRUNED}' AND producer = {OWN_PRODUCER} AND payload ->> '$.by' = '{BY}'"
)
_HAS_OTHERS: Final = (
    "SELECT EXISTS (SELECT 1 FROM entries WHERE seq BETWEEN ? AND ?"  # noqa: S608
    f" AND (event_type <> '{PRUNED}' OR producer <> {OWN_PRODUCER}))"
)


class Retaining:
    """Of one log, in one run of its writer. ``due`` is when to `step` again, inf for never."""

    def __init__(
        self, store: Store, pruning: Pruning, settings: Settings, clock_ns: Callable[[], int]
    ) -> None:
        self._store = store
        self._pruning = pruning
        self._max_age = settings.retention_max_age
        self._max_bytes = settings.retention_max_bytes
        self._clock_ns = clock_ns
        slack_s = (self._max_age or 0.0) / SHARE
        self._round_s = min(slack_s, ROUND_S_MAX)
        self._clock = TrustedClock(self._rows, self._round_s, slack_s)
        self._aged = self._surplus = self._nothing()
        self._complaints = {"age": "", "size": ""}
        self._is_first = True
        self.due = 0.0 if self._max_age or self._max_bytes else inf

    def step(self, now: float, *, is_idle: bool) -> bool:
        """Look at the next piece; whether that led to a pruning, which is said in the log now.
        MUST NOT be called while one goes on, or a batch holds what is not committed. Raises
        `hansard_writer.retries.StoreUnready`: the piece can be looked at again."""
        if self._is_first:
            self._is_first, self.due = False, now + FIRST_LOOK_S
            return False
        for each in (self._aged, self._surplus):
            if each.first != self._store.pruned.to + 1:  # pruned since, perhaps by command
                self._aged = self._surplus = self._nothing()
        asked, has_more = self._look_at_ages(now)
        if not (asked or has_more):
            asked, has_more = self._look_at_size()
        if asked:
            self._pruning.begin(asked)
        pause_s = 0.0 if is_idle else PIECE_S
        self.due = now + (pause_s if has_more else LOOK_S)
        return asked is not None

    def figures(self) -> dict[str, Any]:
        """For `hansard stats`."""
        found = room(self._rows)
        return {
            "database_bytes_used": found.used_bytes,
            "database_bytes_free": found.free_bytes,
            "retention_held_up_by": self._complaints["age"] or self._complaints["size"],
        }

    # --- inside ---

    def _rows(self, statement: str, *bindings: Any) -> list[Any]:
        return self._store.handle.rows(statement, bindings)

    def _nothing(self) -> Prefix:
        to = self._store.pruned.to
        return Prefix(to + 1, to)

    def _look_at_ages(self, now: float) -> tuple[wire.Prune | None, bool]:
        """What is too old; else whether there is more to be looked at. What was found old enough
        stays so, and is looked at once, unless the clock is set back."""
        if self._max_age is None:
            return None, False
        now_ns = self._clock_ns()
        doubt = self._clock.doubt(now, now_ns)
        cutoff = max((now_ns - round(self._max_age * 1e9)) // 1_000 * 1_000, 0)  # as the log has it
        if self._aged.newest >= cutoff:
            self._aged = self._nothing()
        found, end = self._aged, self._store.size
        if found.last < end and (found.kept_since is None or found.kept_since < cutoff):
            stop = min(found.last + PIECE_ENTRIES, end)
            self._aged = retention.longer(self._rows, found, stop, cutoff)
            return None, True
        since_ns = now_ns - self._rows(_LAST_ROUND)[0][0]
        is_due = self._is_worth_it(found) and not 0 <= since_ns < self._round_s * 1e9
        self._complain("age", doubt if is_due else self._wonder(found, now_ns))
        if doubt or not is_due:
            return None, False
        reason = f"retention_max_age is {self._max_age:,.0f} s"
        return wire.Prune(found.last, cutoff, BY, reason, None), False

    def _is_worth_it(self, found: Prefix) -> bool:
        """Not for what earlier rounds have said, and nothing else: each would lead to the next."""
        return bool(self._rows(_HAS_OTHERS, found.first, found.last)[0][0])

    def _wonder(self, found: Prefix, now_ns: int) -> str:
        """Says that an entry will keep what is behind it for a long time."""
        if found.kept_since is None or found.kept_since < now_ns + FUTURE_S * 1e9:
            return ""
        return (
            f"entry {found.last + 1:,} is of {timestamp(found.kept_since)}, which is to come: till "
            "then nothing behind it is pruned by age"
        )

    def _look_at_size(self) -> tuple[wire.Prune | None, bool]:
        """What is too much; else whether there is more to be looked at."""
        if self._max_bytes is None:
            return None, False
        used = room(self._rows).used_bytes - self._store.letters.kept.bytes
        if used <= self._max_bytes:
            self._surplus = self._nothing()
            self._complain("size", "")
            return None, False
        surplus = used - self._max_bytes + self._max_bytes // SHARE
        found, end = self._surplus, self._store.size - NEWEST_KEPT
        if found.last < end and found.bytes < surplus:
            stop = min(found.last + PIECE_ENTRIES, end)
            self._surplus = retention.heavier(self._rows, found, stop, surplus)
            return None, True
        if found.bytes < surplus and found.entries < NEWEST_KEPT // SHARE:  # not one by one
            self._complain(
                "size",
                f"log.db uses more than retention_max_bytes ({self._max_bytes:,}), and only its "
                f"newest {NEWEST_KEPT:,} entries are left: they are large, or tables of yours fill "
                "it, or tasks and producers",
            )
            return None, False
        self._complain("size", "")
        reason = f"retention_max_bytes is {self._max_bytes:,}, and {used:,} were used"
        before = min(found.newest // 1_000 * 1_000 + 1_000, wire.INT64_MAX)
        return wire.Prune(found.last, before, BY, reason, None), False

    def _complain(self, rule: str, complaint: str) -> None:
        if complaint and not self._complaints[rule]:
            _LOG.warning("retention: %s", complaint)
        self._complaints[rule] = complaint
