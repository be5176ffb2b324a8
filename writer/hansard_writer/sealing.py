"""Checkpoints: what is committed is signed, kept in the log, written to DIR/checkpoint, handed out.

In this order, each step durable before the next, and never two for one size. The log is another's
to commit, and when there is time for it, too.
"""

import logging
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, Final

from hansard import directory as layout
from hansard import wire
from hansard_writer.durable_files import replace_file
from hansard_writer.identity import WRITE_META
from hansard_writer.own_entries import OwnEntries
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.key_chain import KEY, ROTATED
from hansard_writer.signing import Signing
from hansard_writer.store import Store

WRITE_RETRY_S: Final = 1.0

_READ_NEWEST: Final = "SELECT note, created_at FROM checkpoints ORDER BY size DESC LIMIT 1"
_INSERT: Final = "INSERT INTO checkpoints(size, origin, created_at, note) VALUES(?,?,?,?)"

_LOG: Final = logging.getLogger("hansard.writer")


class Sealer:
    """The checkpoints of one log, in one run of its writer."""

    def __init__(
        self, store: Store, signing: Signing, interval_s: float, clock_ns: Callable[[], int]
    ) -> None:
        self._store = store
        self._signing = signing
        self._interval_s = interval_s
        self._clock_ns = clock_ns
        self._path = store.path.parent / layout.CHECKPOINT
        newest: tuple[str, int] = store.handle.one(_READ_NEWEST) or ("", 0)
        self._note, self._created_at = newest
        self._size = read_checkpoint(self._note).size if self._note else -1
        self._is_written = not self._note or _content(self._path) == self._note.encode()
        self._next_at = -inf
        self._retry_at = -inf
        self.held_up_by = ""

    @property
    def is_current(self) -> bool:
        """Whether all that is committed is in the newest checkpoint, and that is handed out."""
        return self._size == self._store.size and self._is_written and not self._is_rotating

    @property
    def sealed_to(self) -> int:
        """How many entries the newest checkpoint covers, if that is handed out."""
        return max(self._size, 0) if self._is_written else 0

    @property
    def due(self) -> float:
        """The moment from which on there is something to seal."""
        nothing = self._size < 0 and not self._store.size  # nobody needs to know, but who asks
        if self.is_current or nothing:
            return inf
        is_signed = self._size == self._store.size
        return self._retry_at if is_signed else max(self._next_at, self._retry_at)

    def seal(self, now: float) -> bool:
        """Seal what is committed, as far as that is not done; whether the log was written to.
        Raises `StoreUnready`, with nothing changed. A file that cannot be written is tried again:
        see `is_current`, `held_up_by`."""
        signs = self._size != self._store.size
        if signs:
            self._sign()
            self._next_at = now + self._interval_s
        try:
            if not self._is_written:
                replace_file(self._path, self._note.encode(), self._signing.public_mode)
                self._is_written = True
            if self._is_rotating:
                self._signing.end_rotation()
        except OSError as error:
            self._retry_at = now + WRITE_RETRY_S
            self._complain(error)
            return signs
        if self.held_up_by:
            _LOG.info("%s is written again", self._path)
        self.held_up_by = ""
        return signs

    def take(self, now: float) -> wire.Sealed:
        """A checkpoint of all that is committed, to be handed out. As `seal`; raises `WireError`
        while the file cannot be written."""
        self.seal(now)
        if not self.is_current:
            raise wire.WireError(self.held_up_by)
        return wire.Sealed(self._size, self._note)

    def rotate(self, own: OwnEntries, verifier_key: str) -> int:
        """Enter that the key that waits takes over; the seq of that entry. It is done with the next
        `seal`. ``verifier_key`` is its public half, so that nobody puts in another. Raises
        `KeyUnusable`, and `StoreUnready` with nothing changed."""
        signing = self._signing
        key = signing.proposed(verifier_key)
        facts = {
            "reason": ROTATED,
            "retired": str(signing.verifier_key),
            "verifier_key": str(key.verifier_key),
        }
        with own.entering() as entering:
            seq = own.enter(KEY, "info", facts, entering)
            self._store.connection.execute(WRITE_META, ("verifier_key", verifier_key))
        signing.begin_rotation(key)
        return seq

    def figures(self) -> dict[str, Any]:
        """For `hansard stats`."""
        age_ns = self._clock_ns() - self._created_at
        return {
            "checkpoint_size": max(self._size, 0),
            "checkpoint_at_s": round(self._created_at / 1e9, 3) if self._note else None,
            "checkpoint_age_s": round(age_ns / 1e9, 3) if self._note else None,
            "checkpoint_held_up_by": self.held_up_by,
        }

    # --- inside ---

    @property
    def _is_rotating(self) -> bool:
        return self._signing.is_rotating

    def _sign(self) -> None:
        size, now_ns = self._store.size, self._clock_ns()
        note = self._signing.sign(size, self._store.root())
        with self._store.handle.transaction():
            self._store.connection.execute(_INSERT, (size, self._signing.origin, now_ns, note))
        self._note, self._size, self._created_at = note, size, now_ns
        self._is_written = False

    def _complain(self, error: OSError) -> None:
        if not self.held_up_by:
            _LOG.warning(
                "%s cannot be written (%s): no checkpoint is handed out until it is",
                error.filename or self._path,
                error.strerror,
            )
        self.held_up_by = f"{self._path} cannot be written ({error.strerror})"


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
