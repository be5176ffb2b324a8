"""Checkpoints outside the writer: the newest one taken, and kept in another place.

What was kept there is replaced only by what the log's own tree shows to be its continuation; from
then on the keeper can hold the log to account. It reads the log, and changes nothing of it.
"""

from pathlib import Path
from typing import Final, NamedTuple

from hansard import directory as layout
from hansard import requester, wire
from hansard.errors import AuditLogError, ConfigError, WriterUnavailable
from hansard.reader_connection import ReadConnection
from hansard.served_by import is_log_here, writer_of
from hansard.wording import counted
from hansard_writer.durable_files import replace_file
from hansard_writer.proof.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from hansard_writer.proof.key_chain import KeyChain, read_key_chain
from hansard_writer.proof.keys import read_verifier_key, write_verifier_key
from hansard_writer.proof.merkle_hash_tree import BadProof, consistency_proof, require_consistent
from hansard_writer.proof.signed_note import NoteError, VerifierKey
from hansard_writer.proof.stored_tree import NodeMissing, stored_tree

KEPT_MODE: Final = 0o644  # a checkpoint is for everybody
SIZE_DIGITS: Final = 12

_LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM entries"


class NoCheckpoint(AuditLogError):
    """The log was never signed. Start its writer: it signs as soon as there is an entry."""


class HistoryChanged(AuditLogError):
    """What a log says of itself now does not continue what was kept of it. Keep both, and find out
    who changed it; `hansard verify` with the kept checkpoint says more."""


class Taken(NamedTuple):
    """A note, and what there is to say of it: empty where it covers all that is committed."""

    note: str
    notice: str


def take_newest(directory: Path, timeout_s: float, *, must_answer: bool = True) -> Taken:
    """The newest checkpoint of a log: from its writer, where one lives, and then of all that is
    committed; else the last one.

    Raises `WriterUnavailable` where a writer lives and does not answer in time, unless that is
    taken for none, `NoCheckpoint`, and `ConfigError` where there is no log.
    """
    why = f"no writer runs in {directory}"
    writer = writer_of(directory)
    if writer.may_live():
        try:
            message = wire.pack_request(wire.TakeCheckpoint())
            sealed = wire.sealed_of(requester.ask(writer, message, timeout_s)[1])
            return Taken(sealed.note, "")
        except wire.WireError as error:
            if not is_log_here(directory):
                raise
            why = str(error)
        except WriterUnavailable as error:
            if must_answer:
                raise
            why = str(error)
    note = _last(directory)
    signed, entries = read_checkpoint(note).size, _entries(directory)
    if entries < signed:
        said = (
            f"the last one is of {signed:,} entries, and the log has {entries:,}: it went back in "
            "time, or was cut (see `hansard verify`)"
        )
    elif entries > signed:
        behind = counted(entries - signed, "entry is", "entries are")
        said = f"{behind} behind the last checkpoint"
    else:
        said = "the last one covers all"
    return Taken(note, f"{why}: {said}")


class Anchor:
    """A directory in which checkpoints of one log are kept: each in a file that is named by its
    size, the newest as ``checkpoint`` too, and ``writer.pub``, the key of the first."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._newest = place / layout.CHECKPOINT
        self._key = place / layout.PUBLIC_KEY

    def keep(self, note: str, directory: Path) -> Path | None:
        """Keep the note of the log in ``directory``; its file, None where it is kept already.

        Raises `HistoryChanged`, with all that was kept as it was, OSError, and `ConfigError`.
        """
        log = ReadConnection(directory)
        try:
            checkpoint = self._checked(note, log)
            before = self.newest()
            if before == checkpoint:
                return None
            if before:
                require_continued(before, checkpoint, log)
        finally:
            log.close()
        path = self._place / f"{checkpoint.size:0{SIZE_DIGITS}}.{layout.CHECKPOINT}"
        for each in (path, self._newest):
            replace_file(each, note.encode(), KEPT_MODE)
        return path

    def newest(self) -> Checkpoint | None:
        """The newest that is kept."""
        try:
            return read_checkpoint(self._newest.read_bytes())
        except FileNotFoundError:
            return None
        except NoteError as error:
            raise ConfigError(f"{self._newest} is no checkpoint ({error}): move it away") from error

    def _checked(self, note: str, log: ReadConnection) -> Checkpoint:
        """The checkpoint of a note that a key has signed which descends from the one that was here
        first."""
        try:
            chain = read_key_chain(log.rows)
            if chain is None:
                raise HistoryChanged(f"{log.directory} does not say any more who signs it")
            checkpoint = open_checkpoint(note, chain.keys)
        except NoteError as error:
            what = f"the checkpoint is not signed by a key of the log: {error}"
            raise HistoryChanged(what) from error
        self._require_descent(chain, chain.at(checkpoint.size).key)
        return checkpoint

    def _require_descent(self, chain: KeyChain, key: VerifierKey) -> None:
        try:
            first = read_verifier_key(self._key)
        except FileNotFoundError:
            self._place.mkdir(parents=True, exist_ok=True)
            write_verifier_key(self._key, key, KEPT_MODE)
            return
        if first not in chain.keys:
            raise HistoryChanged(f"the log is not signed any more by {first}, or a key after it")


def require_continued(old: Checkpoint, new: Checkpoint, log: ReadConnection) -> None:
    """Raises `HistoryChanged` unless the tree of a log shows that what the older checkpoint is of
    is the beginning of what the newer one is of."""
    if new.origin != old.origin:
        raise HistoryChanged(
            f"the log is signed as {new.origin} now, and was as {old.origin}: it went back in "
            "time, or its key was lost, and somebody has accepted that (see `hansard keys list`). "
            "Leave what was kept as it is, and keep what comes in another directory"
        )
    if new.size < old.size:
        raise HistoryChanged(f"the log had {old.size:,} entries, and now it has {new.size:,}")
    try:
        proof = consistency_proof(old.size, new.size, stored_tree(log.rows).node)
        require_consistent(old.size, old.root, new.size, new.root, proof)
    except NodeMissing as error:
        raise HistoryChanged(
            f"the log cannot show any more that its {new.size:,} entries begin with the "
            f"{old.size:,} that were signed: {error}"
        ) from error
    except BadProof as error:
        raise HistoryChanged(
            f"the first {old.size:,} of the log's {new.size:,} entries are not those that were "
            f"signed: {error}"
        ) from error


def _last(directory: Path) -> str:
    path = directory / layout.CHECKPOINT
    try:
        return path.read_text()
    except FileNotFoundError:
        raise NoCheckpoint(
            f"there is no {path}: start the writer, `hansard serve --dir {directory}`, which signs "
            "as soon as there is an entry"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _entries(directory: Path) -> int:
    log = ReadConnection(directory)
    try:
        entries: int = log.rows(_LAST_SEQ)[0][0]
        return entries
    finally:
        log.close()
