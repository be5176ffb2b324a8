"""The checkpoints of one log at a far end, and those kept elsewhere: signatures, and what of the
tree they bear. It reads nothing; what the tree comes to, the entries have told.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from hansard.wording import counted
from hansard_writer.proof.checkpoint import Checkpoint, read_checkpoint
from hansard_writer.proof.signed_note import NoteError, UntrustedNote, VerifierKey
from hansard_writer.proof.verifying.checkpoint_pass import GIVEN
from hansard_writer.proof.verifying.findings import Findings
from hansard_writer.proof.verifying.histories import Histories
from hansard_writer.proof.verifying.trust import Trust, claimed_size, open_other, open_own
from hansard_writer.shipping.verifying.regrown_tree import Claims, RegrownTree, Told

OWN: Final = "a checkpoint that is kept with it"


class FarCheckpoints:
    """Holds checkpoints of one origin against the tree of what is kept, of which the first
    ``gone_to`` entries are not there any more."""

    def __init__(
        self,
        origin: str,
        trust: Trust,
        claims: Claims,
        tree: RegrownTree,
        gone_to: int,
        findings: Findings,
    ) -> None:
        self._origin = origin
        self._trust = trust
        self._claims = claims
        self._tree = tree
        self._gone_to = gone_to
        self._findings = findings
        self._histories = Histories()
        self._covering: tuple[Checkpoint, frozenset[VerifierKey]] | None = None
        self._untrusted = 0
        self.checked = 0
        self.unverifiable = 0  # of pruned entries
        self.untellable = 0  # behind entries whose leaves nobody knows
        self.led_to = 0  # the largest size that fits, of a given key and those it vouches for
        self.is_signed = False  # by one of these, whether it fits, does not, or nobody can tell
        self.on_their_way = 0  # the size of the one that covers the last ones, and more
        self._beyond: dict[str, int] = {}  # by what says so, the largest

    @property
    def histories(self) -> Histories:
        """Which of them fit."""
        return self._histories

    @property
    def beyond(self) -> tuple[int, str] | None:
        """The largest size that is signed and is not there, and what says so."""
        return max(((size, named) for named, size in self._beyond.items()), default=None)

    # --- those that are kept with it ---

    def own(self, notes: Iterable[str]) -> None:
        """All of them, in their order."""
        before = -1
        for note in notes:
            size = claimed_size(note)
            if size is None:
                self._findings.add("something is kept as a checkpoint that is none")
            elif size <= before:
                self._findings.add(
                    f"checkpoint of size {size:,}: it is kept behind one of size {before:,}"
                )
            else:
                self._check(note, size, max(before, 0))
                before = size

    def cover_the_last(self, proof: Sequence[bytes]) -> Told | None:
        """Hold the first checkpoint that is of more entries than are there against the proof that
        they are its beginning: then the others are on their way. What that tells of them."""
        if self._covering is None:
            return None
        (checkpoint, signers), size = self._covering, self._tree.size
        told = self._tree.leads_to(checkpoint.size, checkpoint.root, proof) if size else None
        if told is not None:
            self._note(size, True, signers)
            if self._beyond[OWN] == checkpoint.size:
                del self._beyond[OWN]
                self.on_their_way = checkpoint.size
        return told

    # --- an outsider's ---

    def given(self, note: str | bytes) -> None:
        """One that somebody else has kept, of this log; passed over where the log had gone another
        way by then, under another origin."""
        checkpoint = read_checkpoint(note)
        if checkpoint.origin not in (self._origin, self._trust.chain.at(checkpoint.size).origin):
            return
        try:
            checkpoint, signers = open_other(note, self._trust.keys)
        except NoteError as error:
            self._findings.add(f"{GIVEN} of size {checkpoint.size:,}: {error}")
            return
        self.checked += 1
        if checkpoint.size > self._tree.size:
            self._is_beyond(checkpoint.size, GIVEN)
            return
        fits = self._fits(checkpoint)
        self._histories.given(checkpoint.size, fits=fits)
        self.is_signed |= bool(signers & self._trust.leads)
        if fits and signers & self._trust.leads:
            self.led_to = max(self.led_to, checkpoint.size)

    def finish(self, anchor: str) -> None:
        """Note what is signed, but by keys that do not count."""
        if self._untrusted:
            some = counted(self._untrusted, "checkpoint")
            self._findings.add(
                f"keys that do not follow from {anchor} signed {some}", count=self._untrusted
            )

    # --- inside ---

    def _check(self, note: str, size: int, before: int) -> None:
        if size > self._tree.size:
            self._check_beyond(note, size)
            return
        try:
            checkpoint, link = open_own(note.encode(), size, before, self._trust.chain)
            if checkpoint.origin != self._origin:
                raise UntrustedNote(f"it is one of {checkpoint.origin}")
        except NoteError as error:
            if isinstance(error, UntrustedNote) and size <= self._gone_to:
                self.unverifiable += 1  # the entries that name its key may be gone too
            else:
                self._findings.add(f"checkpoint of size {size:,}: {error}")
            return
        self.checked += 1
        if link.key not in self._trust.keys:
            self._untrusted += 1
            return
        self._note(size, self._fits(checkpoint), frozenset({link.key}))

    def _check_beyond(self, note: str, size: int) -> None:
        try:
            checkpoint, signers = open_other(note, self._trust.keys)
            if checkpoint.origin != self._origin:
                raise UntrustedNote(f"it is one of {checkpoint.origin}")
        except NoteError as error:
            self._findings.add(f"checkpoint of size {size:,}: {error}")
            return
        self.checked += 1
        if self._covering is None:
            self._covering = checkpoint, signers
        self._is_beyond(size, OWN)

    def _fits(self, checkpoint: Checkpoint) -> bool | None:
        fits = self._claims.fits(checkpoint.size, checkpoint.root)
        if fits is None and checkpoint.size < self._gone_to:
            self.unverifiable += 1
        elif fits is None:
            self.untellable += 1
        return fits

    def _note(self, size: int, fits: bool | None, signers: frozenset[VerifierKey]) -> None:
        self._histories.own(size, fits=fits)
        self.is_signed |= bool(signers & self._trust.leads)
        if fits and signers & self._trust.leads:
            self.led_to = max(self.led_to, size)

    def _is_beyond(self, size: int, named: str) -> None:
        self._beyond[named] = max(size, self._beyond.get(named, 0))
