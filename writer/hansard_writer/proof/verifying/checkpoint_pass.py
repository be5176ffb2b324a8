"""The pass through the checkpoints: signatures, and roots held against the tree's nodes.

The nodes are those that the pass through the entries has recomputed, or a signed root stands for.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from hansard.reader_connection import ReadConnection
from hansard.wording import counted
from hansard_writer.proof.checkpoint import Checkpoint, encode_root, read_checkpoint
from hansard_writer.proof.key_chain import ROTATED
from hansard_writer.proof.signed_note import NoteError, UntrustedNote
from hansard_writer.proof.stored_tree import NodeMissing, StoredTree
from hansard_writer.proof.verifying.findings import Findings, Fork
from hansard_writer.proof.verifying.histories import Histories
from hansard_writer.proof.verifying.looking import FIRST
from hansard_writer.proof.verifying.trust import Trust, claimed_size, log_of, open_other, open_own

PAGE_CHECKPOINTS: Final = 500
OWN_FILE: Final = "DIR/checkpoint"
GIVEN: Final = "the given checkpoint"

_COLUMNS: Final = "SELECT size, CAST(origin AS BLOB), CAST(note AS BLOB) FROM checkpoints"
_PAGE: Final = f"{_COLUMNS} WHERE size > ? AND size <= ? ORDER BY size LIMIT ?"
_NEXT: Final = f"{_COLUMNS} WHERE size >= ? ORDER BY size LIMIT 1"
_LAST: Final = f"{_COLUMNS} WHERE size <= ? ORDER BY size DESC LIMIT 1"
_BEFORE: Final = "SELECT coalesce(max(size), 0) FROM checkpoints WHERE size < ?"
_LEAST: Final = -(1 << 63)


class Own(NamedTuple):
    """A checkpoint as the log's own table has it."""

    size: int
    origin: bytes
    note: bytes


