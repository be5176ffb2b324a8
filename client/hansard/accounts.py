"""What became of a producer's events that are not simply waiting. Values only, no clock."""

from hansard.wire import Drops


class Accounts:
    """Counts of events: committed under earlier ids, dropped by cause, set aside with a spool.

    MUST be used under the producer's lock.
    """

    def __init__(self) -> None:
        self.committed_before = 0  # under ids that the instance had earlier
        self.set_aside = 0  # in a spool that belongs to another log
        self.dropped: dict[str, int] = {}  # by cause, for the caller
        self.drops = Drops()  # as frames report them, under the present id
        self._reported = 0

    @property
    def dropped_total(self) -> int:
        """Dropped events under all causes."""
        return sum(self.dropped.values())

    @property
    def has_unreported(self) -> bool:
        """Whether the log does not know yet of all drops."""
        return self.drops.total > self._reported

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
        """Under a new id, what was not reported goes on."""
        self.drops = self.drops._replace(total=self.drops.total - self._reported)
        self._reported = 0
