"""What became of a producer's events that are not simply waiting. Values only, no clock."""

from typing import Final

from hansard.wire import Drops, Refusals

# Why an event was dropped.
FULL: Final = "full"  # there was no room for it
UNSENT: Final = "closed"  # it came after the end
MEMORY_LOST: Final = "memory_lost"  # it waited in memory only, when the log was closed
OTHER_LOG: Final = "other_log"  # it waited in memory for a log that was replaced
SET_ASIDE: Final = "set_aside"  # it waited in a spool for such a log, and does so


class Accounts:
    """Counts of events: committed under earlier ids, refused by the log, dropped by cause.

    MUST be used under the producer's lock.
    """

    def __init__(self) -> None:
        self.committed_before = 0  # under ids that the instance had earlier
        self.dropped: dict[str, int] = {}  # by cause, for the caller
        self.drops = Drops()  # as frames report them, under the present id
        self._reported = 0
        self._refusals_before = Refusals()  # under earlier ids
        self._refusals: Refusals | None = None  # under the present id, as the log last said
        self._others_refusals = Refusals()  # of these, before this instance came to the id

    @property
    def dropped_total(self) -> int:
        """Dropped events under all causes."""
        return sum(self.dropped.values())

    @property
    def has_unreported(self) -> bool:
        """Whether the log does not know yet of all drops."""
        return self.drops.total > self._reported

    @property
    def refusals(self) -> Refusals:
        """What the log has refused of this instance's events, as far as it has said so."""
        refused, returned, orphaned = _difference(
            self._refusals or self._others_refusals, self._others_refusals
        )
        returned = min(returned, refused)  # beyond, others' orphans were entered
        orphaned = min(orphaned, refused - returned)
        return _sum(self._refusals_before, Refusals(refused, returned, orphaned))

    def meet(self, refusals: Refusals) -> None:
        """The log greets: what it refused under this id before was not this instance's."""
        if self._refusals is None:
            self._others_refusals = refusals

    def refusals_with(self, more: Refusals) -> Refusals:
        """What the log has refused under the present id if these are added."""
        return _sum(self._refusals or self._others_refusals, more)

    def refused(self, refusals: Refusals) -> None:
        """The log says what it has refused under the present id."""
        self._refusals = refusals

    def drop(self, cause: str, count: int, now_ns: int) -> None:
        """``count`` events could not be kept."""
        first_at = self.drops.first_at if self.has_unreported else now_ns
        self.drops = Drops(self.drops.total + count, first_at, now_ns)
        self.lose(cause, count)

    def lose(self, cause: str, count: int) -> None:
        """The same, when no frame will ever report it."""
        self.dropped[cause] = self.dropped.get(cause, 0) + count

    def reported(self, total: int) -> None:
        """The log has entered that so many were dropped."""
        self._reported = max(self._reported, total)

    def start_over(self) -> None:
        """Under a new id, what was not reported goes on. A twin may have reported more than fell
        here."""
        unreported = max(self.drops.total - self._reported, 0)
        self.drops = self.drops._replace(total=unreported)
        self._reported = 0
        self._refusals_before = self.refusals
        self._refusals, self._others_refusals = None, Refusals()


def _sum(one: Refusals, other: Refusals) -> Refusals:
    return Refusals(*(a + b for a, b in zip(one, other, strict=True)))


def _difference(one: Refusals, other: Refusals) -> Refusals:
    return Refusals(*(max(a - b, 0) for a, b in zip(one, other, strict=True)))
