"""One log at a far end: what is looked at, in which order, and what it comes to.

It reads through the contract of far ends and nothing else; what it finds it returns.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from hansard.wording import counted
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.key_chain import FIRST as FIRST_KEY
from hansard_writer.proof.key_chain import ROTATED, KeyChain
from hansard_writer.proof.signed_note import NoteError, VerifierKey, parse_note
from hansard_writer.proof.verifying.accounting import check_accounts, check_put_back
from hansard_writer.proof.verifying.anchors import Anchors, chain_from, check_named
from hansard_writer.proof.verifying.findings import (
    FINDINGS_NAMED_MAX,
    Findings,
    Report,
    verdict_of,
)
from hansard_writer.proof.verifying.trust import trust
from hansard_writer.proof.verifying.verification import WHY
from hansard_writer.shipping.far_end import FarEnd
from hansard_writer.shipping.verifying.checkpoints import FarCheckpoints
from hansard_writer.shipping.verifying.entries import FarEntries
from hansard_writer.shipping.verifying.regrown_tree import Claims

NOT_PROVEN: Final = (
    "host, pid and start of producers",
    "indexes, full text and views",
    "your own tables and files",
    "whether all that was signed has been shipped",
)
"""What no proof covers: whoever can write there can change it, and nothing is said."""

NOT_SIGNED: Final = "no checkpoint is signed by a given key, or by a successor of one"
PROOF_FAILS: Final = (
    "what is kept as proof does not lead from them to the checkpoint of size {:,} that covers them"
)
UNCOVERED: Final = "no checkpoint covers them, and nothing is shipped before one does"


class OneLog:
    """One verification of one log. ``run`` once."""

    def __init__(
        self,
        far: FarEnd,
        origin: str,
        keys: Sequence[VerifierKey],
        given: Sequence[str | bytes],
        progress: Callable[[int, int], None],
    ) -> None:
        self._began = time.monotonic()
        self._far = far
        self._origin = origin
        self._keys = keys
        self._given = given
        self._progress = progress
        self._altered = Findings()  # entries and tree
        self._ends = Findings()  # entries that are said to be there
        self._unsound = Findings()  # keys and checkpoints
        self._remarks: list[str] = []
        self._newest = ""  # of the checkpoints that are kept with it
        self._anchored = Anchors((), are_given=True)
        self.chain: KeyChain | None = None

    def run(self) -> Report:
        """All of it. Raises as `FarEnd` does."""
        head = self._far.head(self._origin)
        claims = Claims(self._claimed())
        entries = FarEntries(self._origin, head, claims, self._altered)
        said = head.size if head else 0
        for page in self._far.pages(self._origin):
            entries.take(page)
            self._progress(entries.size, max(said, entries.size))
        if entries.size < said:
            self._ends.add(
                f"what is kept says that {said:,} entries were shipped, and there are "
                f"{entries.size:,}"
            )
        checks = self._check_signatures(entries, claims)
        told = checks.cover_the_last(head.proof if head else [])
        if told is not None:  # by a key that counts, which an entry that is to come may name
            entries.tell(told)
        elif self.chain is not None:
            check_named(self._anchored, self.chain, self._unsound)
        entries.finish()
        self._account(entries, checks)
        self._remark(entries, checks)
        return self._report(entries, checks)

    def _claimed(self) -> Iterator[tuple[int, bytes]]:
        for note in self._given:
            checkpoint = read_checkpoint(note)
            yield checkpoint.size, checkpoint.root
        for note in self._far.notes(self._origin):
            try:
                checkpoint = read_checkpoint(note)
            except NoteError:
                continue  # it is found again when its signature is checked
            yield checkpoint.size, checkpoint.root
            self._newest = note

    # --- the checkpoints ---

    def _check_signatures(self, entries: FarEntries, claims: Claims) -> FarCheckpoints:
        self._anchored = anchors = Anchors(self._anchors(), are_given=True)
        self.chain = chain_from(anchors, entries.statements.of_keys, self._unsound)
        checks = FarCheckpoints(
            self._origin,
            trust(self.chain, anchors.keys),
            claims,
            entries.tree,
            entries.gone_to,
            self._unsound,
        )
        checks.own(self._far.notes(self._origin))
        for note in self._given:
            checks.given(note)
        checks.finish(anchors.named)
        return checks

    def _anchors(self) -> tuple[VerifierKey, ...]:
        """The given keys, first the one that has signed the newest checkpoint: where no entry is
        there that names a key, it is the only one that has signed."""
        signatures = parse_note(self._newest).signatures if self._newest else ()
        signers = {(each.name, each.key_id) for each in signatures}
        return tuple(sorted(self._keys, key=lambda key: (key.name, key.id) not in signers))

    # --- what came of it ---

    def _account(self, entries: FarEntries, checks: FarCheckpoints) -> None:
        """Hold what is missing against what the log's own entries say, and what is there against
        what is covered."""
        said, redacted, size = entries.statements, entries.redacted, entries.size
        covered = checks.histories.covered
        check_put_back(said, redacted, entries.gone_to, self._altered)
        hint = f", up to entry {size:,}: it may not be shipped yet"
        check_accounts(said, redacted, entries.gone_to, size, covered, self._altered, hint)
        is_told = self._altered.count or checks.histories.fork  # why none that is signed fits
        if size and not checks.led_to and not (checks.is_signed and is_told):
            self._unsound.add(NOT_SIGNED)
        if covered == size or entries.tree.is_lost or checks.histories.fork:
            return
        first = max(covered, entries.gone_to) + 1
        if checks.beyond is None:
            self._altered.add(UNCOVERED, first, size, count=size - first + 1)
        elif not self._ends.count:
            self._altered.add(PROOF_FAILS.format(checks.beyond[0]), first, size)

    def _remark(self, entries: FarEntries, checks: FarCheckpoints) -> None:
        remarks = self._remarks
        for link in self.chain.links if self.chain else ():
            if link.reason not in (FIRST_KEY, ROTATED):
                remarks.append(
                    f"entry {link.since:,} began a new origin, {link.origin}: {WHY[link.reason]}"
                )
        if checks.on_their_way:
            remarks.append(
                f"the last ones are proven by the checkpoint of size {checks.on_their_way:,}, "
                "whose other entries are not there yet"
            )
        if checks.beyond is not None:
            signed, named = checks.beyond
            remarks.append(
                f"{named} is of {signed:,} entries, and {entries.size:,} are there: the others are "
                "not shipped yet, or not there any more"
            )
        if entries.tree.is_lost:
            remarks.append(
                "behind missing entries no root can be recomputed: what comes there is held "
                "against the leaf hashes that are kept beside it, and against nothing signed"
            )
        if checks.unverifiable:
            some = counted(checks.unverifiable, "checkpoint is", "checkpoints are")
            remarks.append(
                f"{some} of pruned entries only: their roots cannot be recomputed any more"
            )
        fork = checks.histories.fork
        if fork and self._altered.count:
            remarks.append(f"no entry behind {fork.fits:,} is proven by a checkpoint")

    def _report(self, entries: FarEntries, checks: FarCheckpoints) -> Report:
        fork = checks.histories.fork
        signed_size = checks.beyond[0] if checks.beyond else None
        found = (self._altered, self._ends, self._unsound)
        return Report(
            verdict=verdict_of(
                altered=self._altered.count,
                leaves_too_many=self._ends.count > 0,
                forked=fork is not None,
                truncated=signed_size is not None,
                unsound=self._unsound.count,
                pruned=entries.gone_to > 0,
            ),
            size=entries.size,
            root=entries.tree.root(),
            since=0,
            entries=entries.entries,
            pruned=entries.gone_to,
            redacted=entries.redacted.count,
            checkpoints=checks.checked,
            covered=checks.histories.covered,
            findings=tuple(each for part in found for each in part.named)[:FINDINGS_NAMED_MAX],
            findings_count=sum(part.count for part in found),
            fork=fork,
            signed_size=signed_size,
            remarks=tuple(self._remarks),
            keys=tuple(map(str, self._keys)),
            keys_are_given=True,
            verified_at=time.time_ns(),
            seconds=time.monotonic() - self._began,
            not_proven=NOT_PROVEN,
        )
