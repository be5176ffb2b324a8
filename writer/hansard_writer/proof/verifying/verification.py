"""`verify`: what is looked at, in which order, and what it comes to.

It reads the log and nothing else, in short read transactions; what it finds it returns.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import apsw

from hansard import directory as layout
from hansard.errors import AuditLogError
from hansard.reader_connection import ReadConnection
from hansard.wording import counted
from hansard_writer.proof.checkpoint import read_checkpoint
from hansard_writer.proof.key_chain import FIRST as FIRST_KEY
from hansard_writer.proof.key_chain import LOST, READ_KEY_ENTRIES, ROLLED_BACK, ROTATED
from hansard_writer.proof.merkle_hash_tree import EMPTY_ROOT, Edge
from hansard_writer.proof.signed_note import NOTE_BYTES_MAX, VerifierKey
from hansard_writer.proof.stored_tree import NodeMissing, stored_tree
from hansard_writer.proof.verifying.accounting import (
    check_accounts,
    check_put_back,
    is_accounted_for,
)
from hansard_writer.proof.verifying.anchors import Anchors, anchors, trust_from
from hansard_writer.proof.verifying.checkpoint_pass import CheckpointPass
from hansard_writer.proof.verifying.entry_pass import EntryPass
from hansard_writer.proof.verifying.findings import (
    FINDINGS_NAMED_MAX,
    Findings,
    Report,
    verdict_of,
)
from hansard_writer.proof.verifying.looking import FIRST, Look, check_identity, look
from hansard_writer.proof.verifying.statements import REDACTED
from hansard_writer.proof.verifying.stored_schema import check_schema

LOOKS_MAX: Final = 10  # at a log that grows, for entries that say what was taken out meanwhile

WHY: Final = {
    LOST: "the key before it was lost, and vouches for nothing behind that",
    ROLLED_BACK: "the log had gone back in time, and what was signed behind that may be gone",
}

Progress = Callable[[int, int], None]
"""Called with how much is done, and how much there is to do."""

_COUNT: Final = "SELECT count(*) FROM checkpoints WHERE size > ?"
_CHECK: Final = f"PRAGMA quick_check({FINDINGS_NAMED_MAX})"


def verify(
    directory: str | Path,
    *,
    keys: Iterable[VerifierKey | str] = (),
    checkpoints: Iterable[str | bytes] = (),
    since: int | None = None,
    progress: Progress = lambda _done, _all: None,
) -> Report:
    """Recompute a log's proof from what its database holds, and say what is not as it should be.

    ``keys`` are the verifier keys that somebody outside has kept; without any, writer.pub of the
    directory is believed. ``checkpoints`` are notes that somebody outside has kept, as text.
    ``since`` a size, what a checkpoint stands for up to there is not recomputed: one of the log's
    own or a given one, of that size or the next smaller.

    The log may be recorded into meanwhile. Raises `hansard.ConfigError` where there is no log, or
    it cannot be read, and `NoteError` for a key or a checkpoint that is none.
    """
    given = list(checkpoints)
    for note in given:
        read_checkpoint(note)
    kept = tuple(VerifierKey.parse(key) if isinstance(key, str) else key for key in keys)
    connection = ReadConnection(Path(directory), to_scan=True)
    try:
        return _Verification(connection, kept, given, since or 0, progress).run()
    finally:
        connection.close()


class _Verification:
    """One run."""

    def __init__(
        self,
        connection: ReadConnection,
        keys: tuple[VerifierKey, ...],
        given: list[str | bytes],
        since: int,
        progress: Progress,
    ) -> None:
        self._began = time.monotonic()
        self._connection = connection
        self._rows = connection.rows
        self._anchors = Anchors(keys, bool(keys))
        self._given = given
        self._wanted_since = since
        self._progress = progress
        self._altered = Findings()  # entries and tree
        self._ends = Findings()  # leaves of entries that are not there
        self._unsound = Findings()  # schema, keys and checkpoints
        self._remarks: list[str] = []
        self._done = self._all = 0
        self._gone_to = 0
        self._size, self._root, self._since = 0, EMPTY_ROOT, 0
        self._entries: EntryPass | None = None
        self._checkpoints: CheckpointPass | None = None

    def run(self) -> Report:
        """All of it."""
        try:
            self._run()
        except AuditLogError as error:
            if not isinstance(error.__cause__, apsw.CorruptError | apsw.NotADBError):
                raise
            self._altered.add(f"the database is damaged: {error.__cause__}")
        except (TypeError, ValueError):
            if not self._check_types():
                raise
        return self._report()

    def _check_types(self) -> bool:
        """Note the values that are of other types than their columns: who writes past STRICT can
        put them there, and nothing computes with them. Whether there are any."""
        found = [words for (words,) in self._rows(_CHECK) if words != "ok"]
        for words in found:
            self._altered.add(f"the database is damaged: {words}")
        return bool(found)

    def _run(self) -> None:
        directory = self._connection.directory
        file_note = _read_note(directory / layout.CHECKPOINT)
        if not check_schema(self._connection, self._unsound):
            self._remarks.append("nothing was recomputed: the tables are not those of a log")
            return
        log_id = check_identity(self._connection, self._altered)
        seen = look(self._connection, self._altered)
        if seen.leaves > seen.size:
            leaves, size = seen.leaves, seen.size
            self._ends.add(f"the tree has {leaves:,} leaves, and the log {size:,} entries")
        self._anchors = anchors(directory, self._anchors.keys, log_id, self._unsound)
        entries = self._entries = EntryPass(
            self._connection, self._base(seen), self._altered, self._went_through
        )
        self._recompute(entries, seen.size)
        self._check_signatures(entries, seen, file_note)
        covered = self._checkpoints.covered if self._checkpoints else 0
        said, redacted = entries.statements, entries.redacted
        check_accounts(said, redacted, self._gone_to, entries.size, covered, self._altered)
        if redacted.count and said.redacted_at > covered:
            self._remarks.append(
                f"entry {said.redacted_at:,} ({REDACTED}) is covered by no checkpoint yet"
            )

    # --- the entries ---

    def _base(self, seen: Look) -> Edge:
        """Where to begin: an edge that hashes to a signed root."""
        wanted, size = self._wanted_since, 0
        tree = stored_tree(self._rows)
        if wanted and self._anchors.keys:
            # What is found here is found again: these entries are proven by the pass.
            trust = trust_from(self._anchors, self._rows(READ_KEY_ENTRIES), Findings())
            checks = CheckpointPass(self._connection, tree, trust, Findings(), seen.size, 0)
            size = checks.base(min(wanted, seen.size))
            given = [checks.given(note) for note in self._given]
            size = max([size, *(each.size for each in given if each and each.size <= wanted)])
        if wanted > seen.size:
            self._remarks.append(f"the log has {seen.size:,} entries, and not {wanted:,}")
        if size != wanted:
            self._remarks.append(
                f"no checkpoint of size {wanted:,} stands for what is before it: begun at {size:,}"
            )
        try:
            edge = tree.edge(size)
        except NodeMissing:  # pruned, or gone: the pass tells
            edge = Edge()
        self._since = edge.size
        return edge

    def _recompute(self, entries: EntryPass, size: int) -> None:
        """Go through the entries, as far as there were some, and on while what is missing may be
        accounted for by entries that came meanwhile."""
        self._all = size - self._since + self._rows(_COUNT, self._since)[0][0]
        if self._since:
            entries.heed_earlier()
        entries.go_on(size)
        said, redacted = entries.statements, entries.redacted
        begin = max(entries.gone_to, self._since)
        check_put_back(said, redacted, begin, self._altered)
        for _ in range(LOOKS_MAX):
            first = self._rows(FIRST)[0][0]
            self._gone_to = max(entries.gone_to, (first or 1) - 1)
            if is_accounted_for(said, redacted, self._gone_to, entries.size):
                break
            size = look(self._connection, self._altered).size
            if size == entries.size:
                break
            entries.go_on(size)
        self._size, self._root = entries.size, entries.root()

    # --- the checkpoints ---

    def _check_signatures(self, entries: EntryPass, seen: Look, file_note: bytes | None) -> None:
        if not self._anchors.keys:
            if self._given or file_note or self._rows(_COUNT, -1)[0][0]:
                self._unsound.add(
                    f"{layout.PUBLIC_KEY} is missing: without it, and without a key that somebody "
                    "outside has kept, no signature can be checked"
                )
            return
        trust = trust_from(self._anchors, entries.statements.of_keys, self._unsound)
        for link in trust.chain.links:
            if link.reason not in (FIRST_KEY, ROTATED):
                self._remarks.append(
                    f"entry {link.since:,} began a new origin, {link.origin}: {WHY[link.reason]}"
                )
        self._checkpoints = checks = CheckpointPass(
            self._connection,
            stored_tree(self._rows),
            trust,
            self._unsound,
            entries.size,
            self._gone_to,
        )
        checks.own(max(self._since - 1, 0), self._went_through)  # and what it began with
        if file_note is not None:
            checks.own_file(file_note, entries.statements.accepted)
        checks.beyond(seen.beyond)
        for note in self._given:
            checks.given(note)
        checks.finish(self._anchors.named)
        if checks.signed_beyond is not None:
            self._remarks.append(
                f"{checks.named_beyond} is of {checks.signed_beyond:,} entries, and the log has "
                f"{entries.size:,}"
            )
        if checks.unverifiable:
            some = counted(checks.unverifiable, "checkpoint is", "checkpoints are")
            self._remarks.append(
                f"{some} of pruned entries only: their roots cannot be recomputed any more"
            )
        if self._anchors.are_given and self._size and not checks.led_to:
            self._unsound.add("no checkpoint is signed by a given key, or by a successor of one")

    # --- what came of it ---

    def _report(self) -> Report:
        entries, checks = self._entries, self._checkpoints
        fork = checks.fork if checks else None
        signed_size = checks.signed_beyond if checks else None
        found = (self._altered, self._ends, self._unsound)
        return Report(
            verdict=verdict_of(
                altered=self._altered.count,
                leaves_too_many=self._ends.count > 0,
                forked=fork is not None,
                truncated=signed_size is not None,
                unsound=self._unsound.count,
                pruned=self._gone_to > 0,
            ),
            size=self._size,
            root=self._root,
            since=self._since,
            entries=entries.entries if entries else 0,
            pruned=self._gone_to,
            redacted=entries.redacted.count if entries else 0,
            checkpoints=checks.checked if checks else 0,
            covered=checks.covered if checks else 0,
            findings=tuple(each for part in found for each in part.named)[:FINDINGS_NAMED_MAX],
            findings_count=sum(part.count for part in found),
            fork=fork,
            signed_size=signed_size,
            remarks=tuple(self._remarks),
            keys=tuple(map(str, self._anchors.keys)),
            keys_are_given=self._anchors.are_given,
            verified_at=time.time_ns(),
            seconds=time.monotonic() - self._began,
        )

    def _went_through(self, count: int) -> None:
        self._done += count
        self._all = max(self._all, self._done)  # it goes on meanwhile
        self._progress(self._done, self._all)


def _read_note(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(NOTE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
