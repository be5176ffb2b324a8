"""The adopter: looks now and then for spools of the dead, and has them sent, one after the other.

What a spool says and what answers mean is the adoptee's business; sockets are its sender's.
"""

import contextlib
import threading
import time
from pathlib import Path
from typing import Final

from hansard import directory as layout
from hansard.adopting.adoptee import CONFLICT, DELIVERED, OTHER_LOG, Adoptee
from hansard.complaints import LOGGER, Complaints
from hansard.sender import Sender
from hansard.served_by import Writer
from hansard.spool import SUFFIX, TEMPORARY_SUFFIX, SpoolDamaged, making
from hansard.spool.orphan import Orphan, is_abandoned, lock_orphan

SCAN_S: Final = 30.0
STUCK_S: Final = 60.0  # without progress: another spool's turn
LOOK_S: Final = 0.1  # whether to stop
STOP_S: Final = 0.5
TEMPORARY_AGE_S: Final = 60.0  # of a spool that was never finished, until it is swept away
DAMAGED_SUFFIX: Final = ".damaged"


class Adopter:
    """One thread, from the first welcome to the end of its log; a daemon, for a spool that is not
    through stays for the next. `start`, `finish`, `stop` and `abandon_after_fork` are others'."""

    def __init__(self, writer: Writer, complaints: Complaints) -> None:
        self._writer = writer
        self._complaints = complaints
        self._directory = writer.directory / layout.SPOOL
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._rests = threading.Event()  # a round is over, and none has begun
        self._left_alone: set[Path] = set()
        self._orphan: Orphan | None = None
        self._sender: Sender | None = None

    def start(self) -> None:
        """Begin, at the first call."""
        if self._thread is None and not self._stopping.is_set():
            thread = threading.Thread(target=self._run, name="hansard-adopter", daemon=True)
            with contextlib.suppress(RuntimeError):  # no threads: tried again
                thread.start()
                self._thread = thread

    def finish(self, timeout: float) -> None:
        """Wait until what was found is sent, for up to ``timeout`` seconds."""
        if self._thread is not None:
            self._rests.wait(max(timeout, 0))

    def stop(self) -> None:
        """Leave what is not through for the next."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(2 * STOP_S)

    def abandon_after_fork(self) -> None:
        """In a child: drop the inherited descriptors, or the parent's flock would outlive it."""
        if self._sender is not None:
            self._sender.abandon_after_fork()
        if self._orphan is not None:
            with contextlib.suppress(OSError):
                self._orphan.close()

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._rests.clear()
            try:
                self._look_through()
            except Exception as error:  # noqa: BLE001 - said; the spools stay
                self._complaints.crash("adopting what the dead left has failed", error)
            self._rests.set()
            self._stopping.wait(SCAN_S)

    def _look_through(self) -> None:
        paths = sorted(self._directory.iterdir())
        self._left_alone &= set(paths)
        for path in paths:
            if self._stopping.is_set():
                return
            if path.suffix == TEMPORARY_SUFFIX:
                _sweep(path)
            elif path.suffix == SUFFIX and path not in self._left_alone:
                self._adopt(path)

    def _adopt(self, path: Path) -> None:
        try:
            with making:  # a fork waits, and then knows what it inherits
                orphan = self._orphan = lock_orphan(path)
        except SpoolDamaged as error:
            self._set_aside(path, str(error))
            return
        except OSError as error:
            self._complain(path, f"it cannot be opened ({error.strerror}), and is tried again")
            return
        if orphan is None:
            return  # its producer lives, or another process has it
        is_let_go = True
        try:
            adoptee = Adoptee(orphan)
            is_let_go = self._deliver(adoptee)
            self._conclude(orphan, adoptee)
        except OSError as error:
            self._complain(path, f"it cannot be read ({error.strerror}), and is tried again")
        finally:
            if is_let_go:  # else its sender still reads it, until the process ends
                with making:
                    orphan.close()
                    self._orphan = None
            else:
                self._left_alone.add(path)

    def _deliver(self, adoptee: Adoptee) -> bool:
        """Have it sent, as far as that gets; whether its sender let go of it."""
        sender = self._sender = Sender(self._writer, adoptee, self._complaints, adopts=False)
        try:
            sender.wake()
            self._watch(adoptee)
        finally:
            has_stopped = sender.stop(STOP_S)
            if has_stopped:
                self._sender = None
        return has_stopped

    def _watch(self, adoptee: Adoptee) -> None:
        """Until it has ended, is stuck, or all is to stop."""
        acked, moved_at = adoptee.acked, time.monotonic()
        while not adoptee.ended.wait(LOOK_S) and not self._stopping.is_set():
            if adoptee.acked != acked:
                acked, moved_at = adoptee.acked, time.monotonic()
            elif time.monotonic() - moved_at > STUCK_S:
                return

    def _conclude(self, orphan: Orphan, adoptee: Adoptee) -> None:
        """The file goes when all of it is committed, and not before."""
        path, identity = orphan.path, orphan.identity
        if adoptee.fate == DELIVERED and orphan.damage:
            self._set_aside(path, f"{orphan.damage}; what comes before it is entered")
        elif adoptee.fate == DELIVERED:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._left_alone.add(path)
                self._complain(path, f"it is entered, and cannot be removed ({error.strerror})")
            LOGGER.info("adopted the spool of %s pid %d", identity.host, identity.pid)
        elif adoptee.fate == CONFLICT:
            self._left_alone.add(path)
            self._complain(path, "the log has something else under its numbers; it is left alone")
        elif adoptee.fate == OTHER_LOG:
            self._left_alone.add(path)
        elif adoptee.error:
            raise adoptee.error

    def _set_aside(self, path: Path, why: str) -> None:
        """Under a name that nobody looks for; once, also where that is not possible."""
        aside = path.with_suffix(DAMAGED_SUFFIX)
        try:
            path.rename(aside)
        except OSError as error:
            self._left_alone.add(path)
            self._complain(path, f"it is damaged ({why}), and stays: {error.strerror}")
            return
        self._complain(path, f"it is damaged ({why}): set aside as {aside.name}")

    def _complain(self, path: Path, what: str) -> None:
        self._complaints.warn(f"spool {path.name}", "the spool %s of a dead worker: %s", path, what)


def _sweep(path: Path) -> None:
    """Remove the file of a producer that died while making it."""
    with contextlib.suppress(OSError):
        is_old = time.time() - path.stat().st_mtime > TEMPORARY_AGE_S
        if is_old and is_abandoned(path):  # a clock that was set makes everything old
            path.unlink(missing_ok=True)
