"""What a producer holds: the numbers of one id, and the events that the log has not committed.

It numbers, keeps and renumbers. It knows no lock, no callers and no sender.
"""

import time
from pathlib import Path
from zlib import crc32

from hansard import wire
from hansard.accounts import FULL, OTHER_LOG, SET_ASIDE, Accounts
from hansard.complaints import Complaints
from hansard.keeping import Keeper, Record, Store
from hansard.memory_queue import EVENTS_MAX, MemoryQueue
from hansard.settings import Settings
from hansard.source import Source, new_producer_id
from hansard.spool import Spool, making
from hansard.wording import counted


class Holding:
    """The numbers and the store of one client instance; the base of `hansard.producer.Producer`,
    because the hot path cannot afford a hop to another object.

    MUST be used under the producer's lock.
    """

    def __init__(
        self, directory: Path, settings: Settings, complaints: Complaints, source: Source | None
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._complaints = complaints
        self._keeper = Keeper(
            directory,
            settings.spool_bytes,
            complaints,
            numbers_are_the_sources=source is not None,
        )
        self.source = source
        self.accounts = Accounts()
        self._closed = False
        self._log_id: bytes | None = None
        self._store: Store | None = None
        self._skip = 0  # a source's events that the log has already, still to be recorded here
        self._is_torn = False  # an interruption may have left something in the store
        self._number_from(source or Source(new_producer_id()))

    @property
    def waiting(self) -> int:
        """How many events are not committed yet."""
        return self.seq - self.acked

    @property
    def committed(self) -> int:
        """How many events of this instance the log has, entered or dead-lettered."""
        return self.accounts.committed_before + self.acked - self.first_seq + 1

    @property
    def spool_bytes(self) -> int:
        """How many bytes wait."""
        return self._store.bytes_used if self._store else 0

    @property
    def spooled(self) -> bool:
        """Whether the events survive the process."""
        return isinstance(self._store, Spool)

    # --- inside ---

    def _number_from(self, source: Source) -> None:
        """Begin to number anew. Of the drops, what was not reported goes on with the new id."""
        self.accounts.start_over()
        self.producer_id = source.producer_id
        self.hash = wire.producer_hash(source.producer_id)
        self.first_seq = source.watermark + 1  # what this instance recorded begins here
        self.seq = self.acked = source.watermark
        self._crc = self._base_crc = source.crc
        self._seq_max = -1  # nothing fits before the store is open

    def _try(self, record: Record) -> bool:
        """Keep all of it or nothing. ``seq`` moves at the end: up to it the sender may read."""
        data, count = record
        if self._is_torn:
            self._mend()
        last, crc = self.seq + count, crc32(data, self._crc)
        if not self._store or last > self._seq_max:
            return False
        try:
            if not self._store.append_run(self.seq + 1, crc, data, count):
                return False
            self.seq, self._crc = last, crc
        except BaseException:  # a signal handler may raise anywhere
            self._is_torn, self._seq_max = True, -1
            raise
        return True

    def _mend(self) -> None:
        """Forget what an interruption that raised has left in the store. Interrupted itself, it
        is done again before anything else is kept."""
        self._is_torn, self._seq_max = True, -1
        if self._store:
            self._store.trim_to(self.seq)
        self._is_torn, self._seq_max = False, self._last_that_fits()

    def _drop(self, cause: str, count: int) -> None:
        self.accounts.drop(cause, count, time.time_ns())
        if self._store:
            self._store.note(drops=self.accounts.drops)

    def _held(self, behind: int = 0) -> list[Record]:
        """What is not committed, and lies behind a number."""
        if self._is_torn:
            self._mend()
        seq, held = self.acked, []
        for data, count in self._store.records() if self._store else ():
            seq += count
            if seq > behind:
                held.append((data, count))
        return held

    def _set_room(self) -> None:
        self._seq_max = -1 if self._is_torn else self._last_that_fits()

    def _last_that_fits(self) -> int:
        if self._store is None or self._skip or self._closed:
            return -1
        last = wire.INT64_MAX - wire.FRAME_EVENTS_MAX
        return min(self.acked + self._events_max(), last)

    def _events_max(self) -> int:
        """How many may wait."""
        if self._settings.queue_maxsize is not None:
            return self._settings.queue_maxsize
        return EVENTS_MAX if isinstance(self._store, MemoryQueue) else wire.INT64_MAX

    def _open_store(self) -> None:
        if self._store is not None or self._closed:
            return
        source = Source(self.producer_id, self.acked, self._base_crc)
        with making:
            self._store = self._keeper.open(source, self._log_id, self.accounts.drops)
        self._set_room()

    def _respool(self) -> bool:
        """Put what waits into a new spool, under the same numbers; false where not all of it fits.
        Then, and where it raises OSError, everything is as it was."""
        old = self._store if isinstance(self._store, Spool) else None
        source = Source(self.producer_id, self.acked, self._base_crc)
        held, drops = self._held(), self.accounts.drops
        with making:
            replaced = self._keeper.replace(old, source, self._log_id, drops, held, or_memory=False)
            if replaced.seq != self.seq:
                replaced.store.close(remove=True)
                return False
            self._store = replaced.store
        self._set_room()
        return True

    def _survives(self) -> bool:
        """Whether what is held outlives this process. Where somebody removed the spool's file, it
        is put into a new one; false, with a complaint, where none can be made."""
        if not isinstance(self._store, Spool):
            return False
        if self._store.is_named():
            return True
        what = "the spool was removed from %s"
        try:
            self._respool()  # as large as the old one: all of it fits
        except OSError as error:
            what += ", and no new one can be made (%s): what waits ends with this process"
            self._complaints.later("spool removed", what, self._directory, error.strerror)
            return False
        what += ": what waits is in a new one"
        self._complaints.later("spool removed", what, self._directory)
        return True

    def _find_spool(self) -> bool:
        """Whether there is a spool now in place of memory."""
        try:
            return self._store is not None and not self._closed and self._respool()
        except OSError:
            return False

    def _leave_log(self) -> None:
        """Go on without what belongs to a log that is gone: set aside in its spool, or lost."""
        count = self.waiting
        stays = self._survives() and (count > 0 or self.accounts.has_unreported)
        if count and stays:
            self.accounts.lose(SET_ASIDE, count)
        elif count:
            self._drop(OTHER_LOG, count)
        with making:
            if self._store:
                self._store.close(remove=not stays)
            self._store, self._log_id = None, None
        if stays:
            self.accounts.reported(self.accounts.drops.total)  # the spool tells them
        self.accounts.committed_before += self.acked - self.first_seq + 1
        if self.source is not None:
            self._closed = True  # its numbers mean the old log's: nothing may follow them
        self._number_from(Source(new_producer_id()))
        self._open_store()

    def _restart(self, source: Source, records: list[Record]) -> None:
        """Go on under other numbers, with a store that holds ``records`` in place of the old.
        Raises OSError with everything as it was."""
        with making:
            replaced = self._keeper.replace(
                self._store,
                source,
                self._log_id,
                self.accounts.drops,
                records,
                or_memory=not self.spooled,
            )
            self._store = replaced.store
            self._number_from(source)
        self.seq, self._crc = replaced.seq, replaced.crc
        self._set_room()
        self._store.note(drops=self.accounts.drops)
        lost = sum(count for _, count in records) - (self.seq - self.acked)
        if lost:
            self._drop(FULL, lost)

    def _full(self) -> str:
        connect = self._settings.connect
        whom, way_out = f"of {self._directory}", "start it with `hansard serve`"
        if connect is not None:
            whom, way_out = f"at {connect}", "see that it runs and can be reached"
        return (
            f"no room for more: {counted(self.waiting, 'event')} waiting for the writer {whom}; "
            f"{way_out}, or raise spool_bytes or queue_maxsize"
        )
