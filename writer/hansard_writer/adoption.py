"""Adoption: the events of dead producers, from their spools into the log.

Done by the writer only, at start and while it runs, in pieces of a frame, under the dead
producer's own id and numbers. A spool is removed when all of it is committed, and not before.
"""

import contextlib
import hashlib
import itertools
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from hansard import wire
from hansard.spool import SUFFIX, TEMPORARY_SUFFIX, SpoolDamaged
from hansard.spool.orphan import Orphan, is_abandoned, lock_orphan
from hansard_writer.decoding import behind, event_at
from hansard_writer.intake import AnothersProducer, Intake, Outcome, ProducerState

SCAN_S: Final = 0.5
RETRY_S: Final = 30.0  # after a spool that could not be opened or read
TEMPORARY_AGE_S: Final = 60.0  # of a spool that was never finished, until it is swept away
DAMAGED_SUFFIX: Final = ".damaged"

_LOG: Final = logging.getLogger("hansard.writer.adoption")


Holds = Callable[[int, int, Any], bool]
Held = Callable[[int, wire.Frame], int]


class Adopter:
    """Looks through the spool directory and feeds what the dead left to the intake.

    ``holds`` says whether a producer's committed number is this very event, and ``held`` how many
    of a frame's first events the log certainly has.
    """

    def __init__(self, spool_directory: Path, log_id: bytes, holds: Holds, held: Held) -> None:
        self._directory = spool_directory
        self._holds, self._held = holds, held
        self._log_id = log_id
        self._next_scan = 0.0
        self._candidates: list[Path] = []
        self._left_alone: set[Path] = set()
        self._retry_at: dict[Path, float] = {}
        self._current: _Adoption | None = None
        self._done: list[Orphan] = []
        self._live = self._live_so_far = 0
        self.adopted = 0
        self.damaged = 0
        self.foreign = 0

    @property
    def is_working(self) -> bool:
        """Whether there is more to do at once."""
        return bool(self._current or self._candidates)

    def next_scan(self) -> float:
        """When to look again."""
        return self._next_scan

    def figures(self) -> dict[str, int]:
        """For `hansard stats`. ``spools_live`` as of the scan before."""
        return {
            "spools_live": self._live,
            "spools_adopted": self.adopted,
            "spools_damaged": self.damaged,
            "spools_of_other_logs": self.foreign,
        }

    def step(self, intake: Intake, now: float, now_ns: int) -> None:
        """Feed at most one frame."""
        if self._current is None and not self._candidates and now >= self._next_scan:
            self._live, self._live_so_far = self._live_so_far, 0
            self._candidates = [
                path for path in self._scan() if now >= self._retry_at.get(path, 0.0)
            ]
            self._next_scan = now + SCAN_S
        try:
            while self._current is None and self._candidates:
                self._current = self._open(self._candidates.pop(), intake, now, now_ns)
            is_through = self._current and not self._current.feed(intake, now, now_ns)
        except OSError as error:  # one file that cannot be read stops nobody
            self._put_off(error, now)
            return
        except AnothersProducer:  # a twin's new id is taken, too
            if self._current:
                self._leave_to_its_host(self._current.orphan)
            self._current = None
            return
        if self._current and is_through:
            self._done.append(self._current.orphan)
            self._current = None

    def _put_off(self, error: OSError, now: float) -> None:
        if self._current is not None:
            path = self._current.orphan.path
            self._current.orphan.close()
            self._current = None
            self._retry_at[path] = now + RETRY_S
            _LOG.warning("cannot read %s: %s; tried again later", path, error.strerror)

    def committed(self) -> None:
        """Nothing of what was fed is uncommitted: remove the spools that are through."""
        for orphan in self._done:
            if orphan.damage:
                self._set_aside(orphan.path, f"{orphan.damage}; what comes before it is entered")
                orphan.close()
                continue
            try:
                orphan.close(remove=True)
            except OSError as error:
                self._left_alone.add(orphan.path)
                _LOG.error("cannot remove %s, which is entered: %s", orphan.path, error.strerror)
                orphan.close()
                continue
            self.adopted += 1
            _LOG.info("adopted the spool of %s pid %d", orphan.identity.host, orphan.identity.pid)
        self._done.clear()

    def close(self) -> None:
        """Leave what is not through for the next run."""
        for orphan in (*self._done, *([self._current.orphan] if self._current else [])):
            orphan.close()
        self._done.clear()
        self._current = None

    def _scan(self) -> list[Path]:
        try:
            paths = list(self._directory.iterdir())
        except OSError as error:
            _LOG.warning("cannot look through %s: %s", self._directory, error.strerror)
            return []
        for path in paths:
            if path.suffix == TEMPORARY_SUFFIX:
                _sweep(path)
        self._left_alone &= set(paths)
        self._retry_at = {path: self._retry_at[path] for path in paths if path in self._retry_at}
        spools = [path for path in paths if path.suffix == SUFFIX and path not in self._left_alone]
        return sorted(spools, reverse=True)

    def _open(self, path: Path, intake: Intake, now: float, now_ns: int) -> "_Adoption | None":
        try:
            orphan = lock_orphan(path)
        except SpoolDamaged as error:
            self._set_aside(path, str(error))
            return None
        except OSError as error:
            self._retry_at[path] = now + RETRY_S
            _LOG.warning("cannot adopt %s: %s; tried again later", path, error.strerror)
            return None
        if orphan is None:
            self._live_so_far += 1
            return None  # its producer lives
        if orphan.state.log_id not in (None, self._log_id):
            self._left_alone.add(path)
            self.foreign += 1
            _LOG.warning(
                "%s belongs to another log (%s): left as it is",
                path,
                orphan.state.log_id.hex() if orphan.state.log_id else "",
            )
            orphan.close()
            return None
        if orphan.state.log_id is None:
            with contextlib.suppress(OSError):  # another user's: it can be read all the same
                orphan.join(self._log_id)
        try:
            return _Adoption(orphan, self._holds, self._held, intake, now, now_ns)
        except OSError as error:
            orphan.close()
            self._retry_at[path] = now + RETRY_S
            _LOG.warning("cannot read %s: %s; tried again later", path, error.strerror)
            return None
        except AnothersProducer:
            self._leave_to_its_host(orphan)
            return None

    def _leave_to_its_host(self, orphan: Orphan) -> None:
        """What a client's producer recorded comes with that client's key, or not at all."""
        orphan.close()
        self._left_alone.add(orphan.path)
        self.foreign += 1
        _LOG.warning(
            "%s is of a producer of another host: left as it is; it is entered from the spool of a "
            "directory that connects with that host's key",
            orphan.path,
        )

    def _set_aside(self, path: Path, why: str) -> None:
        """Under a name that nobody looks for; once, also where that is not possible."""
        self.damaged += 1
        aside = path.with_suffix(DAMAGED_SUFFIX)
        try:
            path.rename(aside)
        except OSError as error:
            self._left_alone.add(path)
            _LOG.error("%s is damaged (%s); it stays: %s", path, why, error.strerror)
            return
        _LOG.error("%s is damaged (%s): set aside as %s", path.name, why, aside)