class CheckpointPass:
    """Holds checkpoints against a tree of ``size`` leaves, of which the first ``gone_to`` are not
    there any more."""

    def __init__(
        self,
        connection: ReadConnection,
        tree: StoredTree,
        trust: Trust,
        findings: Findings,
        size: int,
        gone_to: int,
    ) -> None:
        self._rows = connection.rows
        self._tree = tree
        self._trust = trust
        self._findings = findings
        self._size = size
        self._gone_to = gone_to
        self._histories = Histories()
        self._untrusted = 0
        self.checked = 0
        self.unverifiable = 0  # of pruned entries
        self.led_to = 0  # the same of the anchor, and those it vouches for
        self.signed_beyond: int | None = None
        self.named_beyond = ""  # what says so

    @property
    def covered(self) -> int:
        """The largest size that fits and is signed by a key that counts."""
        return self._histories.covered

    @property
    def fork(self) -> Fork | None:
        """Where another history begins, as far as signed checkpoints tell."""
        return self._histories.fork

    # --- the log's own ---

    def base(self, since: int) -> int:
        """The largest size up to ``since`` that a checkpoint of the log stands for; 0 if there is
        none, or the first that could does not fit."""
        below = since
        while found := self._rows(_LAST, below):
            own = Own(*found[0])
            self._check_own(own, self._size_before(own.size))
            if self.covered == own.size or self._histories.own_differs is not None:
                break
            below = own.size - 1
        return 0 if self._histories.own_differs else self.covered

    def own(self, after: int, through: Callable[[int], None]) -> None:
        """All behind a size, and before it those in which a key vouches for its successor."""
        for link in self._trust.chain.links:
            if link.reason == ROTATED and link.since <= after:
                for row in self._rows(_NEXT, link.since):
                    self._check_own(Own(*row), self._size_before(row[0]))
        before = self._size_before(after + 1) if after else 0
        at = after or _LEAST
        while page := self._rows(_PAGE, at, self._size, PAGE_CHECKPOINTS):
            for row in page:
                self._check_own(Own(*row), max(before, 0))
                before = at = row[0]
            through(len(page))

    def own_file(self, note: bytes, accepted: frozenset[tuple[int, str]]) -> None:
        """The one that stands beside the database; not if a rollback was accepted over it."""
        try:
            claimed = read_checkpoint(note)
            if Own(claimed.size, claimed.origin.encode(), note) in self._of_size(claimed.size):
                return  # it was looked at
            checkpoint, _ = open_other(note, self._trust.keys)
        except NoteError as error:
            self._findings.add(f"{OWN_FILE}: {error}")
            return
        if (checkpoint.size, encode_root(checkpoint.root)) in accepted:
            return
        if checkpoint.size > self._size:
            self._is_beyond(checkpoint.size, OWN_FILE)
            return
        self._findings.add(
            f"{OWN_FILE}, of size {checkpoint.size:,}, is not among the log's own checkpoints: one "
            "was taken away, or the database is older"
        )
        self.checked += 1
        self._histories.own(checkpoint.size, fits=self._fits(checkpoint))

    def beyond(self, rows: list[tuple[int, bytes]]) -> None:
        """The log's own that say it was larger."""
        for size, note in rows:
            try:
                checkpoint, _ = open_other(note, self._trust.keys)
            except NoteError as error:
                self._findings.add(f"checkpoint of size {size:,}: {error}")
            else:
                self._is_beyond(checkpoint.size, "a checkpoint of its own")

    # --- an outsider's ---

    def given(self, note: bytes | str) -> Checkpoint | None:
        """One that somebody else has kept; what it says if it is signed, and the tree fits it."""
        try:
            checkpoint, signers = open_other(note, self._trust.keys)
        except NoteError as error:
            self._findings.add(f"{GIVEN} of size {claimed_size(note):,}: {error}")
            return None
        self.checked += 1
        this = log_of(self._trust.chain.current.origin)
        if log_of(checkpoint.origin) != this:
            self._findings.add(
                f"{GIVEN} of size {checkpoint.size:,} is one of another log ({checkpoint.origin}): "
                f"this one is {this}"
            )
        if checkpoint.size > self._size:
            self._is_beyond(checkpoint.size, GIVEN)
            return None
        fits = self._fits(checkpoint)
        self._histories.given(checkpoint.size, fits=fits)
        if fits and signers & self._trust.leads:
            self.led_to = max(self.led_to, checkpoint.size)
        return checkpoint if fits else None

    # --- what came of it ---

    def finish(self, anchor: str) -> None:
        """Note what is signed, but by keys that do not count. ``anchor`` says which one began."""
        if self._untrusted:
            some = counted(self._untrusted, "checkpoint")
            self._findings.add(
                f"keys that do not follow from {anchor} signed {some}", count=self._untrusted
            )

    # --- inside ---

    def _check_own(self, own: Own, size_before: int) -> None:
        try:
            checkpoint, link = open_own(own.note, own.size, size_before, self._trust.chain)
            if own.origin != checkpoint.origin.encode():
                raise UntrustedNote("it stands under another origin")
        except UntrustedNote as error:
            if own.size <= self._gone_to:  # the entries that name its key may be gone too
                self.unverifiable += 1
            else:
                self._findings.add(f"checkpoint of size {own.size:,}: {error}")
            return
        except NoteError as error:
            self._findings.add(f"checkpoint of size {own.size:,}: {error}")
            return
        self.checked += 1
        if link.key not in self._trust.keys:
            self._untrusted += 1
            return
        fits = self._fits(checkpoint)
        self._histories.own(checkpoint.size, fits=fits)
        if fits and link.key in self._trust.leads:
            self.led_to = max(self.led_to, checkpoint.size)

    def _fits(self, checkpoint: Checkpoint) -> bool | None:
        """Whether the tree of that size has this root; None where that cannot be told any more."""
        try:
            return self._tree.root(checkpoint.size) == checkpoint.root
        except NodeMissing as error:
            first = self._rows(FIRST)[0][0]
            self._gone_to = max(self._gone_to, (first or 1) - 1)  # it is pruned meanwhile
            if checkpoint.size <= self._gone_to:
                self.unverifiable += 1
            else:
                self._findings.add(f"checkpoint of size {checkpoint.size:,}: {error}")
            return None

    def _of_size(self, size: int) -> list[Own]:
        """The one that the log has of a size, if it has one."""
        return [own for own in (Own(*row) for row in self._rows(_NEXT, size)) if own.size == size]

    def _is_beyond(self, size: int, named: str) -> None:
        if size > (self.signed_beyond or 0):
            self.signed_beyond, self.named_beyond = size, named

    def _size_before(self, size: int) -> int:
        before: int = self._rows(_BEFORE, size)[0][0]
        return max(before, 0)