class _Adoption:
    """One spool on its way in."""

    def __init__(
        self,
        orphan: Orphan,
        holds: Holds,
        held: Held,
        intake: Intake,
        now: float,
        now_ns: int,
    ) -> None:
        self.orphan = orphan
        self._holds, self._held = holds, held
        self._is_anothers = False
        self._begin(orphan.identity.producer_id, orphan.frames(), intake, now, now_ns)

    def _begin(
        self,
        producer_id: bytes,
        frames: Iterator[wire.Frame],
        intake: Intake,
        now: float,
        now_ns: int,
    ) -> None:
        identity = self.orphan.identity
        first = next(frames)
        hello = wire.Hello(
            producer_id,
            first.first_seq,
            first.crc_before,
            identity.host,
            identity.pid,
            identity.started_at,
            None,
        )
        self._state: ProducerState = intake.greet(hello, now, now_ns)
        self._frame: wire.Frame | None = first
        self._frames = frames

    def feed(self, intake: Intake, now: float, now_ns: int) -> bool:
        """Feed one frame; False when there are no more."""
        frame = self._frame
        if frame is None:
            return False
        if self._is_anothers:
            return self._pass_over(frame, intake, now, now_ns)
        if frame.last_seq < self._state.watermark and not self._state.is_clean:
            return True  # whose numbers these are can be told when they are committed
        outcome = intake.take(self._state, frame, now, now_ns)
        self._frame = next(self._frames, None)
        is_anothers = outcome is Outcome.CONFLICT or (
            self._frame is None and self._is_behind_as_another(frame)
        )
        if is_anothers and not self._is_renamed(frame):
            self._is_anothers = True
            self._frames = self.orphan.frames()
            self._frame = next(self._frames)
        return self._frame is not None

    def _pass_over(self, frame: wire.Frame, intake: Intake, now: float, now_ns: int) -> bool:
        """What the log has of it, as it is: the other's id was in use when the image was copied,
        and the first events are both's. Behind it begins what is the twin's alone."""
        if not self._state.is_clean:
            return True  # what the log has can be told when it is committed
        held = self._held(self._state.id, frame)
        left = behind(frame, held)
        if left.event_count:
            self._begin_as_twin(left, intake, now, now_ns)
            return True
        self._frame = next(self._frames, None)
        return self._frame is not None

    def _is_behind_as_another(self, last: wire.Frame) -> bool:
        """Whether the spool ends below the watermark with an event that is not the log's. After a
        power cut it may end there with the log's own: the pages are what the kernel got to."""
        if not last.event_count or last.last_seq >= self._state.committed_watermark:
            return False
        event = event_at(last, last.last_seq)
        return event is not None and not self._holds(self._state.id, last.last_seq, event)

    def _is_renamed(self, frame: wire.Frame) -> bool:
        identity = self.orphan.identity
        return identity.numbers_are_the_sources or frame.producer_id != identity.producer_id

    def _begin_as_twin(self, first: wire.Frame, intake: Intake, now: float, now_ns: int) -> None:
        """Somebody else used this id (a copied machine image): enter the events under another,
        which is made from the file's name and the number where they begin, so that an interrupted
        adoption goes on."""
        self._is_anothers = False
        identity, path = self.orphan.identity, self.orphan.path
        named = b"%b%b%d" % (identity.producer_id, path.name.encode(), first.first_seq)
        twin = hashlib.sha256(named).digest()[: wire.PRODUCER_ID_BYTES]
        _LOG.warning("%s has another's numbers: entered under a new producer", path)
        frames = itertools.chain([first], self._frames)
        self._begin(twin, _renumbered(frames, twin), intake, now, now_ns)


def _renumbered(frames: Iterator[wire.Frame], producer_id: bytes) -> Iterator[wire.Frame]:
    """The same events under another id, numbered from 1."""
    seq, crc = 1, 0
    for frame in frames:
        yield frame._replace(
            producer_id=producer_id, first_seq=seq, crc_before=crc, drops=wire.Drops()
        )
        seq += frame.event_count
        crc = zlib.crc32(frame.body, crc)


def _sweep(path: Path) -> None:
    """Remove the file of a producer that died while making it."""
    try:
        is_old = time.time() - path.stat().st_mtime > TEMPORARY_AGE_S
        if is_old and is_abandoned(path):  # a clock that was set makes everything old
            path.unlink(missing_ok=True)
    except OSError as error:
        _LOG.debug("cannot sweep %s: %s", path, error.strerror)
